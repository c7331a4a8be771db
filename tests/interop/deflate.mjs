// Messages for checks of compression, and what their bytes on the wire must be like.

import { once } from 'node:events';

import { same } from './check.mjs';

export const SMALL = [0, 20, 1 << 10, 64 << 10];
export const SIZES = [...SMALL, 1 << 20];
const COUNT = 10;
const WORDS = ['price', 'größe', 'bid', 'ask', 'venue', '時間', '"', ':{', '},', 'null'];

/** Numbers that look random and are the same in each run. */
function numbers(seed) {
  let state = (seed * 2_654_435_761 + 1) >>> 0;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Words and numbers, `size` bytes of them. */
export function text(size, number) {
  const next = numbers(1000 * size + number);
  let some = '';
  while (some.length < Math.min(size, 64 << 10)) {
    some += `${WORDS[next() % WORDS.length]} ${next() % 1000} `;
  }
  // One after the other, further apart than any window; a character that does not fit is left out.
  const data = Buffer.from(some.repeat(Math.ceil(size / (64 << 10))));
  const whole = data.subarray(0, size).toString().replace(/\ufffd+$/, '');
  return whole + '.'.repeat(size - Buffer.byteLength(whole));
}

export function random(size, number) {
  const next = numbers(number);
  return Buffer.from(Uint8Array.from({ length: size }, () => next() >>> 11));
}

/** Ten messages of each kind and size, and what may become of them. */
function* messages(sizes) {
  for (const size of sizes) {
    const what = size >= 256 ? 'compressed' : 'plain';
    for (let n = 0; n < COUNT; n += 1) yield [what, text(size, n)];
    for (let n = 0; n < COUNT; n += 1) yield [what, Buffer.from(text(size, n)).reverse()];
    for (let n = 0; n < COUNT; n += 1) yield ['plain', random(size, n)];
  }
}

/**
 * Sends messages to an end of ours that sends them back, and looks at how many bytes come.
 * `takeover`: whether its messages refer to earlier ones; undefined where that cannot be told.
 */
export async function conversation(ws, sizes, takeover) {
  const lengths = [];
  for (const [what, message] of messages(sizes)) {
    const before = ws._socket.bytesRead;
    ws.send(message);
    const [data, isBinary] = await once(ws, 'message');
    same(isBinary, Buffer.isBuffer(message));
    same(isBinary ? data : data.toString(), message);
    const wire = ws._socket.bytesRead - before;
    const length = Buffer.byteLength(message);
    const plain = wire >= length && wire <= length + 14; // and a header
    if (what === 'compressed' ? wire > length * 0.6 : !plain) {
      throw new Error(`${what} message of ${length} bytes in ${wire}`);
    }
    if (what === 'compressed' && lengths.length < COUNT) lengths.push(wire);
  }
  if (takeover === undefined) return;
  const later = lengths.slice(5).reduce((sum, length) => sum + length) / lengths.slice(5).length;
  if (takeover !== (later < 0.85 * lengths[0])) {
    throw new Error(`takeover ${takeover}, yet ${lengths[0]} bytes, then ${later} on average`);
  }
}

/** The parameters in a response's Sec-WebSocket-Extensions, sorted. */
export function parameters(value) {
  const [name, ...rest] = (value ?? '').split(';').map((part) => part.trim());
  same(name, 'permessage-deflate');
  return rest.sort();
}
