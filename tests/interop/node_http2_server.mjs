// Node's `http2` as the server of our `check_client`, over ws (prior knowledge) and wss (ALPN): extended
// CONNECT and frames by hand.
// By hand: cargo build --example check_client, then
// node tests/interop/node_http2_server.mjs target/debug/examples/check_client CERT KEY CA

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';

import { Checks, same } from './check.mjs';
import { Frames } from './frames.mjs';

const [program, cert, key, ca] = process.argv.slice(2);

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

for (const secure of [false, true]) {
  const settings = { enableConnectProtocol: true };
  const server = secure
    ? http2.createSecureServer({ cert: readFileSync(cert), key: readFileSync(key), settings })
    : http2.createServer({ settings });
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
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  const { port } = server.address();
  const name = `Node http2 server (${secure ? 'wss' : 'ws'})`;
  const url = secure ? `wss://localhost:${port}/a?b=c` : `ws://127.0.0.1:${port}/a?b=c`;
  const more = secure ? ['--http2', 'auto', '--ca', ca] : ['--http2', 'prior'];
  const child = spawn(program, ['--name', name, '--url', url, '--asks', '--cuts', ...more], {
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: 120_000,
  });
  const [code] = await once(child, 'exit');
  if (code !== 0) process.exitCode = 1;

  const checks = new Checks(name);
  await checks.run('what the server saw', async () => {
    same(seen.answers, 3);
    same(seen.headers[':path'], '/a?b=c');
    same(seen.headers[':scheme'], secure ? 'https' : 'http');
    same(seen.headers['sec-websocket-version'], '13');
    same(seen.headers['sec-websocket-key'], undefined);
    // The connection of those that are open at once is one.
    if (seen.sessions >= seen.streams - 10) throw new Error(`${seen.sessions} connections`);
    // Only the one that the client drops ends with an error.
    same(seen.errors.length <= 1, true);
  });
  server.close();
}

process.exit(); // not held up by a connection that a failed check has left
