// Node's `http2` as the client of our `echo_peer --http2`: extended CONNECT and frames by hand.
// By hand: cargo run --example echo_peer -- --http2, then
// node tests/interop/node_http2_client.mjs ws://127.0.0.1:9001 [CA]

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';

import { Checks, EVERY_BYTE, LONG, same, TEXT } from './check.mjs';
import { Frames } from './frames.mjs';

const [url, ca] = process.argv.slice(2);
const authority = url.replace(/^ws/, 'http');
const checks = new Checks(`Node http2 client (${url.split(':')[0]})`);

/** One HTTP/2 connection, whose SETTINGS are there. */
async function session() {
  const session = http2.connect(authority, { ca: ca && readFileSync(ca) });
  await once(session, 'remoteSettings');
  return session;
}

/** One WebSocket on a connection. */
async function open(session, headers = {}) {
  const stream = session.request({
    ':method': 'CONNECT',
    ':protocol': 'websocket',
    ':scheme': new URL(authority).protocol.slice(0, -1),
    ':authority': new URL(authority).host,
    ':path': '/',
    'sec-websocket-version': '13',
    ...headers,
  }, { endStream: false });
  const [answer] = await once(stream, 'response');
  same(answer[':status'], 200);
  return Object.assign(new Frames(stream, { client: true }), { answer });
}

/** Runs the check on a connection of its own, and leaves none behind. */
function connected(check) {
  return async () => {
    const connection = await session();
    try {
      await check(connection);
    } finally {
      connection.destroy();
    }
  };
}

/** Closes, and waits until both ends have ended the stream. */
async function close(ws, code = 1000, reason = '') {
  ws.close(code, reason);
  same(await ws.closing(), [code, reason]);
  if (!ws.stream.readableEnded) await once(ws.stream, 'end');
  ws.stream.end();
  if (!ws.stream.closed) await once(ws.stream, 'close');
  same(ws.stream.rstCode, http2.constants.NGHTTP2_NO_ERROR);
}

function echo(message) {
  return connected(async (connection) => {
    const ws = await open(connection);
    ws.send(message);
    same(await ws.message(), message);
    await close(ws);
  });
}

await checks.run('extended CONNECT is allowed', connected(async (connection) => {
  same(connection.remoteSettings.enableConnectProtocol, true);
}));
await checks.run('no key and no accept', connected(async (connection) => {
  const ws = await open(connection);
  same(ws.answer['sec-websocket-accept'], undefined);
  same(ws.answer.connection, undefined);
  same(ws.answer.upgrade, undefined);
  await close(ws);
}));
await checks.run('text', echo(TEXT));
await checks.run('empty text', echo(''));
await checks.run('binary', echo(EVERY_BYTE));
await checks.run('text of 1 MiB', echo(LONG));
await checks.run('binary of 4 MiB', echo(Buffer.alloc(4 << 20, EVERY_BYTE)));

await checks.run('fragments with a ping between', connected(async (connection) => {
  const ws = await open(connection);
  ws.frame(1, Buffer.from('frag'), { fin: false });
  ws.ping('between');
  ws.frame(0, Buffer.from(`mented ${TEXT}`));
  same(await ws.pong(), Buffer.from('between'));
  same(await ws.message(), `fragmented ${TEXT}`);
  await close(ws);
}));

await checks.run('20 WebSockets on one connection', connected(async (connection) => {
  const sockets = await Promise.all(Array.from({ length: 20 }, () => open(connection)));
  const message = Buffer.alloc(300_000, EVERY_BYTE);
  for (const [n, ws] of sockets.entries()) {
    ws.send(`socket ${n}`);
    ws.send(message);
  }
  await Promise.all(sockets.map(async (ws, n) => {
    same(await ws.message(), `socket ${n}`);
    same(await ws.message(), message);
    await close(ws);
  }));
}));

await checks.run('2,000 messages, each in DATA of its own', connected(async (connection) => {
  const ws = await open(connection);
  for (let n = 0; n < 2_000; n += 1) ws.send(`${n}`);
  for (let n = 0; n < 2_000; n += 1) same(await ws.message(), `${n}`);
  await close(ws);
}));

for (const [code, reason] of [[1000, ''], [4321, TEXT]]) {
  await checks.run(`close ${code}`, connected(async (connection) => {
    await close(await open(connection), code, reason);
  }));
}

await checks.run('Close and the end of the stream at once', connected(async (connection) => {
  const ws = await open(connection);
  ws.close(4000, 'bye', { end: true });
  same(await ws.closing(), [4000, 'bye']);
  if (!ws.stream.closed) await once(ws.stream, 'close');
  same(ws.stream.rstCode, http2.constants.NGHTTP2_NO_ERROR);
}));

await checks.run('a protocol error is answered with its code', connected(async (connection) => {
  const ws = await open(connection);
  ws.frame(3, Buffer.from('reserved'));
  same((await ws.closing())[0], 1002);
}));

await checks.run('a stream that is reset, beside another', connected(async (connection) => {
  const [one, other] = [await open(connection), await open(connection)];
  one.send(TEXT);
  one.stream.close(http2.constants.NGHTTP2_CANCEL);
  other.send(TEXT);
  same(await other.message(), TEXT);
  await close(other);
}));

await checks.run('reset after a clean close', connected(async (connection) => {
  const ws = await open(connection);
  ws.close(1000);
  same(await ws.closing(), [1000, '']);
  ws.stream.close(http2.constants.NGHTTP2_CANCEL);
  const next = await open(connection);
  next.send(TEXT);
  same(await next.message(), TEXT);
  await close(next);
}));

await checks.run('what is not a WebSocket is refused, and the connection goes on', connected(
  async (connection) => {
    for (const [headers, status] of [
      [{ ':method': 'GET', ':path': '/' }, 405],
      [{ ':method': 'CONNECT', ':protocol': 'other', ':scheme': 'http', ':path': '/',
        ':authority': new URL(authority).host }, 501],
    ]) {
      const stream = connection.request(headers, { endStream: true });
      const [answer] = await once(stream, 'response');
      same([headers[':method'], answer[':status']], [headers[':method'], status]);
      stream.resume();
      if (!stream.closed) await once(stream, 'close');
    }
    const ws = await open(connection);
    ws.send(TEXT);
    same(await ws.message(), TEXT);
    await close(ws);
  },
));

process.exit(); // not held up by a connection that a failed check has left
