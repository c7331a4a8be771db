"""What the checks of the SDK for Python share: clients, their events, and the list of checks."""

import asyncio
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "interop"))

from centrifuge import (  # noqa: E402
    Client,
    ClientEventHandler,
    ClientState,
    ReplyError,
    StreamPosition,
    SubscriptionEventHandler,
    SubscriptionState,
)
from check import Checks, same  # noqa: E402

URL, FORMAT = sys.argv[1:]
PROTOBUF = FORMAT == "protobuf"
checks = Checks(f"centrifuge-python {FORMAT}")


def data(value):
    """Data as the SDK takes them in this format."""
    return json.dumps(value).encode() if PROTOBUF else value


def value(found):
    """Data as the SDK gives them."""
    return json.loads(found) if PROTOBUF else found


class Events(ClientEventHandler, SubscriptionEventHandler):
    """Queues of what happened, by the name of the event."""

    def __init__(self):
        self.queues = {}

    def queue(self, name):
        return self.queues.setdefault(name, asyncio.Queue())

    def __getattribute__(self, name):
        if not name.startswith("on_"):
            return super().__getattribute__(name)

        async def happened(context):
            await self.queue(name[3:]).put(context)

        return happened


async def use(token="user:alice", **options):
    """A client that is connected, and its events."""
    events = Events()
    options = {"min_reconnect_delay": 0.02, "max_reconnect_delay": 0.05, **options}
    client = Client(URL, events=events, token=token, use_protobuf=PROTOBUF, **options)
    await client.connect()
    OPEN.append(client)
    return client, events


async def ready(token="user:alice", **options):
    client, events = await use(token, **options)
    await client.ready(3)
    return client, events


async def subscribed(client, channel, **options):
    """A subscription that is made, its events, and how it began."""
    events = Events()
    sub = client.new_subscription(channel, events=events, **options)
    await sub.subscribe()
    begun = await events.queue("subscribed").get()
    return sub, events, begun


OPEN = []
NAMES = iter(range(1, 1_000_000))


def unique(start):
    """A name that no other check uses."""
    return f"{start}.py{FORMAT}{os.getpid()}x{next(NAMES)}"


def check(name):
    """A check with clients that are ended after it."""

    def decorate(run):
        async def whole():
            try:
                await run()
            finally:
                for client in OPEN:
                    await client.disconnect()
                OPEN.clear()

        ALL.append((name, whole))
        return run

    return decorate


ALL = []


async def call(client, method, argument):
    return value((await client.rpc(method, data(argument))).data)


async def failure(awaitable):
    try:
        await awaitable
    except ReplyError as error:
        return error.code
    raise AssertionError("no error")


def cut(client):
    """Cuts the connection as a network does."""
    client._conn.transport.abort()
