"""Our `bridge` between a client and a server of Python's `websockets` that send and read fragments.

By hand: cargo build --example bridge, then
python tests/interop/python_bridge.py target/debug/examples/bridge
"""

import asyncio
import functools
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from check import Checks
from python_pieces_client import (
    LENGTH,
    begins_at_once,
    echoes,
    fragments,
    given_up,
    noise,
    one_by_one,
    short,
    words,
)


class Counter:
    """Echoes each message as it arrives, and notes in how many fragments the longest one came."""

    def __init__(self):
        self.most = 0

    async def echo(self, ws):
        try:
            while True:
                await ws.send(self.fragments(ws))
        except ConnectionClosed:
            pass

    async def fragments(self, ws):
        count = 0
        async for fragment in ws.recv_streaming():
            count += 1
            yield fragment
        self.most = max(self.most, count)


async def main():
    checks = Checks("websockets client and server (bridge)")
    counter = Counter()
    options = {"compression": None, "max_size": None, "ping_interval": None}
    async with serve(counter.echo, "127.0.0.1", 0, **options) as server:
        far = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(sys.argv[1], far, "127.0.0.1:0", stdout=pipe)
        try:
            line = (await child.stdout.readline()).decode()
            connecting = functools.partial(connect, line.removeprefix("listening on ").strip())
            for kind, binary in [("text", False), ("binary", True)]:
                for content, make in [("words", words), ("noise", noise)]:
                    what = f"{LENGTH >> 20} MiB of {content}, {kind}"
                    message = make(LENGTH, binary)
                    for name, cut in [("iterable", fragments), ("async iterable", one_by_one)]:
                        check = lambda: echoes(connecting, message, cut)
                        await checks.run(f"{what}, {name}", check, 60)
                check = lambda: begins_at_once(connecting, binary)
                await checks.run(f"{kind} begins to come back at once", check)
            await checks.run("short messages", lambda: short(connecting))
            for how in ["raises", "closes", "cut off"]:
                await checks.run(f"given up: {how}", lambda: given_up(connecting, how))

            async def counted():
                if counter.most < LENGTH >> 20:
                    raise AssertionError(f"{counter.most} fragments at most")

            await checks.run("its client sends fragments", counted)
        finally:
            child.kill()
            await child.wait()
    checks.exit()


asyncio.run(main())
