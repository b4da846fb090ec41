"""Interleaved rounds: each round runs a short slice of every variant, in an order of chance.

What comes early in a round may be dearer than what comes late, so no variant may always follow the
same one, and each order comes backwards as well: if they were rotated, the median of the ratio of
two neighbours would be off.

The ratio of two variants is taken within a round, where both met the same machine, and the median
of these ratios over all rounds is reported. A variant's time is the CPU time of its thread, so
what other processes take does not count.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from time import thread_time_ns
from types import FunctionType

Runner = Callable[[int], Awaitable[None]]

SLICE_NANOSECONDS = 1_000_000
# Fewer would be measured in caches that hold what ran before: a request takes a tenth of a slice.
FEWEST_CALLS, MOST_CALLS = 100, 50_000


@dataclass(slots=True)
class Variant:
    """One way to do what its group is about."""

    name: str
    run: Runner
    count: int = 1
    samples: list[float] = field(default_factory=list)

    @property
    def nanoseconds(self) -> float:
        """Median time per call."""
        return statistics.median(self.samples)


@dataclass(slots=True)
class Group:
    """Variants that are compared with one another."""

    name: str
    variants: list[Variant]

    def find(self, name: str) -> Variant | None:
        return next((variant for variant in self.variants if variant.name == name), None)

    def __getitem__(self, name: str) -> Variant:
        variant = self.find(name)
        if variant is None:
            raise KeyError(name)
        return variant


def with_own_code(function: Runner) -> Runner:
    """Copy a closure's code: the interpreter specializes code, and variants must not share that."""
    assert isinstance(function, FunctionType)
    return FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


async def run_slice(variant: Variant) -> float:
    start = thread_time_ns()
    await variant.run(variant.count)
    # One turn of the loop belongs to each slice: there asyncio throws away the timers that
    # were cancelled, which is part of what a timeout costs.
    await asyncio.sleep(0)
    return (thread_time_ns() - start) / variant.count


async def calibrate(variant: Variant) -> None:
    """Find how many calls fill a slice; this also warms the interpreter up."""
    variant.count = 10
    for _ in range(6):
        nanoseconds = await run_slice(variant)
        calls = round(SLICE_NANOSECONDS / max(nanoseconds, 1.0))
        variant.count = max(FEWEST_CALLS, min(MOST_CALLS, calls))


def shuffled(variants: list[Variant], number: int) -> list[Variant]:
    """Return the order of a round, the same in every run: each order also comes backwards."""
    order = random.Random(number // 2).sample(variants, len(variants))
    return order[::-1] if number % 2 else order


async def measure(groups: list[Group], rounds: int) -> Iterable[Group]:
    for group in groups:
        for variant in group.variants:
            await calibrate(variant)
    for number in range(rounds):
        for group in groups:
            gc.collect()
            # What survives is not looked at again: purgatory raises one stored exception for every
            # refusal, and its traceback grows without end.
            gc.freeze()
            gc.disable()
            try:
                for variant in shuffled(group.variants, number):
                    variant.samples.append(await run_slice(variant))
            finally:
                gc.enable()
    gc.unfreeze()
    return groups


def quartiles(variant: Variant, base: Variant) -> tuple[float, float, float]:
    """The quartiles of the ratio, taken round by round."""
    ratios = [one / other for one, other in zip(variant.samples, base.samples, strict=True)]
    lower, middle, upper = statistics.quantiles(ratios, n=4)
    return lower, middle, upper


def ratio(variant: Variant, base: Variant) -> float:
    return quartiles(variant, base)[1]
