"""How our `echo_peer` ends: on SIGTERM and SIGINT it closes its connections with 1001 and exits with 0.

By hand: cargo build --example echo_peer, then
python tests/interop/python_shutdown.py target/debug/examples/echo_peer
"""

import asyncio
import signal
import sys

from websockets.asyncio.client import connect

from check import Checks, same


async def shutdown(program, how):
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(program, "--listen", "127.0.0.1:0", stdout=pipe)
    try:
        line = (await server.stdout.readline()).decode()
        url = line.removeprefix("listening on ").strip()
        async with connect(url) as idle, connect(url) as busy:
            await busy.send("before")
            same(await busy.recv(), "before")
            server.send_signal(how)
            await idle.wait_closed()
            await busy.wait_closed()
            same([ws.protocol.close_rcvd.code for ws in (idle, busy)], [1001, 1001])
        same(await server.wait(), 0)
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()


async def main():
    checks = Checks("websockets client (shutdown)")
    for how in [signal.SIGTERM, signal.SIGINT]:
        await checks.run(how.name, lambda: shutdown(sys.argv[1], how))
    checks.exit()


asyncio.run(main())
