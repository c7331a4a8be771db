// Messages that are sent in fragments, and of which the echo is received in fragments of ours.

import { once } from 'node:events';

import { same } from './check.mjs';
import { random, text } from './deflate.mjs';

export const LENGTH = 4 << 20;
const EDGES = [0, 1, 125, 126, 4096, 65_535, 65_536, 65_537, 200_000];

/** What becomes smaller, and what does not. */
const WORDS = text(LENGTH, 1);
export const NOISE = random(LENGTH, 1);
export const CONTENTS = [
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

/** `ws` gives out messages only: its receiver is asked in how many fragments each came. */
export function count(ws) {
  const receiver = ws._receiver;
  const whole = receiver.dataMessage;
  receiver.dataMessage = function counted(...rest) {
    if (this._fin) ws.fragments = this._fragments.length;
    return whole.apply(this, rest);
  };
}

/** The lengths to cut it into. */
function* lengths() {
  for (let n = 0; ; n += 1) yield EDGES[(n * 7 + (n >> 4)) % EDGES.length];
}

/** Sends it in fragments: bytes may be cut anywhere, within characters too. */
export function send(ws, message, cut = lengths()) {
  const bytes = Buffer.from(message);
  const binary = Buffer.isBuffer(message);
  for (let at = 0; at < bytes.length;) {
    const { value } = cut.next();
    ws.send(bytes.subarray(at, at + value), { fin: false, binary });
    at += value;
  }
  ws.send('', { fin: true });
}

/** In fragments of this length. */
export function* every(length) {
  for (;;) yield length;
}

/** Receives it, on a connection whose fragments are counted. */
export async function receive(ws, wanted, least = 3) {
  const [data, isBinary] = await once(ws, 'message');
  same(isBinary, Buffer.isBuffer(wanted));
  if (!data.equals(Buffer.from(wanted))) {
    throw new Error(`${data.length} instead of ${Buffer.byteLength(wanted)}, or other content`);
  }
  if (ws.fragments < least) throw new Error(`${ws.fragments} fragments`);
}

/** A message, with a ping between its fragments that is answered before the next one is sent. */
export async function pings(ws) {
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
}
