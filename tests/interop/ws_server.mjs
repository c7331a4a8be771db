// Node's `ws` as the server of our `client` example, over ws and wss.
// By hand: cargo build --example client, then
// SUITES_NODE=target/suites/node node tests/interop/ws_server.mjs target/debug/examples/client CERT KEY CA

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';

import { Checks, load, LONG, same, TEXT } from './check.mjs';

const { WebSocketServer } = load('ws');
const [program, cert, key, ca] = process.argv.slice(2);

/** Runs the client with these lines of input; with `hold` its input stays open. */
async function run(url, lines, { secure, hold }) {
  const child = spawn(program, [url, ...(secure ? ['--ca', ca] : [])], { timeout: 9_000 });
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text) => { output += text; });
  child.stderr.setEncoding('utf8').on('data', (text) => { errors += text; });
  child.stdin.on('error', () => {}); // it may end before it has read everything
  child.stdin.write(lines.map((line) => `${line}\n`).join(''));
  if (!hold) child.stdin.end();
  const [code] = await once(child, 'close');
  return { code, lines: output.split('\n').slice(0, -1), errors };
}

/** A server with this handler, and the client example against it; it stays until `until`, too. */
async function drive(secure, handler, lines, { hold = false, until = null, ...options } = {}) {
  const server = secure
    ? https.createServer({ cert: readFileSync(cert), key: readFileSync(key) })
    : http.createServer();
  const sockets = new WebSocketServer({ server, ...options });
  sockets.on('connection', handler);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const { port } = server.address();
    const url = secure ? `wss://localhost:${port}/` : `ws://127.0.0.1:${port}/`;
    const ended = await run(url, lines, { secure, hold });
    await until;
    return ended;
  } finally {
    for (const ws of sockets.clients) ws.terminate();
    sockets.close();
    server.closeAllConnections();
    server.close();
  }
}

function echo(ws) {
  ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }));
}

function cleanly(ended, lines) {
  same([ended.code, ended.lines], [0, lines]);
}

for (const secure of [false, true]) {
  const checks = new Checks(`ws server (${secure ? 'wss' : 'ws'})`);

  await checks.run('text', async () => {
    cleanly(await drive(secure, echo, ['hello', TEXT, '']), ['hello', TEXT, '']);
  });
  await checks.run('text of 1 MiB', async () => {
    cleanly(await drive(secure, echo, [LONG]), [LONG]);
  });
  await checks.run('server of compression and subprotocols', async () => {
    const options = { perMessageDeflate: true, handleProtocols: () => 'unasked' };
    cleanly(await drive(secure, echo, [TEXT], options), [TEXT]);
  });

  await checks.run('fragments, pings, binary', async () => {
    const pongs = [];
    const handler = (ws) => {
      ws.on('pong', (data) => pongs.push(data.toString()));
      ws.send('grüße, ', { fin: false });
      ws.ping('between');
      ws.send('', { fin: false });
      ws.send('世界, 🦀', { fin: true });
      ws.send(Buffer.from([0, 255]));
      ws.ping('last');
      ws.on('pong', (data) => data.toString() === 'last' && ws.close(1000));
    };
    cleanly(await drive(secure, handler, [], { hold: true }), [TEXT]);
    same(pongs.at(-1), 'last');
  });

  for (const [code, reason] of [[1000, ''], [4321, TEXT]]) {
    await checks.run(`server closes with ${code}`, async () => {
      let tell;
      // The end of the client's process may be seen here before its answer is.
      const answer = new Promise((resolve) => { tell = resolve; });
      const handler = (ws) => {
        ws.on('close', (received, text) => tell([received, text.toString()]));
        ws.close(code, reason);
      };
      const ended = await drive(secure, handler, [], { hold: true, until: answer });
      same(await answer, [code, reason]);
      if (code === 1000) cleanly(ended, []);
    });
  }

  await checks.run('end without a Close', async () => {
    const ended = await drive(secure, (ws) => ws.terminate(), [], { hold: true });
    if ([0, 101, null].includes(ended.code) || !ended.errors.trim()) {
      throw new Error(`exit code ${ended.code}, standard error ${JSON.stringify(ended.errors)}`);
    }
  });
}

process.exit(); // not held up by a connection that a failed check has left
