"""Callers who do not wait for each other: when they call. And a dependency: how it answers."""

from __future__ import annotations

import heapq
from asyncio import CancelledError, get_running_loop, sleep
from collections.abc import Callable, Iterator
from math import inf, log
from random import Random
from typing import NamedTuple

Arrivals = Callable[[Random], Iterator[float]]


def poisson(rate: float, until: float, *, start: float = 0.0) -> Arrivals:
    """Calls at random, so many a second on average."""

    def times(random: Random) -> Iterator[float]:
        # Written out: in an hour at 100 calls a second, this is most of the work.
        draw, mean = random.random, -1 / rate
        now = start + mean * log(1.0 - draw())
        while now < until:
            yield now
            now += mean * log(1.0 - draw())

    return times


def bursts(size: int, every: float, until: float, *, spread: float = 0.0) -> Arrivals:
    """So many calls at once, or within ``spread`` seconds, again and again."""

    def times(random: Random) -> Iterator[float]:
        start = every
        while start < until:
            yield from sorted(start + random.random() * spread for _ in range(size))
            start += every * random.uniform(0.5, 1.5)

    return times


def both(first: Arrivals, second: Arrivals) -> Arrivals:
    """The calls of two kinds of callers."""
    return lambda random: heapq.merge(first(Random(random.random())), second(random))


class Answer(NamedTuple):
    """How one attempt ends: after so many seconds (``inf``: never), well or with an error."""

    latency: float
    fails: bool = False


SILENCE = Answer(inf)

# What the dependency does with an attempt that is sent at this time.
Behavior = Callable[[float, Random], Answer]


def steady(latency: float, *, spread: float = 0.0, errors: float = 0.0) -> Behavior:
    """Always about the same latency, and a share of errors."""

    def answer(now: float, random: Random) -> Answer:
        seconds = latency * random.uniform(1 - spread, 1 + spread) if spread else latency
        return Answer(seconds, errors > 0.0 and random.random() < errors)

    return answer


def mixed(share: float, often: Behavior, seldom: Behavior) -> Behavior:
    """One behavior for this share of the attempts, another one for the rest."""
    return lambda now, random: (often if random.random() < share else seldom)(now, random)


def changing(first: Behavior, *changes: tuple[float, Behavior]) -> Behavior:
    """One behavior after another, each from a given time on; for an outage or a shift."""

    def answer(now: float, random: Random) -> Answer:
        current = first
        for since, behavior in changes:
            if now >= since:
                current = behavior
        return current(now, random)

    return answer


def silent(now: float, random: Random) -> Answer:
    """Swallows what is sent, and never answers it, also not later."""
    return SILENCE


class DependencyError(Exception):
    """An answer that is an error."""


class Dependency:
    """The function that the policies protect.

    Attributes:
        sent: the times of all attempts.
        abandoned: how many attempts were ended from outside before their answer came.
    """

    def __init__(self, behavior: Behavior, random: Random, turns: int = 0) -> None:
        self._behavior = behavior
        self._turns = turns
        self._random = random
        self.sent: list[float] = []
        self.abandoned = 0

    async def __call__(self) -> None:
        loop = get_running_loop()
        now = loop.time()
        self.sent.append(now)
        latency, fails = self._behavior(now, self._random)
        try:
            if latency == inf:
                await loop.create_future()
            await sleep(latency)
            for _ in range(self._turns):
                await sleep(0)
        except CancelledError:
            self.abandoned += 1
            raise
        if fails:
            raise DependencyError
