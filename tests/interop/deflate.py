"""Messages for checks of compression, and what their frames must look like on the wire."""

import functools
import random

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import DATA_OPCODES

from check import same

SMALL = [0, 20, 1 << 10, 64 << 10]
SIZES = [*SMALL, 1 << 20]
COUNT = 10
WORDS = ["price", "größe", "bid", "ask", "venue", "時間", '"', ":{", "},", "null"]

_decode = PerMessageDeflate.decode


def _watched(self, frame, **limits):
    """Notes of each frame whether it has RSV1, and its length as it came."""
    if frame.opcode in DATA_OPCODES:
        self.__dict__.setdefault("frames", []).append((frame.rsv1, len(frame.data)))
    return _decode(self, frame, **limits)


PerMessageDeflate.decode = _watched


def negotiated(ws):
    """The one extension of a connection, which has to be permessage-deflate."""
    same([extension.name for extension in ws.protocol.extensions], ["permessage-deflate"])
    return ws.protocol.extensions[0]


def parameters(extension):
    """Of its peer's compressor and of its own: whether it forgets, and its window."""
    return (
        (extension.remote_no_context_takeover, extension.remote_max_window_bits),
        (extension.local_no_context_takeover, extension.local_max_window_bits),
    )


@functools.cache
def text(size, number):
    """Words and numbers, `size` bytes of them."""
    numbers = random.Random(1000 * size + number)
    some = []
    while sum(map(len, some)) < min(size, 64 << 10):
        some.append(f"{numbers.choice(WORDS)} {numbers.randrange(1000)} ")
    data = "".join(some).encode()[:size].decode(errors="ignore").encode()
    data *= size // max(len(data), 1)  # one after the other, further apart than any window
    return (data + b"." * (size - len(data))).decode()


def messages(sizes):
    """Ten messages of each kind and size: `(what may become of them, message)`."""
    for size in sizes:
        for number in range(COUNT):
            yield "compressed" if size >= 256 else "plain", text(size, number)
        for number in range(COUNT):
            data = text(size, number).encode()[::-1]
            yield "compressed" if size >= 256 else "plain", data
        for number in range(COUNT):
            yield "plain", random.Random(number).randbytes(size)


def on_the_wire(what, message, frame):
    """Checks the frame in which a message came from our side, which sends compressed what
    becomes smaller. The length on the wire is returned."""
    length = len(message.encode() if isinstance(message, str) else message)
    rsv1, wire = frame
    same(rsv1, what == "compressed")
    if what == "compressed" and wire > length * 0.6 or what == "plain" and wire != length:
        raise AssertionError(f"{what} message of {length} bytes in {wire}")
    return wire


def context(lengths, takeover):
    """Checks, by messages of one kind, whether later ones refer to earlier ones."""
    first, later = lengths[0], sum(lengths[5:]) / len(lengths[5:])
    if takeover != (later < 0.85 * first):
        raise AssertionError(f"takeover {takeover}, yet {first} bytes, then {later} on average")


async def conversation(ws, sizes, takeover):
    """Sends messages to an end of ours that sends them back, and looks at what it sends.
    `takeover`: whether its messages refer to earlier ones; None where that cannot be told."""
    frames = negotiated(ws).__dict__.setdefault("frames", [])
    lengths = []
    for what, message in messages(sizes):
        await ws.send(message)
        same(await ws.recv(), message)
        length = on_the_wire(what, message, frames.pop())
        same(frames, [])
        if what == "compressed" and len(lengths) < COUNT:
            lengths.append(length)
    if takeover is not None:
        context(lengths, takeover)
