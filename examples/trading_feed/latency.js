// How long updates take, though the clocks of the server and of this page differ.

const KEPT = 200; // updates
const TRIPS = 20; // round trips: the shortest of them tells best how the clocks differ

/** Microseconds of a clock that never goes back. */
export const micros = () => Math.round((performance.timeOrigin + performance.now()) * 1000);

export class Latency {
  #trips = []; // { trip, ahead }: how long it took, and how far the server's clock was ahead then
  #began = 0;
  #taken = []; // of the last updates, in microseconds

  /** A ping that was sent at `sent` is answered at `received`; the server's clock then was `server`. */
  answered(sent, received, server) {
    this.#trips.push({ trip: received - sent, ahead: server - (sent + received) / 2 });
    if (this.#trips.length > TRIPS) this.#trips.shift();
  }

  /** Another connection may lead to another server. */
  restart() {
    this.#trips = [];
    this.#taken = [];
  }

  #best() {
    return this.#trips.reduce((best, one) => (best && best.trip <= one.trip ? best : one), null);
  }

  /** A subscription begins now: what was made before, and is only recovered, does not count. */
  began(now) {
    this.#began = now;
  }

  /** An update that was made at `at`, by the server's clock, is here at `received`. */
  update(at, received) {
    const best = this.#best();
    if (!best || at < this.#began + best.ahead) return;
    this.#taken.push(Math.max(0, received + best.ahead - at));
    if (this.#taken.length > KEPT) this.#taken.shift();
  }

  /** In milliseconds: `{ median, worst, trip }`, or null as long as nothing is known. */
  figures() {
    if (this.#taken.length === 0) return null;
    const sorted = [...this.#taken].sort((a, b) => a - b);
    return { median: sorted[sorted.length >> 1] / 1000, worst: sorted.at(-1) / 1000, trip: this.#best().trip / 1000 };
  }
}
