"""Python's `h2` as the client of our `echo_peer --http2`, with `wsproto` for the frames.

By hand: cargo run --example echo_peer -- --http2, then
python tests/interop/python_http2_client.py ws://127.0.0.1:9001
(for wss add --ca FILE).
"""

import argparse
import asyncio
from urllib.parse import urlsplit

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from check import LONG, TEXT, Checks, client_tls, same

CONNECT = SettingCodes.ENABLE_CONNECT_PROTOCOL


class Ended(Exception):
    """A stream or the connection ended early."""


class Http2:
    """One connection, whose SETTINGS are there."""

    def __init__(self, reader, writer, target):
        self.reader, self.writer, self.target = reader, writer, target
        self.h2 = H2Connection(H2Configuration(client_side=True))
        self.streams = {}
        self.changed = asyncio.Condition()
        self.error = None
        self.goaway = None

    @classmethod
    async def connect(cls, url, tls):
        target = urlsplit(url)
        if tls:
            tls.set_alpn_protocols(["h2"])
        reader, writer = await asyncio.open_connection(target.hostname, target.port, ssl=tls)
        if tls:
            same(writer.get_extra_info("ssl_object").selected_alpn_protocol(), "h2")
        self = cls(reader, writer, target)
        self.h2.initiate_connection()
        self.write()
        self.task = asyncio.create_task(self.read())
        self.settings = False
        await self.until(lambda: self.settings)
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        self.writer.close()

    def write(self):
        self.writer.write(self.h2.data_to_send())

    async def until(self, ready):
        """Waits for what `ready` looks for."""
        async with self.changed:
            while not (found := ready()):
                if self.error:
                    raise self.error
                await self.changed.wait()
            return found

    async def read(self):
        try:
            while data := await self.reader.read(65_536):
                for event in self.h2.receive_data(data):
                    self.event(event)
                self.write()
                async with self.changed:
                    self.changed.notify_all()
            self.error = Ended("the connection ended")
        except Exception as error:  # told to whoever waits
            self.error = error
        async with self.changed:
            self.changed.notify_all()

    def event(self, event):
        if isinstance(event, RemoteSettingsChanged):
            self.settings = True
        elif isinstance(event, ConnectionTerminated):
            self.goaway = event.error_code
        elif isinstance(event, ResponseReceived):
            self.streams[event.stream_id].response = dict(event.headers)
        elif isinstance(event, DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.streams[event.stream_id].received(event.data)
        elif isinstance(event, StreamEnded):
            self.streams[event.stream_id].ended = True
        elif isinstance(event, StreamReset):
            self.streams[event.stream_id].reset = event.error_code

    async def request(self, headers, end=False):
        """A stream with its response."""
        number = self.h2.get_next_available_stream_id()
        stream = self.streams[number] = Stream(self, number)
        self.h2.send_headers(number, headers, end_stream=end)
        self.write()
        await self.until(lambda: stream.response or stream.reset is not None)
        if stream.reset is not None:
            raise Ended(f"reset with {stream.reset}")
        return stream

    async def websocket(self, *more):
        scheme = "https" if self.target.scheme == "wss" else "http"
        headers = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", scheme),
            (":path", "/"),
            (":authority", self.target.netloc),
            ("sec-websocket-version", "13"),
            *more,
        ]
        stream = await self.request(headers)
        same(stream.response[b":status"], b"200")
        return stream


class Stream:
    """One stream, as a WebSocket."""

    def __init__(self, http2, number):
        self.http2, self.number = http2, number
        self.ws = Connection(ConnectionType.CLIENT)
        self.response, self.reset, self.ended = None, None, False
        self.parts, self.messages, self.pongs, self.closing = [], [], [], None

    def received(self, data):
        if not data or self.response[b":status"] != b"200":
            return
        self.ws.receive_data(data)
        for event in self.ws.events():
            if isinstance(event, (TextMessage, BytesMessage)):
                self.parts.append(event.data)
                if event.message_finished:
                    self.messages.append(type(event.data)().join(self.parts))
                    self.parts = []
            elif isinstance(event, Pong):
                self.pongs.append(bytes(event.payload))
            elif isinstance(event, CloseConnection):
                self.closing = (int(event.code), event.reason or "")

    async def data(self, data, end=False):
        """Sends it as the windows have room."""
        h2 = self.http2.h2
        while True:
            window = lambda: h2.local_flow_control_window(self.number)
            if data:
                await self.http2.until(window)
            size = min(len(data), window(), h2.max_outbound_frame_size)
            piece, data = data[:size], data[size:]
            h2.send_data(self.number, piece, end_stream=end and not data)
            self.http2.write()
            await self.http2.writer.drain()
            if not data:
                return

    async def send(self, event, end=False):
        await self.data(self.ws.send(event), end)

    async def message(self):
        await self.arrived(lambda: self.messages)
        return self.messages.pop(0)

    async def arrived(self, what):
        found = await self.http2.until(
            lambda: what() or self.ended or self.reset is not None or self.closing
        )
        if not what():
            raise Ended(f"ended {self.ended}, reset {self.reset}, close {self.closing}")
        return found

    async def close(self, code=1000, reason=""):
        """Both ends close, and both end the stream."""
        await self.send(CloseConnection(code, reason))
        await self.arrived(lambda: self.closing)
        same(self.closing, (code, reason))
        await self.http2.until(lambda: self.ended or self.reset is not None)
        same((self.ended, self.reset), (True, None))
        await self.data(b"", end=True)


async def echo(http2, message):
    ws = await http2.websocket()
    event = TextMessage if isinstance(message, str) else BytesMessage
    await ws.send(event(message))
    same(await ws.message(), message)
    await ws.close()


async def setting(http2):
    same(http2.h2.remote_settings.get(CONNECT), 1)


async def fragments(http2):
    """Each byte of the frames in DATA of its own."""
    ws = await http2.websocket()
    frames = ws.ws.send(TextMessage("frag", message_finished=False))
    frames += ws.ws.send(Ping(b"between"))
    frames += ws.ws.send(TextMessage(f"mented {TEXT}"))
    for byte in frames:
        await ws.data(bytes([byte]))
    same(await ws.message(), f"fragmented {TEXT}")
    same(ws.pongs, [b"between"])
    await ws.close()


async def many(http2):
    """Several at once, whose messages come in turns."""
    sockets = [await http2.websocket() for _ in range(20)]
    for n, ws in enumerate(sockets):
        await ws.send(BytesMessage(bytes([n]) * 100_000))
    for n, ws in enumerate(sockets):
        same(await ws.message(), bytes([n]) * 100_000)
    for ws in sockets:
        await ws.close()


async def close(http2, code, reason):
    await (await http2.websocket()).close(code, reason)


async def at_once(http2):
    """Close and the end of the stream in one DATA, as Chromium sends them."""
    ws = await http2.websocket()
    await ws.send(CloseConnection(4000, "bye"), end=True)
    await ws.arrived(lambda: ws.closing)
    same(ws.closing, (4000, "bye"))
    await http2.until(lambda: ws.ended or ws.reset is not None)
    same((ws.ended, ws.reset), (True, None))


async def foreign_headers(http2):
    """HAProxy sends the key of HTTP/1.1 along, and is not to be given an answer to it."""
    ws = await http2.websocket(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="))
    same(b"sec-websocket-accept" in ws.response, False)
    await ws.close()


async def reset(http2, beside=True):
    """A stream that is reset ends alone."""
    one, other = await http2.websocket(), await http2.websocket()
    await one.send(TextMessage(TEXT))
    http2.h2.reset_stream(one.number, ErrorCodes.CANCEL)
    http2.write()
    await other.send(TextMessage(TEXT))
    same(await other.message(), TEXT)
    await other.close()


async def shut_window(http2):
    """Who takes nothing in keeps nobody else waiting. The window of a stream is 64 KiB here."""
    slow, other = await http2.websocket(), await http2.websocket()
    acknowledge = http2.h2.acknowledge_received_data

    def held(length, number):
        if number != slow.number:
            acknowledge(length, number)

    http2.h2.acknowledge_received_data = held
    http2.h2.increment_flow_control_window(1 << 20)  # of the connection: only the stream is shut
    message = bytes(200_000)
    await slow.send(BytesMessage(message))
    await other.send(BytesMessage(message))
    same(await other.message(), message)
    same(slow.messages, [])
    http2.h2.increment_flow_control_window(1 << 20, slow.number)
    http2.write()
    same(await slow.message(), message)
    await other.close()


async def refused(http2, headers, status):
    """What is no WebSocket is answered, and the connection goes on."""
    stream = await http2.request(headers, end=True)
    same(stream.response[b":status"], status)
    await echo(http2, TEXT)


async def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("url")
    arguments.add_argument("--ca")
    arguments = arguments.parse_args()
    url = arguments.url
    checks = Checks(f"Python h2 client ({url.split(':')[0]})")

    async def run(name, check, *more):
        async def connected():
            async with await Http2.connect(url, client_tls(arguments.ca)) as http2:
                await check(http2, *more)
                same(http2.goaway, None)

        await checks.run(name, connected, 20)

    await run("extended CONNECT is allowed", setting)
    for name, message in [
        ("text", TEXT),
        ("empty text", ""),
        ("binary", bytes(range(256))),
        ("text of 1 MiB", LONG),
        ("binary of 1 MiB", bytes(range(256)) * 4096),
    ]:
        await run(name, echo, message)
    await run("fragments, byte by byte", fragments)
    await run("20 WebSockets on one connection", many)
    await run("close 1000", close, 1000, "")
    await run("close with a reason", close, 4321, TEXT)
    await run("Close and the end of the stream at once", at_once)
    await run("a key is not answered", foreign_headers)
    await run("a stream that is reset, beside another", reset)
    await run("a stream whose window is shut, beside another", shut_window)
    authority = (":authority", urlsplit(url).netloc)
    scheme = (":scheme", "https" if arguments.ca else "http")
    get = [(":method", "GET"), scheme, (":path", "/"), authority]
    await run("GET is refused", refused, get, b"405")
    checks.exit()


asyncio.run(main())
