"""A client's process, as seen from the process that runs the demonstration."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
MODULE = "benchmarks.demo.client_process"
START_WITHIN = 15.0
STOP_WITHIN = 1.0


class ClientError(Exception):
    """A client's process could not be started, or has ended before its time."""


class Client:
    """Starts a client's process, reads what it says, and ends it."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise ValueError("the process needs a pipe for each of its streams")
        self.name = name
        self.complaints = ""
        self._process = process
        self._input = process.stdin
        self._output = process.stdout
        # Read all the time: a full pipe would hold the client up.
        self._errors = asyncio.create_task(process.stderr.read())

    @classmethod
    async def start(cls, name: str, *arguments: str) -> Self:
        """Start a process for the side called `name`."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MODULE, name, *arguments),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return cls(name, process)

    async def ready(self) -> None:
        """Wait until the client can send."""
        try:
            async with asyncio.timeout(START_WITHIN):
                line = await self._output.readline()
        except TimeoutError:
            raise ClientError(f"the client {self.name!r} was not ready in time") from None
        if not line:
            await self._end()
            raise ClientError(f"the client {self.name!r} did not start\n{self.complaints}")

    def begin(self) -> None:
        """Let the client send."""
        self._input.write(b"\n")

    async def lines(self) -> AsyncIterator[str]:
        """What the client says, to its end; raise `ClientError` if that is a bad one."""
        async for line in self._output:
            yield line.decode()
        if await self._end():
            raise ClientError(f"the client {self.name!r} has failed\n{self.complaints}")

    async def stop(self) -> None:
        """End the process if it still runs."""
        # The end of its input is what a client ends at.
        self._input.close()
        try:
            async with asyncio.timeout(STOP_WITHIN):
                await self._end()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._end()

    async def _end(self) -> int:
        status = await self._process.wait()
        # Shielded, so that a timeout here does not end the reading.
        self.complaints = (await asyncio.shield(self._errors)).decode(errors="replace").strip()
        return status
