"""Open-loop traffic: calls arrive when they arrive, whether those before them have ended or not."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

import httpx

from benchmarks.demo.calls import Call, Outcome
from seawall import RejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RATE = 40.0
PATIENCE = 2.0


def arrivals(seed: int, seconds: float, rate: float = RATE) -> list[float]:
    """The times of a Poisson process of `rate` calls a second, in seconds from the start."""
    random = Random(seed)
    times = []
    time = random.expovariate(rate)
    while time < seconds:
        times.append(time)
        time += random.expovariate(rate)
    return times


async def send(
    client: httpx.AsyncClient, url: str, times: Sequence[float], report: Callable[[Call], None]
) -> None:
    """Send a call at each of `times` and report each as it ends.

    After the last arrival those in flight have `PATIENCE` seconds; what is left then is cancelled.
    """
    loop = asyncio.get_running_loop()
    zero = loop.time()
    tasks: set[asyncio.Task[None]] = set()

    async def call(at: float) -> None:
        late = loop.time() - zero - at
        outcome = Outcome.UNFINISHED
        try:
            outcome = await attempt(client, url)
        finally:
            blocked = loop.time() - zero - at
            if outcome is Outcome.ANSWERED and blocked > PATIENCE:
                outcome = Outcome.LATE
            report(Call(at, late, outcome, blocked))

    # What is no outcome is a mistake of the demonstration, and must end it.
    async with asyncio.TaskGroup() as group:
        for at in times:
            await asyncio.sleep(max(0.0, zero + at - loop.time()))
            task = group.create_task(call(at))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE)
        for task in tasks:
            task.cancel()


async def attempt(client: httpx.AsyncClient, url: str) -> Outcome:
    """One call and what it is to the caller."""
    try:
        response = await client.get(url)
    except RejectedError:
        return Outcome.REFUSED
    except httpx.HTTPError:
        return Outcome.FAILED
    return Outcome.ANSWERED if response.is_success else Outcome.FAILED
