"""libcurl (through `curl_cffi`) as the client of our `echo_peer`.

By hand: cargo run --example echo_peer, then python tests/interop/curl_client.py ws://127.0.0.1:9001
(for wss add --ca FILE).
"""

import argparse
import asyncio
import struct
from select import select

from curl_cffi import CurlError
from curl_cffi.const import CurlECode, CurlInfo, CurlOpt, CurlWsFlag
from curl_cffi.requests import WebSocket

from check import LONG, TEXT, Checks, same


class Connection:
    """A connection of libcurl that shows every frame, and that answers nothing by itself."""

    def __init__(self, url, ca, headers=None):
        options = {CurlOpt.CAINFO: ca} if ca else None
        self.ws = WebSocket(autoclose=False)
        self.ws.connect(url, timeout=15, curl_options=options, headers=headers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ws.terminate()

    def send(self, payload, flags):
        if payload:
            self.ws.send(payload, flags)
        else:
            self.ws.curl.ws_send(b"", flags)  # `WebSocket.send` sends nothing at all here

    def expect(self, payload, flag):
        received, flags = self.ws.recv()
        same(received, payload)
        if not flags & flag:
            raise AssertionError(f"flags {flags} instead of {flag}")


def echo(connect, payload, flag):
    with connect() as ws:
        ws.send(payload, flag)
        ws.expect(payload, flag)


def fragmented(connect):
    with connect() as ws:
        more = CurlWsFlag.TEXT | CurlWsFlag.CONT
        ws.send("frag", more)
        ws.send("mented ", more)
        ws.send(TEXT, CurlWsFlag.TEXT)
        ws.expect(f"fragmented {TEXT}".encode(), CurlWsFlag.TEXT)


def ping(connect):
    with connect() as ws:
        ws.send(b"\x00ping\xff", CurlWsFlag.PING)
        ws.send(b"data", CurlWsFlag.BINARY)
        while True:  # `recv` passes over control frames, so these are read one by one
            chunk, flags = fragment(ws)
            if flags & CurlWsFlag.PONG:
                same(chunk, b"\x00ping\xff")
                return
            if flags & CurlWsFlag.BINARY:
                same(chunk, b"data")


def fragment(ws):
    """The next frame, of whatever kind, waiting for it as long as the check may take."""

    while True:
        try:
            chunk, frame = ws.ws.recv_fragment()
            return chunk, frame.flags
        except CurlError as error:
            if error.code != CurlECode.AGAIN:
                raise
            select([ws.ws.curl.getinfo(CurlInfo.ACTIVESOCKET)], [], [], 1)


def close(connect, code, reason):
    with connect() as ws:
        ws.send(struct.pack("!H", code) + reason.encode(), CurlWsFlag.CLOSE)
        ws.expect(struct.pack("!H", code) + reason.encode(), CurlWsFlag.CLOSE)


async def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("url")
    arguments.add_argument("--ca")
    arguments = arguments.parse_args()
    checks = Checks(f"curl client ({arguments.url.split(':')[0]})")

    def connect():
        return Connection(arguments.url, arguments.ca)

    every_byte = bytes(range(256))
    text, binary = CurlWsFlag.TEXT, CurlWsFlag.BINARY
    for name, check in [
        ("text", lambda: echo(connect, TEXT.encode(), text)),
        ("empty text", lambda: echo(connect, b"", text)),
        ("binary", lambda: echo(connect, every_byte, binary)),
        ("empty binary", lambda: echo(connect, b"", binary)),
        ("text of 1 MiB", lambda: echo(connect, LONG.encode(), text)),
        ("binary of 1 MiB", lambda: echo(connect, every_byte * 4096, binary)),
        ("fragmented text", lambda: fragmented(connect)),
        ("ping", lambda: ping(connect)),
        ("close 1000", lambda: close(connect, 1000, "")),
        ("close with a reason", lambda: close(connect, 4321, TEXT)),
    ]:
        await checks.run(name, lambda: asyncio.to_thread(check))
    checks.exit()


asyncio.run(main())
