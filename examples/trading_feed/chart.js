// A line chart on a canvas: prices over time, with axes, and what is pointed at.

const SPAN = 60_000_000; // microseconds from the left edge to the right
const MARGIN = { left: 8, right: 64, top: 10, bottom: 22 };
const LINES = 4; // prices along the axis

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const price = (hundredths) => (hundredths / 100).toFixed(2);
export const time = (micros) => clock.format(micros / 1000);

export class Chart {
  #canvas;
  #points = []; // [at, price], in the order of time
  #pointer = null; // where somebody points, in CSS pixels
  #due = false;

  /** `pointed(point)` hears which point is pointed at, or null. */
  constructor(canvas, pointed) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    const point = (event) => {
      this.#pointer = event ? event.offsetX : null;
      pointed(this.#pointed());
      this.draw();
    };
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", point);
    canvas.addEventListener("pointerleave", () => point(null));
  }

  show(points) {
    this.#points = points;
    this.draw();
  }

  add(point) {
    this.#points.push(point);
    // One that is older than the left edge is drawn up to there.
    while (this.#points.length > 2 && this.#points[1][0] < point[0] - SPAN) this.#points.shift();
    this.draw();
  }

  /** With the next frame, however often it is asked for. */
  draw() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#paint();
    });
  }

  get #now() {
    return this.#points.at(-1)?.[0] ?? 0;
  }

  #x(at, width) {
    return MARGIN.left + (1 - (this.#now - at) / SPAN) * (width - MARGIN.left - MARGIN.right);
  }

  #pointed() {
    if (this.#pointer === null || this.#points.length === 0) return null;
    const width = this.#canvas.clientWidth;
    const distance = (point) => Math.abs(this.#x(point[0], width) - this.#pointer);
    return this.#points.reduce((best, point) => (distance(point) < distance(best) ? point : best));
  }

  #paint() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const ratio = devicePixelRatio;
    this.#canvas.width = Math.round(width * ratio); // this clears it, too
    this.#canvas.height = Math.round(height * ratio);
    if (this.#points.length < 2) return;
    const context = this.#canvas.getContext("2d");
    context.scale(ratio, ratio);
    const prices = this.#points.map(([, price]) => price);
    const low = Math.min(...prices) - 2;
    const high = Math.max(...prices) + 2;
    const x = (at) => this.#x(at, width);
    const y = (price) => MARGIN.top + ((high - price) / (high - low)) * (height - MARGIN.top - MARGIN.bottom);
    const style = getComputedStyle(document.documentElement);
    this.#axes(context, { width, height, low, high, x, y, style });
    this.#line(context, { width, height, x, y, style });
    this.#cross(context, { height, x, y, style });
  }

  #axes(context, { width, height, low, high, x, y, style }) {
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = style.getPropertyValue("--muted");
    context.strokeStyle = style.getPropertyValue("--line");
    context.lineWidth = 1;
    context.textBaseline = "middle";
    for (let line = 0; line <= LINES; line += 1) {
      const at = Math.round(low + ((high - low) * line) / LINES);
      context.beginPath();
      context.moveTo(MARGIN.left, y(at));
      context.lineTo(width - MARGIN.right, y(at));
      context.stroke();
      context.fillText(price(at), width - MARGIN.right + 6, y(at));
    }
    context.textBaseline = "alphabetic";
    context.textAlign = "center";
    for (let part = 1; part <= 3; part += 1) {
      const at = this.#now - (SPAN * part) / 4;
      context.fillText(`−${(SPAN * part) / 4_000_000} s`, x(at), height - 6);
    }
    context.textAlign = "start";
  }

  #line(context, { width, height, x, y, style }) {
    context.save();
    context.beginPath();
    context.rect(MARGIN.left, 0, width - MARGIN.left - MARGIN.right, height);
    context.clip();
    context.beginPath();
    this.#points.forEach(([at, price], index) => {
      // A price holds until the next one.
      if (index > 0) context.lineTo(x(at), y(this.#points[index - 1][1]));
      context.lineTo(x(at), y(price));
    });
    context.strokeStyle = style.getPropertyValue("--accent");
    context.lineWidth = 2;
    context.lineJoin = "round";
    context.stroke();
    context.restore();
  }

  #cross(context, { height, x, y, style }) {
    const point = this.#pointed();
    if (!point) return;
    context.strokeStyle = context.fillStyle = style.getPropertyValue("--text");
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x(point[0]), MARGIN.top);
    context.lineTo(x(point[0]), height - MARGIN.bottom);
    context.stroke();
    context.beginPath();
    context.arc(x(point[0]), y(point[1]), 4, 0, 2 * Math.PI);
    context.fill();
  }
}
