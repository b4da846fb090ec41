"""The same by hand once more, as four context managers: what `async with` is measured against.

Each is a class with as little in it as it can have, made anew for each block, since what it
remembers belongs to one call. A block cannot be run again: like `Retry` around a block, the first
of them only says so on the error.
"""

from __future__ import annotations

import asyncio

from benchmarks.overhead.handwritten import RefusedError


class OnlyAttempt:
    __slots__ = ()

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, traceback):
        if error is not None:
            error.add_note("gave up after 1 attempt: a block runs once")


class Guard:
    """A block that the breaker admits, and whose outcome it hears."""

    __slots__ = ("breaker", "generation")

    def __init__(self, breaker):
        self.breaker = breaker

    async def __aenter__(self):
        self.generation = self.breaker.admit()
        return self

    async def __aexit__(self, kind, error, traceback):
        outcome = True
        if error is not None:
            says_nothing = isinstance(error, RefusedError) or not isinstance(error, Exception)
            outcome = None if says_nothing else False
        self.breaker.settle(self.generation, outcome)


class Slot:
    """One of the slots of a semaphore, which refuses when there is none."""

    __slots__ = ("semaphore",)

    def __init__(self, semaphore):
        self.semaphore = semaphore

    async def __aenter__(self):
        if self.semaphore.locked():
            raise RefusedError("the bulkhead is full")
        await self.semaphore.acquire()
        return self

    async def __aexit__(self, kind, error, traceback):
        self.semaphore.release()


def four(function, breaker, limit=100, seconds=10.0):
    semaphore = asyncio.Semaphore(limit)

    async def run(count):
        for _ in range(count):
            async with (
                OnlyAttempt(),
                Guard(breaker),
                Slot(semaphore),
                asyncio.timeout(seconds),
            ):
                await function()

    return run
