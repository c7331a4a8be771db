"""Autobahn's `wstest` with its servers bound to 127.0.0.1 instead of every interface. For Python 2.

By hand: target/suites/autobahn/bin/python tests/autobahn/wstest.py -m fuzzingserver -s spec.json -u 0
Prints `listening on ws://127.0.0.1:PORT` once a client may connect.

With `--deflate` every case is run on a connection with permessage-deflate, not only those of
sections 12 and 13: see `negotiate`.
"""

from __future__ import print_function

import functools
import sys
import zlib

from autobahntestsuite import choosereactor  # noqa: F401: must be imported before the reactor
from autobahn.websocket.compress import (
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
    PerMessageDeflateResponse,
    PerMessageDeflateResponseAccept,
)
from autobahn.websocket.protocol import WebSocketProtocol
from autobahntestsuite import wstest
from autobahntestsuite.case import case10_1_1
from autobahntestsuite.case.case import Case
from twisted.internet import reactor

CONTINUATION, TEXT, BINARY = 0, 1, 2
RSV1 = 4  # as the suite counts the reserved bits
TAIL = b"\x00\x00\xff\xff"


def loopback_only(name, scheme, before):
    """Replaces a `listen` function of the reactor, whose interface is its last argument, by itself
    on loopback; `before` counts the arguments in front of the backlog and the interface."""
    listen = getattr(reactor, name)

    def on_loopback(*args):
        bound = listen(*args[:before], interface="127.0.0.1")
        print("listening on %s://127.0.0.1:%d" % (scheme, bound.getHost().port))
        sys.stdout.flush()
        return bound

    setattr(reactor, name, on_loopback)


def negotiate():
    """Makes every case offer and accept compression, and compress the messages that it sends.

    A case that ends without compression having been agreed on is UNIMPLEMENTED. The cases of
    sections 12 and 13 put their own offers in the place of these afterwards."""
    prepare = Case.__init__

    def init(case, protocol):
        protocol.perMessageCompressionOffers = [PerMessageDeflateOffer()]
        protocol.perMessageCompressionAccept = accept
        protocol.sendFrame = compressing(protocol)
        prepare(case, protocol)
        if isinstance(case, case10_1_1.Case10_1_1):
            # It counts the fragments of its own message, as many as there are without compression.
            protocol.sendMessage = functools.partial(protocol.sendMessage, doNotCompress=True)
        judge = case.onConnectionLost

        def on_connection_lost(*args):
            judge(*args)
            if protocol._perMessageCompress is None:
                case.behavior = Case.UNIMPLEMENTED

        case.onConnectionLost = on_connection_lost

    Case.__init__ = init
    # Cases 6.4.3 and 6.4.4 send a frame in pieces: that interface sets RSV1 and compresses nothing.
    begin = WebSocketProtocol.beginMessage
    WebSocketProtocol.beginMessage = lambda self, isBinary=False: begin(self, isBinary, True)


def accept(found):
    """As a server the first offer, as a client the answer."""
    if isinstance(found, PerMessageDeflateResponse):
        return PerMessageDeflateResponseAccept(found)
    for offer in found:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer)
    return None


def compressing(protocol):
    """The protocol's `sendFrame`, which most cases write to directly, with messages compressed.

    Each fragment is flushed by itself, so that what a case sends in it arrives with it. Frames with
    reserved bits stay as they are, and so do those that begin a message within another, or go on
    with none."""
    send = protocol.sendFrame
    inside = [False]

    def send_frame(opcode, payload=b"", fin=True, rsv=0, payload_len=None, **more):
        deflate = protocol._perMessageCompress
        starts = opcode in (TEXT, BINARY) and not inside[0]
        goes_on = opcode == CONTINUATION and inside[0]
        if deflate is None or rsv or not (starts or goes_on):
            return send(opcode, payload, fin, rsv, payload_len=payload_len, **more)
        if payload_len is not None:
            payload = (payload * (payload_len // len(payload) + 1))[:payload_len]
        if starts:
            deflate.startCompressMessage()
        data = deflate.compressMessageData(payload)
        data += deflate._compressor.flush(zlib.Z_SYNC_FLUSH)
        if fin:
            data = data[: -len(TAIL)] if data.endswith(TAIL) else data + b"\x00"
        inside[0] = not fin
        return send(opcode, data, fin, RSV1 if starts else 0, **more)

    return send_frame


loopback_only("listenTCP", "ws", 2)  # port, factory
loopback_only("listenSSL", "wss", 3)  # port, factory, context
if "--deflate" in sys.argv:
    sys.argv.remove("--deflate")
    negotiate()
sys.exit(wstest.run())
