// The `chat` example, the same chat under axum, `trading_feed`, `game`, and `echo_peer`, used by a real browser.
//
//     SUITES_NODE=dir CHROMIUM=/usr/bin/chromium CHAT_BIN=.../chat AXUM_CHAT_BIN=.../axum_chat \
//       FEED_BIN=.../trading_feed GAME_BIN=.../game ECHO_BIN=.../echo_peer node run.mjs [GROUP ...]
//
// SUITES_NODE is a folder whose node_modules holds playwright-core. Prints a line for each check and
// "browser: N passed, N failed" at the end; screenshots go to target/suites/screens/.
//
// Nothing here sleeps: each step waits for what it needs, and everything that waits has a limit.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { feedChecks } from "./feed.mjs";
import { gameChecks } from "./game.mjs";
import { longTests } from "./long.mjs";
import { nodeChecks } from "./nodes.mjs";
import {
  STEP, check, children, chromiumPath, deferred, faults, flags, person, retryNow, run, setting, shot, start, stop, wire,
  within,
} from "./support.mjs";

const chats = [["chat", setting("CHAT_BIN")], ["chat under axum", setting("AXUM_CHAT_BIN")]];
const feedPath = setting("FEED_BIN");
const gamePath = setting("GAME_BIN");
const echoPath = setting("ECHO_BIN");

async function joinRoom(page, url, name, room) {
  await page.goto(url);
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Room").fill(room);
  await page.getByRole("button", { name: "Join" }).click();
  await online(page);
}

const online = (page) => page.waitForFunction(
  () => document.querySelector("#state").dataset.state === "online"
    && document.querySelectorAll("#people-list li").length > 0);

async function say(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
}

// Waits until the texts that the server has confirmed end with these.
const reads = (page, ...texts) => page.waitForFunction((texts) => {
  const shown = [...document.querySelectorAll(".message:not(.pending) .bubble")].map((b) => b.textContent);
  return JSON.stringify(shown.slice(-texts.length)) === JSON.stringify(texts);
}, texts);

const meets = (page, ...names) => page.waitForFunction((names) => {
  const here = [...document.querySelectorAll("#people-list bdi")].map((b) => b.textContent);
  return JSON.stringify(here) === JSON.stringify(names);
}, names);

const times = (page, text) => page.evaluate(
  (text) => [...document.querySelectorAll(".bubble")].filter((b) => b.textContent === text).length, text);

// ---- The chat -------------------------------------------------------------------------------------

async function chatChecks(chatPath) {
  let server = await start(chatPath, "127.0.0.1:0");
  const { port } = server;
  const url = `http://127.0.0.1:${port}/`;
  const alice = await person();
  const bob = await person({ colorScheme: "dark" });

  await check("the page and its parts are served with the right headers", async () => {
    const page = await fetch(url);
    assert.equal(page.status, 200);
    assert.equal(page.headers.get("content-type"), "text/html; charset=utf-8");
    assert.equal(page.headers.get("cache-control"), "no-cache");
    assert.match(page.headers.get("content-security-policy"), /^default-src 'none';/);
    for (const [, part] of (await page.text()).matchAll(/(?:src|href)="\/([^"]+)"/g)) {
      const answer = await fetch(url + part);
      assert.equal(answer.status, 200, part);
      await answer.arrayBuffer();
    }
  });

  await check("an unknown path is answered 404", async () => {
    assert.equal((await fetch(`${url}nothing-here`)).status, 404);
  });

  await check("the join form keeps what it needs to ask", async () => {
    await alice.goto(url);
    await alice.getByRole("button", { name: "Join" }).waitFor();
    await shot(alice, "join-desktop");
    await alice.getByRole("button", { name: "Join" }).click();
    assert.equal(await alice.locator("#join").isVisible(), true, "no name, no entry");
  });

  await check("Alice finds an empty room, and Bob joins it", async () => {
    await joinRoom(alice, url, "Alice", "lobby");
    await meets(alice, "Alice");
    await alice.getByText("It is quiet in here").waitFor();
    await shot(alice, "empty-desktop");
    await joinRoom(bob, url, "Bob", "lobby");
    await meets(alice, "Alice", "Bob");
    await meets(bob, "Alice", "Bob");
    await alice.getByText("Bob joined").waitFor();
  });

  await check("each reads what the other writes", async () => {
    await say(alice, "Hello Bob, can you read this?");
    await reads(bob, "Hello Bob, can you read this?");
    await say(bob, "Clear as a bell ☀️\nand on two lines");
    await reads(alice, "Hello Bob, can you read this?", "Clear as a bell ☀️\nand on two lines");
    await reads(bob, "Hello Bob, can you read this?", "Clear as a bell ☀️\nand on two lines");
  });

  await check("markup and quotes stay text", async () => {
    const text = `<img src=x onerror="document.title='owned'"> \\ " </script> \u2028 end`;
    await say(alice, text);
    await reads(bob, text);
    assert.equal(await bob.locator("#log img").count(), 0);
  });

  await check("a reload remembers name, room and history", async () => {
    await bob.reload();
    await online(bob);
    await meets(bob, "Alice", "Bob");
    assert.equal(await times(bob, "Hello Bob, can you read this?"), 1);
    assert.equal(new URL(bob.url()).hash, "#lobby");
  });

  await check("another room is another conversation, by name in any script", async () => {
    const carol = await person();
    await joinRoom(carol, url, "Zoë & co", "日本 + 100%");
    await meets(carol, "Zoë & co");
    await say(carol, "alone");
    await reads(carol, "alone");
    assert.equal(await times(bob, "alone"), 0);
    await carol.context().close();
  });

  await check("a message that is sent twice appears once", async () => {
    await alice.evaluate(async () => {
      const twin = new WebSocket(`ws://${location.host}/ws?room=lobby&name=Alice`);
      await new Promise((resolve, reject) => { twin.onopen = resolve; twin.onclose = reject; });
      twin.send("same-id\nonce only");
      twin.send("same-id\nonce only");
      twin.send("other-id\nafter it");
      await new Promise((resolve) => { twin.onclose = resolve; twin.close(); });
    });
    await reads(bob, "once only", "after it");
    await meets(bob, "Alice", "Bob"); // the second connection of one name neither came nor went
  });

  // A page that comes back tells its position, and gets what it missed and nothing else.
  await check("a page whose connection was cut gets what it missed, once", async () => {
    const between = await wire(port);
    const dora = await person();
    const asked = [];
    dora.on("websocket", (socket) => asked.push(socket.url()));
    await joinRoom(dora, `http://127.0.0.1:${between.port}/`, "Dora", "lobby");
    await reads(dora, "once only", "after it");
    between.cut();
    await dora.waitForFunction(() => document.querySelector("#state").dataset.state !== "online");
    await say(bob, "Dora cannot read this yet");
    await reads(bob, "after it", "Dora cannot read this yet");
    await retryNow(dora);
    await reads(dora, "after it", "Dora cannot read this yet");
    await online(dora);
    assert.match(asked.at(-1), /&since=\d+@[0-9a-f]+$/);
    assert.equal(await times(dora, "once only"), 1);
    assert.equal(await dora.getByText("Some messages are missing here").count(), 0);
    await dora.context().close();
    between.close();
    await meets(bob, "Alice", "Bob");
  });

  await check("what a socket is told tells whether it has missed something", async () => {
    const hear = (since) => alice.evaluate((since) => new Promise((resolve, reject) => {
      const heard = [];
      const ws = new WebSocket(`ws://${location.host}/ws?room=lobby&name=Alice${since}`);
      ws.onclose = () => reject(new Error("closed"));
      ws.onmessage = ({ data }) => {
        heard.push(JSON.parse(data));
        if (heard.at(-1).type !== "here") return;
        ws.onclose = () => resolve(heard);
        ws.close();
      };
    }), since);
    const types = (heard) => heard.map(({ type }) => type);
    const whole = await hear("");
    assert.deepEqual(types(whole), ["start", "history", "here"]);
    const { messages } = whole[1];
    const rest = await hear(`&since=${messages.at(-3).position}`);
    assert.deepEqual(types(rest), ["start", "message", "message", "here"]);
    assert.equal(rest[0].recovered, true);
    assert.deepEqual(rest.slice(1, 3), messages.slice(-2));
    for (const since of ["&since=1@0", "&since=nonsense"]) {
      const other = await hear(since);
      assert.deepEqual([types(other), other[0].recovered], [types(whole), false], since);
    }
  });

  await check("a connection without a name, or with one too long, is refused", async () => {
    for (const query of ["room=lobby", "room=lobby&name=", "name=x", `room=lobby&name=${"x".repeat(25)}`]) {
      const opened = await alice.evaluate((query) => new Promise((resolve) => {
        const ws = new WebSocket(`ws://${location.host}/ws?${query}`);
        ws.onopen = () => resolve(true);
        ws.onerror = () => resolve(false);
      }), query);
      assert.equal(opened, false, query);
    }
  });

  // RFC 6455 section 7.4.1: 1008 with the handler's reason, 1009 from the limit on messages.
  await check("a message in the wrong form, or too long, closes with code and reason", async () => {
    const closedBy = (message) => alice.evaluate((message) => new Promise((resolve) => {
      const ws = new WebSocket(`ws://${location.host}/ws?room=elsewhere&name=Eve`);
      ws.onopen = () => ws.send(message);
      ws.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean });
    }), message);
    assert.deepEqual(await closedBy("no id"), { code: 1008, reason: "expected: id LF text", wasClean: true });
    const { code, wasClean } = await closedBy(`id\n${"x".repeat(9_000)}`);
    assert.deepEqual({ code, wasClean }, { code: 1009, wasClean: true });
  });

  await check("the server ends cleanly on SIGTERM, and the pages say so", async () => {
    assert.deepEqual(await stop(server), { code: 0, signal: null });
    for (const page of [alice, bob]) {
      await page.waitForFunction(() => document.querySelector("#state").dataset.state !== "online");
    }
    await say(alice, "Written while the server was away");
    await alice.locator(".message.pending").waitFor();
    await alice.locator("#banner:not([hidden])").waitFor();
    await shot(alice, "offline-desktop");
  });

  await check("after a restart both come back by themselves, and the unsent message arrives once", async () => {
    server = await start(chatPath, `127.0.0.1:${port}`);
    await online(alice);
    await online(bob);
    await meets(alice, "Alice", "Bob");
    await reads(alice, "Written while the server was away");
    await reads(bob, "Written while the server was away");
    await say(bob, "Welcome back");
    await reads(alice, "Written while the server was away", "Welcome back");
    for (const page of [alice, bob]) {
      assert.equal(await times(page, "Written while the server was away"), 1);
      assert.equal(await times(page, "Hello Bob, can you read this?"), 1);
    }
  });

  await check("long words, long names and many messages fit, on a desktop and on a phone", async () => {
    const phone = await person({ viewport: { width: 375, height: 720 }, isMobile: true, hasTouch: true });
    await joinRoom(phone, url, "Bartholomew Featherstone", "lobby");
    await meets(bob, "Alice", "Bartholomew Featherstone", "Bob");
    await say(phone, "On the train, reading along.");
    await say(bob, `One very long word: ${"Donaudampfschifffahrt".repeat(12)}`);
    for (let i = 1; i <= 24; i += 1) await say(i % 5 ? alice : bob, `Line ${i} of many`);
    await say(alice, "See you all tomorrow at nine. Bring the plans, please: the printed ones, with the notes.");
    for (const page of [alice, bob, phone]) {
      await page.waitForFunction(() => [...document.querySelectorAll(".bubble")].at(-1).textContent.startsWith("See you"));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth
        || document.querySelector("#scroller").scrollWidth > document.querySelector("#scroller").clientWidth);
      assert.equal(wide, false, "nothing scrolls sideways");
      await page.waitForFunction(() => {
        const box = document.querySelector("#scroller");
        return box.scrollHeight - box.scrollTop - box.clientHeight < 2;
      });
    }
    await shot(alice, "chat-desktop-light");
    await shot(bob, "chat-desktop-dark");
    await shot(phone, "chat-phone-light");
    await phone.evaluate(() => { document.querySelector("#scroller").scrollTop = 0; });
    await say(bob, "A message for someone who reads further up");
    await phone.getByRole("button", { name: "New messages" }).waitFor();
    await phone.getByRole("button", { name: /People here/ }).click();
    await phone.getByRole("heading", { name: "People here" }).waitFor();
    await shot(phone, "people-phone-light");
    await phone.emulateMedia({ colorScheme: "dark" });
    await phone.keyboard.press("Escape");
    await phone.getByRole("button", { name: "New messages" }).click();
    await shot(phone, "chat-phone-dark");
    await phone.getByRole("button", { name: "Leave" }).click();
    await phone.getByRole("button", { name: "Join" }).waitFor();
    await shot(phone, "join-phone-dark");
    await meets(bob, "Alice", "Bob");
    await bob.getByText("Bartholomew Featherstone left").waitFor();
  });

  await check("a page of another origin gets no connection", async () => {
    const stranger = await person();
    await stranger.goto(other);
    assert.equal(await stranger.evaluate((address) => new Promise((resolve) => {
      const ws = new WebSocket(address);
      ws.onopen = () => resolve("open");
      ws.onclose = (event) => resolve(event.code);
    }), `ws://127.0.0.1:${port}/ws?room=lobby&name=Mallory`), 1006);
    await stranger.context().close();
  });

  await check("nothing went wrong inside the pages", async () => assert.deepEqual(faults, []));
  await check("the chat ends cleanly at the end, too", async () => {
    assert.deepEqual(await stop(server), { code: 0, signal: null });
  });
}

// ---- The browser as a client ----------------------------------------------------------------------

// `echo` is the name in the report; `extensions` is what the page must see of what was agreed on.
async function echoChecks(echo, program, options, extensions) {
  const server = await start(program, "127.0.0.1:0", ...options);
  const page = await person();
  await page.goto(other);
  await page.evaluate((address) => {
    window.dial = () => new Promise((resolve, reject) => {
      const ws = new WebSocket(address);
      ws.onopen = () => resolve(ws);
      ws.onclose = (event) => reject(new Error(`closed with ${event.code} before it opened`));
    });
    window.reply = (ws) => new Promise((resolve, reject) => {
      ws.onmessage = (event) => resolve(event.data);
      ws.onclose = (event) => reject(new Error(`closed with ${event.code} ${event.reason}`));
    });
    window.bytes = (size) => Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 8)) & 255);
    window.noise = (size) => {
      const bytes = new Uint8Array(size);
      for (let at = 0; at < size; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
      return bytes;
    };
    window.hang = (ws, ...how) => new Promise((resolve) => {
      ws.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean });
      ws.close(...how);
    });
  }, `ws://127.0.0.1:${server.port}/`);

  await check(`${echo}: text in any script, and the empty text`, async () => {
    const texts = ["hello", "", "Grüße, 世界, \u{1f44b}\u{1f3fd}", "\0 inside"];
    assert.deepEqual(await page.evaluate(async (texts) => {
      const ws = await dial();
      const back = [];
      for (const text of texts) {
        const answer = reply(ws);
        ws.send(text);
        back.push(await answer);
      }
      return back;
    }, texts), texts);
  });

  await check(`${echo}: no subprotocol where none was offered, and the extension that was agreed on`, async () => {
    assert.deepEqual(await page.evaluate(async () => {
      const ws = await dial();
      return [ws.protocol, ws.extensions];
    }), ["", extensions]);
  });

  await check(`${echo}: ten of each size, words and noise, text and binary`, async () => {
    assert.deepEqual(await page.evaluate(async () => {
      const ws = await dial();
      ws.binaryType = "arraybuffer";
      const wrong = [];
      for (const size of [0, 20, 1 << 10, 64 << 10, 1 << 20]) {
        for (let n = 0; n < 10; n += 1) {
          const words = `{"price":${n},"größe":[1,2,3],"n":"`.repeat(1 + size / 30).slice(0, size);
          let answer = reply(ws);
          ws.send(words);
          if (await answer !== words) wrong.push(`text ${size}`);
          for (const sent of [new TextEncoder().encode(words), noise(size)]) {
            answer = reply(ws);
            ws.send(sent);
            const got = new Uint8Array(await answer);
            if (got.length !== sent.length || got.some((b, i) => b !== sent[i])) wrong.push(`binary ${size}`);
          }
        }
      }
      return wrong;
    }), []);
  });

  for (const type of ["arraybuffer", "blob"]) {
    await check(`${echo}: binary as ${type}, empty, small and at the edges of the length forms`, async () => {
      assert.deepEqual(await page.evaluate(async (type) => {
        const ws = await dial();
        ws.binaryType = type;
        const wrong = [];
        for (const size of [0, 1, 125, 126, 65_535, 65_536]) {
          const sent = bytes(size);
          const answer = reply(ws);
          ws.send(type === "blob" ? new Blob([sent]) : sent.buffer);
          const data = await answer;
          const got = new Uint8Array(data instanceof Blob ? await data.arrayBuffer() : data);
          const kind = data instanceof Blob ? "blob" : "arraybuffer";
          if (kind !== type || got.length !== size || got.some((b, i) => b !== sent[i])) wrong.push(size);
        }
        return wrong;
      }, type), []);
    });
  }

  await check(`${echo}: 1 MiB of binary and 1 MiB of text`, async () => {
    assert.deepEqual(await page.evaluate(async () => {
      const ws = await dial();
      ws.binaryType = "arraybuffer";
      const sent = bytes(1 << 20);
      let answer = reply(ws);
      ws.send(sent);
      const got = new Uint8Array(await answer);
      answer = reply(ws);
      ws.send("é".repeat(1 << 19));
      const text = await answer;
      return [got.length, got.every((b, i) => b === sent[i]), text === "é".repeat(1 << 19)];
    }), [1 << 20, true, true]);
  });

  await check(`${echo}: a hundred messages come back in order`, async () => {
    assert.equal(await page.evaluate(async () => {
      const ws = await dial();
      const got = [];
      const all = new Promise((resolve, reject) => {
        ws.onmessage = (event) => { if (got.push(event.data) === 100) resolve(); };
        ws.onclose = () => reject(new Error("closed"));
      });
      for (let i = 0; i < 100; i += 1) ws.send(`message ${i}`);
      await all;
      return got.every((text, i) => text === `message ${i}`);
    }), true);
  });

  // RFC 6455 section 5.5.1: what answers a Close echoes it.
  await check(`${echo}: the close code and reason come back, cleanly`, async () => {
    assert.deepEqual(await page.evaluate(async () => hang(await dial(), 4000, "that was all – bye")),
      { code: 4000, reason: "that was all – bye", wasClean: true });
    assert.deepEqual(await page.evaluate(async () => hang(await dial(), 1000)),
      { code: 1000, reason: "", wasClean: true });
    assert.deepEqual(await page.evaluate(async () => hang(await dial())), // a Close without a code
      { code: 1005, reason: "", wasClean: true });
  });

  await check(`${echo}: the server ends cleanly on SIGTERM while the browser is connected`, async () => {
    await page.evaluate(async () => {
      const ws = await dial();
      window.lastClose = new Promise((resolve) => { ws.onclose = (event) => resolve(event.wasClean); });
    });
    assert.deepEqual(await stop(server), { code: 0, signal: null });
    assert.equal(await page.evaluate(() => window.lastClose), true);
  });
}

// ---- Messages in pieces ---------------------------------------------------------------------------

const LONG = 512; // MiB

// Chromium keeps long Blobs in files beside its profile, and none ("Failed to fetch") unless the file
// system has some 4 GiB free besides: if it has not, the profile goes to memory.
function roomy() {
  const ENOUGH = 8 * 2 ** 30;
  const room = (folder) => {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  };
  const [disk, memory] = [tmpdir(), "/dev/shm"];
  if (room(disk) >= ENOUGH || !existsSync(memory) || room(memory) < room(disk)) return disk;
  console.log(`        the profile is in ${memory}: ${disk} has ${Math.floor(room(disk) / 2 ** 20)} MiB free`);
  return memory;
}

// The driver copies each message that a page receives, as text, and cannot do that with one of this
// length: here the browser runs by itself, and the page tells its results over HTTP.
async function longChecks() {
  const server = await start(echoPath, "127.0.0.1:0", "--pieces");
  const results = {};
  const told = (name) => (results[name] ??= deferred());
  const page = createServer(async (request, response) => {
    if (request.method === "POST") {
      let body = "";
      for await (const chunk of request) body += chunk;
      told(request.url.slice(1)).resolve(JSON.parse(body));
      response.end();
      return;
    }
    response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
    response.end(`<!doctype html><title>long</title><link rel=icon href=data:,><script type=module>
      const tests = (${longTests})("ws://127.0.0.1:${server.port}/", ${LONG});
      for (const [name, test] of Object.entries(tests)) {
        const result = await test().catch((error) => [String(error)]);
        await fetch(name, { method: "POST", body: JSON.stringify(result) });
      }
    </script>`);
  }).listen(0, "127.0.0.1");
  await once(page, "listening");

  const home = mkdtempSync(join(roomy(), "tautline-browser-"));
  const address = `http://127.0.0.1:${page.address().port}/`;
  const lone = spawn(chromiumPath, ["--headless", ...flags, `--user-data-dir=${home}`, address],
    { stdio: "ignore" });
  children.add(lone);
  lone.ended = once(lone, "exit");
  try {
    for (const type of ["blob", "arraybuffer"]) {
      await check(`pieces: a Blob of ${LONG} MiB there and back as ${type}`, async () => {
        assert.deepEqual(await told(type).promise, []);
      });
    }
    await check("pieces: WebSocketStream, text and 128 MiB with backpressure", async () => {
      const wrong = await told("streams").promise;
      if (wrong === "absent") console.log("        this build has no WebSocketStream");
      else assert.deepEqual(wrong, []);
    });
  } finally {
    lone.kill("SIGTERM");
    await within(lone.ended, "end of the browser that runs by itself");
    children.delete(lone);
    page.close();
    // Its helpers may write a last file.
    rmSync(home, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }

  await check("pieces: the server ends cleanly on SIGTERM", async () => {
    assert.deepEqual(await stop(server), { code: 0, signal: null });
  });
}

// ---- The run --------------------------------------------------------------------------------------

// A page of another origin than any of the servers.
const blank = createServer((_, response) => {
  response.writeHead(200, { "content-type": "text/html" });
  response.end("<!doctype html><title>blank</title><link rel=icon href=data:,>");
}).listen(0, "127.0.0.1");
await once(blank, "listening");
const other = `http://127.0.0.1:${blank.address().port}/`;

const echoes = [
  ["echo", echoPath, [], ""],
  ["echo, compressed", echoPath, ["--deflate"], "permessage-deflate; server_no_context_takeover"],
  ["echo, compressed with takeover", echoPath, ["--takeover"], "permessage-deflate"],
  ["echo in pieces", echoPath, ["--pieces"], ""],
  ["echo in pieces, compressed", echoPath, ["--pieces", "--takeover"], "permessage-deflate"],
].map(([name, ...rest]) => [name, () => echoChecks(name, ...rest)]);

const chatGroups = chats.map(([name, path]) => [name, () => chatChecks(path)]);

const programs = { chat: chats[0][1], feed: feedPath, game: gamePath };
const nodeGroups = ["redis", "nats"].map((kind) => [`two nodes over ${kind}`, () => nodeChecks(kind, programs)]);

await run([...chatGroups, ["feed", () => feedChecks(feedPath)], ["game", () => gameChecks(gamePath)], ...nodeGroups, ...echoes, ["pieces", longChecks]]);
