// Where everything was a moment ago, between two ticks. It knows no clock: `now` is given, in milliseconds.
//
// Ticks come with a delay that changes. So the page shows the arena as it was BEHIND ms before the newest tick
// that could be here: there is nearly always a tick before that moment and one after it, and what moves is drawn
// between the two, however often the screen is.

const BEHIND = 100; // ms: three ticks
const KEPT = 30; // ticks
const DRIFT = 0.05; // ms in each tick by which an estimate of the delay grows, so that it is not forever the best one

export class Timeline {
  #tick; // ms between two ticks
  #states = []; // in the order of their ticks
  #offset = null; // ms from the time of a tick to its arrival, at best

  constructor(ticksPerSecond) {
    this.#tick = 1000 / ticksPerSecond;
  }

  /** A tick that has arrived: `{ tick, players: { id: [x, y] }, lights: [[x, y]] }`. */
  add(state, now) {
    const newest = this.#states.at(-1);
    if (newest && state.tick <= newest.tick) {
      if (newest.tick - state.tick < KEPT) return; // twice, or late
      this.#states = []; // the arena was restarted
      this.#offset = null;
    }
    const offset = now - state.tick * this.#tick;
    this.#offset = this.#offset === null ? offset : Math.min(offset, this.#offset + DRIFT);
    this.#states.push(state);
    if (this.#states.length > KEPT) this.#states.shift();
  }

  /** What to show now, or null as long as there is nothing. */
  at(now) {
    if (this.#states.length === 0) return null;
    const tick = (now - this.#offset - BEHIND) / this.#tick;
    const next = this.#states.findIndex((state) => state.tick > tick);
    // Later than all: nothing came for a while, and everything stands still.
    if (next === -1) return this.#states.at(-1);
    // Earlier than all: who comes late sees the arena at once.
    if (next === 0) return this.#states[0];
    const [before, after] = [this.#states[next - 1], this.#states[next]];
    const part = (tick - before.tick) / (after.tick - before.tick);
    const players = {};
    for (const [id, place] of Object.entries(before.players)) {
      const then = after.players[id];
      if (then) players[id] = place.map((from, axis) => from + (then[axis] - from) * part);
    }
    return { tick, players, lights: before.lights };
  }
}
