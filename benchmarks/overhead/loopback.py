"""A server in a process of its own, so that its time is not the client's.

It answers each request at once with the same bytes, on HTTP/1.1 connections that stay open; on a
second port it never answers.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import contextmanager

RESPONSE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 6\r\n\r\nanswer"
)
END = b"\r\n\r\n"


class Answering(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.received = b""

    def data_received(self, data):
        self.received += data
        # A GET has no body: its head is all of it.
        while END in self.received:
            _, _, self.received = self.received.partition(END)
            self.transport.write(RESPONSE)


async def serve():
    loop = asyncio.get_running_loop()
    answering = await loop.create_server(Answering, "127.0.0.1", 0)
    silent = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    print(*(each.sockets[0].getsockname()[1] for each in (answering, silent)), flush=True)
    # It ends with whoever started it, in whatever way.
    await loop.run_in_executor(None, sys.stdin.read)


@contextmanager
def server():
    """Run a server, and give its URL and that of the port that never answers."""
    command = [sys.executable, "-m", "benchmarks.overhead.loopback"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            ports = map(int, process.stdout.readline().split())
            yield tuple(f"http://127.0.0.1:{port}/" for port in ports)
        finally:
            process.stdin.close()


if __name__ == "__main__":
    asyncio.run(serve())
