// The arena on its canvas.

const PLAYER = 22; // radius, as in the arena
const LIGHT = 12;
const NAME = 22; // size of letters, in units of the arena ...
const READABLE = 12; // ... and at least, in CSS pixels

// Ids that differ little have colours that differ much.
export const hue = (id) => Array.from(id).reduce((sum, c) => ((sum + c.codePointAt(0)) * 137) % 360, 7);

export class View {
  #canvas;
  #size = { width: 16, height: 9 };

  constructor(canvas) {
    this.#canvas = canvas;
  }

  resize(width, height) {
    this.#size = { width, height };
  }

  // The arena is in the middle, as large as it can be.
  #fit() {
    const { clientWidth, clientHeight } = this.#canvas;
    const scale = Math.min(clientWidth / this.#size.width, clientHeight / this.#size.height);
    return { scale, left: (clientWidth - this.#size.width * scale) / 2, top: (clientHeight - this.#size.height * scale) / 2 };
  }

  /** Where in the arena an event of a pointer is. */
  place({ offsetX, offsetY }) {
    const { scale, left, top } = this.#fit();
    return [(offsetX - left) / scale, (offsetY - top) / scale];
  }

  draw({ players, lights }, names, you) {
    const canvas = this.#canvas;
    const ratio = devicePixelRatio;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const { scale, left, top } = this.#fit();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    context.setTransform(scale * ratio, 0, 0, scale * ratio, left * ratio, top * ratio);
    this.#grid(context);
    for (const [x, y] of lights) this.#light(context, x, y);
    for (const [id, [x, y]] of Object.entries(players)) {
      this.#player(context, x, y, hue(id), id === you);
      this.#name(context, x, y, names.get(id) ?? "", Math.max(NAME, READABLE / scale));
    }
  }

  #grid(context) {
    context.strokeStyle = "rgb(255 255 255 / 6%)";
    context.lineWidth = 2;
    context.beginPath();
    for (let x = 0; x <= this.#size.width; x += 100) { context.moveTo(x, 0); context.lineTo(x, this.#size.height); }
    for (let y = 0; y <= this.#size.height; y += 100) { context.moveTo(0, y); context.lineTo(this.#size.width, y); }
    context.stroke();
  }

  #light(context, x, y) {
    const glow = context.createRadialGradient(x, y, 0, x, y, 3 * LIGHT);
    glow.addColorStop(0, "rgb(255 209 102 / 60%)");
    glow.addColorStop(1, "rgb(255 209 102 / 0%)");
    this.#disc(context, x, y, 3 * LIGHT, glow);
    this.#disc(context, x, y, LIGHT, "#ffd166");
  }

  #player(context, x, y, hue, mine) {
    this.#disc(context, x, y, PLAYER, `hsl(${hue} 80% 66%)`);
    if (!mine) return;
    context.strokeStyle = "#fff";
    context.lineWidth = 4;
    context.stroke();
  }

  // Above the player; below it at the upper wall.
  #name(context, x, y, name, size) {
    context.font = `${size}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.fillStyle = "#eceffa";
    context.fillText(name, x, y - PLAYER - 8 > size ? y - PLAYER - 8 : y + PLAYER + size);
  }

  #disc(context, x, y, radius, fill) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = fill;
    context.fill();
  }
}
