// The `trading_feed` example: books, prices and the chart of its page.

import assert from "node:assert/strict";

import { check, faults, person, retryNow, shot, start, stop, wire } from "./support.mjs";

const number = (page, id) => page.evaluate((id) => Number(document.getElementById(id).textContent), id);

// Waits until so many updates are in a book that was the server's after each of them.
export async function checked(page, more) {
  const before = await number(page, "checked");
  await page.waitForFunction((least) => Number(document.querySelector("#checked").textContent) >= least, before + more);
  assert.equal(await number(page, "differ"), 0, "the page's book is the server's");
}

export const shows = (page, symbol) => page.waitForFunction((symbol) => {
  const pressed = document.querySelector("#symbols [aria-pressed=true] b")?.textContent;
  return pressed === symbol && document.querySelector("#chart-title").textContent === symbol
    && document.querySelectorAll("#bids tr").length >= 5 && document.querySelectorAll("#asks tr").length >= 5;
}, symbol);

const state = (page, online) => page.waitForFunction(
  (online) => (document.querySelector("#state").dataset.state === "online") === online, online);

async function back(page) {
  await retryNow(page);
  await state(page, true);
}

// How much of the chart has something drawn on it.
const drawn = (page) => page.evaluate(() => {
  const canvas = document.querySelector("#chart");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let at = 3; at < data.length; at += 4) if (data[at] > 0) count += 1;
  return count;
});

const best = (page) => page.evaluate(() => {
  const price = (row) => Number(document.querySelector(row).cells[0].textContent);
  return { bid: price("#bids tr:first-child"), ask: price("#asks tr:last-child") };
});

export async function feedChecks(program) {
  let server = await start(program, "127.0.0.1:0");
  const { port } = server;
  const between = await wire(port);
  const url = `http://127.0.0.1:${between.port}/`;
  const trader = await person();
  const words = []; // what the page has asked
  trader.on("websocket", (socket) => socket.on("framesent", ({ payload }) => {
    if (payload.startsWith("watch")) words.push(payload);
  }));

  await check("feed: the page and its parts are served with the right headers", async () => {
    const page = await fetch(url);
    assert.equal(page.headers.get("content-type"), "text/html; charset=utf-8");
    assert.match(page.headers.get("content-security-policy"), /^default-src 'none';/);
    for (const part of ["style.css", "app.js", "book.js", "chart.js", "latency.js", "connection.js", "icon.svg"]) {
      assert.equal((await fetch(url + part)).status, 200, part);
    }
    assert.equal((await fetch(`${url}nothing-here`)).status, 404);
  });

  await check("feed: four prices, a book that is the server's after each update, and a chart", async () => {
    await trader.goto(url);
    await shows(trader, "TAUT");
    assert.equal(await trader.locator("#symbols button").count(), 4);
    await checked(trader, 20);
    const { bid, ask } = await best(trader);
    assert.ok(bid < ask, `${bid} < ${ask}`);
    assert.ok(await drawn(trader) > 1_000, "the chart is not empty");
    await trader.waitForFunction(() => Number(document.querySelector("#latency").textContent) >= 0);
    assert.ok(await number(trader, "worst") >= await number(trader, "median"));
    await shot(trader, "feed-desktop-light");
  });

  await check("feed: keys and clicks choose another book", async () => {
    await trader.keyboard.press("3");
    await shows(trader, "ROPE");
    await checked(trader, 3);
    await trader.keyboard.press("ArrowRight");
    await shows(trader, "KNOT");
    await trader.getByRole("button", { name: /LINE/ }).click();
    await shows(trader, "LINE");
    await checked(trader, 3);
    const box = await trader.locator("#chart").boundingBox();
    await trader.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await trader.waitForFunction(() => /\d+\.\d\d$/.test(document.querySelector("#pointed").textContent));
  });

  // The book is not sent again: what was missed is.
  await check("feed: a page whose connection was cut recovers the updates that it missed", async () => {
    const snapshots = await number(trader, "snapshots");
    const recoveries = await number(trader, "recoveries");
    between.cut();
    await state(trader, false);
    await back(trader);
    await checked(trader, 5);
    assert.match(words.at(-1), /^watch LINE \d+@[0-9a-f]+$/);
    assert.equal(await number(trader, "recoveries"), recoveries + 1);
    assert.equal(await number(trader, "snapshots"), snapshots);
  });

  await check("feed: after a restart of the server the page begins anew with a snapshot", async () => {
    const snapshots = await number(trader, "snapshots");
    assert.deepEqual(await stop(server), { code: 0, signal: null });
    await state(trader, false);
    server = await start(program, `127.0.0.1:${port}`);
    await back(trader);
    await checked(trader, 5);
    assert.equal(await number(trader, "snapshots"), snapshots + 1);
  });

  await check("feed: on a phone everything fits, and a finger chooses", async () => {
    const phone = await person({ viewport: { width: 360, height: 720 }, isMobile: true, hasTouch: true, colorScheme: "dark" });
    await phone.goto(url);
    await shows(phone, "TAUT");
    await phone.getByRole("button", { name: /KNOT/ }).tap();
    await shows(phone, "KNOT");
    await checked(phone, 5);
    assert.ok(await drawn(phone) > 500);
    assert.equal(await phone.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
    await shot(phone, "feed-phone-dark");
    await phone.context().close();
  });

  await check("feed: what is not a word of the page closes with 1008", async () => {
    const closed = await trader.evaluate(() => new Promise((resolve) => {
      const ws = new WebSocket(`ws://${location.host}/ws`);
      ws.onopen = () => ws.send("watch GOLD");
      ws.onclose = ({ code, reason }) => resolve({ code, reason });
    }));
    assert.deepEqual(closed, { code: 1008, reason: "expected: watch or ping" });
  });

  await check("feed: nothing went wrong inside the pages, and the server ends cleanly", async () => {
    assert.deepEqual(faults, []);
    assert.deepEqual(await stop(server), { code: 0, signal: null });
  });
  await trader.context().close();
  between.close();
}
