// The page of the chat. Everything that people wrote goes in as text, never as HTML.
//
// To the server, a message is `id LF text`. The id is made here; the server repeats it to everybody, the
// sender included, and each page shows a message once, whose id it knows. So a message is sent again after
// a reconnect until it has been seen to come back, and still appears once.
//
// Each message has its position, `OFFSET@EPOCH`, in the room's history. After a reconnect the page tells the
// server the last one that it has, and gets what came after it; or, if that is gone, the history.

import { Connection } from "./connection.js";

const ANSWER_TIMEOUT = 10_000; // ms for a sent message to come back, before the connection counts as dead
const MAX_PENDING = 50; // messages that wait for the server
const MAX_SHOWN = 500; // lines kept on the page
const MAX_SEEN = 2_000; // message ids kept; more than the history that a server sends
const GROUP_WITHIN = 5 * 60_000; // ms between two messages of one person that are grouped together
const RETURN_WITHIN = 30_000; // ms for the others to be back after a restart before it is mentioned

const $ = (id) => document.getElementById(id);
const log = $("log");
const draft = $("draft");

// Storage may be switched off in the browser; then nothing is remembered.
const remember = (store, key, value) => { try { window[store].setItem(key, value); } catch { /* see above */ } };
const recall = (store, key) => { try { return window[store].getItem(key) ?? ""; } catch { return ""; } };

let session = null; // { name, room, connection, ... } while in a room
let unread = 0;

// ---- Entering and leaving -------------------------------------------------------------------------

function roomInAddress() {
  try { return decodeURIComponent(location.hash.slice(1)).trim(); } catch { return ""; }
}

function showJoin(error = "") {
  $("chat").hidden = true;
  $("join").hidden = false;
  $("name").value = recall("localStorage", "name");
  $("room").value = roomInAddress() || recall("localStorage", "room") || "lobby";
  $("join-error").hidden = !error;
  $("join-error").textContent = error;
  document.title = "Tautline Chat";
  ($("name").value ? $("room") : $("name")).focus();
}

function enter(name, room) {
  remember("localStorage", "name", name);
  remember("localStorage", "room", room);
  if (roomInAddress() !== room) history.replaceState(null, "", `#${encodeURIComponent(room)}`);
  const url = new URL("ws", location.href);
  url.protocol = url.protocol.replace("http", "ws"); // http -> ws, https -> wss
  url.hash = "";
  const address = () => {
    const since = session?.position ? `&since=${session.position}` : "";
    url.search = `?room=${encodeURIComponent(room)}&name=${encodeURIComponent(name)}${since}`;
    return url;
  };
  session = {
    name,
    room,
    seen: new Set(), // "from LF id" of every message on the page
    pending: new Map(), // id -> { text, at, element, timer }
    here: [],
    returning: new Set(), // who was here before a reconnect, and may be on the way back
    position: "", // of the last message on the page
    start: "", // where this connection began
    held: null, // while the history is awaited: what came before it
    changes: null, // while the list of people is awaited: who joined and left before it
    lastDay: "",
    connection: new Connection(address, { state: showState, message: receive }),
  };
  $("join").hidden = true;
  $("chat").hidden = false;
  log.replaceChildren();
  $("room-title").textContent = room;
  $("share").textContent = location.href;
  $("banner").hidden = true;
  draft.value = recall("sessionStorage", `draft ${room}`);
  fitDraft();
  showPeople([]);
  showEmpty();
  showTitle();
  for (const { id, text, at } of restorePending()) addPending(id, text, at);
  session.connection.start();
  draft.focus();
}

function quit() {
  session.connection.stop();
  for (const { timer } of session.pending.values()) clearTimeout(timer);
  session = null;
  clearInterval(countdown);
}

function leave(error = "") {
  quit();
  history.replaceState(null, "", location.pathname);
  showJoin(error);
}

$("join-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("name").value.trim();
  const room = $("room").value.trim();
  if (name && room) enter(name, room);
  else showJoin("A name and a room are needed.");
});

addEventListener("hashchange", () => {
  const room = roomInAddress();
  if (!session || !room || room === session.room) return;
  const { name } = session;
  quit();
  enter(name, room);
});

$("leave").addEventListener("click", () => leave());

// ---- The connection -------------------------------------------------------------------------------

let countdown = 0;

function showState({ name, text, until, code }) {
  clearInterval(countdown);
  if (name === "stopped" && code === 1008) return leave(text);
  $("state").dataset.state = name;
  $("state-text").textContent =
    { online: "Online", connecting: "Connecting…", waiting: "Offline", stopped: "Offline" }[name];
  $("retry").hidden = name === "connecting";
  $("countdown").textContent = "";
  if (name === "connecting") { // the notice about the loss stays visible during an attempt
    $("countdown").textContent = "Trying again…";
  } else {
    $("banner").hidden = name === "online";
    $("banner-text").textContent = name === "online" ? "" : text;
  }
  if (name === "waiting" || name === "stopped") {
    for (const { timer, element } of session.pending.values()) {
      clearTimeout(timer);
      element.querySelector(".note").textContent = "Waiting for the connection";
    }
  }
  if (name === "waiting") {
    const tick = () => {
      const seconds = Math.max(1, Math.ceil((until - Date.now()) / 1000));
      $("countdown").textContent = `Next attempt in ${seconds} s.`;
    };
    tick();
    countdown = setInterval(tick, 1000);
  }
  if (code === 1009) failOldest();
  showNotice();
}

$("retry").addEventListener("click", () => session?.connection.retry());

function receive(data) {
  const event = JSON.parse(data);
  if (event.type === "start") return started(event);
  if (event.type === "history") return showHistory(event);
  if (event.type === "here") return arrived(event);
  if (event.type === "gap") return showMissing();
  if (event.type === "message") return session.held ? session.held.push(event) : showMessage(event);
  if (event.type !== "presence") return; // a newer server may say more
  if (session.changes) session.changes.push(event);
  else changed(event);
}

// A connection begins: with what was missed, or with the history.
function started({ recovered, position }) {
  log.setAttribute("aria-live", "off"); // what was said before is not read aloud
  session.held = recovered ? null : [];
  session.start = position;
  session.changes = [];
}

function showHistory({ messages }) {
  if (session.position && messages.length > 0 && !follows(messages[0].position)) showMissing();
  const held = session.held ?? [];
  session.held = null;
  session.position = session.start;
  [...messages, ...held].forEach(showMessage);
}

// Whether this message comes after the last one on the page, with none between them.
function follows(position) {
  const [[offset, epoch], [known, before]] = [position.split("@"), session.position.split("@")];
  return Number(offset) <= (epoch === before ? Number(known) : 0) + 1; // another epoch counts from 1 again
}

const showMissing = () => showDivider("Some messages are missing here");

// Everything that was said before this connection is on the page, but for what waits to be sent.
function arrived({ here }) {
  session.returning = new Set(session.here.filter((name) => !here.includes(name)));
  const { returning } = session;
  setTimeout(() => returning.clear(), RETURN_WITHIN);
  showPeople(here);
  const { changes } = session;
  session.changes = null;
  changes.forEach(changed);
  for (const [id, { text }] of session.pending) transmit(id, text);
  requestAnimationFrame(() => log.setAttribute("aria-live", "polite"));
}

// Somebody joined or left. The list may have it already; it has this one, who is told of itself, too.
function changed({ joined, left }) {
  const { here } = session;
  if (joined && !here.includes(joined)) {
    showPeople([...here, joined].sort());
    if (!session.returning.delete(joined)) showJoined(joined);
  } else if (left && here.includes(left)) {
    showPeople(here.filter((name) => name !== left));
    showEvent(`${left} left`, left);
  }
}

// ---- Sending --------------------------------------------------------------------------------------

// Unlike crypto.randomUUID, this also works on pages that came over plain HTTP.
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");
}

const pendingKey = () => `pending ${session.room}\n${session.name}`;

function savePending() {
  const list = [...session.pending].map(([id, { text, at }]) => ({ id, text, at }));
  remember("sessionStorage", pendingKey(), JSON.stringify(list));
}

function restorePending() {
  try { return JSON.parse(recall("sessionStorage", pendingKey()) || "[]"); } catch { return []; }
}

function addPending(id, text, at) {
  const element = messageElement({ from: session.name, text, at });
  element.classList.add("pending");
  session.pending.set(id, { text, at, element, timer: 0 });
  log.append(element);
  regroup(element);
  showEmpty();
}

function transmit(id, text) {
  const entry = session.pending.get(id);
  clearTimeout(entry.timer);
  const sent = session.connection.send(`${id}\n${text}`);
  entry.element.querySelector(".note").textContent = sent ? "" : "Waiting for the connection";
  if (sent) entry.timer = setTimeout(() => session?.connection.reset(), ANSWER_TIMEOUT);
}

function submit() {
  const text = draft.value.trim();
  if (!text || !session) return;
  if (session.pending.size >= MAX_PENDING) return showNotice("Too many messages are waiting for the connection.");
  const id = newId();
  addPending(id, text, Date.now());
  savePending();
  transmit(id, text);
  draft.value = "";
  draftChanged();
  scrollDown();
}

// Close code 1009: the message that was too big for the server must not be sent again.
function failOldest() {
  const [first] = session.pending;
  if (!first) return;
  const [id, { element, timer }] = first;
  clearTimeout(timer);
  session.pending.delete(id);
  savePending();
  element.classList.add("failed");
  element.querySelector(".note").textContent = "Not sent: too long";
}

// ---- Showing --------------------------------------------------------------------------------------

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

const hue = (name) => Array.from(name).reduce((sum, c) => (sum * 31 + c.codePointAt(0)) % 360, 7);

function face(name) {
  const words = name.split(/\s+/).filter(Boolean);
  const initials = words.slice(0, 2).map((word) => Array.from(word)[0]).join("").toUpperCase();
  const element = make("span", "face", initials);
  element.style.setProperty("--hue", hue(name));
  element.setAttribute("aria-hidden", "true");
  return element;
}

function messageElement({ from, text, at }) {
  const element = make("li", "message");
  element.dataset.from = from;
  element.dataset.at = at;
  const head = make("p", "head");
  const who = make("b", "");
  who.append(make("bdi", "", from)); // a name in another direction does not turn the line around
  who.style.setProperty("--hue", hue(from));
  const time = make("time", "", clock.format(at));
  time.dateTime = new Date(at).toISOString();
  head.append(who, time);
  const bubble = make("div", "bubble", text);
  bubble.dir = "auto";
  element.append(head, face(from), bubble, make("p", "note"));
  element.classList.toggle("mine", from === session.name);
  return element;
}

function showMessage(message) {
  const { position, id, from, at } = message;
  session.position = position;
  const key = `${from}\n${id}`;
  if (session.seen.has(key)) return;
  session.seen.add(key);
  if (session.seen.size > MAX_SEEN) session.seen.delete(session.seen.values().next().value);
  const mine = from === session.name ? session.pending.get(id) : undefined;
  if (mine) {
    clearTimeout(mine.timer);
    mine.element.remove();
    session.pending.delete(id);
    savePending();
    showNotice();
  }
  showDay(at);
  insert(messageElement(message));
  if (document.hidden && from !== session.name) {
    unread += 1;
    showTitle();
  }
}

// Confirmed messages are in the server's order; pending ones stay below them.
function insert(element) {
  const follow = atBottom();
  const firstPending = log.querySelector(":scope > .pending");
  log.insertBefore(element, firstPending);
  regroup(element);
  regroup(element.nextElementSibling);
  while (log.children.length > MAX_SHOWN) log.firstElementChild.remove();
  showEmpty();
  if (follow || element.classList.contains("mine")) scrollDown();
  else if (element.classList.contains("message")) $("newer").hidden = false;
}

function regroup(element) {
  if (!element?.classList.contains("message")) return;
  const before = element.previousElementSibling;
  const together = before?.dataset.from === element.dataset.from
    && element.dataset.at - before.dataset.at < GROUP_WITHIN;
  element.classList.toggle("first", !together);
}

function showDay(at) {
  const day = calendar.format(at);
  if (day === session.lastDay) return;
  const today = day === calendar.format(Date.now());
  if (session.lastDay || !today) showDivider(today ? "Today" : day);
  session.lastDay = day;
}

const showDivider = (text) => insert(make("li", "event divider", text));

function showEvent(text, who = "") {
  const element = make("li", "event", text);
  element.dataset.who = who;
  insert(element);
}

// Somebody who only reloaded the page did not really leave.
function showJoined(who) {
  const last = [...log.children].findLast((child) => !child.classList.contains("pending"));
  if (last?.dataset.who === who && last.textContent === `${who} left`) last.remove();
  else showEvent(`${who} joined`, who);
}

function showPeople(here) {
  session.here = here;
  $("people-count").textContent = here.length;
  $("people-list").replaceChildren(...here.map((name) => {
    const item = make("li", "");
    item.append(face(name), make("bdi", "", name));
    if (name === session.name) item.append(make("small", "", "you"));
    return item;
  }));
}

function showEmpty() {
  $("empty").hidden = log.querySelector(".message") !== null;
  log.hidden = log.children.length === 0;
}

function showTitle() {
  document.title = `${unread ? `(${unread}) ` : ""}#${session.room} – Tautline Chat`;
}

function showNotice(text = "") {
  const waiting = $("state").dataset.state === "online" ? 0 : session?.pending.size ?? 0;
  const left = draft.maxLength - draft.value.length;
  if (!text && waiting) {
    text = `${waiting} ${waiting === 1 ? "message goes" : "messages go"} out when the connection is back`;
  } else if (!text && left < 200) {
    text = `${left} characters left`;
  }
  $("notice").textContent = text;
}

// ---- Scrolling, typing, the rest ------------------------------------------------------------------

const scroller = $("scroller");
const atBottom = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;

function scrollDown() {
  scroller.scrollTop = scroller.scrollHeight;
  $("newer").hidden = true;
}

scroller.addEventListener("scroll", () => { if (atBottom()) $("newer").hidden = true; }, { passive: true });
$("newer").addEventListener("click", scrollDown);

// When the keyboard of a phone opens, the last message stays visible.
let stuck = true;
scroller.addEventListener("scroll", () => { stuck = atBottom(); }, { passive: true });
new ResizeObserver(() => { if (stuck) scrollDown(); }).observe(scroller);

function fitDraft() {
  draft.style.height = "auto";
  draft.style.height = `${draft.scrollHeight + 2}px`;
}

function draftChanged() {
  fitDraft();
  remember("sessionStorage", `draft ${session.room}`, draft.value);
  showNotice();
}

draft.addEventListener("input", draftChanged);
draft.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
  draft.focus();
});

function togglePeople(open) {
  $("people").classList.toggle("open", open);
  $("people-toggle").setAttribute("aria-expanded", open);
}

$("people-toggle").addEventListener("click", () => togglePeople(!$("people").classList.contains("open")));
addEventListener("keydown", (event) => { if (event.key === "Escape") togglePeople(false); });
addEventListener("pointerdown", (event) => {
  if (!event.target.closest("#people, #people-toggle")) togglePeople(false);
});

$("copy").hidden = !navigator.clipboard;
$("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(location.href);
  $("copy").textContent = "Copied";
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden || !session) return;
  unread = 0;
  showTitle();
});

const known = recall("localStorage", "name");
if (known && roomInAddress()) enter(known, roomInAddress());
else showJoin();
