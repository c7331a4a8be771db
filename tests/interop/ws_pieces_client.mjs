// Node's `ws` sends messages in fragments, and receives the echo of each in fragments of ours.
// By hand: cargo run --example echo_peer -- --pieces, then
// SUITES_NODE=target/suites/node node tests/interop/ws_pieces_client.mjs ws://127.0.0.1:9001 [CA] [--deflate]
// (--deflate: the server compresses).

import { once } from 'node:events';
import { readFileSync } from 'node:fs';

import { Checks, load, same, TEXT } from './check.mjs';
import { CONTENTS, count, every, LENGTH, NOISE, pings, receive, send } from './pieces.mjs';

const WebSocket = load('ws');
const deflate = process.argv.includes('--deflate');
const [url, ca] = process.argv.slice(2).filter((word) => word !== '--deflate');
const scheme = url.split(':')[0];
const checks = new Checks(`ws client (pieces, ${scheme}${deflate ? ', deflate' : ''})`);

/** Opens a connection, runs the check on it, and leaves no socket behind. */
async function connected(check) {
  const ws = new WebSocket(url, {
    ca: ca && readFileSync(ca), perMessageDeflate: { threshold: 0 }, maxPayload: 1 << 30,
  });
  try {
    await once(ws, 'open');
    count(ws);
    await check(ws);
  } finally {
    ws.terminate();
  }
}

await checks.run('compression as expected', () => connected(async (ws) => {
  same(ws.extensions, deflate ? 'permessage-deflate' : '');
}));
for (const [content, message] of CONTENTS) {
  const what = `${LENGTH >> 20} MiB of ${content}`;
  await checks.run(`${what}, in fragments`, () => connected(async (ws) => {
    for (let n = 0; n < 2; n += 1) { // what compresses it has to be fit for another
      send(ws, message);
      await receive(ws, message);
    }
  }), 60);
  await checks.run(`${what}, in one frame`, () => connected(async (ws) => {
    ws.send(message);
    await receive(ws, message);
  }), 60);
}

await checks.run('text cut within characters', () => connected(async (ws) => {
  for (const length of [1, 2, 3, 5]) {
    const message = TEXT.repeat(20);
    send(ws, message, every(length));
    await receive(ws, message, 1);
  }
}));

await checks.run('200 messages in order', () => connected(async (ws) => {
  const received = [];
  ws.on('message', (data) => received.push(data.toString()));
  const wanted = Array.from({ length: 200 }, (_, n) => `message ${'x'.repeat(n * n)} ${n}`);
  for (const message of wanted) send(ws, message);
  while (received.length < wanted.length) await once(ws, 'message');
  same(received, wanted);
}), 30);

await checks.run('pings between fragments', () => connected(pings));

for (const how of ['close', 'terminate']) {
  await checks.run(`${how} in the middle of a message`, async () => {
    await connected((bystander) => connected(async (ws) => {
      ws.send(NOISE.subarray(0, 1 << 20), { fin: false });
      const closed = once(ws, 'close');
      ws[how]();
      const [code] = await closed;
      same(code, how === 'close' ? 1005 : 1006);
      bystander.send(TEXT);
      await receive(bystander, TEXT, 1);
    }));
    await connected(async (ws) => {
      send(ws, TEXT);
      await receive(ws, TEXT, 1);
    });
  });
}

process.exit(); // not held up by a connection that a failed check has left
