// Node's `ws` as the client of our servers with compression.
// By hand: cargo run --example echo_peer -- --deflate, then
// SUITES_NODE=target/suites/node node tests/interop/ws_deflate_client.mjs ws://127.0.0.1:9001
// (for an `echo_peer --takeover`, which refers to earlier messages, add --takeover).

import { once } from 'node:events';

import { Checks, load, same } from './check.mjs';
import { conversation, parameters, SIZES, SMALL } from './deflate.mjs';

const WebSocket = load('ws');
const [url, option] = process.argv.slice(2);
const takeover = option === '--takeover';
const checks = new Checks(`ws client (deflate, takeover ${takeover ? 'on' : 'off'})`);
// Our `echo_peer` forgets its own context, and says so in its answer whether it was asked or not.
const own = takeover ? [] : ['server_no_context_takeover'];

/** Runs the check on a connection with these options, and leaves no socket behind. */
async function connected(options, check) {
  const ws = new WebSocket(url, { perMessageDeflate: { threshold: 0, ...options } });
  try {
    const [[response]] = await Promise.all([once(ws, 'upgrade'), once(ws, 'open')]);
    await check(ws, response.headers['sec-websocket-extensions']);
  } finally {
    ws.terminate();
  }
}

for (const [name, options, answer, sizes] of [
  ['its default offer', {}, own, SIZES],
  ['serverNoContextTakeover', { serverNoContextTakeover: true }, ['server_no_context_takeover'], SMALL],
  ['clientNoContextTakeover', { clientNoContextTakeover: true }, ['client_no_context_takeover', ...own], SMALL],
  ['no context', { serverNoContextTakeover: true, clientNoContextTakeover: true },
    ['client_no_context_takeover', 'server_no_context_takeover'], SIZES],
]) {
  await checks.run(name, () => connected(options, async (ws, extensions) => {
    same(ws.extensions, 'permessage-deflate');
    same(parameters(extensions), answer);
    await conversation(ws, sizes, !answer.includes('server_no_context_takeover'));
  }), 60);
}

for (let bits = 9; bits <= 15; bits += 1) {
  const options = { serverMaxWindowBits: bits, clientMaxWindowBits: bits };
  await checks.run(`windows of ${bits} bits`, () => connected(options, async (ws, extensions) => {
    const client = bits < 15 ? [`client_max_window_bits=${bits}`] : [];
    same(parameters(extensions), [...client, `server_max_window_bits=${bits}`, ...own]);
    await conversation(ws, SMALL);
  }), 30);
}

await checks.run('a window of 8 bits is kept to by not compressing', () => connected({ serverMaxWindowBits: 8 },
  async (ws, extensions) => {
    same(parameters(extensions), ['server_max_window_bits=8', ...own]);
    ws.send('x'.repeat(5000));
    const [data] = await once(ws, 'message');
    same(data.toString(), 'x'.repeat(5000));
  }));

process.exit(); // not held up by a connection that a failed check has left
