"""A NATS server, over its WebSocket listener, and our `nats` example. The peer at the other end of each
check is a few lines of NATS over TCP.

By hand: cargo build --example nats, then
python tests/interop/nats_server.py target/debug/examples/nats nats-server CERT KEY CA
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import tempfile
from pathlib import Path

from check import TEXT, Checks, same

MAX_PAYLOAD = 1 << 20  # NATS' own limit, in bytes
MESSAGES = 1000
USER, PASSWORD = "user", "secret"
# What this user may do; without the option nobody has to log in.
LOGIN = f"""authorization {{ users: [ {{ user: "{USER}", password: "{PASSWORD}",
  permissions: {{ publish: ["open.>"], subscribe: ["open.>"] }} }} ] }}
"""
# One that is silent is given up after a second.
IMPATIENT = 'ping_interval: "500ms"\nping_max: 1\n'


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Lines:
    """The lines that a program prints."""

    def __init__(self, stream):
        self.stream = stream

    async def next(self):
        line = await self.stream.readline()
        if not line:
            raise EOFError("the program has ended")
        return line.decode().rstrip("\n")

    async def until(self, part):
        """The next line with this part."""
        while part not in (line := await self.next()):
            pass
        return line


class Server:
    """A NATS server, which can be started again."""

    def __init__(self, arguments, secure, login=False, more=""):
        self.arguments, self.secure = arguments, secure
        self.port, self.websocket = free_port(), free_port()
        tls = "no_tls: true"
        if secure:
            tls = f'tls {{ cert_file: "{arguments.cert}", key_file: "{arguments.key}" }}'
        self.login = {"user": USER, "pass": PASSWORD} if login else {}
        self.config = f"""listen: "127.0.0.1:{self.port}"
websocket {{ listen: "127.0.0.1:{self.websocket}", compression: true, {tls} }}
{more}{LOGIN if login else ""}"""

    @property
    def url(self):
        return f"{'wss' if self.secure else 'ws'}://localhost:{self.websocket}"

    async def start(self):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
            config.write(self.config)
            config.flush()
            self.process = await asyncio.create_subprocess_exec(
                self.arguments.server, "-D", "-c", config.name, stderr=asyncio.subprocess.PIPE
            )
            self.log = Lines(self.process.stderr)
            await self.log.until("Server is ready")

    async def end(self, how):
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(how)
        # What it still has to say must have somewhere to go.
        await self.process.communicate()

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_):
        await self.end(signal.SIGKILL)

    def peer(self):
        return Peer(self)


class Peer:
    """A client over TCP."""

    def __init__(self, server):
        self.server = server

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        same((await self.reader.readline())[:5], b"INFO ")
        self.say(b"CONNECT " + json.dumps({"verbose": False} | self.server.login).encode() + b"\r\n")
        await self.settled()
        return self

    async def __aexit__(self, *_):
        self.writer.close()

    def say(self, line):
        self.writer.write(line)

    async def settled(self):
        """Everything that was said is done with."""
        self.say(b"PING\r\n")
        same(await self.reader.readline(), b"PONG\r\n")

    async def publish(self, subject, texts):
        payloads = [text.encode() for text in texts]
        self.say(b"".join(b"PUB %s %d\r\n%s\r\n" % (subject, len(p), p) for p in payloads))
        await self.settled()

    async def subscribe(self, subject):
        self.say(b"SUB %s 1\r\n" % subject)
        await self.settled()

    async def next(self):
        while (line := await self.reader.readline()) == b"PING\r\n":
            self.say(b"PONG\r\n")
        word, subject, _, length = line.split()
        same(word, b"MSG")
        payload = await self.reader.readexactly(int(length) + 2)
        return subject, payload[:-2].decode()


class Example:
    """Our example, with these options."""

    def __init__(self, server, *options, ca=True, password=PASSWORD):
        self.command = [server.arguments.program, "--server", server.url, *options]
        if server.secure and ca:
            self.command += ["--ca", server.arguments.ca]
        if server.secure:
            self.command.append("--deflate")
        self.environment = dict(os.environ)
        if server.login:
            self.command += ["--user", USER]
            self.environment["NATS_PASSWORD"] = password

    async def __aenter__(self):
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdin=pipe, stdout=pipe, stderr=pipe, limit=4 << 20, env=self.environment
        )
        self.lines = Lines(self.process.stdout)
        return self

    async def __aexit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def subscribed(self):
        await self.lines.until("subscribed")

    async def cleanly(self):
        """It ends by itself, and with success."""
        errors = (await self.process.stderr.read()).decode()
        same((await self.process.wait(), errors), (0, ""))

    async def with_error(self, part):
        """A failure is told by the exit code and on standard error, never by a panic."""
        errors = (await self.process.stderr.read()).decode()
        if await self.process.wait() != 1 or part not in errors:
            raise AssertionError(f"exit code {self.process.returncode}, {errors!r} without {part!r}")


async def receives(server):
    """Each payload arrives whole, however the server cuts what it sends, and the last one ends it."""
    texts = [TEXT, "", "two\r\nlines", "x" * MAX_PAYLOAD, "last"]
    shown = [text.replace("\r\n", "\\r\\n") for text in texts]
    options = ["--subscribe", "open.*.b", "--count", str(len(texts))]
    async with server.peer() as peer, Example(server, *options) as example:
        same((await example.lines.next())[:18], "connected to NATS ")
        await example.subscribed()
        await peer.publish(b"open.elsewhere", ["not this"])
        await peer.publish(b"open.a.b", texts)
        same([await example.lines.next() for _ in texts], [f"open.a.b: {text}" for text in shown])
        await example.cleanly()


async def in_order(server):
    numbers = [f"message {n}" for n in range(MESSAGES)]
    options = ["--subscribe", "open.>", "--count", str(MESSAGES)]
    async with server.peer() as peer, Example(server, *options) as example:
        await example.subscribed()
        await peer.publish(b"open.a", numbers)
        same([await example.lines.next() for _ in numbers], [f"open.a: {text}" for text in numbers])
        await example.cleanly()


async def publishes(server):
    texts = [TEXT, "", "x" * MAX_PAYLOAD, *(f"message {n}" for n in range(MESSAGES))]
    async with server.peer() as peer, Example(server, "--publish", "open.c") as example:
        await peer.subscribe(b"open.>")
        example.process.stdin.write("".join(f"{text}\n" for text in texts).encode())
        same([await peer.next() for _ in texts], [(b"open.c", text) for text in texts])
        example.process.stdin.close()
        await example.cleanly()


async def too_long(server):
    """The server said in INFO what it takes: it need not be asked."""
    async with Example(server, "--publish", "open.c") as example:
        example.process.stdin.write(b"x" * (MAX_PAYLOAD + 1) + b"\n")
        await example.with_error(f"{MAX_PAYLOAD + 1} bytes, and the server takes {MAX_PAYLOAD}")


async def stopped(server):
    """SIGTERM ends it in order."""
    async with Example(server, "--subscribe", "open.>") as example:
        await example.subscribed()
        example.process.terminate()
        await example.cleanly()
    await server.log.until("Client Closed")


async def restarted(server, how):
    """It is back when the server is, and has subscribed again."""
    async with Example(server, "--subscribe", "open.>", "--count", "2") as example:
        await example.subscribed()
        async with server.peer() as peer:
            await peer.publish(b"open.a", ["before"])
        same(await example.lines.next(), "open.a: before")
        await server.end(how)
        await example.lines.until("disconnected: ")
        await server.start()
        await example.subscribed()
        async with server.peer() as peer:
            await peer.publish(b"open.a", ["after"])
        same(await example.lines.next(), "open.a: after")
        await example.cleanly()


async def stale(server):
    """A client that slept, as a laptop does, was given up meanwhile: it notices, and comes back."""
    async with Example(server, "--subscribe", "open.>", "--count", "1") as example:
        await example.subscribed()
        example.process.send_signal(signal.SIGSTOP)
        await server.log.until("Stale Client Connection")
        example.process.send_signal(signal.SIGCONT)
        await example.lines.until("disconnected: ")
        await example.subscribed()
        async with server.peer() as peer:
            await peer.publish(b"open.a", ["after"])
        same(await example.lines.next(), "open.a: after")
        await example.cleanly()


async def refused(server, subject, part, **options):
    """What does not get better is not tried again."""
    async with Example(server, "--subscribe", subject, **options) as example:
        await example.with_error(part)


async def cannot_publish(server, part, subject="open.c", **options):
    async with Example(server, "--publish", subject, **options) as example:
        example.process.stdin.write(b"one\n")
        example.process.stdin.close()
        await example.with_error(part)


async def main():
    arguments = argparse.ArgumentParser()
    for name in ["program", "server", "cert", "key", "ca"]:
        arguments.add_argument(name, type=lambda text: str(Path(text)))
    arguments = arguments.parse_args()
    checks = Checks("NATS server")
    for secure, login in [(False, False), (False, True), (True, True)]:
        ways = ["wss, deflate" if secure else "ws"] + ["with a password"] * login
        checks.peer = f"NATS server ({', '.join(ways)})"
        async with Server(arguments, secure, login) as server:
            await checks.run("what others publish", lambda: receives(server))
            await checks.run(f"{MESSAGES} messages in order", lambda: in_order(server))
            await checks.run("what we publish", lambda: publishes(server))
            await checks.run("a payload that is too long", lambda: too_long(server))
            await checks.run("the end by a signal", lambda: stopped(server))
            if login:
                wrong = {"password": "wrong"}
                part = "Authorization Violation"
                await checks.run("a wrong password", lambda: refused(server, "open.a", part, **wrong))
                await checks.run(
                    "publishing with one", lambda: cannot_publish(server, part, **wrong)
                )
                part = "Permissions Violation for Subscription"
                await checks.run("a closed subject", lambda: refused(server, "closed.a", part))
                part = "Permissions Violation for Publish"
                await checks.run(
                    "publishing to one", lambda: cannot_publish(server, part, "closed.a")
                )
            if secure:
                part = "certificate"
                await checks.run(
                    "an unknown authority", lambda: refused(server, "open.a", part, ca=False)
                )
            for what, how in [("killed", signal.SIGKILL), ("stopped", signal.SIGTERM)]:
                await checks.run(f"a server that is {what}", lambda: restarted(server, how))
    checks.peer = "NATS server"
    async with Server(arguments, False, more=IMPATIENT) as server:
        await checks.run("a client that slept", lambda: stale(server))
    checks.exit()


asyncio.run(main())
