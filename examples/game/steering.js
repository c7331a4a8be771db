// Where the player wants to go: by keys, or to where a pointer or a finger points.

const KEYS = { ArrowLeft: [-1, 0], KeyA: [-1, 0], ArrowRight: [1, 0], KeyD: [1, 0],
  ArrowUp: [0, -1], KeyW: [0, -1], ArrowDown: [0, 1], KeyS: [0, 1] };
const THERE = 12; // units: near enough
const SLOW = 60; // units from the target within which the player goes more slowly, since it sees itself late

export class Steering {
  #pressed = new Set();
  #target = null; // [x, y], in the arena
  #held = false; // whether the pointer is still down

  /** `place(event)` is where in the arena an event of a pointer is. */
  constructor(canvas, place) {
    addEventListener("keydown", (event) => {
      if (!KEYS[event.code] || event.target.closest("input, button")) return;
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault(); // no scrolling
      this.#target = null;
      this.#pressed.add(event.code);
    });
    addEventListener("keyup", (event) => this.#pressed.delete(event.code));
    addEventListener("blur", () => this.stop());
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#held = true;
      this.#target = place(event);
    });
    canvas.addEventListener("pointermove", (event) => { if (this.#held) this.#target = place(event); });
    // A tap is enough: the player goes there.
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { this.#held = false; });
  }

  stop() {
    this.#pressed.clear();
    this.#target = null;
    this.#held = false;
  }

  /** The direction from here, `[x, y]`, of a length of at most 1. */
  direction(here) {
    if (this.#target && here) {
      const way = [this.#target[0] - here[0], this.#target[1] - here[1]];
      const far = Math.hypot(...way);
      if (far > THERE) return way.map((part) => part / Math.max(far, SLOW));
      if (!this.#held) this.#target = null;
      return [0, 0];
    }
    const sum = [0, 0];
    for (const code of this.#pressed) KEYS[code].forEach((part, axis) => { sum[axis] += part; });
    const length = Math.max(1, Math.hypot(...sum));
    return sum.map((part) => part / length);
  }
}
