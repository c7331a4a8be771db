// The `devtools` example against Chromium's own WebSocket server.
//
//     CHROMIUM=/usr/bin/chromium DEVTOOLS_BIN=.../devtools node devtools.mjs
//
// Prints a line for each check and "browser: N passed, N failed" at the end.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { removed } from "./home.mjs";

const LIMIT = 60_000; // ms for all of it

const { CHROMIUM, DEVTOOLS_BIN } = process.env;
const home = mkdtempSync(join(tmpdir(), "tautline-devtools-"));
const browser = spawn(CHROMIUM, ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
  "--remote-debugging-port=0", `--user-data-dir=${home}`, "about:blank"], { stdio: ["ignore", "ignore", "pipe"] });
const ended = once(browser, "exit");
const late = setTimeout(() => {
  console.log(`FAILED  the browser: not within ${LIMIT / 1000} s`);
  browser.kill("SIGKILL");
  process.exit(1);
}, LIMIT);

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

function evaluate(url, expression) {
  return execFileSync(DEVTOOLS_BIN, [url, expression], { encoding: "utf8", timeout: LIMIT / 2, maxBuffer: 64 << 20 });
}

let url;
for await (const line of createInterface({ input: browser.stderr })) {
  url = line.match(/^DevTools listening on (ws:\S+)/)?.[1];
  if (url) break;
}
browser.stderr.resume();

check("calls and events of the browser and of a page", () => {
  const said = evaluate(url, "new Promise(r => setTimeout(() => r([6 * 7, navigator.webdriver]), 10))");
  assert.match(said, /^browser: "(Headless)?Chrom/m);
  assert.match(said, /^event: Runtime\.executionContextCreated$/m);
  assert.match(said, /^value: \[42,(true|false)\]$/m);
});
check("what a page throws is no error of the call, and an unknown method is one", () => {
  const said = evaluate(url, "missing()");
  assert.match(said, /^thrown: "ReferenceError: missing is not defined/m);
  assert.match(said, /^missing: the peer answered with error -32601: /m);
});
check("a value of 4 MiB", () => {
  const said = evaluate(url, "'x'.repeat(4 << 20)");
  assert.ok(said.includes(`value: "${"x".repeat(4 << 20)}"`));
});

clearTimeout(late);
browser.kill();
await ended;
await removed(home);
console.log(`browser: ${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
