"""Python's `websockets` sends messages in fragments, and reads the echo of each as it arrives.

By hand: cargo run --example echo_peer -- --pieces, then
python tests/interop/python_pieces_client.py ws://127.0.0.1:9001
(for wss add --ca FILE, and --deflate for a server that compresses).
"""

import argparse
import asyncio
import functools
import random

from websockets.asyncio.client import connect

from check import TEXT, Checks, client_tls, same
from deflate import text

LENGTH = 4 << 20
EDGES = [0, 1, 125, 126, 4096, 65_535, 65_536, 65_537]


@functools.cache
def noise(length, binary):
    """What does not become smaller; as text, characters of three bytes."""
    dice = random.Random(length)
    if binary:
        return dice.randbytes(length)
    return "".join(map(chr, dice.choices(range(0x3000, 0x9000), k=length // 3)))


def words(length, binary):
    """What becomes smaller, with characters of one, two and three bytes."""
    return text(length, 1).encode()[::-1] if binary else text(length, 1)


def fragments(message):
    """The message, cut anywhere: a text between characters, as `send` asks for."""
    dice = random.Random(len(message))
    at = 0
    while at < len(message):
        length = dice.choice(EDGES) if dice.random() < 0.7 else dice.randrange(300_000)
        yield message[at : at + length]
        at += length


async def one_by_one(message):
    for fragment in fragments(message):
        yield fragment


class Echo:
    """Reads one message while it is being sent."""

    def __init__(self, ws):
        self.ws = ws
        self.begun = asyncio.Event()
        self.count = 0

    async def read(self, wanted):
        parts = []
        async for part in self.ws.recv_streaming():
            parts.append(part)
            if part:
                self.begun.set()
        self.count = len(parts)
        found = type(wanted)().join(parts)
        if found != wanted:
            raise AssertionError(f"{len(found)} instead of {len(wanted)}, or other content")


# `connecting` is `connect` with what is the same for all connections to a server.


async def echoes(connecting, message, cut):
    """Two messages of the same content: what compresses them has to be fit for another."""
    async with connecting(max_size=None, ping_interval=None) as ws:
        for _ in range(2):
            echo = Echo(ws)
            await asyncio.gather(ws.send(cut(message)), echo.read(message))
            if echo.count < 3:
                raise AssertionError(f"{echo.count} fragments")
        await ws.send(TEXT)
        same(await ws.recv(), TEXT)


async def whole(connecting, message):
    """One frame to us, of which we make fragments."""
    async with connecting(max_size=None, ping_interval=None) as ws:
        echo = Echo(ws)
        await asyncio.gather(ws.send(message), echo.read(message))
        if echo.count < 3:
            raise AssertionError(f"{echo.count} fragments")


async def begins_at_once(connecting, binary):
    """The rest of the message is sent when its beginning has come back."""
    message = noise(1 << 20, binary)
    half = len(message) // 2
    async with connecting(max_size=None, ping_interval=None) as ws:
        echo = Echo(ws)

        async def halves():
            yield message[:half]
            await echo.begun.wait()
            yield message[half:]

        await asyncio.gather(ws.send(halves()), echo.read(message))


async def pings(connecting):
    """They are answered between the fragments."""
    async with connecting(max_size=None, ping_interval=None) as ws:
        message = noise(1 << 20, True)
        echo = Echo(ws)

        async def with_pings():
            for at, fragment in enumerate(fragments(message)):
                yield fragment
                await (await ws.ping(f"ping {at}"))

        await asyncio.gather(ws.send(with_pings()), echo.read(message))


async def short(connecting):
    """Messages of few bytes or none, each in fragments, several under way at a time."""
    messages = [["", ""], [b"", b""], ["é", "", "€"], [b"\xe2", b"\x82\xac"], *[["a", "b"]] * 50]
    async with connecting(ping_interval=None) as ws:
        for message in messages:
            await ws.send(message)
        for message in messages:
            same(await ws.recv(), type(message[0])().join(message))


class GivenUp(Exception):
    pass


async def given_up(connecting, how):
    """A message that its sender gives up fails its connection and no other."""
    async with connecting(ping_interval=None) as bystander:
        ws = await connecting(max_size=None, ping_interval=None)
        echo = Echo(ws)

        async def half():
            yield noise(LENGTH, True)[: 1 << 20]
            await echo.begun.wait()
            if how == "raises":
                raise GivenUp
            if how == "closes":
                await ws.close()
            ws.transport.abort()

        sent, read = await asyncio.gather(
            ws.send(half()), echo.read(b""), return_exceptions=True
        )
        same([type(read).__name__, echo.begun.is_set()], ["ConnectionClosedError", True])
        if how == "raises":
            same(type(sent), GivenUp)
        if how != "cut off":
            same(int(ws.protocol.close_sent.code), 1011)
        # Its library looks at nothing that comes after it has failed a connection.
        same(ws.protocol.close_rcvd, None)
        await bystander.send(TEXT)
        same(await bystander.recv(), TEXT)
    async with connecting() as ws:
        await ws.send([TEXT, TEXT])
        same(await ws.recv(), TEXT + TEXT)


async def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("url")
    arguments.add_argument("--ca")
    arguments.add_argument("--deflate", action="store_true")
    arguments = arguments.parse_args()
    connecting = functools.partial(connect, arguments.url, ssl=client_tls(arguments.ca))
    scheme = arguments.url.split(":")[0]
    checks = Checks(
        f"websockets client (pieces, {scheme}{', deflate' if arguments.deflate else ''})"
    )

    async def compression():
        async with connecting() as ws:
            names = [extension.name for extension in ws.protocol.extensions]
            same(names, ["permessage-deflate"] if arguments.deflate else [])

    await checks.run("compression as expected", compression)
    for kind, binary in [("text", False), ("binary", True)]:
        for content, make in [("words", words), ("noise", noise)]:
            what = f"{LENGTH >> 20} MiB of {content}, {kind}"
            message = make(LENGTH, binary)
            for name, cut in [("iterable", fragments), ("async iterable", one_by_one)]:
                await checks.run(f"{what}, {name}", lambda: echoes(connecting, message, cut), 60)
            if content == "noise" or not arguments.deflate:
                await checks.run(f"{what}, in one frame", lambda: whole(connecting, message), 60)
        check = lambda: begins_at_once(connecting, binary)
        await checks.run(f"{kind} begins to come back at once", check)
    await checks.run("pings between fragments", lambda: pings(connecting))
    await checks.run("short messages", lambda: short(connecting))
    for how in ["raises", "closes", "cut off"]:
        await checks.run(f"given up: {how}", lambda: given_up(connecting, how))
    checks.exit()


if __name__ == "__main__":
    asyncio.run(main())
