// What the SDKs' own public tests check, against centrifuge_peer. docs/centrifuge.md says which of their tests
// is which check of ours.

import { all, failure, once, same, subscribed } from './helpers.mjs';

/** Runs the checks; `run` of checks.mjs says what it gives them. */
export async function theirs(given) {
  await connections(given);
  await tokens(given);
  await subscriptions(given);
  await invalidated(given);
  await recovery(given);
  await states(given);
  await notSupported(given);
}

/** Asks again until it is so: for what no event tells of. The check's own limit ends it. */
async function until(ask, wanted) {
  while (JSON.stringify(await ask()) !== JSON.stringify(wanted)) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const NOBODY = { numUsers: 0, numClients: 0 };
const ONE = { numUsers: 1, numClients: 1 };

async function connections({ sdk, check, client, hold, use, unique, call, cut, data, value }) {
  const { State } = sdk;

  await check('connects and disconnects, and is gone', async () => {
    const [other] = await use();
    const [made] = await use();
    const [{ channel }] = await subscribed(made, unique('chat'));
    same(await other.presenceStats(channel), ONE);
    const end = once(made, 'disconnected');
    made.disconnect();
    same([(await end).code, made.state], [0, State.Disconnected]);
    await until(() => other.presenceStats(channel), NOBODY);
  });

  await check('connects and disconnects in a row', async () => {
    const [other] = await use();
    const made = hold(client());
    const sub = made.newSubscription(unique('chat'));
    sub.subscribe();
    for (let round = 0; round < 10; round++) {
      made.connect();
      made.disconnect();
    }
    // And with a connection that is there for a moment.
    for (let round = 0; round < 5; round++) {
      made.connect();
      await made.ready(3000);
      made.disconnect();
    }
    made.connect();
    await sub.ready(3000);
    await until(() => other.presenceStats(sub.channel), ONE);
  });

  await check('what is called before it connects is carried out', async () => {
    const made = hold(client());
    const calls = [made.rpc('echo', data([1])), failure(made.rpc('none', data({})))];
    made.connect();
    const [echo, error] = await Promise.all(calls);
    same([value(echo.data), error.code], [[1], 104]);
  });

  await check('what is published while it is away arrives', async () => {
    const [made] = await use();
    const [other] = await use();
    const [sub] = await subscribed(other, unique('log'));
    const got = all(sub, 'publication');
    const left = once(made, 'connecting');
    cut(made);
    await left;
    await made.publish(sub.channel, data('late'));
    await other.publish(sub.channel, data('last'));
    await got.until(2);
    same(got.map((event) => value(event.data)), ['late', 'last']);
  });

  await check('goes offline and comes back online', async () => {
    const network = new EventTarget();
    const [made] = await use({ networkEventTarget: network });
    const left = once(made, 'connecting');
    network.dispatchEvent(new Event('offline'));
    same([(await left).code, made.state], [1, State.Connecting]);
    network.dispatchEvent(new Event('online'));
    await made.ready(3000);
    same(await call(made, 'echo', 1), 1);
  });

  await check('goes offline before its connection is open', async () => {
    const network = new EventTarget();
    const made = hold(client({ networkEventTarget: network }));
    let offline = false;
    made.once('__centrifuge_debug:transport_initialized', () => {
      offline = true;
      network.dispatchEvent(new Event('offline'));
    });
    made.connect();
    await made.ready(3000);
    same(offline, true);
    same(await call(made, 'echo', 1), 1);
  });

  await check('many come and go while one publishes', async () => {
    const [made] = await use();
    const [mine] = await subscribed(made, unique('log'));
    const { channel } = mine;
    const got = all(mine, 'publication');
    let [sent, stop] = [0, false];
    const publishing = (async () => {
      while (!stop) await made.publish(channel, data(++sent));
    })();
    const visit = async (leave) => {
      const [visitor] = await use();
      const [sub, { streamPosition }] = await subscribed(visitor, channel, { recoverable: true });
      const seen = all(sub, 'publication');
      await seen.until(3);
      leave(visitor, sub);
      const first = Number(streamPosition.offset) + 1;
      same(seen.slice(0, 3).map(({ offset }) => Number(offset)), [first, first + 1, first + 2]);
    };
    const ways = [(visitor) => visitor.disconnect(), cut, (_, sub) => sub.unsubscribe()];
    for (let round = 0; round < 10; round++) await Promise.all(ways.map(visit));
    stop = true;
    await publishing;
    await got.until(sent);
    same(got.map((event) => value(event.data)), Array.from({ length: sent }, (_, n) => n + 1));
  }, 20);
}

async function tokens({ sdk, check, client, hold, use, unique, call, data, value }) {
  const { State, SubscriptionState, UnauthorizedError } = sdk;
  const later = (token) => new Promise((resolve) => setTimeout(resolve, Math.random() * 20, token));

  await check('each token is asked for once', async () => {
    for (let round = 0; round < 5; round++) {
      const asked = [];
      const made = hold(client({ getToken: () => (asked.push('connection'), later('user:alice')) }));
      made.connect();
      const getToken = () => (asked.push('subscription'), later('good'));
      const [sub] = await subscribed(made, unique('token'), { getToken });
      const end = once(sub, 'unsubscribed');
      sub.unsubscribe();
      made.disconnect();
      same((await end).code, 0);
      same(asked, ['connection', 'subscription']);
    }
  });

  await check('subscribes to several channels with tokens, and leaves them', async () => {
    const [other] = await use();
    for (let round = 0; round < 5; round++) {
      const made = hold(client());
      made.connect();
      const subs = Array.from({ length: 5 }, () =>
        made.newSubscription(unique('token'), { getToken: () => later('good') }),
      );
      for (const sub of subs) sub.subscribe();
      await Promise.all(subs.map((sub) => sub.ready(3000)));
      const ends = subs.map((sub) => once(sub, 'unsubscribed'));
      for (const sub of subs) sub.unsubscribe();
      made.disconnect();
      same((await Promise.all(ends)).map(({ code }) => code), [0, 0, 0, 0, 0]);
      for (const { channel } of subs) await until(() => other.presenceStats(channel), NOBODY);
    }
  });

  /** Fails when it is called first. */
  const second = (value) => {
    let calls = 0;
    const get = async () => {
      if (++calls === 1) throw new Error('not yet');
      return value;
    };
    get.calls = () => calls;
    return get;
  };

  for (const what of ['token', 'data']) {
    const name = what === 'token' ? 'getToken' : 'getData';

    await check(`a connection's ${what} that cannot be had is asked for again`, async () => {
      const get = second(what === 'token' ? 'user:alice' : data({ a: 1 }));
      const made = hold(client({ [name]: get }));
      const event = once(made, 'connected');
      made.connect();
      const { data: given } = await event;
      if (what === 'data') same(value(given), { a: 1 });
      same(get.calls(), 2);
    });

    await check(`a subscription's ${what} that cannot be had is asked for again`, async () => {
      const [made] = await use();
      const get = second(what === 'token' ? 'good' : data({ b: 1 }));
      const channel = unique(what === 'token' ? 'token' : 'chat');
      const [, event] = await subscribed(made, channel, { [name]: get });
      if (what === 'data') same(value(event.data), { b: 1 });
      same(get.calls(), 2);
    });
  }

  await check('nobody who is unauthorized gets a token of a subscription', async () => {
    const [made] = await use();
    const getToken = async () => { throw new UnauthorizedError(); };
    const sub = made.newSubscription(unique('token'), { getToken });
    const end = once(sub, 'unsubscribed');
    sub.subscribe();
    same([(await end).code, sub.state, made.state], [1, SubscriptionState.Unsubscribed, State.Connected]);
    same(await call(made, 'echo', 1), 1);
  });
}

async function subscriptions({ sdk, check, client, hold, use, unique, call, cut, data, value }) {
  const { State, SubscriptionState } = sdk;

  await check('subscribes and unsubscribes in a row, and is there once or not at all', async () => {
    const [made] = await use();
    const sub = made.newSubscription(unique('chat'));
    const ends = all(sub, 'unsubscribed');
    for (let round = 0; round < 10; round++) {
      sub.subscribe();
      sub.unsubscribe();
    }
    await ends.until(10);
    sub.subscribe();
    await sub.ready(3000);
    same([await sub.presenceStats(), Object.keys((await sub.presence()).clients).length], [ONE, 1]);
    sub.unsubscribe();
    same(await made.presenceStats(sub.channel), NOBODY);
    same((await made.presence(sub.channel)).clients, {});
  });

  await check('unsubscribes right after it connects', async () => {
    const [made] = await use();
    const sub = made.newSubscription(unique('chat'));
    const end = once(sub, 'unsubscribed');
    sub.subscribe();
    made.disconnect();
    made.connect();
    sub.unsubscribe();
    await end;
    same(sub.state, SubscriptionState.Unsubscribed);
    await made.ready(3000);
    same(await made.presenceStats(sub.channel), NOBODY);
    sub.subscribe();
    await sub.ready(3000);
    same(await made.presenceStats(sub.channel), ONE);
  });

  await check('unsubscribes between the command to connect and its answer', async () => {
    const made = hold(client());
    const sub = made.newSubscription(unique('chat'));
    made.once('__centrifuge_debug:connect_frame_sent', () => sub.unsubscribe());
    sub.subscribe();
    made.connect();
    await made.ready(3000);
    same(await made.presenceStats(sub.channel), NOBODY);
    sub.subscribe();
    await sub.ready(3000);
    same(await made.presenceStats(sub.channel), ONE);
  });

  await check('all its subscriptions come back', async () => {
    const [made] = await use();
    const [other] = await use();
    const channels = Array.from({ length: 15 }, (_, n) => unique(n % 2 ? 'log' : 'chat'));
    const subs = [];
    for (const channel of channels) subs.push((await subscribed(made, channel))[0]);
    const again = subs.map((sub) => once(sub, 'subscribed'));
    cut(made);
    await Promise.all(again);
    const got = subs.map((sub) => once(sub, 'publication'));
    for (const channel of channels) await other.publish(channel, data(channel));
    same((await Promise.all(got)).map((event) => value(event.data)), channels);
  });

  await check('what the server ends leaves the connection as it is', async () => {
    const [made] = await use();
    const [sub] = await subscribed(made, unique('chat'));
    const [kept] = await subscribed(made, unique('chat'));
    const end = once(sub, 'unsubscribed');
    await call(made, 'unsubscribe', { channel: sub.channel, code: 2000, reason: 'enough' });
    await end;
    same([made.state, kept.state], [State.Connected, SubscriptionState.Subscribed]);
    same([await made.presenceStats(sub.channel), await made.presenceStats(kept.channel)], [NOBODY, ONE]);
  });

  await check('hears of others where the server subscribed it', async () => {
    const room = unique('guests');
    const [token, channel] = [`room:${room}/alice`, `room.${room}`];
    const made = hold(client({ token }));
    const [joins, leaves] = [all(made, 'join'), all(made, 'leave')];
    const event = once(made, 'subscribed');
    made.connect();
    same((await event).channel, channel);
    await joins.until(1);
    const [other, { client: id }] = await use({ token: `room:${room}/bob` });
    await joins.until(2);
    same([joins[1].channel, joins[1].info.client], [channel, id]);
    const got = once(made, 'publication');
    await other.publish(channel, data({ input: 'test' }));
    const publication = await got;
    same([publication.channel, value(publication.data)], [channel, { input: 'test' }]);
    other.disconnect();
    await leaves.until(1);
    same([leaves[0].channel, leaves[0].info.client], [channel, id]);
  });

  await check('there is no presence where the server has none', async () => {
    const [made] = await use();
    same((await failure(made.presence(unique('log')))).code, 108);
    same((await failure(made.presenceStats(unique('log')))).code, 108);
    same((await failure(made.presence('secret.a'))).code, 103);
  });
}

async function invalidated({ check, use, unique, call, data, value }) {
  /** A subscription with history and tokens, which are counted. */
  async function counted(made) {
    let asked = 0;
    const [sub] = await subscribed(made, unique('logtoken'), { getToken: async () => (asked++, 'good') });
    await sub.publish(data('before'));
    return [sub, () => asked];
  }

  await check('closed with 3014, it gets all tokens and its state anew', async () => {
    let asked = 0;
    const [made] = await use({ getToken: async () => (asked++, 'user:alice') });
    const [sub, tokens] = await counted(made);
    const again = once(sub, 'subscribed');
    failure(call(made, 'disconnect', { code: 3014, reason: 'state invalidated' })).catch(() => {});
    const event = await again;
    same([asked, tokens()], [2, 2]);
    same([event.wasRecovering, event.recovered, Number(event.streamPosition.offset)], [true, false, 1]);
    const got = once(sub, 'publication');
    await sub.publish(data('after'));
    same(value((await got).data), 'after');
  });

  await check('unsubscribed with 2502, it gets the token and state of that alone anew', async () => {
    let asked = 0;
    const [made] = await use({ getToken: async () => (asked++, 'user:alice') });
    const [sub, tokens] = await counted(made);
    const [other, others] = await counted(made);
    const left = all(other, 'subscribing');
    const again = once(sub, 'subscribed');
    await call(made, 'unsubscribe', { channel: sub.channel, code: 2502, reason: 'state invalidated' });
    const event = await again;
    same([event.wasRecovering, event.recovered, Number(event.streamPosition.offset)], [true, false, 1]);
    const got = [once(sub, 'publication'), once(other, 'publication')];
    await sub.publish(data('after'));
    await other.publish(data('after'));
    same((await Promise.all(got)).map((event) => value(event.data)), ['after', 'after']);
    same([asked, tokens(), others(), left.length], [1, 2, 1, 0]);
  });
}

async function recovery({ check, use, unique, call, cut, data, value }) {
  const texts = (events) => events.map((event) => value(event.data));

  // A delta is offered, and not taken: then all is to be as without the offer.
  for (const delta of [undefined, 'fossil']) {
    const offer = delta ? ', and offers deltas' : '';

    /** A subscription that has got one publication, and who publishes. */
    async function begun() {
      const [made] = await use();
      const [other] = await use();
      const [sub] = await subscribed(made, unique('log'), { delta });
      const got = all(sub, 'publication');
      const publish = (text) => call(other, 'publish', { channel: sub.channel, data: text });
      await publish('first');
      await got.until(1);
      return [made, sub, got, publish];
    }

    await check(`recovers after it was disconnected${offer}`, async () => {
      const [made, sub, got, publish] = await begun();
      made.disconnect();
      for (const text of ['missed 1', 'missed 2', 'missed 3']) await publish(text);
      const again = once(sub, 'subscribed');
      made.connect();
      const event = await again;
      same([event.wasRecovering, event.recovered], [true, true]);
      await publish('live');
      await got.until(5);
      same(texts(got), ['first', 'missed 1', 'missed 2', 'missed 3', 'live']);
    });

    await check(`recovers after it was unsubscribed${offer}`, async () => {
      const [, sub, got, publish] = await begun();
      sub.unsubscribe();
      for (const text of ['missed 1', 'missed 2']) await publish(text);
      const again = once(sub, 'subscribed');
      sub.subscribe();
      const event = await again;
      same([event.wasRecovering, event.recovered], [true, true]);
      await publish('live');
      await got.until(4);
      same(texts(got), ['first', 'missed 1', 'missed 2', 'live']);
    });
  }

  await check('is told that what it missed is gone, and goes on', async () => {
    const [made] = await use();
    const [sub] = await subscribed(made, unique('log'));
    const got = all(sub, 'publication');
    await sub.publish(data(0));
    await got.until(1);
    sub.unsubscribe();
    await call(made, 'publish', { channel: sub.channel, count: 12 });
    const again = once(sub, 'subscribed');
    sub.subscribe();
    const event = await again;
    same([event.wasRecovering, event.recovered], [true, false]);
    await sub.publish(data('live'));
    await got.until(2);
    same(texts(got), [0, 'live']);
  });

  await check('is cut ten times, and misses nothing', async () => {
    const [made] = await use();
    const [other] = await use();
    const [sub] = await subscribed(made, unique('log'));
    const got = all(sub, 'publication');
    for (let round = 0; round < 10; round++) {
      const again = once(sub, 'subscribed');
      cut(made);
      await call(other, 'publish', { channel: sub.channel, count: 3 });
      same((await again).recovered, true);
    }
    await got.until(30);
    same(got.map(({ offset }) => Number(offset)), Array.from({ length: 30 }, (_, n) => n + 1));
  });

  for (const zero of ['since', 'getState']) {
    await check(`begins at the start by ${zero}, of whatever epoch`, async () => {
      const [made] = await use();
      const channel = unique('log');
      await call(made, 'publish', { channel, count: 3 });
      const position = { offset: 0, epoch: '' };
      const options = zero === 'since' ? { since: position } : { getState: async () => position };
      const sub = made.newSubscription(channel, options);
      const got = all(sub, 'publication');
      const event = once(sub, 'subscribed');
      sub.subscribe();
      same((await event).recovered, true);
      await got.until(3);
      same(texts(got), [1, 2, 3]);
    });
  }
}

async function states({ check, use, unique, call, cut, value }) {
  /** The position that another client is told, and how often. The topic is there, as somebody has subscribed to it. */
  async function stateOf(other, channel) {
    const [sub] = await subscribed(other, channel);
    sub.unsubscribe();
    let calls = 0;
    const getState = async () => {
      calls++;
      const { offset, epoch } = await other.history(channel);
      return { offset: Number(offset), epoch };
    };
    return [getState, () => calls];
  }

  await check('gets what followed its state', async () => {
    const [made] = await use();
    const [other] = await use();
    const channel = unique('log');
    const [getState] = await stateOf(other, channel);
    const late = async () => {
      const state = await getState();
      // Between the state and the subscription.
      await call(other, 'publish', { channel, count: 2 });
      return state;
    };
    const sub = made.newSubscription(channel, { getState: late });
    const got = all(sub, 'publication');
    sub.subscribe();
    await got.until(2);
    same(got.map((event) => value(event.data)), [1, 2]);
  });

  await check('does not get its state again where it recovers', async () => {
    const [made] = await use();
    const [other] = await use();
    const channel = unique('log');
    const [getState, calls] = await stateOf(other, channel);
    const [sub] = await subscribed(made, channel, { getState });
    const got = all(sub, 'publication');
    for (const leave of [() => cut(made), () => made.disconnect()]) {
      const again = once(sub, 'subscribed');
      leave();
      await call(other, 'publish', { channel });
      made.connect();
      same((await again).recovered, true);
    }
    await got.until(2);
    same([calls(), got.map(({ offset }) => Number(offset))], [1, [1, 2]]);
  });

  await check('a state at the start is enough where nobody has published', async () => {
    const [made] = await use();
    let calls = 0;
    const getState = async () => (calls++, { offset: 0, epoch: '' });
    const [sub, event] = await subscribed(made, unique('log'), { getState });
    same([calls, event.recovered], [1, true]);
    const again = once(sub, 'subscribed');
    made.disconnect();
    made.connect();
    same([(await again).recovered, calls], [true, 1]);
  });

  await check('asks again for a state that cannot be had', async () => {
    const [made] = await use();
    const [other] = await use();
    const channel = unique('log');
    const [getState, calls] = await stateOf(other, channel);
    const failing = async () => {
      const state = await getState();
      if (calls() < 3) throw new Error('no state');
      return state;
    };
    const sub = made.newSubscription(channel, {
      getState: failing,
      minResubscribeDelay: 20,
      maxResubscribeDelay: 50,
    });
    const errors = all(sub, 'error');
    sub.subscribe();
    await sub.ready(3000);
    same([calls(), errors.map((event) => event.type)], [3, ['subscribe', 'subscribe']]);
  });
}

async function notSupported({ check, use, unique, call, data, value }) {
  await check('does without deltas', async () => {
    const [made] = await use();
    const [sub] = await subscribed(made, unique('log'), { delta: 'fossil' });
    const got = all(sub, 'publication');
    const padding = 'x'.repeat(500);
    const sent = Array.from({ length: 10 }, (_, index) => ({ index, padding }));
    // The same again, and a short one after the long ones.
    sent.push(sent[9], { index: 11 });
    for (const message of sent) await sub.publish(data(message));
    await got.until(sent.length);
    same(got.map((event) => value(event.data)), sent);
    same(sub.deltaStats().numDeltaPayloads, 0);
  });

  await check('what is filtered by tags is refused', async () => {
    const [made] = await use();
    const filter = { key: 'lang', cmp: 'eq', val: 'de' };
    const sub = made.newSubscription(unique('tagged'), { tagsFilter: filter });
    const end = once(sub, 'unsubscribed');
    sub.subscribe();
    same((await end).code, 107);
    const other = made.newSubscription(unique('tagged'));
    other.setTagsFilter(filter);
    const second = once(other, 'unsubscribed');
    other.subscribe();
    same((await second).code, 107);
    other.setTagsFilter(null);
    other.subscribe();
    await other.ready(3000);
  });

  await check('maps and what is polled for are refused', async () => {
    const [made] = await use();
    const subs = [
      made.newMapSubscription(unique('chat')),
      made.newMapClientsSubscription(unique('chat')),
      made.newMapUsersSubscription(unique('chat')),
      made.newSharedPollSubscription(unique('chat'), { getSignature: async () => 'good' }),
    ];
    const ends = subs.map((sub) => once(sub, 'unsubscribed'));
    for (const sub of subs) sub.subscribe();
    same((await Promise.all(ends)).map(({ code }) => code), [108, 108, 108, 108]);
    same(await call(made, 'echo', 1), 1);
  });
}
