"""A peer that does all that the protocol allows, and much that it does not, with a codec of its own.

Each conversation is made from a seed: messages of every kind of length, in fragments with control frames between them, cut
into writes anywhere, and an end that is correct or one of the errors below. What `echo_peer` has to answer follows from the
RFC: all messages before the end in order, a pong to the last ping, the right close code, and nothing after the Close.

By hand: cargo run --example echo_peer, then python tests/interop/odd_peer.py ws://127.0.0.1:9001
(--takeover and --pieces for a server that runs with them; --first and --count choose the seeds).
"""

import argparse
import asyncio
import codecs
import random
import socket
import struct
import threading
import urllib.parse
import zlib

from check import Checks, same

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
RSV1 = 4
# Around these an implementation is likely to change its ways.
EDGES = [0, 1, 125, 126, 127, 4095, 4096, 8191, 8192, 16384, 33791, 33792, 65535, 65536, 65537, 200_000]
NO_CODE = 1005


def masked(payload, key):
    length = len(payload)
    pad = int.from_bytes((key * (length // 4 + 1))[:length], "big")
    return (int.from_bytes(payload, "big") ^ pad).to_bytes(length, "big")


def frame(dice, opcode, payload=b"", fin=True, rsv=0, mask=True, form=None):
    """A frame; `form` is how many bytes the length takes: 1, 3 or 9 (RFC 6455 section 5.2), by default the fewest."""
    length = len(payload)
    form = form or (1 if length < 126 else 3 if length < 65536 else 9)
    bit = 0x80 if mask else 0
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if form == 1:
        head += bytes([bit | length])
    elif form == 3:
        head += struct.pack(">BH", bit | 126, length)
    else:
        head += struct.pack(">BQ", bit | 127, length)
    if not mask:
        return head + payload
    key = dice.randbytes(4)
    return head + key + masked(payload, key)


def text(dice, length):
    """UTF-8 of this many bytes."""
    out = bytearray()
    while len(out) < length:
        char = dice.choice("aé€😀").encode()
        out += char if len(out) + len(char) <= length else b"x"
    return bytes(out)


def ends(dice, deflate):
    """What may end a conversation: its name, what is sent, and the close code that is expected."""

    def one(opcode, payload=b"", **rest):
        return frame(dice, opcode, payload, **rest)

    def close(number, reason=b""):
        return one(CLOSE, struct.pack(">H", number) + reason)

    valid = dice.choice([1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999])
    invalid = dice.choice([0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
    reserved = dice.choice([1, 2, 3, 5] if deflate else [1, 2, 4, 7])
    wrong = dice.choice([b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"])
    right = b"ok" * dice.choice([0, 1, 100, 40_000])
    control = dice.choice([CLOSE, PING, PONG])
    begun = one(TEXT, b"x", fin=False)
    cut = one(TEXT, b"a\xe2", fin=False) + one(CONTINUATION, fin=False) + one(CONTINUATION, b"\x82", fin=False)
    return [
        ("a Close", close(valid, "é".encode()), valid),
        ("a Close without a code", one(CLOSE), NO_CODE),
        ("a Close of one byte", one(CLOSE, b"x"), 1002),
        ("a Close with an invalid code", close(invalid), 1002),
        ("a Close with a reason that is not UTF-8", close(1000, b"\xff"), 1007),
        ("a reserved bit", one(TEXT, b"x", rsv=reserved), 1002),
        ("a reserved bit on a continuation", begun + one(CONTINUATION, b"x", rsv=RSV1), 1002),
        ("a reserved opcode", one(dice.choice([3, 7, 11, 15]), b"x"), 1002),
        ("a continuation of nothing", one(CONTINUATION, b"x"), 1002),
        ("a message within another", begun + one(dice.choice([TEXT, BINARY]), b"y"), 1002),
        ("a frame without a mask", one(TEXT, b"x" * dice.choice([0, 5, 300]), mask=False), 1002),
        ("a long control frame", one(control, b"x" * 126), 1002),
        ("a control frame in fragments", one(control, b"x", fin=False), 1002),
        ("a length in 3 bytes instead of 1", one(BINARY, b"x" * dice.choice([0, 5, 125]), form=3), 1002),
        ("a length in 9 bytes instead of 3", one(BINARY, b"x" * dice.choice([0, 126, 65535]), form=9), 1002),
        ("a length with its first bit", struct.pack(">BBQ", 0x82, 0xFF, 1 << 63) + b"abcd", 1002),
        ("a length beyond the limit", struct.pack(">BBQ", 0x82, 0xFF, 1 << 40) + b"abcd", 1009),
        ("text that is not UTF-8", one(TEXT, right + wrong), 1007),
        ("text that ends within a character", cut + one(CONTINUATION, dice.choice([b"", b"a"])), 1007),
    ]


class Script:
    """What one conversation sends and what it expects."""

    def __init__(self, seed, deflate, pieces):
        self.dice = dice = random.Random(seed)
        self.compressor = zlib.compressobj(6, zlib.DEFLATED, -15) if deflate else None
        self.messages = []
        self.message_ends = []
        self.halves = [b"x", b"a", b"ok" * 40_000]  # what comes before an error in a message: see `ends`
        self.pings = []
        self.wire = b""
        for _ in range(dice.choice([1, 3, 10, 30])):
            self.message() if dice.random() < 0.75 else self.ping()
        if dice.random() < 0.2:
            return self.break_off()
        # Pieces have no limit on how many there are.
        choices = [end for end in ends(dice, deflate) if not (pieces and end[2] == 1009)]
        self.end, wire, self.code = dice.choice(choices)
        self.wire += wire
        if self.code != 1009 and dice.random() < 0.5:
            self.wire += frame(dice, BINARY, b"after the end") + dice.randbytes(dice.randrange(50))

    def break_off(self):
        """The stream ends anywhere, perhaps in the middle of a frame."""
        at = self.dice.randrange(len(self.wire) + 1)
        self.end, self.code, self.wire = f"the stream ends at {at}", None, self.wire[:at]
        count = sum(end <= at for end in self.message_ends)
        self.halves = [payload for _, payload in self.messages[count : count + 1]]
        self.messages = self.messages[:count]

    def ping(self):
        payload = self.dice.randbytes(self.dice.choice([0, 4, 125]))
        self.pings.append(payload)
        self.wire += frame(self.dice, PING, payload)

    def message(self):
        dice = self.dice
        length = dice.choice(EDGES) if dice.random() < 0.5 else dice.randrange(300)
        opcode = dice.choice([TEXT, BINARY])
        payload = text(dice, length) if opcode == TEXT else dice.choice([dice.randbytes(length), bytes(length)])
        self.messages.append((opcode, payload))
        rsv = 0
        if self.compressor and dice.random() < 0.6:
            rsv, payload = RSV1, self.compressed(payload)
        count = dice.choice([0, 0, 0, 1, 2, 20])
        cuts = [0, *sorted(dice.randrange(len(payload) + 1) for _ in range(count)), len(payload)]
        for part, (begin, end) in enumerate(zip(cuts, cuts[1:])):
            if part > 0 and dice.random() < 0.3:
                self.ping() if dice.random() < 0.7 else self.pong()
            first, last = part == 0, part == count
            kind = (opcode, last, rsv) if first else (CONTINUATION, last, 0)
            self.wire += frame(dice, kind[0], payload[begin:end], fin=kind[1], rsv=kind[2])
        self.message_ends.append(len(self.wire))

    def pong(self):
        self.wire += frame(self.dice, PONG, b"nobody asked")

    def compressed(self, payload):
        out = self.compressor.compress(payload)
        if self.dice.random() < 0.2:
            out += self.compressor.flush(zlib.Z_FULL_FLUSH)
        out += self.compressor.flush(zlib.Z_SYNC_FLUSH)
        return out.removesuffix(b"\0\0\xff\xff") or b"\0"

    def writes(self):
        """The wire, cut anywhere."""
        dice = self.dice
        if dice.random() < 0.3:
            return [self.wire]
        steps = [1] if len(self.wire) < 5000 and dice.random() < 0.4 else [1, 2, 3, 7, 100, 5000, 65536, 65568]
        out, at = [], 0
        while at < len(self.wire):
            step = dice.choice(steps)
            out.append(self.wire[at : at + step])
            at += step
        return out


class Answer:
    """What came back, taken apart."""

    def __init__(self, deflate):
        self.inflater = zlib.decompressobj(-15) if deflate else None
        self.messages = []
        self.pongs = []
        self.code = None
        self.rest = b""
        self.begun = None

    def feed(self, data):
        self.rest += data
        while (end := self.whole()) is not None:
            (head, payload), self.rest = end, self.rest[end[0][3] :]
            self.handle(*head[:3], payload)

    def whole(self):
        """The first frame, if it is there."""
        data = self.rest
        if len(data) < 2:
            return None
        assert not data[1] & 0x80, "a server does not mask"
        length, at = data[1], 2
        if length == 126:
            at, form, least = 4, ">H", 126
        elif length == 127:
            at, form, least = 10, ">Q", 65536
        if at > 2:
            if len(data) < at:
                return None
            (length,) = struct.unpack(form, data[2:at])
            assert length >= least, "the length has the fewest bytes"
        if len(data) < at + length:
            return None
        return (data[0] & 15, data[0] >> 7, data[0] >> 4 & 7, at + length), data[at : at + length]

    def handle(self, opcode, fin, rsv, payload):
        assert self.code is None, "nothing follows a Close"
        if opcode >= CLOSE:
            assert fin and not rsv and len(payload) <= 125
            if opcode == CLOSE:
                self.code = struct.unpack(">H", payload[:2])[0] if payload else NO_CODE
            elif opcode == PONG:
                self.pongs.append(payload)
            else:
                same(opcode, PING)
            return
        assert (opcode == CONTINUATION) == (self.begun is not None)
        if opcode != CONTINUATION:
            assert rsv in ((0, RSV1) if self.inflater else (0,))
            self.begun = [opcode, rsv, b""]
        else:
            same(rsv, 0)
        self.begun[2] += payload
        if fin:
            opcode, rsv, payload = self.begun
            self.begun = None
            if rsv:
                payload = self.inflater.decompress(payload + b"\0\0\xff\xff")
            self.messages.append((opcode, payload))


    def half(self):
        """What came of a message that did not end; of a text, its whole characters."""
        opcode, rsv, payload = self.begun
        if rsv:
            payload = self.inflater.decompress(payload)
        if opcode == TEXT:
            payload = codecs.getincrementaldecoder("utf-8")().decode(payload).encode()
        return payload


def connect(url, deflate):
    address = urllib.parse.urlsplit(url)
    sock = socket.create_connection((address.hostname, address.port), timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if deflate else ""
    request = f"GET / HTTP/1.1\r\nHost: {address.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    request += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    sock.sendall((request + offer + "\r\n").encode())
    response = b""
    while not response.endswith(b"\r\n\r\n"):
        response += sock.recv(1)
    assert response.startswith(b"HTTP/1.1 101 ")
    same(b"permessage-deflate" in response, deflate)
    return sock


def converse(url, seed, deflate, pieces):
    script, answer = Script(seed, deflate, pieces), Answer(deflate)
    sock = connect(url, deflate)

    def write():
        try:
            for part in script.writes():
                sock.sendall(part)
            if script.code is None:
                sock.shutdown(socket.SHUT_WR)
        except OSError:  # the server need not take what follows its Close
            pass

    writing = threading.Thread(target=write)
    writing.start()
    with sock:
        while data := sock.recv(65536):
            answer.feed(data)
        writing.join()
    what = f"seed {seed}, {script.end}: "
    if pieces and script.end not in ("a Close", "a Close without a code") and answer.begun:
        half = answer.half()
        assert any(whole.startswith(half) for whole in script.halves), f"{what}{half[-20:]} came back"
        answer.begun = None
    same((what, answer.rest, answer.begun), (what, b"", None))
    lengths = [len(payload) for _, payload in answer.messages]
    assert answer.messages == script.messages, f"{what}messages of {lengths} bytes came back"
    if script.code is not None:
        same((what, answer.code), (what, script.code))
    if script.end.startswith("a Close") and script.pings and script.code not in (1002, 1007):
        same((what, answer.pongs[-1:]), (what, script.pings[-1:]))
    remaining = iter(script.pings)
    assert all(pong in remaining for pong in answer.pongs), f"{what}a pong without its ping"


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--takeover", action="store_true")
    parser.add_argument("--pieces", action="store_true")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--count", type=int, default=400)
    options = parser.parse_args()

    async def conversations():
        for seed in range(options.first, options.first + options.count):
            await asyncio.to_thread(converse, options.url, seed, options.takeover, options.pieces)

    checks = Checks(f"odd peer{' (pieces)' if options.pieces else ''}")
    await checks.run(f"{options.count} conversations from {options.first} on", conversations, seconds=240)
    checks.exit()


if __name__ == "__main__":
    asyncio.run(main())
