#!/usr/bin/env python3
"""How fast an OpenAI-compatible server answers: one request at a time, several at once, and pictures.

  tools/load_test.py http://localhost:8000 --picture photo.jpg [--api-key KEY] [--requests 100]
"""

import argparse
import base64
import concurrent.futures
import json
import statistics
import time
import urllib.request


def ask(args, path, body):
    """The seconds to the first byte of the answer's text and to its end, and its tokens."""
    body = {**body, 'max_tokens': args.max_tokens, 'temperature': 0.7, 'ignore_eos': True, 'stream': True,
            'stream_options': {'include_usage': True}}
    headers = {'Content-Type': 'application/json', 'Authorization': f'Bearer {args.api_key}'}
    request = urllib.request.Request(args.url + path, json.dumps(body).encode(), headers)
    begin = time.perf_counter()
    first = None
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            if not line.startswith(b'data: {'):
                continue
            chunk = json.loads(line[6:])
            has_text = any(c.get('text') or c.get('delta', {}).get('content') for c in chunk['choices'])
            if first is None and has_text:
                first = time.perf_counter() - begin
            tokens = chunk.get('usage', {}).get('completion_tokens', 0)
    end = time.perf_counter() - begin
    return first or end, end, tokens


def single(args):
    answers = [ask(args, '/v1/completions', {'prompt': f'请解释什么是人工智能？第{i + 1}次请求。'})
               for i in range(args.requests)]
    print(f'{args.requests} single requests of {args.max_tokens} tokens')
    for name, values, unit in (('time to first token', [1e3 * first for first, _, _ in answers], 'ms'),
                               ('time of the request', [1e3 * end for _, end, _ in answers], 'ms'),
                               ('speed', [tokens / end for _, end, tokens in answers], 'tokens/s')):
        print(f'  {name:20} mean {statistics.mean(values):8.1f}   lowest {min(values):8.1f}   '
              f'highest {max(values):8.1f} {unit}')


def together(args, name, path, body_of):
    print(f'{name}\n  at once   seconds   tokens/s   requests/s')
    for clients in (1, 2, 4, 8):
        count = 5 * clients
        begin = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            answers = list(pool.map(lambda i: ask(args, path, body_of(i)), range(count)))
        seconds = time.perf_counter() - begin
        tokens = sum(answer[2] for answer in answers)
        print(f'  {clients:7} {seconds:9.2f} {tokens / seconds:10.1f} {count / seconds:12.2f}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('url')
    parser.add_argument('--picture')
    parser.add_argument('--api-key', default='none')
    parser.add_argument('--requests', type=int, default=100)
    parser.add_argument('--max-tokens', type=int, default=100)
    args = parser.parse_args()
    single(args)
    together(args, 'several at once, five each', '/v1/completions',
             lambda i: {'prompt': f'请简述机器学习的基本原理，第{i}次。'})
    if args.picture:
        data = base64.b64encode(open(args.picture, 'rb').read()).decode()
        image = {'type': 'image_url', 'image_url': {'url': 'data:image/jpeg;base64,' + data}}
        together(args, f'the same with {args.picture.rsplit("/", 1)[-1]}', '/v1/chat/completions',
                 lambda i: {'messages': [{'role': 'user', 'content': [
                     image, {'type': 'text', 'text': f'What is in the picture? ({i})'}]}]})


if __name__ == '__main__':
    main()
