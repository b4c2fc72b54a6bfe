// qvl serve as the official client of OpenAI's API sees it. QVL: the program; QVL_SOURCE_DIR: the
// repository.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';

const source = process.env.QVL_SOURCE_DIR;
const demo = `${source}/models/demo`;
const sign = `${source}/tests/synocrbench/OCRBench_Images/syn/STVQA/9000340.jpeg`;
const model = 'demo';

let server;
let address;
let client;

before(async () => {
  server = spawn(process.env.QVL, ['serve', demo, '--port', '0', '--threads', '1', '--max-model-len', '32768',
    '--api-key', 'right', '--max-num-seqs', '1', '--max-num-queued-reqs', '1', '--disable-uvicorn-access-log']);
  let log = '';
  await new Promise((resolve, reject) => {
    server.stderr.on('data', (bytes) => {
      log += bytes;
      if (log.includes('qvl: ready\n')) resolve();
    });
    server.on('exit', (status) => reject(new Error(`qvl ended with ${status}: ${log}`)));
  });
  address = `http://${/listening on ([^,]+),/.exec(log)[1]}`;
  client = new OpenAI({ baseURL: `${address}/v1`, apiKey: 'right', maxRetries: 0 });
});

after(() => server.kill('SIGKILL'));

const picture = () => ({
  type: 'image_url',
  image_url: { url: `data:image/jpeg;base64,${readFileSync(sign).toString('base64')}` },
});

const question = (more = {}) => ({
  model,
  messages: [{ role: 'user',
    content: [picture(), { type: 'text', text: 'what is written on the white sign?' }] }],
  temperature: 0,
  max_tokens: 20,
  ...more,
});

const hello = (more = {}) =>
  ({ model, messages: [{ role: 'user', content: 'hello' }], max_tokens: 4, ...more });

async function requests() {
  const reply = await fetch(`${address}/v1/debug/memory`,
    { headers: { Authorization: 'Bearer right' } });
  return (await reply.json()).requests;
}

async function eventually(condition) {
  for (let i = 0; i < 1000; ++i) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail('did not happen within ten seconds');
}

test('a chat about a picture is answered', async () => {
  const answer = await client.chat.completions.create(question());
  assert.equal(answer.choices[0].message.content, 'Axis Upswing');
  assert.equal(answer.choices[0].finish_reason, 'stop');
  assert.ok(answer.usage.prompt_tokens > answer.usage.completion_tokens);
});

test('a stream has the same text, and its usage at the end', async () => {
  const stream = await client.chat.completions.create(
    question({ stream: true, stream_options: { include_usage: true } }));
  let text = '';
  let usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? '';
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, 'Axis Upswing');
  assert.ok(usage.completion_tokens > 0);
});

test('the helper that collects a stream understands it', async () => {
  const stream = client.chat.completions.stream(question());
  assert.equal(await stream.finalContent(), 'Axis Upswing');
});

test('n answers have n indices', async () => {
  const answer = await client.chat.completions.create(hello({ n: 2, seed: 1, temperature: 1 }));
  assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1]);
});

test('logprobs come with their rivals', async () => {
  const answer = await client.chat.completions.create(question({ logprobs: true, top_logprobs: 2 }));
  const tokens = answer.choices[0].logprobs.content;
  assert.equal(tokens.length, answer.usage.completion_tokens);
  for (const token of tokens) {
    assert.equal(token.top_logprobs.length, 2);
    assert.ok(token.logprob <= 0);
  }
});

test('completions answer a prompt', async () => {
  const answer = await client.completions.create({ model, prompt: 'hello', max_tokens: 3 });
  assert.equal(answer.object, 'text_completion');
  assert.ok(answer.usage.completion_tokens <= 3);
});

test('models are listed and found by name', async () => {
  const names = [];
  for await (const one of client.models.list()) names.push(one.id);
  assert.ok(names.includes(model));
});

test('an aborted stream ends in the server too', async () => {
  const stream = await client.chat.completions.create(
    hello({ stream: true, max_tokens: 30000, ignore_eos: true }));
  for await (const chunk of stream) {
    if (chunk.choices[0].delta.content) break;  // leaving the loop aborts the request
  }
  await eventually(async () => (await requests()).tickets === 0);
});

test('every error is of its class', async () => {
  const rejects = (promise, type, status) =>
    assert.rejects(promise, (error) => {
      assert.ok(error instanceof type, `${error}`);
      assert.equal(error.status, status);
      assert.equal(error.error.code, status);
      assert.ok(error.message.length > 10);
      return true;
    });
  const create = (body, to = client) => to.chat.completions.create(body);
  await rejects(create(hello({ temperature: 9 })), OpenAI.BadRequestError, 400);
  await rejects(create(hello({ max_tokens: 99999 })), OpenAI.BadRequestError, 400);
  const broken = { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } };
  await rejects(create(hello({ messages: [{ role: 'user', content: [broken] }] })),
    OpenAI.BadRequestError, 400);
  await rejects(create(hello({ model: 'gpt-4o' })), OpenAI.NotFoundError, 404);
  const stranger = new OpenAI({ baseURL: `${address}/v1`, apiKey: 'wrong', maxRetries: 0 });
  await rejects(create(hello(), stranger), OpenAI.AuthenticationError, 401);
  await rejects(client.embeddings.create({ model, input: 'x', encoding_format: 'float' }),
    OpenAI.NotFoundError, 404);

  const abort = new AbortController();
  const long = hello({ stream: true, max_tokens: 30000, ignore_eos: true });
  await client.chat.completions.create(long, { signal: abort.signal });
  await eventually(async () => (await requests()).running === 1);
  await client.chat.completions.create(long, { signal: abort.signal });
  await eventually(async () => (await requests()).answers === 2);
  await rejects(create(hello()), OpenAI.RateLimitError, 429);
  abort.abort();
  await eventually(async () => (await requests()).tickets === 0);
});
