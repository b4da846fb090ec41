"""One side of the run: a client, the server that it talks to, and the account of both."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Self

from benchmarks.demo.calls import FAILURES, Call, Outcome
from benchmarks.demo.client import Client
from benchmarks.demo.server import Server
from benchmarks.demo.traffic import arrivals

if TYPE_CHECKING:
    from benchmarks.demo.script import Script


@dataclass(frozen=True, slots=True)
class Second:
    """What a side has seen within one second.

    Callers that are blocked, requests in progress and the state of the circuit are those at its
    end.
    """

    answered: int
    failed: int
    refused: int
    blocked: int
    requests: int
    in_progress: int
    circuit: str


class Lane:
    """A client in its own process, with a server of its own."""

    def __init__(self, name: str, script: Script, seed: int) -> None:
        self.name = name
        self.server = Server(script, Random(seed))
        self.calls: list[Call] = []
        self.seconds: list[Second] = []
        self._arguments = (str(seed), str(script.seconds))
        self._times = arrivals(seed, script.seconds)
        self._outcomes: Counter[Outcome] = Counter()
        self._outcomes_before: Counter[Outcome] = Counter()
        self._requests_before = 0
        self._circuit = "none"
        self._client: Client | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether calls may still end."""
        return self._reading is not None and not self._reading.done()

    @property
    def complaints(self) -> str:
        """What the client's process has written to its standard error."""
        return "" if self._client is None else self._client.complaints

    async def __aenter__(self) -> Self:
        await self.server.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.server.__aexit__(*exception)

    async def start(self) -> Client:
        """Start the client's process."""
        starting = asyncio.create_task(Client.start(self.name, self.server.url, *self._arguments))
        try:
            self._client = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # A process whose start was cut short could not be ended in order.
            self._client = await starting
            raise
        return self._client

    async def stop(self) -> None:
        """End the client's process if it still runs."""
        if self._client is not None:
            await self._client.stop()
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)

    def begin(self, client: Client) -> None:
        """Start the server's script and the client's traffic."""
        self.server.begin()
        client.begin()
        self._reading = asyncio.create_task(self._read(client))

    async def _read(self, client: Client) -> None:
        async for line in client.lines():
            if line.startswith("circuit "):
                self._circuit = line.split()[1]
            else:
                call = Call.read(line)
                self.calls.append(call)
                self._outcomes[call.outcome] += 1

    def raise_failure(self) -> None:
        """Raise what the client's process has died of, if it has."""
        if self._reading is not None and self._reading.done():
            self._reading.result()

    def close_second(self, elapsed: float) -> None:
        """Write down the second that ends `elapsed` seconds after the start."""
        outcomes = self._outcomes - self._outcomes_before
        requests = self.server.requests.total()
        self.seconds.append(
            Second(
                answered=outcomes[Outcome.ANSWERED],
                failed=sum(outcomes[outcome] for outcome in FAILURES),
                refused=outcomes[Outcome.REFUSED],
                blocked=max(0, bisect_right(self._times, elapsed) - len(self.calls)),
                requests=requests - self._requests_before,
                in_progress=self.server.in_progress,
                circuit=self._circuit,
            )
        )
        self._outcomes_before = self._outcomes.copy()
        self._requests_before = requests
