// The page of the trading feed.
//
// It watches the book of one symbol and the prices of all. Each update of a book has a number and, once it is
// in the book, a check: a page that has missed something, or made a mistake, notices, and asks for a snapshot.
// After a reconnect it tells the position of the last update that it has, and gets those that it missed.

import { Book } from "./book.js";
import { Chart, price, time } from "./chart.js";
import { Connection } from "./connection.js";
import { Latency, micros } from "./latency.js";

const PING_EVERY = 2_000; // ms
const AGAIN_AFTER = 1_000; // ms until a book is asked for again that is not there
const SHOWN = 10; // levels on each side

const $ = (id) => document.getElementById(id);
const buttons = new Map(); // symbol -> its button
const last = new Map(); // symbol -> its last price message
const facts = { checked: 0, differ: 0, snapshots: 0, recoveries: 0 };
const latency = new Latency();
const chart = new Chart($("chart"), showPointed);

let watched = ""; // the symbol
let book = null;
let position = ""; // of the last update in the book
let live = false; // whether what comes next follows what is in the book
let fromSnapshot = false; // whether the book is one that was just sent
let charted = 0; // the number of the last price in the chart
let updates = 0; // in this second

// ---- The connection -------------------------------------------------------------------------------

const url = new URL("ws", location.href);
url.protocol = url.protocol.replace("http", "ws"); // http -> ws, https -> wss
const connection = new Connection(() => url, { state: showState, message: receive });

function showState({ name, text }) {
  live = false;
  $("state").dataset.state = name;
  $("state-text").textContent = name === "online" ? "Online" : text;
  $("retry").hidden = name !== "waiting" && name !== "stopped";
  if (name !== "online") return;
  latency.restart();
  ping();
  if (watched) ask(position);
}

$("retry").addEventListener("click", () => connection.retry());

function ping() {
  connection.send(`ping ${micros()}`);
}

setInterval(ping, PING_EVERY);

/** Asks for the watched book: from behind what is there, or a snapshot. */
function ask(since = "") {
  live = false;
  fromSnapshot = false;
  connection.send(`watch ${watched}${since && ` ${since}`}`);
}

function watch(symbol) {
  if (symbol === watched) return;
  watched = symbol;
  book = null;
  position = "";
  charted = 0;
  chart.show([]);
  for (const [name, button] of buttons) button.setAttribute("aria-pressed", String(name === symbol));
  $("chart-title").textContent = symbol;
  $("chart").setAttribute("aria-label", `Price chart of ${symbol}`);
  showBook();
  showLast();
  ask();
}

// ---- What comes -----------------------------------------------------------------------------------

const takes = { price: takePrice, chart: takeChart, start: takeStart, snapshot: takeSnapshot, update: takeUpdate,
  gap: takeGap, closed: takeClosed, pong: takePong };

function receive(data) {
  const message = JSON.parse(data);
  takes[message.type]?.(message); // a newer server may say more
}

function takePrice(message) {
  const { symbol } = message;
  if (!buttons.has(symbol)) addSymbol(symbol);
  last.set(symbol, message);
  showPrice(message);
  if (!watched) watch(symbol);
  if (symbol === watched && message.number > charted) {
    charted = message.number;
    chart.add([message.at, message.last]);
    showLast();
  }
}

function takeChart({ symbol, prices }) {
  if (symbol !== watched || prices.length === 0) return;
  charted = prices.at(-1).number;
  chart.show(prices.map(({ at, last }) => [at, last]));
}

function takeStart({ topic, recovered }) {
  if (topic !== `book.${watched}`) return;
  live = recovered && book !== null;
  latency.began(micros());
  if (live && !fromSnapshot) count("recoveries");
}

function takeSnapshot(message) {
  if (message.symbol !== watched) return;
  book = Book.of(message);
  position = message.position;
  fromSnapshot = true;
  count("snapshots");
  showBook();
}

function takeUpdate(message) {
  latency.update(message.at, micros());
  if (message.symbol !== watched || !live) return;
  updates += 1;
  if (!book.apply(message)) return ask();
  position = message.position;
  if (book.check() !== message.check) {
    count("differ");
    return ask();
  }
  count("checked");
  showBook();
}

// The server could not keep up with its broker: what comes next does not follow.
function takeGap({ topic }) {
  if (topic === `book.${watched}`) ask();
}

function takeClosed({ symbol }) {
  setTimeout(() => { if (symbol === watched && !live) ask(); }, AGAIN_AFTER);
}

function takePong({ number, now, replaced }) {
  latency.answered(number, micros(), now);
  $("replaced").textContent = replaced;
}

// ---- Showing --------------------------------------------------------------------------------------

function count(fact) {
  facts[fact] += 1;
  $(fact).textContent = facts[fact];
}

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function addSymbol(symbol) {
  const button = make("button", "");
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  button.append(make("b", "", symbol), make("span", "price"), make("span", "change"));
  button.addEventListener("click", () => watch(symbol));
  buttons.set(symbol, button);
  $("symbols").append(button);
}

function showPrice({ symbol, last, open }) {
  const button = buttons.get(symbol);
  const change = ((last - open) / open) * 100;
  button.querySelector(".price").textContent = price(last);
  const element = button.querySelector(".change");
  element.textContent = `${change < 0 ? "−" : "+"}${Math.abs(change).toFixed(2)} %`;
  element.classList.toggle("up", change > 0);
  element.classList.toggle("down", change < 0);
}

function showLast() {
  const message = last.get(watched);
  $("last").textContent = message ? price(message.last) : "–";
}

let bookDue = false;

// With the next frame, however many updates come before it.
function showBook() {
  if (bookDue) return;
  bookDue = true;
  requestAnimationFrame(() => {
    bookDue = false;
    const bids = book?.levels("bid").slice(0, SHOWN) ?? [];
    const asks = book?.levels("ask").slice(0, SHOWN) ?? [];
    const most = Math.max(1, ...[...bids, ...asks].map(([, quantity]) => quantity));
    showLevels($("bids"), bids, most);
    showLevels($("asks"), asks.reverse(), most);
    $("spread").textContent = bids.length && asks.length ? price(asks.at(-1)[0] - bids[0][0]) : "–";
  });
}

function showLevels(body, levels, most) {
  while (body.rows.length > levels.length) body.deleteRow(-1);
  levels.forEach(([at, quantity], index) => {
    const row = body.rows[index] ?? body.insertRow();
    const cells = row.cells.length ? row.cells : [row.insertCell(), row.insertCell()];
    cells[0].textContent = price(at);
    cells[1].textContent = quantity;
    row.style.setProperty("--share", `${(100 * quantity) / most}%`);
  });
}

function showPointed(point) {
  $("pointed").textContent = point ? `${time(point[0])}: ${price(point[1])}` : "";
}

const figure = (ms) => (ms < 10 ? ms.toFixed(2) : ms.toFixed(0));

setInterval(() => {
  $("rate").textContent = updates;
  updates = 0;
  const figures = latency.figures();
  for (const name of ["median", "worst", "trip"]) $(name).textContent = figures ? figure(figures[name]) : "–";
  $("latency").textContent = figures ? figure(figures.median) : "–";
}, 1000);

// ---- Keys -----------------------------------------------------------------------------------------

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const symbols = [...buttons.keys()];
  const steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  const symbol = steps
    ? symbols[(symbols.indexOf(watched) + steps + symbols.length) % symbols.length]
    : symbols[Number(event.key) - 1];
  if (!symbol) return;
  event.preventDefault();
  watch(symbol);
});

connection.start();
