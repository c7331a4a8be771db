// WebSocket frames by hand (RFC 6455 section 5.2), over any stream of Node.js: its `http2` knows
// nothing of them.

import { randomBytes } from 'node:crypto';

const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

/** Messages over one stream, whose frames are masked if this end is the client. */
export class Frames {
  /** What the peer has sent in its Close. */
  closed = null;
  #buffer = Buffer.alloc(0);
  #fragments = [];
  #messages = [];
  #pongs = [];
  #waiting = [];
  #end = null;

  constructor(stream, { client }) {
    this.stream = stream;
    this.client = client;
    stream.on('data', (chunk) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      try {
        while (this.#frame());
      } catch (error) {
        this.#end ??= error;
      }
      this.#wake();
    });
    stream.on('error', (error) => { this.#end ??= error; this.#wake(); });
    for (const event of ['aborted', 'end', 'close']) {
      stream.on(event, () => { this.#end ??= new Error(`stream: ${event}`); this.#wake(); });
    }
  }

  send(message) {
    const binary = Buffer.isBuffer(message);
    this.frame(binary ? BINARY : TEXT, Buffer.from(message));
  }

  ping(payload) {
    this.frame(PING, Buffer.from(payload));
  }

  /** Sends a Close; with `end` the stream ends right behind it. */
  close(code, reason = '', { end = false } = {}) {
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE(code);
    this.frame(CLOSE, Buffer.concat([payload, Buffer.from(reason)]), { end });
  }

  frame(opcode, payload, { end = false, fin = true } = {}) {
    const mask = this.client ? 0x80 : 0;
    let head;
    if (payload.length < 126) {
      head = Buffer.from([0, mask | payload.length]);
    } else if (payload.length < 1 << 16) {
      head = Buffer.from([0, mask | 126, 0, 0]);
      head.writeUInt16BE(payload.length, 2);
    } else {
      head = Buffer.from([0, mask | 127, 0, 0, 0, 0, 0, 0, 0, 0]);
      head.writeBigUInt64BE(BigInt(payload.length), 2);
    }
    head[0] = (fin ? 0x80 : 0) | opcode;
    const parts = [head];
    if (this.client) {
      const key = randomBytes(4);
      parts.push(key);
      payload = Buffer.from(payload.map((byte, at) => byte ^ key[at & 3]));
    }
    const bytes = Buffer.concat([...parts, payload]);
    if (end) this.stream.end(bytes);
    else this.stream.write(bytes);
  }

  /** The next message. */
  message() {
    return this.#until(() => this.#messages.shift());
  }

  pong() {
    return this.#until(() => this.#pongs.shift());
  }

  /** The peer's Close: its code and its reason. */
  async closing() {
    const payload = await this.#until(() => this.closed);
    return payload.length < 2 ? [1005, ''] : [payload.readUInt16BE(), payload.toString('utf8', 2)];
  }

  async #until(ready) {
    for (;;) {
      const found = ready();
      if (found !== null && found !== undefined) return found;
      if (this.#end) throw this.#end;
      await new Promise((resolve) => { this.#waiting.push(resolve); });
    }
  }

  #wake() {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Takes one frame from the buffer, if a whole one is there. */
  #frame() {
    const buffer = this.#buffer;
    if (buffer.length < 2) return false;
    const masked = (buffer[1] & 0x80) !== 0;
    if (masked === this.client) throw new Error('frame masked by a server, or not by a client');
    let [length, at] = [buffer[1] & 0x7f, 2];
    if (length === 126) {
      if (buffer.length < 4) return false;
      [length, at] = [buffer.readUInt16BE(2), 4];
    } else if (length === 127) {
      if (buffer.length < 10) return false;
      [length, at] = [Number(buffer.readBigUInt64BE(2)), 10];
    }
    const start = at + (masked ? 4 : 0);
    if (buffer.length < start + length) return false;
    const payload = Buffer.from(buffer.subarray(start, start + length));
    if (masked) for (let n = 0; n < length; n += 1) payload[n] ^= buffer[at + (n & 3)];
    this.#buffer = buffer.subarray(start + length);
    this.#received(buffer[0] & 0x0f, (buffer[0] & 0x80) !== 0, payload);
    return true;
  }

  #received(opcode, fin, payload) {
    if (opcode === CLOSE) {
      this.closed = payload;
    } else if (opcode === PING) {
      this.frame(PONG, payload);
    } else if (opcode === PONG) {
      this.#pongs.push(payload);
    } else {
      this.#fragments.push([opcode, payload]);
      if (!fin) return;
      const whole = Buffer.concat(this.#fragments.map(([, part]) => part));
      this.#messages.push(this.#fragments[0][0] === TEXT ? whole.toString() : whole);
      this.#fragments = [];
    }
  }
}
