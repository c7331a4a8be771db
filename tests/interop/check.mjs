// What the Node.js peers share: one line per check, a time limit on each, and the exit code.
// Packages are taken from the folder that SUITES_NODE names (`cargo xtask interop` fills it).

import { createRequire } from 'node:module';

/** Loads an npm package from the folder of the suites. */
export const load = createRequire(`${process.env.SUITES_NODE ?? process.cwd()}/`);

export const TEXT = 'grüße, 世界, 🦀';
/** Ten bytes each: just over 1 MiB of UTF-8. */
export const LONG = 'ä世🦀x'.repeat(104_858);
export const EVERY_BYTE = Buffer.from(Array.from({ length: 256 }, (_, n) => n));

/** Runs checks one after the other; the exit code is 1 when any failed. */
export class Checks {
  constructor(peer) {
    this.peer = peer;
  }

  async run(name, check, seconds = 10) {
    let timer;
    const limit = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no end within ${seconds} s`)), seconds * 1000);
    });
    try {
      await Promise.race([check(), limit]);
      console.log(`ok   ${this.peer}: ${name}`);
    } catch (error) {
      process.exitCode = 1;
      console.log(`FAIL ${this.peer}: ${name}: ${String(error).replace(/\s+/g, ' ').slice(0, 300)}`);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Fails the check unless both are equal; Buffers are compared by content. */
export function same(found, wanted) {
  const equal = Buffer.isBuffer(wanted)
    ? Buffer.isBuffer(found) && wanted.equals(found)
    : JSON.stringify(found) === JSON.stringify(wanted);
  if (!equal) {
    throw new Error(`${String(found).slice(0, 120)} instead of ${String(wanted).slice(0, 120)}`);
  }
}
