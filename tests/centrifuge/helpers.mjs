// What the checks of the SDK for JavaScript share.

/** Fails the check unless both are equal. */
export function same(found, wanted) {
  const [is, was] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (is !== was) throw new Error(`${is?.slice(0, 120)} instead of ${was?.slice(0, 120)}`);
}

/** The next event of this name. */
export const once = (emitter, name) => new Promise((resolve) => emitter.once(name, resolve));

/** All events of this name from now on, and a promise of as many as are waited for. */
export function all(emitter, name) {
  const seen = [];
  let wake = () => {};
  emitter.on(name, (event) => (seen.push(event), wake()));
  seen.until = async (count) => {
    while (seen.length < count) await new Promise((resolve) => (wake = resolve));
    return seen;
  };
  return seen;
}

/** The error that a promise ends with. */
export async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('no error');
}

export async function subscribed(to, channel, options = {}) {
  const sub = to.newSubscription(channel, { minResubscribeDelay: 20, maxResubscribeDelay: 50, ...options });
  const event = once(sub, 'subscribed');
  sub.subscribe();
  await sub.ready(3000);
  return [sub, await event];
}
