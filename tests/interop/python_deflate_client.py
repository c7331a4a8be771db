"""Python's `websockets` as the client of our servers with compression.

By hand: cargo run --example echo_peer -- --deflate, then
python tests/interop/python_deflate_client.py ws://127.0.0.1:9001
(for an `echo_peer --takeover`, which refers to earlier messages, add --takeover).
"""

import argparse
import asyncio

from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from check import TEXT, Checks, same
from deflate import SIZES, SMALL, conversation, negotiated, parameters


async def agreed(url, offer, expected, sizes, takeover):
    """One connection with this offer; `expected` is what comes of it: see `parameters`."""
    options = {"compression": None, "extensions": [offer]} if offer else {}
    async with connect(url, max_size=None, ping_interval=None, **options) as ws:
        same(parameters(negotiated(ws)), expected)
        await conversation(ws, sizes, takeover)


async def uncompressed(url):
    """We have no compressor with a window of 256 bytes: what we send is not compressed, which any window allows."""
    offer = ClientPerMessageDeflateFactory(server_max_window_bits=8)
    async with connect(url, compression=None, extensions=[offer]) as ws:
        same(parameters(negotiated(ws))[0][1], 8)
        for message in [TEXT, "x" * 5000]:
            await ws.send(message)
            same(await ws.recv(), message)


async def next_offer(url):
    """The second offer is taken where the first leaves us without compression."""
    offers = [
        ClientPerMessageDeflateFactory(server_max_window_bits=8),
        ClientPerMessageDeflateFactory(server_max_window_bits=10),
    ]
    async with connect(url, compression=None, extensions=offers) as ws:
        same(parameters(negotiated(ws))[0][1], 10)
        await conversation(ws, SMALL, None)


async def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("url")
    arguments.add_argument("--takeover", action="store_true")
    arguments = arguments.parse_args()
    url, takeover = arguments.url, arguments.takeover
    checks = Checks(f"websockets client (deflate, takeover {'on' if takeover else 'off'})")
    Offer = ClientPerMessageDeflateFactory

    # The server's own context is forgotten if either side says so; the client's if the client does.
    for name, offer, server, client, sizes in [
        ("its default offer", None, not takeover, False, SIZES),
        ("server_no_context_takeover", Offer(True, False), True, False, SMALL),
        ("client_no_context_takeover", Offer(False, True), not takeover, True, SMALL),
        ("no context", Offer(True, True), True, True, SIZES),
    ]:
        expected = ((server, 15), (client, 15))
        await checks.run(name, lambda: agreed(url, offer, expected, sizes, not server), 60)
    for bits in range(9, 16):
        offer = Offer(server_max_window_bits=bits, client_max_window_bits=bits)
        expected = ((not takeover, bits), (False, bits))
        name = f"windows of {bits} bits"
        await checks.run(name, lambda: agreed(url, offer, expected, SMALL, None), 30)
    await checks.run("a window of 8 bits is kept to by not compressing", lambda: uncompressed(url))
    await checks.run("the second offer", lambda: next_offer(url), 30)
    checks.exit()


asyncio.run(main())
