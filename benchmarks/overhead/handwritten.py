"""The same by hand, with nothing but the standard library.

This is what a careful engineer writes once for one service: a breaker of consecutive failures with
an open time and a single half-open probe, a bulkhead that refuses when full, a timeout per attempt
and a retry loop with jittered backoff. Nothing can be configured, observed or reused in another
order, and it cuts no corner that would lose a slot, a probe or a cancellation.
"""

from __future__ import annotations

import asyncio
import random

Settled = bool | None  # True: success, False: failure, None: says nothing of the dependency


class RefusedError(Exception):
    """The breaker is open, or the bulkhead full."""


class Breaker:
    """After five failures in a row it refuses for `open_for` seconds, then admits one probe."""

    def __init__(self, open_for: float = 30.0) -> None:
        self.clock = asyncio.get_running_loop().time
        self.open_for = open_for
        self.failures = 0
        self.opened_at: float | None = None
        self.probing = False
        self.generation = 0

    def admit(self) -> int:
        if self.opened_at is not None:
            if self.probing or self.clock() - self.opened_at < self.open_for:
                raise RefusedError("the circuit is open")
            self.probing = True
            self.generation += 1
        return self.generation

    def settle(self, generation: int, outcome: Settled) -> None:
        if generation != self.generation:
            return  # it was admitted before the circuit last changed
        if self.probing:
            self.probing = False
            if outcome is None:
                return
            self.generation += 1
            self.failures = 0
            self.opened_at = None if outcome else self.clock()
        elif outcome:
            self.failures = 0
        elif outcome is False:
            self.failures += 1
            if self.failures >= 5:
                self.generation += 1
                self.opened_at = self.clock()


def timed(function, seconds=10.0):
    async def call():
        async with asyncio.timeout(seconds):
            return await function()

    return call


def backoff(attempt):
    return random.uniform(0.0, min(10.0, BASE * 2.0 ** min(attempt - 1, 30)))


BASE = 0.001  # seconds, as for every variant: only the proof of a variant ever waits


def retried(function, attempts=3):
    async def call():
        attempt = 1
        while True:
            try:
                return await function()
            except RefusedError:
                raise
            except Exception:
                if attempt >= attempts:
                    raise
            await asyncio.sleep(backoff(attempt))
            attempt += 1

    return call


def broken(function, breaker):
    async def call():
        generation = breaker.admit()
        outcome = None
        try:
            result = await function()
            outcome = True
        except Exception:
            outcome = False
            raise
        finally:
            breaker.settle(generation, outcome)
        return result

    return call


def limited(function, limit=100):
    semaphore = asyncio.Semaphore(limit)

    async def call():
        if semaphore.locked():
            raise RefusedError("the bulkhead is full")
        async with semaphore:
            return await function()

    return call


def with_fallback(function, value):
    async def call():
        try:
            return await function()
        except Exception:
            return value

    return call


def four(function, breaker, limit=100, attempts=3, seconds=10.0):
    """All four in one function: no frame is spent on a layer."""
    semaphore = asyncio.Semaphore(limit)

    async def call():
        attempt = 1
        while True:
            generation = breaker.admit()
            outcome = None
            try:
                if semaphore.locked():
                    raise RefusedError("the bulkhead is full")
                async with semaphore, asyncio.timeout(seconds):
                    result = await function()
                outcome = True
            except RefusedError:
                raise
            except Exception:
                outcome = False
                if attempt >= attempts:
                    raise
            finally:
                breaker.settle(generation, outcome)
            if outcome:
                return result
            await asyncio.sleep(backoff(attempt))
            attempt += 1

    return call


def five(function, breaker):
    inner = four(function, breaker)

    async def call():
        async with asyncio.timeout(30.0):
            return await inner()

    return call


def block(function, breaker, limit=100, seconds=10.0):
    """Breaker, bulkhead and timeout around a block."""
    semaphore = asyncio.Semaphore(limit)

    async def run(count):
        for _ in range(count):
            generation = breaker.admit()
            outcome = None
            try:
                if semaphore.locked():
                    raise RefusedError("the bulkhead is full")
                async with semaphore, asyncio.timeout(seconds):
                    await function()
                outcome = True
            except RefusedError:
                raise
            except Exception:
                outcome = False
                raise
            finally:
                breaker.settle(generation, outcome)

    return run
