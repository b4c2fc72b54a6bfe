#!/usr/bin/env python3
"""Clients that leave qvl serve at random moments, many open streams, and more requests than it can answer, over real sockets.

  tools/serve_stress.py 127.0.0.1:8000 --requests 100000 --picture small.png --pid PID
  tools/serve_stress.py 127.0.0.1:8000 --streams 2000
  tools/serve_stress.py 127.0.0.1:8000 --overload 180 --clients 16

--requests breaks half of them off: in the head, in the body, or some milliseconds after it, by a close or a reset.
--streams opens that many streams at once and reads all of them to their ends.
--overload measures the throughput that --clients keep up (saturated), then the times at 0.8 of its rate, then those at ten
times its rate for so many seconds; requests come at random, independent of answers.
Prints JSON. At the end /v1/debug/memory must say that nothing of any request is left; if not, the exit status is 1.
"""

import argparse
import asyncio
import base64
import collections
import json
import random
import socket
import struct
import time

RESET = struct.pack('ii', 1, 0)


def post(path, body):
    data = json.dumps(body).encode()
    head = (f'POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n'
            f'Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n')
    return head.encode() + data


def random_request(rng, picture):
    common = {'max_tokens': rng.choice([1, 2, 8, 32]), 'ignore_eos': True, 'stream': rng.random() < 0.6,
              'n': rng.choice([1, 1, 1, 2])}
    kind = rng.random()
    if kind < 0.3:
        return post('/v1/completions', {'prompt': 'word ' * rng.choice([1, 20, 200]), **common})
    content = [{'type': 'text', 'text': f'question {rng.randrange(50)}'}]
    if picture and kind < 0.6:
        content.insert(0, {'type': 'image_url', 'image_url': {'url': 'data:image/png;base64,' + picture}})
    return post('/v1/chat/completions', {'messages': [{'role': 'user', 'content': content}], **common})


async def one(address, request, rng, counts):
    reader, writer = await asyncio.open_connection(*address)
    leaves = rng.random()
    try:
        if leaves < 0.1:  # within the head or the body
            writer.write(request[:rng.randrange(len(request))])
            await writer.drain()
            counts['left while sending'] += 1
        else:
            writer.write(request)
            if leaves < 0.5:
                try:
                    await asyncio.wait_for(reader.read(-1), rng.expovariate(1 / 0.03))
                    counts['ended before it was left'] += 1
                except asyncio.TimeoutError:
                    counts['left while waiting or streaming'] += 1
            else:
                counts[f'status {(await reader.read(-1))[9:12].decode()}'] += 1
    finally:
        if rng.random() < 0.5:
            writer.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.close()


async def memory(address):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b'GET /v1/debug/memory HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
    answer = await reader.read(-1)
    writer.close()
    return json.loads(answer.split(b'\r\n\r\n', 1)[1])


async def left(address):
    """What requests hold, when all of them should be gone; waits up to ten seconds for zeros."""
    for _ in range(100):
        now = await memory(address)
        held = {'pages': now['kv_pages']['owned'], 'rows': now['feature_rows']['owned'], **now['requests']}
        if not any(held.values()):
            break
        await asyncio.sleep(0.1)
    return held


def resident_mb(pid):
    with open(f'/proc/{pid}/statm') as file:
        return round(int(file.read().split()[1]) * 4096 / 1e6, 1)


async def disconnects(address, args):
    rng = random.Random(args.seed)
    counts = collections.Counter()
    picture = base64.b64encode(open(args.picture, 'rb').read()).decode() if args.picture else ''
    done = 0
    resident = []

    async def client():
        nonlocal done
        while done < args.requests:
            done += 1
            if args.pid and done % (args.requests // 10) == 0:
                resident.append(resident_mb(args.pid))
            try:
                await one(address, random_request(rng, picture), rng, counts)
            except ConnectionError as error:
                counts[type(error).__name__] += 1

    begin = time.monotonic()
    await asyncio.gather(*[client() for _ in range(args.clients)])
    return {'requests': done, 'seconds': round(time.monotonic() - begin, 1), 'outcomes': counts,
            'resident_mb_at_each_tenth': resident}


async def streams(address, args):
    body = {'prompt': 'a', 'max_tokens': 64, 'ignore_eos': True, 'stream': True}
    everyone = [await asyncio.open_connection(*address) for _ in range(args.streams)]
    begin = time.monotonic()
    for _, writer in everyone:
        writer.write(post('/v1/completions', body))
    answers = asyncio.gather(*[reader.read(-1) for reader, _ in everyone])
    most = 0
    while not answers.done():
        most = max(most, (await memory(address))['requests']['tickets'])
        await asyncio.sleep(0.2)
    whole = sum(answer.endswith(b'data: [DONE]\n\n\r\n0\r\n\r\n') for answer in answers.result())
    return {'connections': len(everyone), 'most_requests_at_once': most, 'complete': whole,
            'seconds': round(time.monotonic() - begin, 1)}


class Measured:
    """Requests that differ in their prompts and in the length of their answers, and when those came."""

    def __init__(self, address, args):
        self.address = address
        self.args = args
        self.rng = random.Random(args.seed)
        self.first, self.refused, self.others, self.ends = [], [], 0, []

    async def ask(self):
        tokens = self.rng.randrange(1, 2 * self.args.max_tokens)
        body = {'prompt': f'{self.rng.random()} ' + 'word ' * self.args.prompt, 'max_tokens': tokens,
                'ignore_eos': True, 'stream': True}
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            writer.write(post('/v1/completions', body))
            begin = time.perf_counter()
            status = (await reader.readuntil(b'\r\n\r\n'))[9:12]
            if status == b'429':
                self.refused.append(time.perf_counter() - begin)
            elif status == b'200':
                await reader.readuntil(b'data: ')
                self.first.append(time.perf_counter() - begin)
                await reader.read(-1)
                self.ends.append((time.perf_counter(), tokens))
            else:
                self.others += 1
        finally:
            writer.close()

    def result(self, seconds, begin):
        def ms(values):
            ordered = sorted(values)
            return {f'p{p}': round(1e3 * ordered[min(len(ordered) - 1, len(ordered) * p // 100)], 2)
                    for p in (50, 99)} if ordered else None
        answered = [tokens for end, tokens in self.ends if end <= begin + seconds]
        return {'seconds': seconds, 'sent_per_s': round((len(self.first) + len(self.refused)) / seconds, 1),
                'answered_per_s': round(len(answered) / seconds, 2),
                'tokens_per_s': round(sum(answered) / seconds, 1), 'status_429': len(self.refused),
                'other_statuses': self.others, 'first_token_ms': ms(self.first), 'refused_ms': ms(self.refused)}


async def closed_loop(address, args, seconds):
    measured = Measured(address, args)
    begin = time.perf_counter()

    async def client():
        while time.perf_counter() < begin + seconds:
            await measured.ask()

    await asyncio.gather(*[client() for _ in range(args.clients)])
    return measured.result(seconds, begin)


async def open_loop(address, args, rate, seconds):
    rng = random.Random(args.seed)
    measured = Measured(address, args)
    begin = at = time.perf_counter()
    asked = []
    while at < begin + seconds:
        at += rng.expovariate(rate)
        await asyncio.sleep(max(0, at - time.perf_counter()))
        asked.append(asyncio.ensure_future(measured.ask()))
    await asyncio.gather(*asked)
    return measured.result(seconds, begin)


async def overload(address, args):
    saturated = await closed_loop(address, args, args.overload / 3)
    capacity = saturated['answered_per_s']
    light = await open_loop(address, args, 0.8 * capacity, args.overload / 3)
    heavy = await open_loop(address, args, 10 * capacity, args.overload)
    return {'saturated': saturated, 'load_0.8': light, 'load_10': heavy,
            'throughput_of_saturated': round(heavy['tokens_per_s'] / saturated['tokens_per_s'], 3),
            'first_token_p99_of_load_0.8': round(heavy['first_token_ms']['p99'] / light['first_token_ms']['p99'], 2)}


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('address', help='host:port')
    parser.add_argument('--requests', type=int, default=0)
    parser.add_argument('--streams', type=int, default=0)
    parser.add_argument('--overload', type=int, default=0, help='seconds')
    parser.add_argument('--clients', type=int, default=64)
    parser.add_argument('--picture')
    parser.add_argument('--prompt', type=int, default=64, help='words of the requests of --overload')
    parser.add_argument('--max-tokens', type=int, default=64, help='of their answers, on average')
    parser.add_argument('--pid', type=int, default=0, help='of the server: reports its resident memory')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    address = tuple(args.address.rsplit(':', 1))
    out = {}
    for name, run in (('requests', disconnects), ('streams', streams), ('overload', overload)):
        if getattr(args, name):
            out[name] = await run(address, args)
    out['left'] = await left(address)
    print(json.dumps(out, indent=1))
    return 1 if any(out['left'].values()) else 0


if __name__ == '__main__':
    raise SystemExit(asyncio.run(main()))
