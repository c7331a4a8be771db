// The `game` example: the arena as two people see it.

import assert from "node:assert/strict";

import { Timeline } from "../../examples/game/timeline.js";
import { check, faults, person, retryNow, shot, start, stop } from "./support.mjs";

const HELD = 400; // frames at most that a check looks at

export async function play(page, url, name) {
  const seen = { worlds: [], welcome: null }; // what the server has told the page
  page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => {
    const message = JSON.parse(payload);
    if (message.type === "welcome") seen.welcome = message;
    if (message.type === "world") seen.worlds.push(message);
  }));
  await page.goto(url);
  await page.getByLabel("Your name").fill(name);
  await page.getByRole("button", { name: "Play" }).click();
  await page.locator("#people li.you").waitFor();
  return seen;
}

export const meets = (page, ...names) => page.waitForFunction((names) => {
  const here = [...document.querySelectorAll("#people .name")].map((name) => name.textContent);
  return JSON.stringify(here.sort()) === JSON.stringify(names.sort());
}, names);

// Where a player is shown, `[x, y]`.
async function place(page, name) {
  const shown = await page.waitForFunction((name) => {
    const of = (item) => item.querySelector(".name").textContent === name;
    return [...document.querySelectorAll("#people li")].find(of)?.dataset.place;
  }, name);
  return (await shown.jsonValue()).split(",").map(Number);
}

export async function gameChecks(program) {
  await check("game: what moves is shown between two ticks", async () => {
    const timeline = new Timeline(20); // a tick each 50 ms
    assert.equal(timeline.at(0), null);
    const state = (tick, x) => ({ tick, players: { a: [x, 2 * x] }, lights: [] });
    timeline.add(state(10, 100), 1_000);
    assert.deepEqual(timeline.at(1_000).players, { a: [100, 200] }, "at once");
    timeline.add(state(11, 110), 1_080); // 30 ms late
    timeline.add(state(13, 130), 1_150); // one is missing
    const x = (now) => Math.round(timeline.at(now).players.a[0]);
    assert.deepEqual([1_100, 1_125, 1_150, 1_200, 1_250, 2_000].map(x), [100, 105, 110, 120, 130, 130]);
    timeline.add({ tick: 14, players: { b: [1, 1] }, lights: [] }, 1_200);
    assert.deepEqual(timeline.at(1_275).players, {}, "gone");
    timeline.add(state(13, 0), 1_201);
    assert.deepEqual(timeline.at(1_300).players, { b: [1, 1] }, "one that is late changes nothing");
    for (let tick = 15; tick < 200; tick += 1) timeline.add(state(tick, tick), tick * 50 + 500);
    timeline.add(state(1, 7), 20_000);
    assert.deepEqual(timeline.at(20_000).players.a, [7, 14], "the arena was restarted");
  });

  let server = await start(program, "127.0.0.1:0");
  const { port } = server;
  const url = `http://127.0.0.1:${port}/`;
  const alice = await person();
  let alices;
  const bob = await person({ viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true });
  let bobs;

  await check("game: the page and its parts are served", async () => {
    const page = await fetch(url);
    assert.match(page.headers.get("content-security-policy"), /^default-src 'none';/);
    for (const [, part] of (await page.text()).matchAll(/(?:src|href)="\/([^"]+)"/g)) {
      assert.equal((await fetch(url + part)).status, 200, part);
    }
    for (const part of ["steering.js", "timeline.js", "view.js", "connection.js"]) {
      assert.equal((await fetch(url + part)).status, 200, part);
    }
  });

  await check("game: who comes late sees who is there, by the name as it was written", async () => {
    alices = await play(alice, url, "<b>Alice</b>");
    await meets(alice, "<b>Alice</b>");
    bobs = await play(bob, url, "Bob");
    await meets(bob, "<b>Alice</b>", "Bob");
    await meets(alice, "<b>Alice</b>", "Bob");
    const first = bobs.worlds[0];
    assert.ok(alices.welcome.you in first.players, "in the first message");
    assert.equal(first.lights.length, 6);
  });

  await check("game: keys move a player, and the other page shows it between the ticks", async () => {
    const id = alices.welcome.you;
    const [before] = await place(bob, "<b>Alice</b>");
    const key = before > 800 ? "ArrowLeft" : "ArrowRight"; // there is room for half a second at least
    // Each frame's place on Bob's page, until Alice has come far.
    const shown = bob.evaluate(([far, frames]) => new Promise((resolve, reject) => {
      const places = [];
      const look = () => {
        const item = [...document.querySelectorAll("#people li")].find((item) => !item.classList.contains("you"));
        if (!item?.dataset.place) return requestAnimationFrame(look); // the list was made anew
        places.push(item.dataset.place);
        const [x] = item.dataset.place.split(",").map(Number);
        if (Math.abs(x - far) > 200) return resolve(places);
        if (places.length > frames) return reject(new Error(`Alice did not come far: ${places.at(-1)}`));
        requestAnimationFrame(look);
      };
      look();
    }), [before, HELD]);
    await alice.keyboard.down(key);
    const places = await shown;
    await alice.keyboard.up(key);
    const told = new Set(bobs.worlds.map(({ players }) => players[id]?.map((part) => part.toFixed(1)).join(",")));
    const between = new Set(places.filter((place) => !told.has(place)));
    assert.ok(between.size > 3, `${between.size} of ${places.length} are between two ticks`);
  });

  await check("game: a tap is a way to go, and a light that is reached counts", async () => {
    const score = () => bob.locator("#people li.you .score").textContent().then(Number);
    const { width, height } = bobs.welcome;
    const before = await score();
    for (let tap = 0; tap < 8 && await score() === before; tap += 1) {
      const box = await bob.locator("#arena").boundingBox();
      const [x, y] = bobs.worlds.at(-1).lights[0];
      const gone = JSON.stringify([x, y]);
      await bob.touchscreen.tap(box.x + (x / width) * box.width, box.y + (y / height) * box.height);
      // Until it is there, or somebody has that light.
      while (JSON.stringify(bobs.worlds.at(-1).lights[0]) === gone) {
        await bob.evaluate(() => new Promise((resolve) => { requestAnimationFrame(resolve); }));
      }
      await bob.waitForFunction((before) => Number(document.querySelector("#people li.you .score").textContent) > before,
        before);
    }
    assert.ok(await score() > before);
    await shot(bob, "game-phone");
    await shot(alice, "game-desktop");
  });

  await check("game: the ticks come in their order, and nothing scrolls sideways", async () => {
    for (const { worlds } of [alices, bobs]) {
      assert.ok(worlds.length > 30);
      assert.ok(worlds.every(({ tick }, index) => index === 0 || tick > worlds[index - 1].tick));
    }
    for (const page of [alice, bob]) {
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
    }
  });

  await check("game: who leaves is gone", async () => {
    await bob.getByRole("button", { name: "Leave" }).click();
    await meets(alice, "<b>Alice</b>");
    await bob.getByRole("button", { name: "Play" }).click();
    await meets(alice, "<b>Alice</b>", "Bob");
  });

  await check("game: after a restart of the server the players are back", async () => {
    assert.deepEqual(await stop(server), { code: 0, signal: null });
    await alice.waitForFunction(() => document.querySelector("#state").dataset.state !== "online");
    server = await start(program, `127.0.0.1:${port}`);
    for (const page of [alice, bob]) await retryNow(page);
    await meets(alice, "<b>Alice</b>", "Bob");
    await meets(bob, "<b>Alice</b>", "Bob");
    const again = ({ tick }, index, worlds) => index > 0 && tick < worlds[index - 1].tick;
    assert.equal(alices.worlds.filter(again).length, 1, "another arena");
    await alice.waitForFunction(() => document.querySelector("#people li.you").dataset.place);
  });

  await check("game: a connection without a name is refused, and what is no direction closes with 1008", async () => {
    const end = (query, words) => alice.evaluate(([query, words]) => new Promise((resolve) => {
      const ws = new WebSocket(`ws://${location.host}/ws${query}`);
      ws.onopen = () => ws.send(words);
      ws.onclose = ({ code, reason }) => resolve({ code, reason });
    }), [query, words]);
    assert.equal((await end("", "")).code, 1006);
    assert.equal((await end(`?name=${"x".repeat(17)}`, "")).code, 1006);
    assert.deepEqual(await end("?name=Eve", "left"), { code: 1008, reason: "expected: X Y" });
  });

  await check("game: nothing went wrong inside the pages, and the server ends cleanly", async () => {
    assert.deepEqual(faults, []);
    assert.deepEqual(await stop(server), { code: 0, signal: null });
  });
  await alice.context().close();
  await bob.context().close();
}
