"""What the SDKs' own public tests check, against centrifuge_peer. docs/centrifuge.md says which of their tests
is which check of ours.
"""

import asyncio

from centrifuge import (
    ClientState,
    DeltaType,
    Filter,
    StreamPosition,
    SubscriptionState,
    UnauthorizedError,
)

from support import (
    Events,
    call,
    check,
    cut,
    data,
    failure,
    ready,
    same,
    subscribed,
    unique,
    use,
    value,
)

AGAIN = {"min_resubscribe_delay": 0.02, "max_resubscribe_delay": 0.05}


async def counts(client, channel):
    stats = await client.presence_stats(channel)
    return stats.num_clients, stats.num_users


async def publications(events, count):
    """The data of the next publications."""
    return [value((await events.queue("publication").get()).pub.data) for _ in range(count)]


@check("connects and disconnects, three times")
async def _():
    client, events = await ready()
    for _ in range(3):
        begun = await events.queue("connecting").get()
        same((begun.code, bool(begun.reason)), (0, True))
        connected = await events.queue("connected").get()
        same((bool(connected.client), connected.version), (True, "peer"))
        await client.disconnect()
        end = await events.queue("disconnected").get()
        same((end.code, bool(end.reason), client.state), (0, True, ClientState.DISCONNECTED))
        await client.connect()
        await client.ready(3)


@check("subscribes and unsubscribes, three times")
async def _():
    client, _ = await ready()
    events = Events()
    sub = client.new_subscription(unique("chat"), events=events)
    for _ in range(3):
        await sub.subscribe()
        begun = await events.queue("subscribing").get()
        same((begun.code, bool(begun.reason)), (0, True))
        same((await events.queue("subscribed").get()).channel, sub.channel)
        same(await counts(client, sub.channel), (1, 1))
        await sub.unsubscribe()
        same((await events.queue("unsubscribed").get()).code, 0)
        same(await counts(client, sub.channel), (0, 0))


@check("subscribes to five channels at once, and leaves them")
async def _():
    client, _ = await ready()

    async def token(_):
        await asyncio.sleep(0)
        return "good"

    subs = [client.new_subscription(unique("token"), get_token=token) for _ in range(5)]
    for sub in subs:
        await sub.subscribe()
    for sub in subs:
        await sub.ready(3)
    same({sub.state for sub in subs}, {SubscriptionState.SUBSCRIBED})
    for sub in subs:
        await sub.unsubscribe()
    for sub in subs:
        same(await counts(client, sub.channel), (0, 0))


@check("publishes, and asks for history and presence, by its subscription and without it")
async def _():
    client, _ = await ready()
    channel = unique("full")
    sub = client.new_subscription(channel)
    # What it asks for next waits until it is subscribed.
    await sub.subscribe()
    await sub.publish(data({"input": 1}))
    await client.publish(channel, data({"input": 2}))
    for history in (await sub.history(limit=-1), await client.history(channel, limit=-1)):
        same([value(found.data) for found in history.publications], [{"input": 1}, {"input": 2}])
        same((history.offset, bool(history.epoch)), (2, True))
    for presence in (await sub.presence(), await client.presence(channel)):
        same(len(presence.clients), 1)
    for stats in (await sub.presence_stats(), await client.presence_stats(channel)):
        same((stats.num_clients, stats.num_users), (1, 1))


@check("history in pages, and all of it backward")
async def _():
    client, _ = await ready()
    sub, _, _ = await subscribed(client, unique("log"))
    for number in range(5):
        await sub.publish(data(number))
    found, since = [], None
    while page := (history := await sub.history(limit=2, since=since)).publications:
        found += [publication.offset for publication in page]
        since = StreamPosition(found[-1], history.epoch)
    same(found, [1, 2, 3, 4, 5])
    history = await sub.history(limit=-1, reverse=True)
    same([publication.offset for publication in history.publications], [5, 4, 3, 2, 1])


@check("there is no presence where the server has none")
async def _():
    client, _ = await ready()
    same(await failure(client.presence(unique("log"))), 108)
    same(await failure(client.presence_stats(unique("log"))), 108)
    same(await failure(client.presence("secret.a")), 103)


# A delta is offered, and not taken: then all is to be as without the offer.
for delta in (None, DeltaType.FOSSIL):
    offer = ", and offers deltas" if delta else ""

    @check(f"publishes the same twice, and something short{offer}")
    async def _(delta=delta):
        client, _ = await ready()
        sub, events, _ = await subscribed(client, unique("log"), delta=delta)
        sent = [{"input": "long enough for a delta, " * 20}] * 2 + [{"input": "hello"}]
        for message in sent:
            await sub.publish(data(message))
        same(await publications(events, 3), sent)

    @check(f"recovers after it was disconnected{offer}")
    async def _(delta=delta):
        client, _ = await ready()
        other, _ = await ready()
        channel = unique("log")
        _, events, begun = await subscribed(client, channel, delta=delta)
        same((begun.was_recovering, begun.recovered), (False, False))
        theirs, _, _ = await subscribed(other, channel, delta=delta)
        await client.disconnect()
        sent = [f"{'even' if number % 2 else 'odd'} {number}" for number in range(10)]
        for message in sent:
            await theirs.publish(data(message))
        await client.connect()
        again = await events.queue("subscribed").get()
        same((again.was_recovering, again.recovered), (True, True))
        await theirs.publish(data("live"))
        same(await publications(events, 11), [*sent, "live"])

    @check(f"recovers after it was unsubscribed{offer}")
    async def _(delta=delta):
        client, _ = await ready()
        other, _ = await ready()
        sub, events, _ = await subscribed(client, unique("log"), delta=delta)
        await other.publish(sub.channel, data("before"))
        same(await publications(events, 1), ["before"])
        await sub.unsubscribe()
        for message in ("missed 1", "missed 2"):
            await other.publish(sub.channel, data(message))
        await sub.subscribe()
        again = await events.queue("subscribed").get()
        same((again.was_recovering, again.recovered), (True, True))
        await other.publish(sub.channel, data("live"))
        same(await publications(events, 3), ["missed 1", "missed 2", "live"])


@check("is told that what it missed is gone, and goes on")
async def _():
    client, _ = await ready()
    sub, events, _ = await subscribed(client, unique("log"))
    await sub.publish(data(0))
    same(await publications(events, 1), [0])
    await sub.unsubscribe()
    await call(client, "publish", {"channel": sub.channel, "count": 12})
    await sub.subscribe()
    again = await events.queue("subscribed").get()
    same((again.was_recovering, again.recovered), (True, False))
    await sub.publish(data("live"))
    same(await publications(events, 1), ["live"])


@check("is cut ten times, and misses nothing")
async def _():
    client, _ = await ready()
    other, _ = await ready()
    sub, events, _ = await subscribed(client, unique("log"), **AGAIN)
    for _ in range(10):
        cut(client)
        await call(other, "publish", {"channel": sub.channel, "count": 3})
        same((await events.queue("subscribed").get()).recovered, True)
    found = [(await events.queue("publication").get()).pub.offset for _ in range(30)]
    same(found, list(range(1, 31)))


@check("a bad token that it is given is final")
async def _():
    async def token(*_):
        return "bad:"

    client, events = await use("", get_token=token)
    same((await events.queue("disconnected").get()).code, 3500)
    same(client.state, ClientState.DISCONNECTED)


@check("nobody who is unauthorized gets a token")
async def _():
    async def token(*_):
        raise UnauthorizedError

    client, events = await use("", get_token=token)
    same((await events.queue("disconnected").get()).code, 1)
    same(client.state, ClientState.DISCONNECTED)


@check("a bad token of a subscription ends that alone")
async def _():
    asked = []

    async def bad(channel):
        asked.append(channel)
        return "bad"

    async def unauthorized(channel):
        asked.append(channel)
        raise UnauthorizedError

    client, _ = await ready()
    for token, code in ((bad, 103), (unauthorized, 1)):
        events = Events()
        sub = client.new_subscription(unique("token"), events=events, get_token=token)
        await sub.subscribe()
        same((await events.queue("unsubscribed").get()).code, code)
        same((asked.pop(), sub.state), (sub.channel, SubscriptionState.UNSUBSCRIBED))
        same((client.state, await call(client, "echo", 1)), (ClientState.CONNECTED, 1))


@check("hears of others where the server subscribed it")
async def _():
    room = unique("guests")
    channel = f"room.{room}"
    _, events = await ready(f"room:{room}/alice")
    same((await events.queue("subscribed").get()).channel, channel)
    same((await events.queue("join").get()).info.user, f"{room}/alice")
    other, _ = await ready(f"room:{room}/bob")
    join = await events.queue("join").get()
    same((join.channel, join.info.user), (channel, f"{room}/bob"))
    await other.publish(channel, data({"input": "test"}))
    publication = await events.queue("publication").get()
    same((publication.channel, value(publication.pub.data)), (channel, {"input": "test"}))
    await other.disconnect()
    leave = await events.queue("leave").get()
    same((leave.channel, leave.info.user), (channel, f"{room}/bob"))


async def invalidated(client):
    """A subscription with history and tokens, its events, and the tokens that it was given."""
    given = []

    async def token(*_):
        given.append("good")
        return "good"

    sub, events, _ = await subscribed(client, unique("logtoken"), get_token=token, **AGAIN)
    await sub.publish(data("before"))
    same(await publications(events, 1), ["before"])
    return sub, events, given


@check("closed with 3014, it gets all tokens and its state anew")
async def _():
    given = []

    async def token(*_):
        given.append("user:alice")
        return "user:alice"

    client, _ = await ready("", get_token=token)
    sub, events, tokens = await invalidated(client)
    ask = asyncio.ensure_future(call(client, "disconnect", {"code": 3014, "reason": "invalid"}))
    ask.add_done_callback(lambda ask: ask.exception())
    again = await events.queue("subscribed").get()
    same((again.was_recovering, again.recovered), (True, False))
    same((len(given), len(tokens), again.stream_position.offset), (2, 2, 1))
    await sub.publish(data("after"))
    same(await publications(events, 1), ["after"])


@check("unsubscribed with 2502, it gets the token and state of that alone anew")
async def _():
    client, _ = await ready()
    sub, events, tokens = await invalidated(client)
    kept, others, kept_tokens = await invalidated(client)
    await call(client, "unsubscribe", {"channel": sub.channel, "code": 2502, "reason": "invalid"})
    again = await events.queue("subscribed").get()
    same((again.was_recovering, again.recovered, again.stream_position.offset), (True, False, 1))
    for one, its in ((sub, events), (kept, others)):
        await one.publish(data("after"))
        same(await publications(its, 1), ["after"])
    same((len(tokens), len(kept_tokens), others.queue("subscribed").qsize()), (2, 1, 0))


@check("a state at the start brings all that was published")
async def _():
    client, _ = await ready()
    channel = unique("log")
    await call(client, "publish", {"channel": channel, "count": 3})
    asked = []

    async def state(channel):
        asked.append(channel)
        return StreamPosition(0, "")

    _, events, begun = await subscribed(client, channel, get_state=state)
    same((begun.recovered, asked), (True, [channel]))
    same(await publications(events, 3), [1, 2, 3])


@check("gets its state again only where it cannot recover")
async def _():
    client, _ = await ready()
    other, _ = await ready()
    theirs, _, _ = await subscribed(other, unique("log"))
    asked = []

    async def state(channel):
        asked.append(channel)
        history = await theirs.history()
        return StreamPosition(history.offset, history.epoch)

    _, events, _ = await subscribed(client, theirs.channel, get_state=state, **AGAIN)
    for leave in ("disconnects", "is cut"):
        if leave == "disconnects":
            await client.disconnect()
        else:
            cut(client)
        await call(other, "publish", {"channel": theirs.channel, "data": leave})
        await client.connect()
        same((await events.queue("subscribed").get()).recovered, True)
        same((await publications(events, 1), len(asked)), ([leave], 1))
    await client.disconnect()
    await call(other, "publish", {"channel": theirs.channel, "count": 12})
    await client.connect()
    await events.queue("subscribed").get()
    same(len(asked), 2)
    await theirs.publish(data("live"))
    same(await publications(events, 1), ["live"])


@check("asks again for a state that cannot be had")
async def _():
    client, _ = await ready()
    asked = []

    async def state(channel):
        asked.append(channel)
        if len(asked) < 3:
            raise LookupError("no state")
        return StreamPosition(0, "")

    _, events, _ = await subscribed(client, unique("log"), get_state=state, **AGAIN)
    same((len(asked), events.queue("error").qsize()), (3, 2))


@check("what is filtered by tags is refused")
async def _():
    client, _ = await ready()
    one = Filter.eq("lang", "de")
    for tags in (one, Filter.all(one, Filter.gte("price", "100"))):
        events = Events()
        sub = client.new_subscription(unique("tagged"), events=events, tags_filter=tags)
        await sub.subscribe()
        same((await events.queue("unsubscribed").get()).code, 107)
    sub.set_tags_filter(None)
    await sub.subscribe()
    await events.queue("subscribed").get()
