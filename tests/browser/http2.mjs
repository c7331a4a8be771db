// WebSocket over HTTP/2 (RFC 8441) in real browsers: a page of `echo_peer`, and of `axum_peer`, and its
// WebSockets on the same connection.
//
//     CHROMIUM=/usr/bin/chromium FIREFOX=/usr/bin/firefox-esr ECHO_BIN=.../echo_peer \
//       AXUM_BIN=.../axum_peer CERT=... KEY=... CA=... node http2.mjs
//
// The page (http2.html) runs by itself, and its results are what the server prints. Without FIREFOX,
// which needs `certutil` as well, only Chromium is used. Prints a line for each check and "browser: N
// passed, N failed" at the end.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { removed } from "./home.mjs";

const ALL = 60_000; // ms for one browser

const { CHROMIUM, FIREFOX, ECHO_BIN, AXUM_BIN, CERT, KEY, CA } = process.env;
const programs = { echo_peer: ECHO_BIN, axum_peer: AXUM_BIN };
const page = fileURLToPath(new URL("http2.html", import.meta.url));

let passed = 0;
let failed = 0;

function check(name, body) {
  try {
    body();
    passed += 1;
    console.log(`ok      ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n        ${String(error.message).replaceAll("\n", "\n        ")}`);
  }
}

const children = new Set();
process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));

function start(program, args, stdio) {
  const child = spawn(program, args, { stdio });
  children.add(child);
  child.ended = once(child, "exit").then(([code, signal]) => {
    children.delete(child);
    return { code, signal };
  });
  return child;
}

function within(promise, what, limit = ALL) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${limit / 1000} s`)), limit);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// What the server prints.
class Server {
  opened = [];
  told = new Map();
  ends = [];

  constructor(program, options, port = 0) {
    this.child = start(programs[program], ["--listen", `127.0.0.1:${port}`, "--http2", "--cert", CERT, "--key", KEY,
      "--page", page, ...options], ["ignore", "pipe", "inherit"]);
    this.ready = new Promise((resolve) => { this.tellReady = resolve; });
    this.done = new Promise((resolve) => { this.tellDone = resolve; });
    this.closed = once(createInterface({ input: this.child.stdout })
      .on("line", (line) => this.line(line)), "close");
  }

  line(line) {
    const [word, ...rest] = line.split(" ");
    if (word === "listening") this.tellReady(Number(line.split(":").at(-1)));
    else if (word === "opened") this.opened.push(rest);
    else if (word === "told") {
      const [name, value] = JSON.parse(decodeURIComponent(rest[0]));
      this.told.set(name, value);
      if (name === "done" || name === "again") this.tellDone();
    } else this.ends.push(line);
  }
}

const browsers = {
  chromium: (home) => [CHROMIUM, ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--ignore-certificate-errors", `--user-data-dir=${home}`]],
  firefox: (home) => {
    // It does not take a certificate without an authority, even if it is told to trust it.
    execFileSync("certutil", ["-N", "-d", `sql:${home}`, "--empty-password"]);
    execFileSync("certutil", ["-A", "-d", `sql:${home}`, "-n", "test", "-t", "C,,", "-i", CA]);
    return [FIREFOX, ["--headless", "--no-remote", "--profile", home]];
  },
};

async function run(browser, program, options, extension) {
  const name = [browser, program, ...options].join(" ");
  let next = null;
  const server = new Server(program, options);
  const port = await within(server.ready, "the server's start");
  const home = mkdtempSync(join(tmpdir(), "tautline-browser-"));
  const [path, args] = browsers[browser](home);
  const lone = start(path, [...args, `https://localhost:${port}/`], "ignore");
  try {
    await within(server.done, `${name}: the page`).catch((error) => {
      throw new Error(`${error.message}; it told ${JSON.stringify([...server.told])}`);
    });
    server.child.kill("SIGTERM");
    const end = await within(server.child.ended, "the server's end", 10_000);
    await server.closed;
    const told = (what) => server.told.get(what);
    console.log(`        ${told("done")}`);
    const clean = (code, reason) => [code, reason, true];
    check(`${name}: the extension that was agreed on`, () =>
      assert.deepEqual(told("extension"), [extension, ""]));
    check(`${name}: text in any script, and the empty text`, () =>
      assert.deepEqual(told("text"), ["hello", "", "Grüße, 世界, \u{1f44b}"]));
    check(`${name}: binary up to 8 MiB`, () => assert.deepEqual(told("binary"), []));
    check(`${name}: 3,000 messages at once come back in order`, () =>
      assert.equal(told("burst"), true));
    check(`${name}: several at once`, () => assert.deepEqual(told("many"), [true, true]));
    check(`${name}: close codes and reasons come back, cleanly`, () => assert.deepEqual(told("close"),
      [clean(4321, "that was all – bye"), clean(1000, ""), clean(1005, "")]));
    check(`${name}: one more later`, () =>
      assert.deepEqual(told("later"), ["still here", clean(1000, "")]));
    check(`${name}: all of them are streams of one HTTP/2 connection`, () => {
      assert.deepEqual(new Set(server.opened.map(([version]) => version)), new Set(["HTTP/2"]));
      assert.equal(new Set(server.opened.map(([, peer]) => peer)).size, 1);
      assert.equal(server.opened.length, 17);
    });
    check(`${name}: each ended with its Close`, () => assert.deepEqual(server.ends.toSorted(), [
      ...Array(14).fill("closed 1000"), "closed 1001", "closed 1005", "closed 4321"].toSorted()));
    check(`${name}: the server ends cleanly on SIGTERM`, () =>
      assert.deepEqual(end, { code: 0, signal: null }));

    next = new Server(program, options, port);
    await within(next.done, `${name}: after a restart`);
    // Chromium asks for HTTP/1.1 alone now.
    console.log(`        after a restart: ${next.opened.map(([version]) => version)}`);
    check(`${name}: it comes back after a restart of the server`, () =>
      assert.deepEqual(next.told.get("again"), [1001, "again", clean(1000, "")]));
  } finally {
    server.child.kill("SIGKILL");
    next?.child.kill("SIGKILL");
    lone.kill("SIGTERM");
    await within(lone.ended, "the browser's end", 10_000).catch(() => lone.kill("SIGKILL"));
    await removed(home);
  }
}

for (const browser of FIREFOX ? ["chromium", "firefox"] : ["chromium"]) {
  for (const [program, options, extension] of [["echo_peer", [], ""],
    ["echo_peer", ["--takeover"], "permessage-deflate"],
    ["axum_peer", ["--takeover"], "permessage-deflate"]]) {
    try {
      await run(browser, program, options, extension);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${browser} ${program} ${options.join(" ")}: ${error.message}`);
    }
  }
}
console.log(`browser: ${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
