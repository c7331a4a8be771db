// Node's `ws` as the server of our client, which sends messages back in fragments, as they arrive.
// By hand: cargo build --example autobahn_client, then SUITES_NODE=target/suites/node
// node tests/interop/ws_pieces_server.mjs target/debug/examples/autobahn_client CERT KEY CA

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';

import { Checks, load, same, TEXT } from './check.mjs';
import { CONTENTS, count, every, LENGTH, NOISE, pings, receive, send } from './pieces.mjs';

const { WebSocketServer } = load('ws');
const [program, cert, key, ca] = process.argv.slice(2);

/** The client against a server with this handler, which is to end the connection. */
async function drive({ secure, deflate }, handler) {
  const server = secure
    ? https.createServer({ cert: readFileSync(cert), key: readFileSync(key) })
    : http.createServer();
  const options = { perMessageDeflate: deflate && { threshold: 0 }, maxPayload: 1 << 30 };
  const sockets = new WebSocketServer({ server, ...options });
  const handled = [];
  sockets.on('connection', (ws, request) => {
    ws.on('error', () => {}); // told by what is awaited
    if (request.url.startsWith('/runCase?case=1&')) {
      count(ws);
      handled.push(handler(ws));
      handled.at(-1).catch(() => {}); // told when the client has ended
      return;
    }
    if (request.url === '/getCaseCount') ws.send('1');
    ws.close(1000);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const { port } = server.address();
    const url = secure ? `wss://localhost:${port}` : `ws://127.0.0.1:${port}`;
    const words = [...(secure ? ['--ca', ca] : []), ...(deflate ? ['--deflate'] : [])];
    const child = spawn(program, [url, '--pieces', ...words], { timeout: 60_000 });
    let [output, errors] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (data) => { output += data; });
    child.stderr.setEncoding('utf8').on('data', (data) => { errors += data; });
    const [code] = await once(child, 'close');
    await Promise.all(handled);
    same([code, output, code === 0 ? '' : errors], [0, '1 cases run\n', '']);
    same(handled.length, 1);
  } finally {
    for (const ws of sockets.clients) ws.terminate();
    sockets.close();
    server.closeAllConnections();
    server.close();
  }
}

/** A conversation that the server ends in order. */
function conversation(options, converse) {
  return () => drive(options, async (ws) => {
    try {
      same(ws.extensions, options.deflate ? 'permessage-deflate' : '');
      await converse(ws);
      const closed = once(ws, 'close');
      ws.close(1000);
      same((await closed)[0], 1000);
    } finally {
      ws.terminate();
    }
  });
}

/** Half of a message: what came back of it must not be taken for a message. */
function half(options, how) {
  return () => drive(options, async (ws) => {
    let messages = 0;
    ws.on('message', () => { messages += 1; });
    ws.send(NOISE.subarray(0, 1 << 20), { fin: false });
    const closed = once(ws, 'close');
    ws._socket.once('data', () => ws[how]()); // some of it has come back
    const [code] = await closed;
    same([code, messages], [how === 'close' ? 1005 : 1006, 0]);
  });
}

for (const secure of [false, true]) {
  for (const deflate of [false, true]) {
    const options = { secure, deflate };
    const name = `pieces, ${secure ? 'wss' : 'ws'}${deflate ? ', deflate' : ''}`;
    const checks = new Checks(`ws server (${name})`);
    for (const [content, message] of CONTENTS) {
      const what = `${LENGTH >> 20} MiB of ${content}`;
      await checks.run(`${what}, in fragments`, conversation(options, async (ws) => {
        for (let n = 0; n < 2; n += 1) { // what compresses it has to be fit for another
          send(ws, message);
          await receive(ws, message);
        }
      }), 60);
      await checks.run(`${what}, in one frame`, conversation(options, async (ws) => {
        ws.send(message);
        await receive(ws, message);
      }), 60);
    }
    await checks.run('text cut within characters', conversation(options, async (ws) => {
      for (const length of [1, 2, 3, 5]) {
        const message = TEXT.repeat(20);
        send(ws, message, every(length));
        await receive(ws, message, 1);
      }
    }));
    await checks.run('pings between fragments', conversation(options, pings));
    for (const how of ['close', 'terminate']) {
      await checks.run(`${how} in the middle of a message`, half(options, how));
    }
  }
}

process.exit(); // not held up by a connection that a failed check has left
