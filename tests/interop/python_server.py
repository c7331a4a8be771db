"""Python's `websockets` as the server of our `client` example, over ws and wss.

By hand: cargo build --example client, then
python tests/interop/python_server.py target/debug/examples/client CERT KEY CA
"""

import argparse
import asyncio
import socket
import struct

from websockets.asyncio.server import serve

from check import LONG, TEXT, Checks, same, server_tls
from example import run


class Servers:
    """Runs one check: a server with this handler, and the client example against it."""

    def __init__(self, arguments, secure):
        self.program = arguments.client
        self.ca = arguments.ca if secure else None
        self.tls = server_tls(arguments.cert, arguments.key) if secure else None

    async def drive(self, handler, lines, trust=True, hold=False, **options):
        options = {"ping_interval": None, "max_size": None} | options
        async with serve(handler, "127.0.0.1", 0, ssl=self.tls, **options) as server:
            port = server.sockets[0].getsockname()[1]
            url = f"wss://localhost:{port}/a?b=c" if self.tls else f"ws://127.0.0.1:{port}/a?b=c"
            ca = ["--ca", self.ca] if self.ca and trust else []
            return await run([self.program, url, *ca], lines, hold)


async def echo(ws):
    same(ws.request.path, "/a?b=c")
    async for message in ws:
        await ws.send(message)


async def echoes(servers, lines, **options):
    (await servers.drive(echo, lines, **options)).cleanly(lines)


async def server_speaks(servers):
    """Fragments arrive as one message; pings are answered with their payload, in between too."""
    answered = []

    async def handler(ws):
        await ws.recv()
        await (await ws.ping(b"\x00idle\xff"))
        answered.append("idle")

        async def fragments():
            yield TEXT[:4]
            await (await ws.ping(b"between"))
            answered.append("between")
            yield ""
            yield TEXT[4:]

        await ws.send(fragments())
        await ws.send(b"\x00binary is not printed\xff")
        await ws.send(b"")
        await ws.send("")
        await ws.send("last")
        await ws.close()

    ended = await servers.drive(handler, ["start"], hold=True)
    ended.cleanly([TEXT, "", "last"])
    same(answered, ["idle", "between"])


async def server_closes(servers, code, reason):
    """The client answers a Close with the code and the reason that it was sent."""
    seen = asyncio.get_running_loop().create_future()

    async def handler(ws):
        await ws.send("before")
        await ws.close(code, reason)
        received = ws.protocol.close_rcvd
        seen.set_result(received and (received.code, received.reason))

    ended = await servers.drive(handler, [], hold=True)
    same(ended.lines, ["before"])
    same(await seen, (code, reason))
    if code == 1000:
        ended.cleanly(["before"])


async def client_closes(servers):
    """After the end of its input the client closes with 1000."""
    seen = asyncio.get_running_loop().create_future()

    async def handler(ws):
        await echo(ws)
        seen.set_result(ws.close_code)

    (await servers.drive(handler, ["one", "two"])).cleanly(["one", "two"])
    same(await seen, 1000)


async def abrupt(servers, how):
    """A connection that ends without a Close is an error, not the end of the messages."""

    async def handler(ws):
        await ws.send("before")
        await ws.recv()
        if how == "reset":
            linger = struct.pack("ii", 1, 0)  # close at once, and with a reset
            raw = ws.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            ws.transport.abort()
        else:
            ws.transport.close()
        await ws.wait_closed()

    ended = await servers.drive(handler, ["go on"], hold=True)
    ended.with_error()
    same(ended.lines, ["before"])


async def refused(servers):
    """A handshake refused with 403 is an error that tells the status."""

    async def process(connection, request):
        return connection.respond(403, "not for you\n")

    (await servers.drive(echo, ["x"], process_request=process)).with_error("403")


async def untrusted(servers):
    """Without --ca a certificate that the system does not know is refused."""
    (await servers.drive(echo, ["x"], trust=False)).with_error("certificate")


async def nobody(servers):
    """A port where nobody listens."""
    async with serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    (await run([servers.program, f"ws://127.0.0.1:{port}/"], ["x"])).with_error("refused")


async def main():
    arguments = argparse.ArgumentParser()
    for name in ["client", "cert", "key", "ca"]:
        arguments.add_argument(name)
    arguments = arguments.parse_args()
    checks = Checks("websockets server")
    for secure in [False, True]:
        servers = Servers(arguments, secure)
        checks.peer = f"websockets server ({'wss' if secure else 'ws'})"
        await checks.run("text", lambda: echoes(servers, ["hello", TEXT, ""]))
        await checks.run("no input", lambda: echoes(servers, []))
        await checks.run("text of 1 MiB", lambda: echoes(servers, [LONG]))
        await checks.run(
            "200 messages in order", lambda: echoes(servers, [f"line {n}" for n in range(200)])
        )
        await checks.run("fragments, pings, binary", lambda: server_speaks(servers))
        await checks.run("client closes", lambda: client_closes(servers))
        await checks.run("server closes with 1000", lambda: server_closes(servers, 1000, ""))
        await checks.run("server closes with 4321", lambda: server_closes(servers, 4321, TEXT))
        await checks.run("end without a Close", lambda: abrupt(servers, "end"))
        await checks.run("reset", lambda: abrupt(servers, "reset"))
        await checks.run("refused handshake", lambda: refused(servers))
        if secure:
            await checks.run("untrusted certificate", lambda: untrusted(servers))
        else:
            await checks.run("nobody listens", lambda: nobody(servers))
    checks.exit()


asyncio.run(main())
