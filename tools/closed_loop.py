#!/usr/bin/env python3
"""What an OpenAI-compatible server does when a fixed number of clients each send their next request as the last one is answered.

  tools/closed_loop.py 127.0.0.1:8000 --concurrency 1,8,64,256 --input-len 512 --output-len 128 --pid PID --out text.json
  tools/closed_loop.py 127.0.0.1:8000 --concurrency 1,8 --picture 1024x768

Prompts are token ids by /v1/completions, with --picture a JPEG and words by /v1/chat/completions; no two are alike, so that no
cache has them. The first answer of each client has a random length, which spreads the ends of the others; then whatever happens
within --seconds is counted: requests that end, tokens, first tokens (TTFT), gaps between events (ITL), whole requests (E2E).
With --pid also the processor time and the memory of the server. "client_busy" is the share of its time that the busiest
client process computed: near 1 the figures are the client's.
"""

import argparse
import base64
import http.client
import json
import multiprocessing
import os
import random
import selectors
import socket
import sys
import time

WORDS = ('time year people way day man thing woman life child world school state family student group country problem hand part '
         'place case week company system program question work government number night point home water room mother area money '
         'story fact month lot right study book eye job word business issue side kind head house service friend father power').split()


def huffman_table(kind, symbols):
    """Every symbol has a code of four bits, which is its place; at most 15 of them."""
    return bytes([kind, 0, 0, 0, len(symbols)]) + bytes(12) + bytes(symbols)


def bits(value, size):
    """How JPEG writes a number other than 0 that needs `size` bits."""
    return format(value if value > 0 else value + (1 << size) - 1, f'0{size}b')


def random_jpeg(width, height, rng):
    """A baseline JPEG, 4:2:0, of random coefficients, about 1.6 bits per pixel; see vary()."""
    ac_symbols = [0] + [run << 4 | size for run in range(4) for size in (1, 2)]
    textures = []
    for _ in range(256):
        code = ''
        for _ in range(rng.randrange(4, 16)):
            size = rng.choice((1, 1, 2))
            value = rng.choice((-1, 1)) if size == 1 else rng.choice((-3, -2, 2, 3))
            code += format(ac_symbols.index(rng.randrange(4) << 4 | size), '04b') + bits(value, size)
        textures.append(code + '0000')
    last = [0, 0, 0]
    scan = []
    for _ in range(-(-width // 16) * -(-height // 16)):
        for component in (0, 0, 0, 0, 1, 2):
            value = rng.randrange(-60, 61)
            difference = value - last[component]
            last[component] = value
            size = abs(difference).bit_length()
            scan.append(format(size, '04b') + (bits(difference, size) if size else '') + rng.choice(textures))
    code = ''.join(scan)
    code += '1' * (-len(code) % 8)
    data = int(code, 2).to_bytes(len(code) // 8, 'big').replace(b'\xff', b'\xff\x00')

    def segment(marker, content):
        return bytes([0xff, marker]) + (len(content) + 2).to_bytes(2, 'big') + content
    size = height.to_bytes(2, 'big') + width.to_bytes(2, 'big')
    return (b'\xff\xd8' + segment(0xdb, bytes([0]) + bytes([8] * 64)) +
            segment(0xc0, b'\x08' + size + b'\x03\x01\x22\x00\x02\x11\x00\x03\x11\x00') +
            segment(0xc4, huffman_table(0x00, range(8)) + huffman_table(0x10, ac_symbols)) +
            segment(0xda, b'\x03\x01\x00\x02\x00\x03\x00\x00\x3f\x00') + data + b'\xff\xd9')


def vary(jpeg, number):
    """Another picture for each number below 2^32: its bits are added to the quantisation table, which is near the start."""
    steps = bytes(8 + (number >> i & 1) for i in range(32))
    at = 8  # two markers, a length, the number of the table, the step of the mean
    return jpeg[:at] + steps + jpeg[at + 32:]


class Requests:
    """Makes requests, no two alike."""

    def __init__(self, args, ids, words, pictures, seed):
        self.args, self.ids, self.words, self.pictures = args, ids, words, pictures
        self.rng = random.Random(seed)

    def next(self, first):
        args, rng = self.args, self.rng
        body = {'model': args.model, 'max_tokens': rng.randint(1, args.output_len) if first else args.output_len,
                'temperature': args.temperature, 'ignore_eos': True, 'stream': True, 'stream_options': {'include_usage': True}}
        if args.picture:
            data = base64.b64encode(vary(rng.choice(self.pictures), rng.getrandbits(32))).decode()
            text = ''.join(' ' + word for word in rng.choices(self.words, k=args.input_len))
            content = [{'type': 'image_url', 'image_url': {'url': 'data:image/jpeg;base64,' + data}},
                       {'type': 'text', 'text': text}]
            path, body['messages'] = '/v1/chat/completions', [{'role': 'user', 'content': content}]
        else:
            path, body['prompt'] = '/v1/completions', rng.choices(self.ids, k=args.input_len)
        data = json.dumps(body).encode()
        return (f'POST {path} HTTP/1.1\r\nHost: {args.address}\r\nAuthorization: Bearer {args.api_key}\r\n'
                f'Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n').encode() + data


class Client:
    """One connection, one request at a time. Keeps when events came, and reads what they say when the answer is complete."""

    MARK = b'\ndata: '

    def __init__(self, address):
        host, port = address.rsplit(':', 1)
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.answers = 0

    def ask(self, request):
        self.unsent = memoryview(request)
        self.answer = bytearray()
        self.scanned = 0
        self.times = []
        self.begin = time.perf_counter()
        self.send()

    def send(self):
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent):]
        except BlockingIOError:
            pass

    def receive(self):
        """True when the answer is complete."""
        data = self.socket.recv(1 << 18)
        now = time.perf_counter()
        self.answer += data
        count = self.answer.count(self.MARK, self.scanned)
        if count:
            self.times.extend([now] * count)
        self.scanned = max(0, len(self.answer) - len(self.MARK) + 1)
        if data and not self.answer.startswith(b'HTTP/1.1 200'[:len(self.answer)]):
            raise SystemExit(f'error: the server said {bytes(self.answer[:2000]).decode(errors="replace")}')
        if not data:
            raise SystemExit(f'error: the server closed a connection after {bytes(self.answer[-500:])}')
        return self.answer.endswith(b'0\r\n\r\n') and b'data: [DONE]' in self.answer[-40:]

    def result(self):
        """(begin, times of the events with text, end, usage)"""
        events = self.answer.split(self.MARK)
        usage = json.loads(events[-2].split(b'\n')[0])['usage']
        first = 1 if b'"role"' in events[1] else 0
        return self.begin, self.times[first:-2] or self.times[-2:-1], self.times[-1], usage


def work(pipe, args, make, clients):
    """One process: runs `clients` connections until told to stop, then counts what was within the window."""
    requests = Requests(args, *make)
    selector = selectors.DefaultSelector()
    selector.register(pipe, selectors.EVENT_READ)
    done = []
    cold = clients
    open_clients = clients
    window = None

    def ask(client, first):
        client.ask(requests.next(first))
        selector.modify(client.socket, selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0), client)

    for _ in range(clients):
        client = Client(args.address)
        selector.register(client.socket, selectors.EVENT_READ, client)
        ask(client, True)
    while open_clients:
        for key, event in selector.select():
            client = key.data
            if client is None:
                window = pipe.recv()
                continue
            if event & selectors.EVENT_WRITE:
                client.send()
                if not client.unsent:
                    selector.modify(client.socket, selectors.EVENT_READ, client)
            if not event & selectors.EVENT_READ or not client.receive():
                continue
            done.append(client.result())
            client.answers += 1
            if client.answers == 1:
                cold -= 1
                if cold == 0:
                    pipe.send('warm')
            if window is None:
                ask(client, False)
            else:
                selector.unregister(client.socket)
                client.socket.close()
                open_clients -= 1
    begin, end = window
    inside = {'requests': 0, 'tokens': 0.0, 'prompt_tokens': 0, 'cached_tokens': 0, 'ttft': [], 'itl': [], 'tpot': [], 'e2e': []}
    for sent, times, ended, usage in done:
        within = sum(begin <= t < end for t in times)
        inside['tokens'] += usage['completion_tokens'] * within / len(times)
        if begin <= times[0] < end:
            inside['ttft'].append(times[0] - sent)
        inside['itl'] += [b - a for a, b in zip(times, times[1:]) if begin <= b < end]
        if begin <= ended < end:
            inside['requests'] += 1
            inside['prompt_tokens'] += usage['prompt_tokens']
            inside['cached_tokens'] += (usage.get('prompt_tokens_details') or {}).get('cached_tokens') or 0
            inside['e2e'].append(ended - sent)
            inside['tpot'].append((times[-1] - times[0]) / max(1, usage['completion_tokens'] - 1))
    pipe.send(inside)


def family(pid):
    """The process and its children, and theirs."""
    all_of_them = [pid]
    for one in all_of_them:
        for thread in os.listdir(f'/proc/{one}/task'):
            try:
                with open(f'/proc/{one}/task/{thread}/children') as file:
                    all_of_them += [int(child) for child in file.read().split()]
            except OSError:
                pass
    return all_of_them


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        try:
            with open(f'/proc/{pid}/stat') as file:
                ticks += sum(int(field) for field in file.read().rsplit(')', 1)[1].split()[11:13])
        except FileNotFoundError:
            pass
    return ticks / os.sysconf('SC_CLK_TCK')


def resident_mb(pids):
    pages = 0
    for pid in pids:
        with open(f'/proc/{pid}/statm') as file:
            pages += int(file.read().split()[1])
    return round(pages * os.sysconf('SC_PAGE_SIZE') / 1e6, 1)


def percentiles(seconds):
    ordered = sorted(seconds)
    if not ordered:
        return None
    return {f'p{p}': round(1e3 * ordered[min(len(ordered) - 1, len(ordered) * p // 100)], 3) for p in (50, 90, 99)}


def level(args, concurrency, make):
    context = multiprocessing.get_context('fork')
    count = min(args.processes, concurrency)
    workers = []
    for i in range(count):
        pipe, other = context.Pipe()
        clients = concurrency // count + (i < concurrency % count)
        seed = f'{args.seed} {args.input_len} {args.picture} {concurrency} {i}'
        process = context.Process(target=work, args=(other, args, (*make, seed), clients), daemon=True)
        process.start()
        other.close()
        workers.append((process, pipe))

    def answer(pipe):
        try:
            return pipe.recv()
        except EOFError:
            raise SystemExit('error: a client process has failed; it says above why') from None
    for _, pipe in workers:
        answer(pipe)
    servers = family(args.pid) if args.pid else []
    clients = [process.pid for process, _ in workers]
    cpu = cpu_seconds(servers)
    client_cpu = [cpu_seconds([pid]) for pid in clients]
    begin = time.perf_counter()
    time.sleep(args.seconds)
    end = time.perf_counter()
    cpu = cpu_seconds(servers) - cpu
    client_cpu = [cpu_seconds([pid]) - before for pid, before in zip(clients, client_cpu)]
    resident = resident_mb(servers)
    for _, pipe in workers:
        pipe.send((begin, end))
    parts = [answer(pipe) for _, pipe in workers]
    for process, _ in workers:
        process.join()
    seconds = end - begin
    total = {key: sum((part[key] for part in parts), type(parts[0][key])()) for key in parts[0]}
    requests = total['requests']
    out = {'concurrency': concurrency, 'seconds': round(seconds, 2), 'requests': requests,
           'requests_per_s': round(requests / seconds, 3), 'output_tok_per_s': round(total['tokens'] / seconds, 1),
           'prompt_tokens': round(total['prompt_tokens'] / max(1, requests), 1),
           'cached_tokens': total['cached_tokens']}
    for name in ('ttft', 'itl', 'tpot', 'e2e'):
        out[name + '_ms'] = percentiles(total[name])
    if servers:
        out['server_cores'] = round(cpu / seconds, 3)
        out['server_cpu_s_per_request'] = round(cpu / max(1, requests), 5)
        out['server_resident_mb'] = resident
    out['client_busy'] = round(max(client_cpu) / seconds, 3)
    return out


def call(args, path, body=None):
    connection = http.client.HTTPConnection(args.address, timeout=60)
    connection.request('POST' if body else 'GET', path, json.dumps(body) if body else None,
                       {'Content-Type': 'application/json', 'Authorization': f'Bearer {args.api_key}'})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise SystemExit(f'error: {path}: {answer.status} {text.decode(errors="replace")}')
    return json.loads(text)


def material(args):
    """Token ids that every prompt may have, words of one token each, pictures."""
    def tokens(text):
        return call(args, '/tokenize', {'model': args.model, 'prompt': text, 'add_special_tokens': False})['tokens']
    ids = sorted(set(tokens(' '.join(WORDS))))
    words = [word for word in WORDS if len(tokens(' ' + word)) == 1] if args.picture else []
    if not args.picture:
        return ids, words, []
    width, height = (int(side) for side in args.picture.split('x'))
    rng = random.Random(args.seed)
    return ids, words or WORDS, [random_jpeg(width, height, rng) for _ in range(8)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('address', help='host:port')
    parser.add_argument('--concurrency', default='1,8,64,256')
    parser.add_argument('--input-len', type=int, default=512, help='tokens of the prompt; with --picture, words beside it')
    parser.add_argument('--output-len', type=int, default=128, help='tokens of the answer')
    parser.add_argument('--picture', help='size of one JPEG in each request, such as 1024x768')
    parser.add_argument('--temperature', type=float, default=0, help='of the answers; 0, as in qvl bench engine: the likeliest token')
    parser.add_argument('--seconds', type=float, default=8, help='that are counted')
    parser.add_argument('--processes', type=int, default=max(1, min(8, (os.cpu_count() or 1) // 2)), help='of clients')
    parser.add_argument('--pid', type=int, help='of the server: reports its processor time and memory')
    parser.add_argument('--api-key', default='none')
    parser.add_argument('--model', help='default: the first one of /v1/models')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', help='file for the JSON')
    args = parser.parse_args()
    args.model = args.model or call(args, '/v1/models')['data'][0]['id']
    make = material(args)
    out = {'schema': 'qvl.bench.closed_loop/1', 'model': args.model, 'input_len': args.input_len,
           'output_len': args.output_len, 'picture': args.picture, 'client_processes': args.processes, 'levels': []}
    print(f'{"at once":>8}{"req/s":>9}{"tok/s":>10}  {"TTFT ms p50/p99":>19}  {"ITL ms p50/p99":>17}  {"E2E ms p50/p99":>19}'
          f'{"CPU s/req":>11}{"busy":>6}')
    for concurrency in args.concurrency.split(','):
        result = level(args, int(concurrency), make)
        out['levels'].append(result)

        def pair(name):
            found = result[name + '_ms']
            return f'{found["p50"]:.1f} / {found["p99"]:.1f}' if found else '-'
        print(f'{concurrency:>8}{result["requests_per_s"]:9.2f}{result["output_tok_per_s"]:10.1f}  {pair("ttft"):>19}  '
              f'{pair("itl"):>17}  {pair("e2e"):>19}{result.get("server_cpu_s_per_request", float("nan")):11.4f}'
              f'{result["client_busy"]:6.2f}', flush=True)
    if args.out:
        with open(args.out, 'w') as file:
            json.dump(out, file, indent=1)


if __name__ == '__main__':
    sys.exit(main())
