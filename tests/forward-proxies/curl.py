"""The rules by which the environment names a proxy: curl, run, against ours.

By hand: cargo build --example proxy_choice, then
python3 tests/forward-proxies/curl.py target/debug/examples/proxy_choice

Recorders stand for proxies: each notes that it was asked, and refuses. Names are resolved to an
address where nobody listens, so that curl, if it asks no recorder, fails at once.
"""

import itertools
import os
import socket
import subprocess
import sys
import threading

# In this order, each names a recorder of its own.
VARIABLES = ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"]

# NO_PROXY, host, whether curl then goes without the proxy. The same table is in the unit test.
EXCEPTIONS = [
    ("", "a.test", False),
    ("*", "a.test", True),
    ("*", "192.0.2.1", True),
    ("*,b.test", "a.test", False),
    ("*.test", "a.test", False),
    ("a.test", "a.test", True),
    ("a.test", "b.a.test", True),
    ("a.test", "ba.test", False),
    (".a.test", "a.test", True),
    (".a.test", "b.a.test", True),
    ("a.test.", "a.test", True),
    ("a.test", "a.test.", True),
    ("A.Test", "a.test", True),
    ("b.test,a.test", "a.test", True),
    ("b.test a.test", "a.test", True),
    (" b.test ,, a.test ", "a.test", True),
    ("a.test:80", "a.test", False),
    ("test", "a.test", True),
    (".", "a.test", False),
    ("192.0.2.1", "192.0.2.1", True),
    ("192.0.2.0/24", "192.0.2.1", True),
    ("192.0.2.77/24", "192.0.2.1", True),
    ("192.0.3.0/24", "192.0.2.1", False),
    ("192.0.2", "192.0.2.1", False),
    (".2.1", "192.0.2.1", False),
    ("192.0.2.1:80", "192.0.2.1", False),
    ("192.0.2.0/33", "192.0.2.1", False),
    ("2001:db8::1", "[2001:db8::1]", True),
    ("[2001:db8::1]", "[2001:db8::1]", False),
]
# The same of IPv6, for ours: curl 7.88 compares addresses of IPv6 as text, and knows no networks of
# them, unlike what its manual says.
EXCEPTIONS_OF_OURS = [
    ("2001:DB8:0::1", "[2001:db8::1]"),
    ("2001:db8::/32", "[2001:db8::1]"),
]


class Recorder:
    """Notes that somebody connected and sent something."""

    def __init__(self):
        self.asked = threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.socket.accept()
            with connection:
                if connection.recv(4096):
                    self.asked.set()
                    connection.sendall(b"HTTP/1.1 403 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


class Table:
    def __init__(self, ours):
        self.ours = ours
        self.recorders = [Recorder() for _ in VARIABLES]
        self.passed = self.failed = 0

    def curl(self, variables, url, host):
        """The port of the recorder that curl asks, or `direct`."""
        for recorder in self.recorders:
            recorder.asked.clear()
        command = ["curl", "--silent", "--output", os.devnull, "--max-time", "5"]
        command += ["--connect-timeout", "0.5"]
        if host.endswith(("test", "test.", "localhost")):
            for port in (80, 443):
                command += ["--resolve", f"{host}:{port}:127.0.0.1"]
        run = subprocess.run(command + [url], env=environment(variables), check=False)
        # Refused by a recorder, in answer to GET or CONNECT; or by the address; or not answered.
        assert run.returncode in (0, 56, 7, 28), run.returncode
        asked = [recorder.port for recorder in self.recorders if recorder.asked.is_set()]
        assert len(asked) <= 1, asked
        return str(asked[0]) if asked else "direct"

    def choice(self, variables, url):
        url = url.replace("https://", "wss://").replace("http://", "ws://")
        run = subprocess.run(
            [self.ours, url],
            env=environment(variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        found = run.stdout.strip() or run.stderr.strip()
        return found.removeprefix("http://127.0.0.1:")

    def compare(self, name, variables, scheme, host, deviation=None):
        """Both choose the same, or, in a deviation, what is said there."""
        url = f"{scheme}://{host}/"
        curl, ours = self.curl(variables, url, host), self.choice(variables, url)
        wanted = (curl, curl) if deviation is None else deviation
        if (curl, ours) == wanted:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAIL curl and ours: {name}, {url}: curl {curl}, ours {ours}")
        return curl

    def group(self, name, before):
        if self.failed == before:
            print(f"ok   curl and ours: {name}")


def environment(variables):
    return {"PATH": os.environ["PATH"], **variables}


def main():
    table = Table(sys.argv[1])
    proxies = {
        name: f"http://127.0.0.1:{recorder.port}"
        for name, recorder in zip(VARIABLES, table.recorders, strict=True)
    }

    # Each set of variables, for both schemes.
    before = table.failed
    for count in range(len(VARIABLES) + 1):
        for names in itertools.combinations(VARIABLES, count):
            for scheme in ("http", "https"):
                variables = {name: proxies[name] for name in names}
                table.compare(" ".join(names) or "nothing", variables, scheme, "a.test")
    table.group("which variable goes first, in every set of them", before)

    before = table.failed
    for empty in VARIABLES:
        for scheme in ("http", "https"):
            table.compare(f"{empty} is empty", {**proxies, empty: ""}, scheme, "a.test")
    table.group("an empty variable", before)

    before = table.failed
    one = proxies["all_proxy"]
    for entries, host, without in EXCEPTIONS:
        for name in ("no_proxy", "NO_PROXY"):
            variables = {"all_proxy": one, name: entries}
            curl = table.compare(f"{name}={entries!r}", variables, "http", host)
            if (curl == "direct") != without:
                table.failed += 1
                print(f"FAIL curl and ours: {name}={entries!r}: the table is wrong about {host}")
    for entries, host in EXCEPTIONS_OF_OURS:
        variables = {"all_proxy": one, "no_proxy": entries}
        url = f"http://{host}/"
        curl = table.curl(variables, url, host)
        table.compare(f"no_proxy={entries!r}", variables, "http", host, (curl, "direct"))
    for lower, upper in itertools.product(("", "a.test", "b.test"), repeat=2):
        variables = {"all_proxy": one, "no_proxy": lower, "NO_PROXY": upper}
        table.compare(f"no_proxy={lower!r} NO_PROXY={upper!r}", variables, "http", "a.test")
    table.group("who needs no proxy", before)

    before = table.failed
    address = one.removeprefix("http://")
    for text in (address, f"HTTP://{address}", f"http://u:p@{address}", f"{one}/path"):
        table.compare(f"all_proxy={text}", {"all_proxy": text}, "http", "a.test")
    table.group("forms of a proxy's URI", before)

    # What docs and guide tell as different: a proxy cannot reach this machine.
    before = table.failed
    for host in ("localhost", "a.localhost", "127.0.0.1", "[::1]"):
        deviation = (address.removeprefix("127.0.0.1:"), "direct")
        table.compare(f"this machine as {host}", {"all_proxy": one}, "http", host, deviation)
    table.group("this machine itself needs no proxy, apart from curl", before)

    print(f"{table.passed} choices are the same, {table.failed} are not")
    sys.exit(1 if table.failed else 0)


main()
