// What an SDK for JavaScript does against centrifuge_peer, in Node.js and in a browser.
// What the peer grants is in its source.

import { all, failure, once, same, subscribed } from './helpers.mjs';
import { theirs } from './theirs.mjs';

/**
 * Runs all checks: `json` and `protobuf` are the SDK's modules of these formats, `WebSocket` what they
 * connect with, `cut` cuts a socket, `mute` has one read nothing until what it returns is called, if that is
 * possible, and `report` runs a check of a name.
 */
export async function run({ url, format, json, protobuf: binary, WebSocket, cut: end, mute, mark, report }) {
  const protobuf = format === 'protobuf';
  const { Centrifuge, State, SubscriptionState, UnauthorizedError } = protobuf ? binary : json;

  /** Data as the SDK takes and gives them in this format. */
  const data = (value) => (protobuf ? new TextEncoder().encode(JSON.stringify(value)) : value);
  const value = (bytes) => (protobuf ? JSON.parse(new TextDecoder().decode(bytes)) : bytes);

  /** A client that is not connected. */
  function client(options = {}, to = url) {
    return new Centrifuge(to, {
      websocket: WebSocket,
      minReconnectDelay: 20,
      maxReconnectDelay: 50,
      timeout: 3000,
      ...options,
    });
  }

  async function connected(options, to) {
    const made = client(options, to);
    const event = once(made, 'connected');
    made.connect();
    await made.ready(3000);
    return [made, await event];
  }

  let open = [];
  /** A check with clients that are ended after it. */
  const check = (name, run, seconds) =>
    report(name, async () => {
      try {
        await run();
      } finally {
        for (const made of open) made.disconnect();
        open = [];
      }
    }, seconds);

  const hold = (made) => (open.push(made), made);

  async function use(options, to) {
    const [made, event] = await connected(options, to);
    return [hold(made), event];
  }

  /** A name that no other check uses. */
  let names = 0;
  const unique = (start) => `${start}.${format}${mark}x${++names}`;
  const call = async (made, method, argument) => value((await made.rpc(method, data(argument))).data);
  /** Cuts the connection as a network does. */
  const cut = (made) => end(made._transport._transport);

  await check('connects without a token', async () => {
    const [, event] = await use();
    same(event.client.length > 0, true);
    same(event.transport, 'websocket');
  });

  await check('connects with a token and data', async () => {
    const [, event] = await use({ token: 'user:alice', data: data({ a: 'grüße\n' }) });
    same(value(event.data), { a: 'grüße\n' });
  });

  await check('a bad token is final', async () => {
    const made = client({ token: 'bad:' });
    const event = once(made, 'disconnected');
    made.connect();
    same(await event, { code: 3500, reason: 'invalid token' });
  });

  await check('an error while connecting is final', async () => {
    const made = client({ token: 'refused:' });
    const event = once(made, 'disconnected');
    made.connect();
    same(await event, { code: 1000, reason: 'no' });
  });

  await check('a temporary error while connecting is not', async () => {
    const made = client({ token: 'later:' });
    open.push(made);
    const errors = all(made, 'error');
    made.connect();
    await errors.until(2);
    same(errors[1].error.code, 1001);
    made.setToken('user:alice');
    await made.ready(3000);
  });

  await check('an expired token is replaced', async () => {
    let asked = 0;
    const made = client({ token: 'expired:', getToken: async () => (asked++, 'user:alice') });
    open.push(made);
    made.connect();
    await made.ready(3000);
    same(asked, 1);
  });

  await check('a connection is refreshed', async () => {
    let refreshed;
    const done = new Promise((resolve) => (refreshed = resolve));
    const [made] = await use({ token: 'short:alice', getToken: async () => (refreshed(), 'user:alice') });
    await done;
    const left = all(made, 'connecting');
    await new Promise((resolve) => setTimeout(resolve, 1500));
    same(left.length, 0);
  });

  await check('a connection that is not refreshed is closed, and comes back', async () => {
    const made = client({ token: 'short:alice', getToken: () => new Promise(() => {}) });
    open.push(made);
    const left = all(made, 'connecting');
    made.connect();
    await left.until(2);
    same([left[1].code, left[1].reason], [3005, 'connection expired']);
  });

  await check('a refused refresh is final', async () => {
    const made = client({ token: 'short:alice', getToken: async () => 'bad:' });
    const event = once(made, 'disconnected');
    made.connect();
    same((await event).code, 101);
  });

  await check('nobody who is unauthorized gets a token', async () => {
    const made = client({ getToken: async () => { throw new UnauthorizedError(); } });
    const event = once(made, 'disconnected');
    made.connect();
    same((await event).code, 1);
  });

  await check('subscribes, with data', async () => {
    const [made] = await use();
    const [, event] = await subscribed(made, unique('chat'), { data: data({ b: 1 }) });
    same(value(event.data), { b: 1 });
    same([event.positioned, event.recoverable, event.wasRecovering], [false, false, false]);
  });

  await check('subscribes to 20 channels at once, and no more', async () => {
    const made = client();
    open.push(made);
    const subs = Array.from({ length: 21 }, () => made.newSubscription(unique('chat')));
    for (const sub of subs) sub.subscribe();
    made.connect();
    const ends = await Promise.allSettled(subs.map((sub) => sub.ready(3000)));
    same(ends.filter((end) => end.status === 'fulfilled').length, 20);
    const [refused] = subs.filter((sub) => sub.state === SubscriptionState.Unsubscribed);
    same(subs.indexOf(refused), 20);
  });

  await check('a refused subscription is final', async () => {
    const [made] = await use();
    const sub = made.newSubscription('secret.a');
    const event = once(sub, 'unsubscribed');
    sub.subscribe();
    same(await event, { channel: 'secret.a', code: 103, reason: 'permission denied' });
  });

  await check('what cannot be a channel is unknown', async () => {
    const [made] = await use();
    const sub = made.newSubscription('two words');
    const event = once(sub, 'unsubscribed');
    sub.subscribe();
    same((await event).code, 102);
  });

  await check('a subscription has a token, and another if that has expired', async () => {
    const [made] = await use();
    const tokens = ['old', 'good'];
    const [, event] = await subscribed(made, unique('token'), { getToken: async () => tokens.shift() });
    same([event.channel.startsWith('token.'), tokens.length], [true, 0]);
    const sub = made.newSubscription(unique('token'), { token: 'wrong' });
    const end = once(sub, 'unsubscribed');
    sub.subscribe();
    same((await end).code, 103);
  });

  await check('a subscription is refreshed', async () => {
    const [made] = await use();
    let refreshed;
    const done = new Promise((resolve) => (refreshed = resolve));
    const [sub] = await subscribed(made, unique('short'), { getToken: async () => (refreshed(), 'good') });
    await done;
    const left = all(sub, 'subscribing');
    await new Promise((resolve) => setTimeout(resolve, 1500));
    same(left.length, 0);
  });

  await check('a subscription that is not refreshed ends, and is made again', async () => {
    const [made] = await use();
    const [sub] = await subscribed(made, unique('ending'));
    const left = await once(sub, 'subscribing');
    same([left.code, left.reason], [2501, 'subscription expired']);
    await sub.ready(3000);
  });

  await check('a refused refresh of a subscription ends it', async () => {
    const [made] = await use();
    const [sub] = await subscribed(made, unique('short'), { token: 'good', getToken: async () => 'bad' });
    same((await once(sub, 'unsubscribed')).code, 103);
  });

  await check('publishes, and gets it with who it was', async () => {
    const [alice, { client: id }] = await use({ token: 'user:alice' });
    const [bob] = await use({ token: 'user:bob' });
    const channel = unique('chat');
    const [mine] = await subscribed(alice, channel);
    const [theirs] = await subscribed(bob, channel);
    const both = [once(mine, 'publication'), once(theirs, 'publication')];
    await alice.publish(channel, data({ text: '世界' }));
    for (const { data: got, info, tags } of await Promise.all(both)) {
      same(value(got), { text: '世界' });
      same([info.user, info.client, value(info.connInfo)], ['alice', id, { name: 'alice' }]);
      same(Object.keys(tags ?? {}).length, 0);
    }
  });

  await check('publishes through a subscription, with tags', async () => {
    const [made] = await use();
    const [sub] = await subscribed(made, unique('tagged'));
    const event = once(sub, 'publication');
    await sub.publish(data([1]));
    same({ ...(await event).tags }, { lang: 'de' });
  });

  await check('what is published is in its order', async () => {
    const [made] = await use();
    const [sub] = await subscribed(made, unique('log'));
    const got = all(sub, 'publication');
    await Promise.all(Array.from({ length: 100 }, (_, n) => sub.publish(data(n))));
    await got.until(100);
    same(got.map((event) => value(event.data)), Array.from({ length: 100 }, (_, n) => n));
    same(got.map((event) => Number(event.offset)), Array.from({ length: 100 }, (_, n) => n + 1));
  });

  await check('a refused publication is an error', async () => {
    const [made] = await use();
    const error = await failure(made.publish('secret.a', data(1)));
    same([error.code, error.message], [103, 'permission denied']);
  });

  await check('unsubscribes', async () => {
    const [made] = await use();
    const [sub] = await subscribed(made, unique('chat'));
    const got = all(sub, 'publication');
    sub.unsubscribe();
    await made.publish(sub.channel, data(1));
    await call(made, 'echo', 1);
    same(got.length, 0);
  });

  await check('unsubscribes and subscribes in a row', async () => {
    const [made] = await use();
    const [sub] = await subscribed(made, unique('chat'));
    for (let round = 0; round < 20; round++) {
      sub.unsubscribe();
      sub.subscribe();
    }
    await sub.ready(3000);
    const event = once(sub, 'publication');
    await sub.publish(data('still'));
    same(value((await event).data), 'still');
  });

  await check('presence, and how many', async () => {
    const [alice, { client: id }] = await use({ token: 'user:alice' });
    const [again] = await use({ token: 'user:alice' });
    const [bob] = await use({ token: 'user:bob' });
    const channel = unique('chat');
    const [sub] = await subscribed(alice, channel);
    await subscribed(again, channel);
    await subscribed(bob, channel);
    const { clients } = await sub.presence();
    same(Object.keys(clients).length, 3);
    same([clients[id].user, value(clients[id].connInfo)], ['alice', { name: 'alice' }]);
    same(await bob.presenceStats(channel), { numUsers: 2, numClients: 3 });
    same(await bob.presenceStats(unique('chat')), { numUsers: 0, numClients: 0 });
  });

  await check('hears who comes and goes', async () => {
    const [alice] = await use({ token: 'user:alice' });
    const channel = unique('chat');
    const [sub] = await subscribed(alice, channel, { joinLeave: true });
    const joins = all(sub, 'join');
    const leaves = all(sub, 'leave');
    // It hears of itself as well.
    await joins.until(1);
    const [bob] = await use({ token: 'user:bob' });
    const [theirs] = await subscribed(bob, channel);
    await joins.until(2);
    theirs.unsubscribe();
    await leaves.until(1);
    theirs.subscribe();
    await joins.until(3);
    bob.disconnect();
    await leaves.until(2);
    same(joins.map(({ info }) => info.user), ['alice', 'bob', 'bob']);
    same(leaves.map(({ info }) => info.user), ['bob', 'bob']);
  });

  const offsets = ({ publications }) => publications.map(({ offset }) => Number(offset));

  await check('history: forward, backward, a part, the position alone', async () => {
    const [made] = await use();
    const channel = unique('log');
    await call(made, 'publish', { channel, count: 12 });
    const top = await made.history(channel);
    same([top.publications.length, Number(top.offset), top.epoch.length > 0], [0, 12, true]);
    same(offsets(await made.history(channel, { limit: -1 })), [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    same(offsets(await made.history(channel, { limit: 2 })), [3, 4]);
    same(offsets(await made.history(channel, { limit: 2, reverse: true })), [12, 11]);
    const since = { offset: 5, epoch: top.epoch };
    same(offsets(await made.history(channel, { limit: 3, since })), [6, 7, 8]);
    same(offsets(await made.history(channel, { limit: 3, since, reverse: true })), [4, 3]);
    const { publications } = await made.history(channel, { limit: 1 });
    same(value(publications[0].data), 3);
  });

  await check('history that is not there', async () => {
    const [made] = await use();
    const channel = unique('log');
    await call(made, 'publish', { channel, count: 12 });
    const since = (offset, epoch) => failure(made.history(channel, { limit: 1, since: { offset, epoch } }));
    same((await since(1, '')).code, 112);
    same((await since(12, 'other')).code, 112);
    same((await failure(made.history(unique('chat'), { limit: 1 }))).code, 108);
    same((await failure(made.history('secret.a', { limit: 1 }))).code, 103);
  });

  await check('recovers what it missed while it was away', async () => {
    const [made] = await use();
    const [other] = await use();
    const channel = unique('log');
    const [sub, first] = await subscribed(made, channel);
    same([first.recoverable, first.positioned, first.wasRecovering], [true, true, false]);
    const got = all(sub, 'publication');
    await call(other, 'publish', { channel });
    await got.until(1);
    const again = once(sub, 'subscribed');
    cut(made);
    await call(other, 'publish', { channel, count: 5 });
    const event = await again;
    same([event.wasRecovering, event.recovered, event.hasRecoveredPublications], [true, true, true]);
    await call(other, 'publish', { channel });
    await got.until(7);
    same(got.map(({ offset }) => Number(offset)), [1, 2, 3, 4, 5, 6, 7]);
  });

  await check('recovers nothing if it missed nothing', async () => {
    const [made] = await use();
    const channel = unique('log');
    await call(made, 'publish', { channel });
    const [sub] = await subscribed(made, channel);
    const again = once(sub, 'subscribed');
    cut(made);
    const event = await again;
    same([event.wasRecovering, event.recovered, event.hasRecoveredPublications], [true, true, false]);
  });

  await check('is told that what it missed is gone', async () => {
    const [made] = await use({ minReconnectDelay: 300, maxReconnectDelay: 400 });
    const [other] = await use();
    const channel = unique('log');
    const [sub] = await subscribed(made, channel);
    const got = all(sub, 'publication');
    const again = once(sub, 'subscribed');
    cut(made);
    await call(other, 'publish', { channel, count: 20 });
    const event = await again;
    same([event.wasRecovering, event.recovered, got.length], [true, false, 0]);
    same(Number(event.streamPosition.offset), 20);
  });

  await check('recovers from a position that it is given', async () => {
    const [made] = await use();
    const channel = unique('log');
    await call(made, 'publish', { channel, count: 5 });
    const { epoch } = await made.history(channel);
    const sub = made.newSubscription(channel, { since: { offset: 3, epoch } });
    const got = all(sub, 'publication');
    const event = once(sub, 'subscribed');
    sub.subscribe();
    same((await event).recovered, true);
    await got.until(2);
    same(got.map(({ offset }) => Number(offset)), [4, 5]);
  });

  await check('another epoch recovers nothing', async () => {
    const [made] = await use();
    const channel = unique('log');
    await call(made, 'publish', { channel, count: 2 });
    const [, event] = await subscribed(made, channel, { since: { offset: 1, epoch: 'xyz' } });
    same([event.wasRecovering, event.recovered], [true, false]);
  });

  await check('gets its state anew where it cannot recover', async () => {
    const [made] = await use({ minReconnectDelay: 300, maxReconnectDelay: 400 });
    const [other] = await use();
    const channel = unique('log');
    await call(other, 'publish', { channel });
    let asked = 0;
    const getState = async () => {
      asked++;
      const { offset, epoch } = await other.history(channel);
      return { offset: Number(offset), epoch };
    };
    const [sub] = await subscribed(made, channel, { getState });
    same(asked, 1);
    cut(made);
    await call(other, 'publish', { channel, count: 20 });
    await once(sub, 'subscribed');
    same(asked, 2);
    const event = once(sub, 'publication');
    await call(other, 'publish', { channel, data: 'new' });
    same(value((await event).data), 'new');
  });

  await check('is only positioned where the server wants that', async () => {
    const [made] = await use();
    const [, event] = await subscribed(made, unique('logpositioned'), { recoverable: true });
    same([event.positioned, event.recoverable], [true, false]);
  });

  await check('gets the last value when it subscribes', async () => {
    const [made] = await use();
    const channel = unique('cache');
    await call(made, 'publish', { channel, count: 3 });
    const sub = made.newSubscription(channel);
    const got = all(sub, 'publication');
    const event = once(sub, 'subscribed');
    sub.subscribe();
    same((await event).recovered, true);
    await got.until(1);
    same(value(got[0].data), 3);
    // It has it when it comes back, and gets the next one only.
    const again = once(sub, 'subscribed');
    cut(made);
    same((await again).hasRecoveredPublications, false);
    await call(made, 'publish', { channel, data: 4 });
    await got.until(2);
    same(got.map((publication) => value(publication.data)), [3, 4]);
  });

  await check('the server subscribes it when it connects, and it recovers', async () => {
    const made = client({ token: 'server:alice' });
    open.push(made);
    const subscriptions = all(made, 'subscribed');
    const got = all(made, 'publication');
    made.connect();
    await subscriptions.until(1);
    same([subscriptions[0].channel, subscriptions[0].recoverable], ['log.server', true]);
    const [other] = await use();
    await call(other, 'publish', { channel: 'log.server', data: 1 });
    await got.until(1);
    cut(made);
    await call(other, 'publish', { channel: 'log.server', data: 2 });
    await subscriptions.until(2);
    same([subscriptions[1].wasRecovering, subscriptions[1].recovered], [true, true]);
    await got.until(2);
    same(got.map((event) => value(event.data)), [1, 2]);
  });

  await check('the server subscribes and unsubscribes it', async () => {
    const [made] = await use();
    const channel = unique('chat');
    const event = once(made, 'subscribed');
    await call(made, 'subscribe', { channel });
    same((await event).channel, channel);
    const got = once(made, 'publication');
    await made.publish(channel, data(7));
    same(value((await got).data), 7);
    const end = once(made, 'unsubscribed');
    await call(made, 'unsubscribe', { channel, code: 2000, reason: 'enough' });
    same((await end).channel, channel);
  });

  await check('calls', async () => {
    const [made] = await use();
    same(await call(made, 'echo', { deep: [1, { a: null }], text: '🦀\u2028' }), { deep: [1, { a: null }], text: '🦀\u2028' });
  });

  await check('an error of a call', async () => {
    const [made] = await use();
    const error = await failure(call(made, 'error', {}));
    same([error.code, error.message], [1234, 'as asked for']);
    same((await failure(call(made, 'temporary', {}))).code, 1235);
    same((await failure(call(made, 'none', {}))).code, 104);
  });

  await check('many calls at once', async () => {
    const [made] = await use();
    const calls = Array.from({ length: 200 }, (_, n) => call(made, 'echo', n));
    same(await Promise.all(calls), Array.from({ length: 200 }, (_, n) => n));
  });

  await check('commands in one frame', async () => {
    const [made] = await use();
    made.startBatching();
    const calls = Array.from({ length: 50 }, (_, n) => call(made, 'echo', n));
    made.stopBatching();
    same(await Promise.all(calls), Array.from({ length: 50 }, (_, n) => n));
  });

  await check('sends, and is sent to', async () => {
    const [made] = await use();
    const mark = unique('mark');
    await made.send(data({ mark }));
    same((await call(made, 'messages', {})).some((message) => message.mark === mark), true);
    const event = once(made, 'message');
    await call(made, 'send', { to: 'you' });
    same(value((await event).data), { to: 'you' });
  });

  const codes = [
    [[3000, 3001, 3010, 3014, 3499, 4000, 4499], true],
    [[3500, 3503, 3999, 4500, 4999], false],
  ];
  for (const [code, comes] of codes.flatMap(([some, comes]) => some.map((code) => [code, comes]))) {
    await check(`closed with ${code}, it ${comes ? 'comes back' : 'stays away'}`, async () => {
      const [made] = await use({ getToken: async () => 'user:alice' });
      const event = once(made, comes ? 'connecting' : 'disconnected');
      failure(call(made, 'disconnect', { code, reason: 'because' })).catch(() => {});
      same(await event, { code, reason: 'because' });
      if (comes) await made.ready(3000);
      else same(made.state, State.Disconnected);
    });
  }

  for (const [code, again] of [[2000, false], [2100, false], [2500, true], [2502, true]]) {
    await check(`unsubscribed with ${code}, it ${again ? 'subscribes again' : 'does not'}`, async () => {
      const [made] = await use();
      const [sub] = await subscribed(made, unique('log'), { getToken: async () => 'good' });
      const event = once(sub, again ? 'subscribing' : 'unsubscribed');
      await call(made, 'unsubscribe', { channel: sub.channel, code, reason: 'because' });
      same(await event, { channel: sub.channel, code, reason: 'because' });
      if (again) await sub.ready(3000);
    });
  }

  await check('answers pings', async () => {
    const [made] = await use({ maxServerPingDelay: 1000 });
    const left = all(made, 'connecting');
    await new Promise((resolve) => setTimeout(resolve, 3500));
    same(left.length, 0);
  });

  await check('one that does not answer pings is closed', async () => {
    const made = client();
    open.push(made);
    const left = all(made, 'connecting');
    made.connect();
    await made.ready(3000);
    made._sendPong = false;
    await left.until(2);
    same([left[1].code, left[1].reason], [3012, 'no pong']);
  });

  if (mute) {
    await check('one that does not read is closed', async () => {
      const [made] = await use();
      const [other] = await use();
      const channel = unique('chat');
      await subscribed(made, channel);
      const left = once(made, 'connecting');
      const listen = mute(made._transport._transport);
      const large = 'x'.repeat(50_000);
      for (let round = 0; round < 20; round++) await call(other, 'publish', { channel, data: large, count: 20 });
      listen();
      same((await left).code, 3008);
    });
  }

  await check('a frame that is too long is final', async () => {
    const [made] = await use();
    const event = once(made, 'disconnected');
    failure(made.rpc('echo', data('x'.repeat(100_000)))).catch(() => {});
    same((await event).code, 3);
  });

  if (protobuf) {
    await check('bytes that are no JSON', async () => {
      const [made] = await use();
      const [sub] = await subscribed(made, unique('chat'));
      const event = once(sub, 'publication');
      await sub.publish(new Uint8Array([0, 1, 254, 255]));
      same([...(await event).data], [0, 1, 254, 255]);
    });
    await check('by the query of the URL', async () => {
      class Plain extends WebSocket {
        constructor(to) {
          super(to);
        }
      }
      const [made] = await use({ websocket: Plain }, `${url}?format=protobuf`);
      same(await call(made, 'echo', [1]), [1]);
    });
  } else {
    await check('what is no JSON closes it', async () => {
      const [made] = await use();
      const event = once(made, 'disconnected');
      const { Centrifuge: Binary } = binary;
      const other = new Binary(url, { websocket: WebSocket });
      open.push(other);
      other.connect();
      await other.ready(3000);
      const [sub] = await subscribed(made, unique('chat'));
      await other.publish(sub.channel, new Uint8Array([255]));
      same((await event).code, 3506);
    });
    await check('both formats share a channel', async () => {
      const { Centrifuge: Binary } = binary;
      const [made] = await use();
      const other = new Binary(url, { websocket: WebSocket });
      open.push(other);
      other.connect();
      const [mine] = await subscribed(made, unique('chat'));
      const [theirs] = await subscribed(other, mine.channel);
      const [first, second] = [once(mine, 'publication'), once(theirs, 'publication')];
      await theirs.publish(new TextEncoder().encode('{"a":[1]}'));
      same((await first).data, { a: [1] });
      same(new TextDecoder().decode((await second).data), '{"a":[1]}');
    });
  }

  await theirs({ sdk: protobuf ? binary : json, check, client, hold, use, unique, call, cut, data, value });
}
