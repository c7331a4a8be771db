"""A client of the example `acme` that trusts its authority alone: whose certificate the server has,
and that a connection lives on while it is renewed.

`cargo xtask acme` starts an authority and the example for it.
"""

import argparse
import asyncio
import ssl
import urllib.request

from websockets.asyncio.client import connect

from check import Checks, client_tls, same


def roots(url, ca):
    """TLS settings that trust the authority whose root is at this URL."""
    with urllib.request.urlopen(url, context=client_tls(ca)) as response:
        return ssl.create_default_context(cadata=response.read().decode())


class Server:
    """The server under test."""

    def __init__(self, name, address, tls):
        self.host, self.port = address.rsplit(":", 1)
        self.url, self.tls = f"wss://{name}:{self.port}", tls
        self.open = None

    def connect(self):
        """A connection by the name, which no resolver has to know."""
        return connect(self.url, ssl=self.tls, host=self.host, port=int(self.port))


def certificate(ws):
    return ws.transport.get_extra_info("ssl_object").getpeercert()


async def echo(ws, text):
    await ws.send(text)
    same(await ws.recv(), text)


async def named(server, name):
    """The certificate is for the name that was asked for; the library has verified that too."""
    server.open = await server.connect()
    same(certificate(server.open)["subjectAltName"], (("DNS", name),))
    await echo(server.open, "hello")


async def renewed(server):
    """New connections see another certificate after a while, and the old one lives."""
    before = certificate(server.open)["serialNumber"]
    while True:
        await echo(server.open, "as ever")
        async with server.connect() as ws:
            await echo(ws, "new")
            if certificate(ws)["serialNumber"] != before:
                break
        await asyncio.sleep(0.25)
    await echo(server.open, "still here")
    await server.open.close()
    same(server.open.close_code, 1000)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("address")
    parser.add_argument("roots", help="URL of the authority's root")
    parser.add_argument("--ca", required=True, help="whom that URL's own server is trusted by")
    args = parser.parse_args()
    server = Server(args.name, args.address, roots(args.roots, args.ca))
    checks = Checks("acme")
    await checks.run("a certificate for its name", lambda: named(server, args.name))
    await checks.run("a renewal beside an open connection", lambda: renewed(server), 90)
    checks.exit()


asyncio.run(main())
