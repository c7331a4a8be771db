"""Python's `websockets` as the server of our clients with compression.

By hand: cargo build --example client --example autobahn_client, then
cd target/debug/examples; python .../python_deflate_server.py ./client ./autobahn_client
"""

import asyncio
import sys

from websockets.asyncio.server import serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

from check import Checks, same
from deflate import COUNT, SIZES, SMALL, conversation, negotiated, on_the_wire, parameters, text
from example import run


async def drive(command, lines, handler, answer):
    """A server that answers offers in this way, and an example of ours against it. What
    the handler raises fails the check."""
    raised = []

    async def watched(ws):
        try:
            await handler(ws)
        except Exception as error:
            raised.append(error)
            raise

    options = {"compression": None, "extensions": [answer]} if answer else {}
    options |= {"ping_interval": None, "max_size": None}
    async with serve(watched, "127.0.0.1", 0, **options) as server:
        port = server.sockets[0].getsockname()[1]
        program, *more = command
        ended = await run([program, f"ws://127.0.0.1:{port}", *more], lines)
    for error in raised:
        raise error
    return ended


async def client(program, answer, expected):
    """The `client` example sends lines; it does not refer to earlier ones."""

    async def echo(ws):
        extension = negotiated(ws)
        same(parameters(extension), expected)
        async for message in ws:
            what = "compressed" if len(message.encode()) >= 256 else "plain"
            on_the_wire(what, message, extension.frames.pop(0))
            await ws.send(message)

    lines = [text(size, number) for size in SIZES for number in range(COUNT)]
    (await drive([program, "--deflate"], lines, echo, answer)).cleanly(lines)


async def echo_client(program, answer, expected, sizes, takeover):
    """`autobahn_client` sends everything back, and refers to earlier messages if it may. It
    wants to be told of one case, is given it, and asks for a report."""

    async def case(ws):
        if ws.request.path == "/getCaseCount":
            await ws.send("1")
        elif ws.request.path.startswith("/runCase?case=1&"):
            same(parameters(negotiated(ws)), expected)
            await conversation(ws, sizes, takeover)

    (await drive([program, "--deflate"], [], case, answer)).cleanly(["1 cases run"])


async def main():
    program, echoing = sys.argv[1:]
    checks = Checks("websockets server (deflate)")
    Answer = ServerPerMessageDeflateFactory

    # Its default are windows of 12 bits; `client` offers to forget its own context.
    for name, answer, theirs, bits in [
        ("its default answer", None, False, 12),
        ("full windows", Answer(), False, 15),
        ("no context", Answer(True, True), True, 15),
        ("windows of 9 bits", Answer(False, False, 9, 9), False, 9),
    ]:
        expected = ((True, bits), (theirs, bits))
        await checks.run(f"client, {name}", lambda: client(program, answer, expected), 60)
    for name, answer, (ours, theirs), bits, sizes in [
        ("its default answer", None, (False, False), 12, SIZES),
        ("full windows", Answer(), (False, False), 15, SMALL),
        ("server_no_context_takeover", Answer(True, False), (False, True), 15, SMALL),
        ("client_no_context_takeover", Answer(False, True), (True, False), 15, SMALL),
        ("no context", Answer(True, True), (True, True), 15, SIZES),
    ]:
        expected = ((ours, bits), (theirs, bits))
        await checks.run(
            f"echo, {name}", lambda: echo_client(echoing, answer, expected, sizes, not ours), 60
        )
    for bits in range(9, 16):
        answer, expected = Answer(False, False, bits, bits), ((False, bits), (False, bits))
        await checks.run(
            f"echo, windows of {bits} bits",
            lambda: echo_client(echoing, answer, expected, SMALL, None),
            30,
        )
    checks.exit()


asyncio.run(main())
