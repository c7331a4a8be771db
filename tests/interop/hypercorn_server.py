"""Python's `hypercorn` as the HTTP/2 server of our `check_client`, over wss.

One WebSocket on a connection at a time: where `hypercorn` has answered a Close or sent one, any DATA
that follows on that stream, even the client's empty one with END_STREAM, is a KeyError that ends its
whole connection. And it never ends a stream whose client has closed first, so the client must not wait
for that.

By hand: cargo build --example check_client, then
python tests/interop/hypercorn_server.py target/debug/examples/check_client CERT KEY CA
"""

import asyncio
import re
import socket
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config

from check import Checks, same

ASKED = re.compile(r"close (\d+) (.*)", re.DOTALL)


class Echo:
    """An ASGI application that echoes, and does what `check_client --asks` asks for."""

    def __init__(self):
        self.versions = set()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return
        same(scope["type"], "websocket")
        self.versions.add(scope["http_version"])
        await receive()  # websocket.connect
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            text = event.get("text")
            asked = text is not None and ASKED.fullmatch(text)
            if asked:
                await send({"type": "websocket.close", "code": int(asked[1]), "reason": asked[2]})
            elif text is not None:
                await send({"type": "websocket.send", "text": text})
            else:
                await send({"type": "websocket.send", "bytes": event["bytes"]})


async def main():
    program, cert, key, ca = sys.argv[1:]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.certfile, config.keyfile = cert, key
    config.alpn_protocols = ["h2", "http/1.1"]
    config.errorlog = None
    config.graceful_timeout = 1
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # of that KeyError
    echo, stop = Echo(), asyncio.Event()
    server = asyncio.create_task(serve(echo, config, shutdown_trigger=stop.wait))
    for _ in range(100):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            break
        except ConnectionError:
            await asyncio.sleep(0.05)
    failed = False
    for more in [[], ["--deflate"]]:
        name = "hypercorn server (wss" + (", deflate)" if more else ")")
        url = f"wss://localhost:{port}/"
        line = ["--name", name, "--url", url, "--ca", ca, "--http2", "auto", "--asks", "--alone", *more]
        child = await asyncio.create_subprocess_exec(program, *line)
        failed |= await asyncio.wait_for(child.wait(), 120) != 0
    checks = Checks("hypercorn server")

    async def seen():
        same(echo.versions, {"2"})

    await checks.run("what the server saw", seen)
    checks.failed |= failed
    stop.set()
    await asyncio.wait([server], timeout=5)
    checks.exit()


asyncio.run(main())
