// What the checks in a browser share: the browser, servers, people, and the count.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { connect, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const STEP = 20_000; // ms for anything that a check waits for
const ALL = 180_000; // ms for the whole run

export function setting(name) {
  const value = process.env[name];
  if (value) return value;
  console.error(`browser: the environment variable ${name} is not set`);
  process.exit(2);
}

const { chromium } = createRequire(join(setting("SUITES_NODE"), "package.json"))("playwright-core");
export const chromiumPath = setting("CHROMIUM");
const screens = fileURLToPath(new URL("../../target/suites/screens/", import.meta.url));
mkdirSync(screens, { recursive: true });

// ---- Checks and children --------------------------------------------------------------------------

export const count = { passed: 0, failed: 0 };

export function within(promise, what, limit = STEP) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${limit / 1000} s`)), limit);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export function deferred() {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
}

export async function check(name, body) {
  try {
    await within(body(), name, 3 * STEP);
    count.passed += 1;
    console.log(`ok      ${name}`);
  } catch (error) {
    count.failed += 1;
    console.log(`FAILED  ${name}\n        ${String(error.message).replaceAll("\n", "\n        ")}`);
  }
}

export const children = new Set();

// Starts a server and waits for the line that tells its address; with a broker, those of its two nodes.
export async function start(program, listen, ...more) {
  const nodes = more.includes("--broker") ? 2 : 1;
  const child = spawn(program, ["--listen", listen, ...more], { stdio: ["ignore", "pipe", "inherit"] });
  children.add(child);
  child.ended = new Promise((resolve) => {
    child.on("error", (error) => resolve({ error }));
    child.on("exit", (code, signal) => resolve({ code, signal }));
  });
  child.ended.then(() => children.delete(child));
  const lines = createInterface({ input: child.stdout });
  child.ports = [];
  const ready = new Promise((resolve, reject) => {
    lines.on("line", (line) => {
      const address = /(?:http|ws):\/\/([\d.]+):(\d+)/.exec(line);
      if (address) child.ports.push(Number(address[2]));
      if (child.ports.length === nodes) resolve(child.ports[0]);
    });
    child.ended.then((end) => reject(new Error(`${program} ended: ${end.error ?? end.code ?? end.signal}`)));
  });
  child.port = await within(ready, `start of ${program}`);
  return child;
}

export async function stop(child) {
  child.kill("SIGTERM");
  return within(child.ended, "end after SIGTERM");
}

const killChildren = () => children.forEach((child) => child.kill("SIGKILL"));
process.on("exit", killChildren);
setTimeout(() => {
  console.log(`browser: gave up after ${ALL / 1000} s`);
  console.log(`browser: ${count.passed} passed, ${count.failed + 1} failed`);
  process.exit(1);
}, ALL).unref();

// ---- The people -----------------------------------------------------------------------------------

export const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
export const browser = await chromium.launch({ executablePath: chromiumPath, args: flags });

export const faults = []; // what went wrong inside the pages, lost connections aside

export async function person(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1180, height: 760 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(STEP);
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (line) => {
    if (line.type() === "error" && !/WebSocket connection to/.test(line.text())) faults.push(line.text());
  });
  return page;
}

// Has a page whose connection is lost try at once, if it is not back by itself: in one step of the page, since
// between a look at the button and a click on it the button may have gone.
export const retryNow = (page) => page.evaluate(() => {
  const retry = document.querySelector("#retry");
  if (retry.checkVisibility()) retry.click();
});

export const shot = (page, name) => page.screenshot({ path: join(screens, `${name}.png`) });

// Runs these groups, `[name, function]`; or, if there are names on the command line, those that begin so.
export async function run(groups) {
  const wanted = process.argv.slice(2);
  const chosen = groups.filter(([name]) => wanted.length === 0 || wanted.some((start) => name.startsWith(start)));
  for (const [name, group] of chosen) {
    console.log(`-- ${name}`);
    try {
      await group();
    } catch (error) {
      count.failed += 1;
      console.log(`FAILED  ${name}: ${error.message}`);
    }
  }
  await within(browser.close(), "end of the browser").catch(() => {});
  killChildren();
  console.log(`browser: ${count.passed} passed, ${count.failed} failed`);
  process.exit(count.failed === 0 ? 0 : 1);
}

// What lies between a page and its server, and can cut their connections.
export async function wire(port) {
  const sockets = new Set();
  const between = createTcpServer((near) => {
    const far = connect(port, "127.0.0.1");
    for (const [one, other] of [[near, far], [far, near]]) {
      sockets.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => { sockets.delete(one); other.destroy(); });
      one.pipe(other);
    }
  }).listen(0, "127.0.0.1");
  await once(between, "listening");
  const cut = () => sockets.forEach((socket) => socket.destroy());
  return { port: between.address().port, cut, close: () => { between.close(); cut(); } };
}
