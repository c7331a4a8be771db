// Node's `ws` as the server of our clients with compression.
// By hand: cargo build --example client --example autobahn_client, then SUITES_NODE=target/suites/node
// node tests/interop/ws_deflate_server.mjs target/debug/examples/client target/debug/examples/autobahn_client

import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { Checks, load, same, TEXT } from './check.mjs';
import { conversation, parameters, SIZES, SMALL } from './deflate.mjs';

const { WebSocketServer } = load('ws');
const [client, echoing] = process.argv.slice(2);
const checks = new Checks('ws server (deflate)');

/**
 * A server with these options of compression, and an example of ours against it. What the handler
 * rejects with fails the check. Returns what the example printed.
 */
async function drive(program, lines, options, handler) {
  const sockets = new WebSocketServer({
    host: '127.0.0.1', port: 0, perMessageDeflate: { threshold: 0, ...options },
  });
  await once(sockets, 'listening');
  sockets.on('headers', (headers, request) => {
    const line = headers.find((header) => /^sec-websocket-extensions:/i.test(header));
    request.answer = line?.slice(line.indexOf(':') + 1);
  });
  const handled = [];
  sockets.on('connection', (ws, request) => handled.push(handler(ws, request)));
  try {
    const url = `ws://127.0.0.1:${sockets.address().port}`;
    const child = spawn(program, [url, '--deflate'], { timeout: 60_000 });
    let [output, errors] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (data) => { output += data; });
    child.stderr.setEncoding('utf8').on('data', (data) => { errors += data; });
    child.stdin.on('error', () => {}); // it may end before it has read everything
    child.stdin.end(lines.map((line) => `${line}\n`).join(''));
    const [code] = await once(child, 'close');
    await Promise.all(handled);
    same([code, code === 0 ? '' : errors], [0, '']);
    return output.split('\n').slice(0, -1);
  } finally {
    for (const ws of sockets.clients) ws.terminate();
    sockets.close();
  }
}

/** What `ws` answers to an offer: it repeats what either side has set. */
function answers({ serverNoContextTakeover, clientNoContextTakeover, serverMaxWindowBits, clientMaxWindowBits }) {
  return [
    ...(clientMaxWindowBits ? [`client_max_window_bits=${clientMaxWindowBits}`] : []),
    ...(clientNoContextTakeover ? ['client_no_context_takeover'] : []),
    ...(serverMaxWindowBits ? [`server_max_window_bits=${serverMaxWindowBits}`] : []),
    ...(serverNoContextTakeover ? ['server_no_context_takeover'] : []),
  ];
}

/** `autobahn_client` asks how many cases there are, echoes in the one that it is told of, and asks for a report. */
function echo(options, sizes, takeover) {
  return async () => {
    const printed = await drive(echoing, [], options, async (ws, request) => {
      ws.on('error', () => {}); // told by what is awaited
      if (request.url === '/getCaseCount') {
        ws.send('1');
      } else if (request.url.startsWith('/runCase?case=1&')) {
        same(parameters(request.answer), answers(options));
        try {
          await conversation(ws, sizes, takeover);
        } finally {
          ws.close(1000);
        }
        return;
      }
      ws.close(1000);
    });
    same(printed, ['1 cases run']);
  };
}

/** The `client` example sends lines, and prints those that come back. */
function lines(options) {
  return async () => {
    const sent = ['', TEXT, 'y'.repeat(1000), TEXT.repeat(3000), TEXT.repeat(50_000)];
    const all = Array.from({ length: 10 }, () => sent).flat();
    const printed = await drive(client, all, options, async (ws, request) => {
      // It offers to forget its own context.
      same(parameters(request.answer), answers({ ...options, clientNoContextTakeover: true }));
      const { _socket: socket } = ws;
      let bytes = 0;
      ws.on('message', (data, isBinary) => {
        bytes += data.length;
        ws.send(data, { binary: isBinary });
      });
      await once(ws, 'close');
      if (socket.bytesRead > bytes / 4) throw new Error(`${bytes} bytes in ${socket.bytesRead}`);
    });
    same(printed, all);
  };
}

for (const [name, options] of [
  ['its default answer', {}],
  ['no context', { serverNoContextTakeover: true, clientNoContextTakeover: true }],
  ['windows of 9 bits', { serverMaxWindowBits: 9, clientMaxWindowBits: 9 }],
]) {
  await checks.run(`client, ${name}`, lines(options), 60);
}

for (const [name, options, sizes] of [
  ['its default answer', {}, SIZES],
  ['serverNoContextTakeover', { serverNoContextTakeover: true }, SMALL],
  ['clientNoContextTakeover', { clientNoContextTakeover: true }, SMALL],
  ['no context', { serverNoContextTakeover: true, clientNoContextTakeover: true }, SIZES],
]) {
  await checks.run(`echo, ${name}`, echo(options, sizes, !options.clientNoContextTakeover), 60);
}
for (let bits = 9; bits <= 15; bits += 1) {
  const options = { serverMaxWindowBits: bits, clientMaxWindowBits: bits };
  await checks.run(`echo, windows of ${bits} bits`, echo(options, SMALL), 30);
}

process.exit(); // not held up by a connection that a failed check has left
