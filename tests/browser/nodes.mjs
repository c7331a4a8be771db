// The `chat`, `trading_feed` and `game` examples as two nodes over a broker: what happens at one is seen at the other.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { checked, shows } from "./feed.mjs";
import { meets, play } from "./game.mjs";
import { check, children, faults, person, start, stop, within } from "./support.mjs";

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

// Resolves when somebody listens, or when the time is up.
async function listening(port, until) {
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    const open = await Promise.race([once(socket, "connect").then(() => true), once(socket, "error").then(() => false)])
      .catch(() => false);
    socket.destroy();
    if (open || Date.now() > until) return;
  }
}

const BROKERS = {
  redis: (port, home) => ["redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", home, "--save", ""],
  nats: (port, home) => ["nats-server", "--addr", "127.0.0.1", "--port", port, "--jetstream", "--store_dir", home],
};

async function broker(kind) {
  const home = mkdtempSync(join(tmpdir(), "tautline-broker-"));
  const port = await freePort();
  const [program, ...words] = BROKERS[kind](port, home);
  const child = spawn(program, words.map(String), { stdio: "ignore" });
  children.add(child);
  child.ended = new Promise((resolve) => {
    child.on("error", (error) => resolve({ error }));
    child.on("exit", (code, signal) => resolve({ code, signal }));
  });
  child.ended.then(() => children.delete(child));
  await within(listening(port, Date.now() + 10_000), `start of ${program}`);
  const close = async () => {
    child.kill("SIGTERM");
    await within(child.ended, `end of ${program}`);
    rmSync(home, { recursive: true, force: true });
  };
  return { url: `${kind}://127.0.0.1:${port}`, close };
}

async function joinRoom(page, port, name) {
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Room").fill("two nodes");
  await page.getByRole("button", { name: "Join" }).click();
  await page.waitForFunction(() => document.querySelectorAll("#people-list li").length > 0);
}

// Who is in the room, as the page lists them.
const lists = (page, ...names) => page.waitForFunction((names) => {
  const here = [...document.querySelectorAll("#people-list bdi")].map((name) => name.textContent);
  return JSON.stringify(here) === JSON.stringify(names);
}, names);

async function say(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
}

const reads = (page, ...texts) => page.waitForFunction((texts) => {
  const shown = [...document.querySelectorAll(".message:not(.pending) .bubble")].map((bubble) => bubble.textContent);
  return JSON.stringify(shown) === JSON.stringify(texts);
}, texts);

/** `programs` are those of the chat, the feed and the game. */
export async function nodeChecks(kind, programs) {
  const { url, close } = await broker(kind);
  const pages = [await person(), await person()];
  const nodes = async (program, body) => {
    const server = await start(program, "127.0.0.1:0", "--broker", url);
    await body(server.ports);
    assert.deepEqual(await stop(server), { code: 0, signal: null });
  };

  await check(`${kind}: what is said on one node is read on the other, and by who comes later`, () =>
    nodes(programs.chat, async (ports) => {
      const [alice, bob] = pages;
      await joinRoom(alice, ports[0], "Alice");
      await say(alice, "from the first");
      await reads(alice, "from the first");
      await joinRoom(bob, ports[1], "Bob");
      await reads(bob, "from the first");
      await say(bob, "from the second");
      for (const page of pages) await reads(page, "from the first", "from the second");
    }));

  // Each node had a list of its own, so that people of two nodes talked to each other and did not see each other.
  await check(`${kind}: who is in a room is the same on both nodes, also when somebody leaves`, () =>
    nodes(programs.chat, async (ports) => {
      const [alice, bob] = pages;
      await joinRoom(alice, ports[0], "Alice");
      await lists(alice, "Alice");
      await joinRoom(bob, ports[1], "Bob");
      for (const page of pages) await lists(page, "Alice", "Bob");
      await alice.getByText("Bob joined").waitFor();
      await alice.getByRole("button", { name: "Leave" }).click();
      await lists(bob, "Bob");
      await bob.getByText("Alice left").waitFor();
      await joinRoom(alice, ports[0], "Carol");
      for (const page of pages) await lists(page, "Bob", "Carol");
      await bob.getByText("Carol joined").waitFor();
    }));

  await check(`${kind}: the books on both nodes are those of the one market`, () =>
    nodes(programs.feed, async (ports) => {
      for (const [index, page] of pages.entries()) {
        await page.goto(`http://127.0.0.1:${ports[index]}/`);
        await shows(page, "TAUT");
        await checked(page, 5);
      }
    }));

  await check(`${kind}: players of both nodes are in one arena`, () =>
    nodes(programs.game, async (ports) => {
      for (const [index, page] of pages.entries()) await play(page, `http://127.0.0.1:${ports[index]}/`, `Player ${index}`);
      for (const page of pages) await meets(page, "Player 0", "Player 1");
    }));

  await check(`${kind}: nothing went wrong inside the pages`, async () => assert.deepEqual(faults, []));
  for (const page of pages) await page.context().close();
  await close();
}
