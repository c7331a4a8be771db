// A WebSocket that reconnects by itself.
//
// RFC 6455 section 7.2.3: after an abnormal closure a client waits a random time before the first
// attempt, and then longer and longer, so that a server that restarts is not met by everybody at once.

const FIRST_DELAY = 2_000; // ms: the first attempt comes at a random moment within this
const BASE_DELAY = 1_000; // ms: doubled for each further attempt ...
const MAX_DELAY = 30_000; // ms: ... up to this
const BUSY_DELAY = 5_000; // ms: at least this, when the server said "try again later"
const OPEN_TIMEOUT = 10_000; // ms for connecting, before the attempt is abandoned
const STABLE_AFTER = 10_000; // ms that a connection must last before the delays start over

// What a close code means for the user, and whether another attempt makes sense (RFC 6455 section 7.4.1).
const CLOSE_CODES = new Map([
  [1000, { text: "The server ended the connection.", again: false }],
  [1001, { text: "The server is restarting.", again: true }],
  [1002, { text: "The server and this page do not understand each other.", again: false }],
  [1003, { text: "The server cannot handle this kind of message.", again: false }],
  [1007, { text: "The server could not read a message.", again: false }],
  [1008, { text: "The server refused the connection.", again: false }],
  [1009, { text: "A message was too long for the server.", again: true }],
  [1011, { text: "The server ran into a problem.", again: true }],
  [1012, { text: "The server is restarting.", again: true }],
  [1013, { text: "The server asks for another attempt later.", again: true }],
]);
const LOST = { text: "Connection lost.", again: true }; // 1005, 1006 and any other

/** The time in ms before attempt number `attempt` (0 is the first); `random` is in [0, 1). */
export function delayBefore(attempt, random = Math.random()) {
  if (attempt === 0) return random * FIRST_DELAY;
  const ceiling = Math.min(MAX_DELAY, BASE_DELAY * 2 ** attempt);
  return ceiling / 2 + (random * ceiling) / 2;
}

export class Connection {
  #address;
  #handlers;
  #socket = null;
  #timer = 0;
  #attempt = 0;
  #openedAt = 0;
  #running = false;

  /**
   * `address()` returns the URL, and is called for each attempt. `handlers.state(state)` hears `{ name, text, until, code }`, where the name is "connecting",
   * "online", "waiting" (until: when the next attempt starts) or "stopped";
   * `handlers.message(text)` hears each text message.
   */
  constructor(address, handlers) {
    this.#address = address;
    this.#handlers = handlers;
  }

  start() {
    this.#running = true;
    this.#attempt = 0;
    addEventListener("online", this.retry);
    this.#open();
  }

  /** Ends the connection permanently, and tells the server. */
  stop() {
    this.#running = false;
    removeEventListener("online", this.retry);
    clearTimeout(this.#timer);
    this.#forget(1000, "left");
  }

  /** Treats the connection as dead, though no close was received, and opens a new one. */
  reset() {
    if (!this.#socket) return;
    this.#forget(4000, "no answer");
    this.#closed({ code: 1006, reason: "" });
  }

  /** Starts the next attempt now instead of later. */
  retry = () => {
    if (this.#socket) return;
    clearTimeout(this.#timer);
    this.#running = true;
    this.#open();
  };

  /** Sends now or not at all: false means that there is no connection. */
  send(text) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  #open() {
    this.#handlers.state({ name: "connecting", text: "Connecting…" });
    const socket = new WebSocket(this.#address());
    this.#socket = socket;
    this.#timer = setTimeout(() => this.reset(), OPEN_TIMEOUT);
    socket.onopen = () => {
      clearTimeout(this.#timer);
      this.#openedAt = Date.now();
      this.#handlers.state({ name: "online", text: "Online" });
    };
    socket.onmessage = (event) => {
      if (typeof event.data === "string") this.#handlers.message(event.data);
    };
    socket.onclose = (event) => this.#closed(event);
  }

  // A socket that is being left may still close much later: its events are no longer ours.
  #forget(code, reason) {
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code, reason);
  }

  #closed({ code, reason }) {
    clearTimeout(this.#timer);
    this.#socket = null;
    if (this.#openedAt && Date.now() - this.#openedAt >= STABLE_AFTER) this.#attempt = 0;
    this.#openedAt = 0;
    const meaning = CLOSE_CODES.get(code) ?? LOST;
    const text = reason && code >= 1008 ? `${meaning.text} (${reason})` : meaning.text;
    if (!this.#running || !meaning.again) {
      this.#running = false;
      this.#handlers.state({ name: "stopped", text, code });
      return;
    }
    let delay = delayBefore(this.#attempt++);
    if (code === 1013) delay += BUSY_DELAY;
    this.#timer = setTimeout(() => this.#open(), delay);
    this.#handlers.state({ name: "waiting", text, until: Date.now() + delay, code });
  }
}
