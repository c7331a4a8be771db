// Node's `undici`, which speaks the WebSocket interface of browsers, as the client of our `echo_peer`.
// By hand: cargo run --example echo_peer, then
// SUITES_NODE=target/suites/node node tests/interop/undici_client.mjs ws://127.0.0.1:9001 [CA] [--deflate]
// (--deflate: the server runs with it, too).

import { readFileSync } from 'node:fs';

import { Checks, EVERY_BYTE, load, LONG, same, TEXT } from './check.mjs';

const { Agent, WebSocket } = load('undici');
const deflate = process.argv.includes('--deflate');
const [url, ca] = process.argv.slice(2).filter((word) => word !== '--deflate');
const checks = new Checks(`undici client (${url.split(':')[0]}${deflate ? ', deflate' : ''})`);
const dispatcher = new Agent({ connect: { ca: ca && readFileSync(ca) } });

/** The next event of this kind; an error of the connection fails the check. */
function event(ws, name) {
  return new Promise((resolve, reject) => {
    ws.addEventListener(name, resolve, { once: true });
    ws.addEventListener('error', (error) => reject(error.error ?? new Error('error')), { once: true });
  });
}

async function connected(check) {
  const ws = new WebSocket(url, { dispatcher });
  ws.binaryType = 'arraybuffer';
  await event(ws, 'open');
  await check(ws);
  if (ws.readyState !== WebSocket.CLOSED) {
    ws.close();
    await event(ws, 'close');
  }
}

function echo(message) {
  return () => connected(async (ws) => {
    ws.send(message);
    const { data } = await event(ws, 'message');
    same(typeof data === 'string' ? data : Buffer.from(data), message);
  });
}

await checks.run('compression as expected', () => connected(async (ws) => {
  same(ws.extensions.split(';')[0], deflate ? 'permessage-deflate' : '');
}));
await checks.run('text', echo(TEXT));
await checks.run('empty text', echo(''));
await checks.run('binary', echo(EVERY_BYTE));
await checks.run('empty binary', echo(Buffer.alloc(0)));
await checks.run('text of 1 MiB', echo(LONG));
await checks.run('binary of 1 MiB', echo(Buffer.alloc(1 << 20, EVERY_BYTE)));

for (const [code, reason] of [[1000, ''], [4321, TEXT]]) {
  await checks.run(`close ${code}`, () => connected(async (ws) => {
    ws.close(code, reason);
    const closed = await event(ws, 'close');
    same([closed.code, closed.reason, closed.wasClean], [code, reason, true]);
  }));
}

process.exit(); // not held up by the agent's idle sockets
