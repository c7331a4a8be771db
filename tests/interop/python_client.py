"""Python's `websockets` as the client of our `echo_peer`.

By hand: cargo run --example echo_peer, then python tests/interop/python_client.py ws://127.0.0.1:9001
(for wss add --ca FILE, and --deflate for a server that runs with it).
"""

import argparse
import asyncio
import urllib.error
import urllib.request

import websockets
from websockets.asyncio.client import connect

from check import LONG, TEXT, Checks, client_tls, same


async def echoes(url, tls, message, **options):
    """One connection, one message, and the same message back."""
    async with connect(url, ssl=tls, max_size=None, **options) as ws:
        await ws.send(message)
        same(await ws.recv(), message if isinstance(message, (str, bytes)) else joined(message))


def joined(fragments):
    return type(fragments[0])().join(fragments)


async def compression(url, tls, expected):
    """It is agreed on where the server is willing; it is offered in all of these checks."""
    async with connect(url, ssl=tls) as ws:
        names = [extension.name for extension in ws.protocol.extensions]
        same(names, ["permessage-deflate"] if expected else [])


async def order(url, tls):
    """200 messages in flight come back in order, text and binary as they were sent."""
    messages = [f"{n}" if n % 2 else bytes([n]) * n for n in range(200)]
    async with connect(url, ssl=tls) as ws:
        for message in messages:
            await ws.send(message)
        for message in messages:
            same(await ws.recv(), message)


async def ping(url, tls):
    """A ping is answered with its own payload, also between the fragments of a message."""
    async with connect(url, ssl=tls, ping_interval=None) as ws:
        await (await ws.ping(b"\x00payload\xff" + b"p" * 116))  # 125 bytes, the most there may be

        async def fragments():
            yield "first "
            await (await ws.ping(b"between"))
            yield "second"

        await ws.send(fragments())
        same(await ws.recv(), "first second")


async def close(url, tls, code, reason):
    """The server answers a Close with the code and the reason that it was sent."""
    async with connect(url, ssl=tls) as ws:
        await ws.close(code, reason)
        await ws.wait_closed()
        same((ws.protocol.close_rcvd.code, ws.protocol.close_rcvd.reason), (code, reason))


async def subprotocol(url, tls):
    """An offer that the server has no use for is declined, and the connection works."""
    async with connect(url, ssl=tls, subprotocols=["x.first", "y.second"]) as ws:
        same(ws.subprotocol, None)
        await ws.send(TEXT)
        same(await ws.recv(), TEXT)


async def invalid_utf8(url, tls):
    """Invalid UTF-8 in a text message is answered with 1007 (RFC 6455 section 8.1)."""
    async with connect(url, ssl=tls) as ws:
        await ws.send(b"\xc3\x28", text=True)
        try:
            await ws.recv()
        except websockets.ConnectionClosed as closed:
            same(closed.rcvd.code, 1007)
        else:
            raise AssertionError("the message came back")


async def plain_http(url, tls):
    """A request that is no upgrade is answered with an HTTP status of the 4xx."""

    def get():
        try:
            urllib.request.urlopen(url.replace("ws", "http", 1), context=tls, timeout=10)
        except urllib.error.HTTPError as error:
            return error.code
        return 200

    status = await asyncio.to_thread(get)
    if not 400 <= status < 500:
        raise AssertionError(f"status {status}")


async def untrusted(url):
    """Without --ca the handshake of TLS fails, and the server goes on serving others."""
    try:
        async with connect(url):
            pass
    except OSError as error:
        if "certificate" not in str(error).lower():
            raise
    else:
        raise AssertionError("connected to a server that nobody vouches for")


async def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("url")
    arguments.add_argument("--ca")
    arguments.add_argument("--deflate", action="store_true")
    arguments = arguments.parse_args()
    url, tls = arguments.url, client_tls(arguments.ca)
    deflate = arguments.deflate
    checks = Checks(f"websockets client ({url.split(':')[0]}{', deflate' if deflate else ''})")

    if arguments.ca:
        await checks.run("untrusted certificate", lambda: untrusted(url))
    await checks.run("compression as expected", lambda: compression(url, tls, deflate))
    for name, message, options in [
        ("text", TEXT, {}),
        ("text without an offer of compression", TEXT, {"compression": None}),
        ("empty text", "", {}),
        ("binary", bytes(range(256)), {}),
        ("empty binary", b"", {}),
        ("text of 1 MiB", LONG, {}),
        ("binary of 1 MiB", bytes(range(256)) * 4096, {}),
        ("fragmented text", ["frag", "", "mented ", TEXT], {}),
        ("fragmented binary", [b"\x00" * 1000, b"\x01" * 70_000, b"\x02"], {}),
    ]:
        await checks.run(name, lambda: echoes(url, tls, message, **options))
    await checks.run("200 messages in order", lambda: order(url, tls))
    await checks.run("ping", lambda: ping(url, tls))
    await checks.run("close 1000", lambda: close(url, tls, 1000, ""))
    await checks.run("close with a reason", lambda: close(url, tls, 4321, TEXT))
    await checks.run("subprotocol", lambda: subprotocol(url, tls))
    await checks.run("invalid UTF-8", lambda: invalid_utf8(url, tls))
    await checks.run("plain HTTP request", lambda: plain_http(url, tls))
    checks.exit()


asyncio.run(main())
