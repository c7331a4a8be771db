"""The SDK for Python against centrifuge_peer: python sdk.py URL json|protobuf

What the peer grants is in its source.
"""

import asyncio

from centrifuge import ClientState, StreamPosition, SubscriptionState

from support import (
    ALL,
    Events,
    call,
    check,
    checks,
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
import theirs  # noqa: F401 - it adds its checks


@check("connects with a token and data")
async def _():
    _, events = await ready(data=data({"a": "größe\n"}))
    connected = await events.queue("connected").get()
    same(value(connected.data), {"a": "größe\n"})


@check("a bad token is final")
async def _():
    client, events = await use("bad:")
    end = await events.queue("disconnected").get()
    same((end.code, end.reason), (3500, "invalid token"))
    same(client.state, ClientState.DISCONNECTED)


@check("an expired token is replaced")
async def _():
    async def token(*_):
        return "user:alice"

    client, _ = await use("expired:", get_token=token)
    await client.ready(3)


@check("a connection is refreshed")
async def _():
    refreshed = asyncio.Event()

    async def token(*_):
        refreshed.set()
        return "user:alice"

    client, events = await ready("short:alice", get_token=token)
    await refreshed.wait()
    await asyncio.sleep(1.5)
    same(events.queue("connecting").qsize(), 1)


@check("subscribes, and publishes to itself and others")
async def _():
    alice, _ = await ready()
    bob, _ = await ready("user:bob")
    channel = unique("chat")
    mine, events, begun = await subscribed(alice, channel, data=data([1]))
    same(value(begun.data), [1])
    _, others, _ = await subscribed(bob, channel)
    await mine.publish(data({"text": "世界"}))
    for queue in (events, others):
        publication = (await queue.queue("publication").get()).pub
        same(value(publication.data), {"text": "世界"})
        same((publication.info.user, value(publication.info.conn_info)), ("alice", {"name": "alice"}))


@check("a refused subscription and a refused publication")
async def _():
    client, _ = await ready()
    events = Events()
    sub = client.new_subscription("secret.a", events=events)
    await sub.subscribe()
    same((await events.queue("unsubscribed").get()).code, 103)
    same(await failure(client.publish("secret.a", data(1))), 103)


@check("a subscription has a token, and is refreshed")
async def _():
    client, _ = await ready()
    tokens = ["old", "good"]

    async def token(*_):
        return tokens.pop(0)

    await subscribed(client, unique("token"), get_token=token)
    refreshed = asyncio.Event()

    async def again(*_):
        refreshed.set()
        return "good"

    sub, events, _ = await subscribed(client, unique("short"), get_token=again)
    await refreshed.wait()
    await asyncio.sleep(1.5)
    same(sub.state, SubscriptionState.SUBSCRIBED)
    same(events.queue("subscribing").qsize(), 1)


@check("a subscription that is not refreshed is made again")
async def _():
    client, _ = await ready()
    _, events, _ = await subscribed(client, unique("ending"), min_resubscribe_delay=0.02)
    await events.queue("subscribing").get()
    same((await events.queue("subscribing").get()).code, 2501)
    await events.queue("subscribed").get()


@check("presence, and how many")
async def _():
    alice, _ = await ready()
    bob, _ = await ready("user:bob")
    channel = unique("chat")
    sub, _, _ = await subscribed(alice, channel)
    await subscribed(bob, channel)
    there = (await sub.presence()).clients
    same(sorted(info.user for info in there.values()), ["alice", "bob"])
    stats = await sub.presence_stats()
    same((stats.num_clients, stats.num_users), (2, 2))


@check("hears who comes and goes")
async def _():
    alice, _ = await ready()
    channel = unique("chat")
    _, events, _ = await subscribed(alice, channel, join_leave=True)
    # It hears of itself as well.
    same((await events.queue("join").get()).info.user, "alice")
    bob, _ = await ready("user:bob")
    theirs, _, _ = await subscribed(bob, channel)
    same((await events.queue("join").get()).info.user, "bob")
    await theirs.unsubscribe()
    same((await events.queue("leave").get()).info.user, "bob")


def offsets(history):
    return [publication.offset for publication in history.publications]


@check("history: forward, backward, a part, the position alone")
async def _():
    client, _ = await ready()
    channel = unique("log")
    await call(client, "publish", {"channel": channel, "count": 12})
    top = await client.history(channel)
    same((len(top.publications), top.offset), (0, 12))
    same(offsets(await client.history(channel, limit=2)), [3, 4])
    same(offsets(await client.history(channel, limit=2, reverse=True)), [12, 11])
    since = StreamPosition(5, top.epoch)
    same(offsets(await client.history(channel, limit=3, since=since)), [6, 7, 8])
    same(await failure(client.history(channel, limit=1, since=StreamPosition(1, top.epoch))), 112)
    same(await failure(client.history(unique("chat"), limit=1)), 108)


@check("recovers what it missed while it was away")
async def _():
    client, _ = await ready()
    other, _ = await ready()
    channel = unique("log")
    _, events, begun = await subscribed(client, channel)
    same((begun.recoverable, begun.was_recovering), (True, False))
    await call(other, "publish", {"channel": channel})
    cut(client)
    await call(other, "publish", {"channel": channel, "count": 3})
    again = await events.queue("subscribed").get()
    same((again.was_recovering, again.recovered), (True, True))
    await call(other, "publish", {"channel": channel})
    got = [(await events.queue("publication").get()).pub.offset for _ in range(5)]
    same(got, [1, 2, 3, 4, 5])


@check("is told that what it missed is gone")
async def _():
    client, _ = await ready(min_reconnect_delay=0.3, max_reconnect_delay=0.4)
    other, _ = await ready()
    channel = unique("log")
    _, events, _ = await subscribed(client, channel)
    cut(client)
    await call(other, "publish", {"channel": channel, "count": 30})
    again = await events.queue("subscribed").get()
    same((again.was_recovering, again.recovered), (True, False))
    same(events.queue("publication").qsize(), 0)


@check("gets the last value when it subscribes")
async def _():
    client, _ = await ready()
    channel = unique("cache")
    await call(client, "publish", {"channel": channel, "count": 3})
    _, events, begun = await subscribed(client, channel)
    same(begun.recovered, True)
    same(value((await events.queue("publication").get()).pub.data), 3)


@check("the server subscribes it when it connects, and it recovers")
async def _():
    client, events = await ready("server:alice")
    begun = await events.queue("subscribed").get()
    same((begun.channel, begun.recoverable), ("log.server", True))
    other, _ = await ready()
    await call(other, "publish", {"channel": "log.server", "data": 1})
    await events.queue("publication").get()
    cut(client)
    await call(other, "publish", {"channel": "log.server", "data": 2})
    again = await events.queue("subscribed").get()
    same((again.was_recovering, again.recovered), (True, True))
    same(value((await events.queue("publication").get()).pub.data), 2)


@check("the server subscribes and unsubscribes it")
async def _():
    client, events = await ready()
    channel = unique("chat")
    await call(client, "subscribe", {"channel": channel})
    same((await events.queue("subscribed").get()).channel, channel)
    await client.publish(channel, data(7))
    same(value((await events.queue("publication").get()).pub.data), 7)
    await call(client, "unsubscribe", {"channel": channel, "code": 2000})
    same((await events.queue("unsubscribed").get()).channel, channel)


@check("calls, and errors of calls")
async def _():
    client, _ = await ready()
    same(await call(client, "echo", {"deep": [1, {"a": None}]}), {"deep": [1, {"a": None}]})
    same(await failure(client.rpc("error", data({}))), 1234)
    same(await failure(client.rpc("none", data({}))), 104)


COMING = (3000, 3001, 3499, 4000, 4499)
STAYING = (3500, 3503, 3999, 4500, 4999)
for code, comes in [(code, code in COMING) for code in COMING + STAYING]:

    @check(f"closed with {code}, it {'comes back' if comes else 'stays away'}")
    async def _(code=code, comes=comes):
        client, events = await ready()
        await events.queue("connecting").get()
        # It is not answered.
        ask = asyncio.ensure_future(call(client, "disconnect", {"code": code, "reason": "because"}))
        ask.add_done_callback(lambda ask: ask.exception())
        end = await events.queue("connecting" if comes else "disconnected").get()
        same((end.code, end.reason), (code, "because"))
        if comes:
            await client.ready(3)


for code, again in [(2000, False), (2500, True)]:

    @check(f"unsubscribed with {code}, it {'subscribes again' if again else 'does not'}")
    async def _(code=code, again=again):
        client, _ = await ready()
        sub, events, _ = await subscribed(client, unique("log"), min_resubscribe_delay=0.02)
        await events.queue("subscribing").get()
        await call(client, "unsubscribe", {"channel": sub.channel, "code": code, "reason": "because"})
        end = await events.queue("subscribing" if again else "unsubscribed").get()
        same((end.code, end.reason), (code, "because"))
        if again:
            await events.queue("subscribed").get()


@check("answers pings")
async def _():
    _, events = await ready()
    await asyncio.sleep(3.5)
    same(events.queue("connecting").qsize(), 1)


async def main():
    for name, run in ALL:
        await checks.run(name, run)
    checks.exit()


asyncio.run(main())
