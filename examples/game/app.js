// The page of the game: what comes goes into a timeline, each frame shows it as it was a moment ago, and where
// the player wants to go is sent. What people wrote goes in as text, never as HTML.

import { Connection } from "./connection.js";
import { Steering } from "./steering.js";
import { Timeline } from "./timeline.js";
import { View, hue } from "./view.js";

const SEND_EVERY = 33; // ms at least between two directions
const SAY_AGAIN = 1_000; // ms: the arena forgets players that it does not hear of

const $ = (id) => document.getElementById(id);

// Storage may be switched off in the browser; then nothing is remembered.
const remember = (name) => { try { sessionStorage.setItem("name", name); } catch { /* see above */ } };
const recall = () => { try { return sessionStorage.getItem("name") ?? ""; } catch { return ""; } };

const view = new View($("arena"));
const steering = new Steering($("arena"), (event) => view.place(event));

let connection = null; // while the game is played
let timeline = new Timeline(30);
let names = new Map(); // id -> name
let items = new Map(); // id -> its element in the list
let you = ""; // the player that this connection is
let said = { words: "", at: 0 };
let ticks = 0; // in this second

// ---- Joining and leaving --------------------------------------------------------------------------

function play(name) {
  remember(name);
  const url = new URL("ws", location.href);
  url.protocol = url.protocol.replace("http", "ws"); // http -> ws, https -> wss
  url.search = `?name=${encodeURIComponent(name)}`;
  $("join").hidden = true;
  $("game").hidden = false;
  connection = new Connection(() => url, { state: showState, message: receive });
  connection.start();
  $("arena").focus();
  requestAnimationFrame(frame);
}

function showJoin() {
  $("game").hidden = true;
  $("join").hidden = false;
  $("name").value = recall();
  $("name").focus();
}

$("join-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("name").value.trim();
  if (name) play(name);
});

$("leave").addEventListener("click", () => {
  connection.stop();
  connection = null;
  steering.stop();
  takePeople({ people: [], most: Infinity });
  showJoin();
});

$("retry").addEventListener("click", () => connection?.retry());

function showState({ name, text }) {
  $("state").dataset.state = name;
  $("state-text").textContent = name === "online" ? "Online" : text;
  $("retry").hidden = name !== "waiting" && name !== "stopped";
}

// ---- What comes -----------------------------------------------------------------------------------

const takes = { welcome: takeWelcome, people: takePeople, world: takeWorld };

function receive(data) {
  const message = JSON.parse(data);
  takes[message.type]?.(message); // a newer server may say more
}

function takeWelcome(message) {
  you = message.you;
  timeline = new Timeline(message.ticks);
  view.resize(message.width, message.height);
  said = { words: "", at: 0 };
}

function takeWorld(message) {
  ticks += 1;
  timeline.add(message, performance.now());
}

function takePeople({ people, most }) {
  names = new Map(people.map(({ id, name }) => [id, name]));
  items = new Map();
  const best = [...people].sort((a, b) => b.score - a.score);
  $("people").replaceChildren(...best.map(({ id, name, score }) => {
    const item = document.createElement("li");
    item.style.setProperty("--hue", hue(id));
    item.classList.toggle("you", id === you);
    item.append(text("bdi", "name", name), text("span", "score", score));
    items.set(id, item);
    return item;
  }));
  $("full").hidden = people.length < most || names.has(you);
}

function text(tag, className, content) {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = content;
  return element;
}

// ---- Each frame, and each second ------------------------------------------------------------------

function frame() {
  if (!connection) return;
  requestAnimationFrame(frame);
  const now = performance.now();
  const state = timeline.at(now);
  if (state) {
    view.draw(state, names, you);
    for (const [id, item] of items) item.dataset.place = state.players[id]?.map((part) => part.toFixed(1)) ?? "";
  }
  say(steering.direction(state?.players[you]), now);
}

function say(direction, now) {
  const words = direction.map((part) => part.toFixed(2)).join(" ");
  const due = words === said.words ? SAY_AGAIN : SEND_EVERY;
  if (now - said.at >= due && connection.send(words)) said = { words, at: now };
}

setInterval(() => {
  $("ticks").textContent = ticks;
  ticks = 0;
  // Frames are not drawn while the page is hidden; the player then stands still, and stays in the game.
  if (document.hidden && connection) say([0, 0], performance.now());
}, 1000);

showJoin();
