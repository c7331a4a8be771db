"""Python's `websockets` as a server behind a reverse proxy: `python_backend.py ADDRESS`.

It echoes, and does what `check_client --asks` asks for. The text `request` is answered with what
the server knows of the request. Nobody may open `/forbidden`.
"""

import asyncio
import contextlib
import http
import json
import re
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

SUBPROTOCOLS = ["v1.test", "v2.test"]
ASKED = re.compile(r"close (\d+) (.*)", re.DOTALL)


def request(ws):
    """What the server knows of the request."""
    headers = ws.request.headers
    names = ["Authorization", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"]
    known = {name.lower(): headers.get(name) for name in names}
    return json.dumps({"path": ws.request.path, "subprotocol": ws.subprotocol} | known)


async def handle(ws):
    with contextlib.suppress(ConnectionClosed):  # the client has its own checks
        while True:
            message = await ws.recv()
            asked = isinstance(message, str) and ASKED.fullmatch(message)
            if asked:
                await ws.close(int(asked[1]), asked[2])
            elif message == "request":
                await ws.send(request(ws))
            else:
                await ws.send(message)


def admit(connection, request):
    """Before the handshake is answered."""
    if request.path == "/forbidden":
        return connection.respond(http.HTTPStatus.FORBIDDEN, "not for you\n")


def select(connection, offered):
    """One that both know, or none: by itself, the library refuses who offers none that it knows."""
    return next((name for name in SUBPROTOCOLS if name in offered), None)


async def main():
    host, port = sys.argv[1].rsplit(":", 1)
    # Pings of the server would keep open what is silent.
    options = {"max_size": None, "ping_interval": None, "process_request": admit}
    async with serve(handle, host, int(port), select_subprotocol=select, **options) as server:
        print(f"listening on {sys.argv[1]}", flush=True)
        await server.serve_forever()


asyncio.run(main())
