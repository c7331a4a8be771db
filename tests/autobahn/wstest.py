"""Autobahn's `wstest` with its servers bound to 127.0.0.1 instead of every interface. For Python 2.

By hand: target/suites/autobahn/bin/python tests/autobahn/wstest.py -m fuzzingserver -s spec.json -u 0
Prints `listening on ws://127.0.0.1:PORT` once a client may connect.
"""

from __future__ import print_function

import sys

from autobahntestsuite import choosereactor  # noqa: F401: must be imported before the reactor
from autobahntestsuite import wstest
from twisted.internet import reactor


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


loopback_only("listenTCP", "ws", 2)  # port, factory
loopback_only("listenSSL", "wss", 3)  # port, factory, context
sys.exit(wstest.run())
