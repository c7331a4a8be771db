"""Runs an example of ours, and says how it ended."""

import asyncio

from check import same


class Ended:
    """How a run of an example ended."""

    def __init__(self, code, lines, errors):
        self.code, self.lines, self.errors = code, lines, errors

    def cleanly(self, lines):
        same(self.errors if self.code else "", "")
        same((self.code, self.lines), (0, lines))

    def with_error(self, word=""):
        """A failure is told by the exit code and on standard error, never by a panic."""
        if self.code in (0, 101) or self.code < 0 or not self.errors.strip():
            raise AssertionError(f"exit code {self.code}, standard error {self.errors!r}")
        if word.lower() not in self.errors.lower():
            raise AssertionError(f"{word!r} is not in {self.errors!r}")


async def run(command, lines, hold=False):
    """Runs it with these lines of input; with `hold` its input stays open."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    output = asyncio.gather(child.stdout.read(), child.stderr.read())
    try:
        child.stdin.write("".join(f"{line}\n" for line in lines).encode())
        await child.stdin.drain()
    except ConnectionError:
        pass  # it has ended before it read everything, which the exit code tells of
    try:
        if not hold:
            child.stdin.close()
        out, errors = await output
        return Ended(await child.wait(), out.decode().split("\n")[:-1], errors.decode())
    finally:
        output.cancel()
        if child.returncode is None:
            child.kill()
            await child.wait()
