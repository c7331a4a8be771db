// Node's `ws` as the client of our `echo_peer`.
// By hand: cargo run --example echo_peer, then
// SUITES_NODE=target/suites/node node tests/interop/ws_client.mjs ws://127.0.0.1:9001 [CA] [--deflate]
// (--deflate: the server runs with it, too).

import { once } from 'node:events';
import { readFileSync } from 'node:fs';

import { Checks, EVERY_BYTE, load, LONG, same, TEXT } from './check.mjs';

const WebSocket = load('ws');
const deflate = process.argv.includes('--deflate');
const [url, ca] = process.argv.slice(2).filter((word) => word !== '--deflate');
const checks = new Checks(`ws client (${url.split(':')[0]}${deflate ? ', deflate' : ''})`);

/** Opens a connection, runs the check on it, and leaves no socket behind. */
async function connected(check, options = {}) {
  const ws = new WebSocket(url, [], { ca: ca && readFileSync(ca), ...options });
  try {
    await once(ws, 'open');
    await check(ws);
  } finally {
    ws.terminate();
  }
}

async function receive(ws, wanted) {
  const [data, isBinary] = await once(ws, 'message');
  same(isBinary, Buffer.isBuffer(wanted));
  same(isBinary ? data : data.toString(), wanted);
}

function echo(message, options) {
  return () => connected(async (ws) => {
    ws.send(message);
    await receive(ws, message);
  }, options);
}

await checks.run('compression as expected', () => connected(async (ws) => {
  same(ws.extensions, deflate ? 'permessage-deflate' : '');
}));
await checks.run('text', echo(TEXT));
await checks.run('text without an offer of compression', echo(TEXT, { perMessageDeflate: false }));
await checks.run('empty text', echo(''));
await checks.run('binary', echo(EVERY_BYTE));
await checks.run('empty binary', echo(Buffer.alloc(0)));
await checks.run('text of 1 MiB', echo(LONG));
await checks.run('binary of 1 MiB', echo(Buffer.alloc(1 << 20, EVERY_BYTE)));

await checks.run('fragmented text', () => connected(async (ws) => {
  ws.send('frag', { fin: false });
  ws.send('', { fin: false });
  ws.ping('between');
  ws.send(`mented ${TEXT}`, { fin: true });
  await receive(ws, `fragmented ${TEXT}`);
}));

await checks.run('200 messages in order', () => connected(async (ws) => {
  const received = [];
  ws.on('message', (data) => received.push(data.toString()));
  const wanted = Array.from({ length: 200 }, (_, n) => `message ${n}`);
  for (const message of wanted) ws.send(message);
  while (received.length < wanted.length) await once(ws, 'message');
  same(received, wanted);
}));

await checks.run('ping', () => connected(async (ws) => {
  const payload = Buffer.alloc(125, EVERY_BYTE);
  ws.ping(payload);
  const [answer] = await once(ws, 'pong');
  same(answer, payload);
}));

for (const [code, reason] of [[1000, ''], [4321, TEXT]]) {
  await checks.run(`close ${code}`, () => connected(async (ws) => {
    ws.close(code, reason);
    const [answer, text] = await once(ws, 'close');
    same([answer, text.toString()], [code, reason]);
  }));
}

await checks.run('close without a code', () => connected(async (ws) => {
  ws.close();
  const [answer] = await once(ws, 'close');
  same(answer, 1005);
}));

process.exit(); // not held up by a connection that a failed check has left
