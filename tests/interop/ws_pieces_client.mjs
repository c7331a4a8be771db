// Node's `ws` sends messages in fragments, and receives the echo of each in fragments of ours.
// By hand: cargo run --example echo_peer -- --pieces, then
// SUITES_NODE=target/suites/node node tests/interop/ws_pieces_client.mjs ws://127.0.0.1:9001
// (for a server that compresses add --deflate).

import { once } from 'node:events';

import { Checks, load, same, TEXT } from './check.mjs';
import { random, text } from './deflate.mjs';

const WebSocket = load('ws');
const [url, option] = process.argv.slice(2);
const deflate = option === '--deflate';
const checks = new Checks(`ws client (pieces${deflate ? ', deflate' : ''})`);
const LENGTH = 4 << 20;
const EDGES = [0, 1, 125, 126, 4096, 65_535, 65_536, 65_537, 200_000];

/** Opens a connection, runs the check on it, and leaves no socket behind. */
async function connected(check) {
  const ws = new WebSocket(url, { perMessageDeflate: { threshold: 0 }, maxPayload: 1 << 30 });
  try {
    await once(ws, 'open');
    count(ws);
    await check(ws);
  } finally {
    ws.terminate();
  }
}

/** `ws` gives out messages only: its receiver is asked in how many fragments each came. */
function count(ws) {
  const receiver = ws._receiver;
  const whole = receiver.dataMessage;
  receiver.dataMessage = function counted(...rest) {
    if (this._fin) ws.fragments = this._fragments.length;
    return whole.apply(this, rest);
  };
}

/** What becomes smaller, and what does not. */
const WORDS = text(LENGTH, 1);
const NOISE = random(LENGTH, 1);
const CONTENTS = [
  ['words, text', WORDS],
  ['words, binary', Buffer.from(WORDS).reverse()],
  ['noise, text', characters(NOISE)],
  ['noise, binary', NOISE],
];

/** A character of three bytes for each three bytes. */
function characters(bytes) {
  let out = '';
  for (let at = 0; at + 1 < bytes.length; at += 3) {
    out += String.fromCharCode(0x3000 + (bytes.readUInt16LE(at) % 0x6000));
  }
  return out;
}

/** The lengths to cut it into. */
function* lengths() {
  for (let n = 0; ; n += 1) yield EDGES[(n * 7 + (n >> 4)) % EDGES.length];
}

/** Sends it in fragments: bytes may be cut anywhere, within characters too. */
function send(ws, message, cut = lengths()) {
  const bytes = Buffer.from(message);
  const binary = Buffer.isBuffer(message);
  for (let at = 0; at < bytes.length;) {
    const { value } = cut.next();
    ws.send(bytes.subarray(at, at + value), { fin: false, binary });
    at += value;
  }
  ws.send('', { fin: true });
}

async function receive(ws, wanted, least = 3) {
  const [data, isBinary] = await once(ws, 'message');
  same(isBinary, Buffer.isBuffer(wanted));
  if (!data.equals(Buffer.from(wanted))) {
    throw new Error(`${data.length} instead of ${Buffer.byteLength(wanted)}, or other content`);
  }
  if (ws.fragments < least) throw new Error(`${ws.fragments} fragments`);
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
    send(ws, message, (function* steps() { for (;;) yield length; })());
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

await checks.run('pings between fragments', () => connected(async (ws) => {
  const pongs = [];
  ws.on('pong', (data) => pongs.push(data.toString()));
  for (let n = 0; n < 20; n += 1) {
    ws.send(NOISE.subarray(n << 16, (n + 1) << 16), { fin: false });
    const pong = once(ws, 'pong');
    ws.ping(`ping ${n}`);
    await pong;
  }
  ws.send('', { fin: true });
  await receive(ws, NOISE.subarray(0, 20 << 16));
  same(pongs, Array.from({ length: 20 }, (_, n) => `ping ${n}`));
}));

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
