"""What the Python peers share: one line per check, a time limit on each, and the exit code."""

import asyncio
import ssl
import sys

TEXT = "grüße, 世界, 🦀"
LONG = "ä世🦀x" * 104_858  # ten bytes each: just over 1 MiB of UTF-8


class Checks:
    """Runs checks one after the other and remembers whether any failed."""

    def __init__(self, peer):
        self.peer = peer
        self.failed = False

    async def run(self, name, check, seconds=10):
        """Awaits `check()`; an exception or the time limit fails it."""
        try:
            await asyncio.wait_for(check(), seconds)
        except Exception as error:  # whatever a peer raises is the result
            self.failed = True
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"FAIL {self.peer}: {name}: {reason[:300]}", flush=True)
        else:
            print(f"ok   {self.peer}: {name}", flush=True)

    def exit(self):
        """Ends the script: 1 when a check failed."""
        sys.exit(1 if self.failed else 0)


def same(found, wanted):
    """Fails the check unless both are equal and of one type."""
    if type(found) is not type(wanted) or found != wanted:
        raise AssertionError(f"{found!r:.120} instead of {wanted!r:.120}")


def client_tls(ca):
    """TLS settings of a client that trusts `ca` alone, or None for plain sockets."""
    return ssl.create_default_context(cafile=ca) if ca else None


def server_tls(cert, key):
    """TLS settings of a server with this certificate and key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context
