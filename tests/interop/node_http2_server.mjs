// Node's `http2` as the server of our `check_client`, over ws (prior knowledge) and wss (ALPN): extended
// CONNECT and frames by hand. And servers without WebSocket over HTTP/2, for which the client has to use
// HTTP/1.1: those are Node's `ws`.
// By hand: cargo build --example check_client, then
// SUITES_NODE=target/suites/node node tests/interop/node_http2_server.mjs target/debug/examples/check_client CERT KEY CA

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import https from 'node:https';

import { Checks, load, same } from './check.mjs';
import { Frames } from './frames.mjs';

const { WebSocketServer } = load('ws');
const [program, cert, key, ca] = process.argv.slice(2);
const tls = { cert: readFileSync(cert), key: readFileSync(key) };

/** Echoes, and does what `check_client --asks --cuts` asks for. */
async function serve(ws, seen) {
  try {
    for (;;) {
      const message = await Promise.race([ws.message(), ws.closing()]);
      if (Array.isArray(message)) break;
      const asked = /^close (\d+) (.*)$/su.exec(message);
      if (asked) {
        const [, code, reason] = asked;
        ws.close(Number(code), reason);
        same(await ws.closing(), [Number(code), reason]);
        ws.stream.end();
        seen.answers += 1;
        return;
      }
      if (message === 'cut') {
        ws.stream.close(http2.constants.NGHTTP2_CANCEL);
        return;
      }
      if (message === 'go away') ws.stream.session.close(); // once its streams have ended
      ws.send(message);
    }
    const [code, reason] = await ws.closing();
    ws.close(code, reason);
    ws.stream.end();
  } catch (error) {
    seen.errors.push(String(error));
    ws.stream.destroy();
  }
}

/** Runs our client against a server that listens. */
async function drive(server, name, secure, ...more) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  const url = secure ? `wss://localhost:${port}/a?b=c` : `ws://127.0.0.1:${port}/a?b=c`;
  const trust = secure ? ['--ca', ca] : [];
  const child = spawn(program, ['--name', name, '--url', url, ...trust, ...more], {
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: 120_000,
  });
  const [code] = await once(child, 'exit');
  if (code !== 0) process.exitCode = 1;
  server.close();
}

for (const [secure, most] of [[false, 100], [true, 100], [true, 3]]) {
  const settings = { enableConnectProtocol: true, maxConcurrentStreams: most };
  const server = secure ? http2.createSecureServer({ ...tls, settings }) : http2.createServer({ settings });
  const seen = { sessions: 0, streams: 0, answers: 0, errors: [], headers: null };
  server.on('session', () => { seen.sessions += 1; });
  server.on('stream', (stream, headers) => {
    if (headers[':method'] !== 'CONNECT' || headers[':protocol'] !== 'websocket') {
      stream.respond({ ':status': 400 }, { endStream: true });
      return;
    }
    seen.streams += 1;
    seen.headers ??= headers;
    stream.respond({ ':status': 200 });
    serve(new Frames(stream, { client: false }), seen);
  });
  const name = `Node http2 server (${secure ? 'wss' : 'ws'}, ${most} streams)`;
  await drive(server, name, secure, '--http2', secure ? 'auto' : 'prior', '--asks', '--cuts');

  const checks = new Checks(name);
  await checks.run('what the server saw', async () => {
    same(seen.answers, 3);
    same(seen.headers[':path'], '/a?b=c');
    same(seen.headers[':scheme'], secure ? 'https' : 'http');
    same(seen.headers['sec-websocket-version'], '13');
    same(seen.headers['sec-websocket-key'], undefined);
    // Of the twelve that are open at once, as many share a connection as may; and so do the two of
    // which one is dropped. All others are alone, or come after the server has said that it goes.
    same(seen.streams - seen.sessions, 12 - Math.ceil(12 / most) + 1);
    // Only the one that the client drops ends with an error.
    same(seen.errors.length <= 1, true);
  });
}

for (const [name, server] of [
  ['HTTP/2 without CONNECT', http2.createSecureServer({ ...tls, allowHTTP1: true })],
  ['HTTP/1.1 alone', https.createServer(tls)],
]) {
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (ws) => {
    ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }));
  });
  await drive(server, `Node ws server (${name})`, true, '--http2', 'fallback');
}

process.exit(); // not held up by a connection that a failed check has left
