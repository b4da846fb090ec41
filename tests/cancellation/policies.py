"""What is cancelled: each policy alone, and the pipelines that they make.

A later policy joins by one line in ``PARTS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from seawall import (
    AdaptiveLimit,
    Bulkhead,
    CircuitBreaker,
    Fallback,
    Hedge,
    Keyed,
    LastGood,
    LoadShedder,
    Pipeline,
    Policy,
    RateLimiter,
    Retry,
    Timeout,
    constant,
)
from tests.pages import names_of


def nothing(policy: Any) -> int:
    """Say what a policy holds that never holds anything."""
    return 0


@dataclass(frozen=True)
class Case:
    """One policy, or a pipeline.

    Attributes:
        name: shown in the name of the test.
        make: makes a new one.
        held: says how many calls it holds anything for.
        prepare: brings a new one into the state that is tested; two seconds pass afterwards.
        side_by_side: whether attempts run side by side. When a call is closed nothing can be
            awaited, so those that have a task of their own end a little later.
        interval: seconds at most from one attempt to the next that waits, where that does not go
            by what others hold.
        roomy: makes one that any number of calls may be in, or wait for, where ``make`` makes one
            that refuses most of them.
        impatient: whether a call that has to wait is soon refused.
    """

    name: str
    make: Callable[[], Policy]
    held: Callable[[Any], int] = nothing
    prepare: Callable[[Any], object] | None = None
    side_by_side: bool = False
    interval: float = 0.0
    roomy: Callable[[], Policy] | None = None
    impatient: bool = False

    def __str__(self) -> str:
        return self.name


def in_bulkhead(policy: Bulkhead | AdaptiveLimit) -> int:
    # An absolute sum: a slot that is given back twice is as wrong as one that is not.
    return abs(policy.in_flight) + policy.waiting


def in_limiter(policy: RateLimiter) -> float:
    line = policy._line
    if line is None:
        return 0
    # With nobody in it, the line has nothing ahead, no alarm, and nobody who could wait in vain.
    rest = (line._ahead, line._timer is not None, line._slack != inf)
    return policy.waiting or sum(map(abs, rest))


def in_breaker(policy: CircuitBreaker | None) -> int:
    if policy is None:
        return 0
    held = len(policy._circuit.waiting) + len(policy._endings) + policy.snapshot().in_flight
    return held + in_breaker(policy.parent)


def in_timeout(policy: Timeout) -> int:
    return sum(len(lane.entries) for lane in policy._lanes.values())


def in_keyed(policy: Keyed) -> int:
    return sum(abs(entry.inside) + in_breaker(entry.policy) for entry in policy._entries.values())


class Spare(str):
    """An answer of a fallback, for a call and for a stream alike."""

    __slots__ = ()

    async def __aiter__(self):
        yield self


def in_hedge(policy: Hedge) -> int:
    return len(policy.running)


def shedder() -> LoadShedder:
    """Return one that refuses whatever it may refuse: chance would make each run another one."""
    policy = LoadShedder()
    policy._acceptance._random = lambda: 0.0
    return policy


# The policy of one's own that the documentation shows.
(Coalesce,) = names_of("write-your-own-policy.md", "Coalesce")


def in_coalesce(policy: Any) -> int:
    return sum(len(line) for line, _ in policy._questions.values())


class Announce(Policy):
    """A policy of a user's own."""

    async def run(self, call, proceed):
        return await proceed(call)


def stack(name: str, *parts: Case) -> Case:
    """Return the pipeline of these policies, the first one outermost."""

    def prepare(pipeline: Pipeline) -> None:
        for part, policy in zip(parts, pipeline.policies, strict=True):
            if part.prepare is not None:
                part.prepare(policy)

    def held(pipeline: Pipeline) -> int:
        pairs = zip(parts, pipeline.policies, strict=True)
        return sum(part.held(policy) for part, policy in pairs)

    needed = any(part.prepare is not None for part in parts)
    return Case(
        name,
        lambda: Pipeline(*[part.make() for part in parts]),
        held,
        prepare if needed else None,
        any(part.side_by_side for part in parts),
        max(part.interval for part in parts),
        impatient=any(part.impatient for part in parts),
    )


# `timeout` ends what hangs; `patient` is only passed.
PARTS = [
    timeout := Case("timeout", lambda: Timeout(2.0), in_timeout),
    retry := Case("retry", lambda: Retry(3, backoff=constant(0.05), budget=None)),
    breaker := Case("breaker", lambda: CircuitBreaker(100, open_for=1.0), in_breaker),
    touchy := Case("touchy_breaker", lambda: CircuitBreaker(1, open_for=1.0), in_breaker),
    half_open := Case(
        "half_open_breaker",
        lambda: CircuitBreaker(1, open_for=1.0),
        in_breaker,
        lambda policy: policy.trip(),
    ),
    Case("ending_breaker", lambda: CircuitBreaker(100, end_stalled=True), in_breaker),
    Case("child_breaker", lambda: CircuitBreaker(100, parent=CircuitBreaker(100)), in_breaker),
    Case("shadow_breaker", lambda: CircuitBreaker(1, open_for=1.0, shadow=True), in_breaker),
    bulkhead := Case(
        "bulkhead",
        lambda: Bulkhead(1, queue=9),
        in_bulkhead,
        roomy=lambda: Bulkhead(100, queue=inf),
    ),
    hurried := Case(
        "bulkhead_max_wait",
        lambda: Bulkhead(1, queue=9, max_wait=9.0),
        in_bulkhead,
        roomy=lambda: Bulkhead(100, queue=inf, max_wait=99.0),
    ),
    adaptive_limit := Case(
        "adaptive_limit",
        lambda: AdaptiveLimit(1, maximum=1, max_wait=9.0),
        in_bulkhead,
        roomy=lambda: AdaptiveLimit(100, max_wait=99.0),
    ),
    Case(
        "adaptive_limit_default",
        lambda: AdaptiveLimit(1, maximum=1),
        in_bulkhead,
        impatient=True,
    ),
    Case("load_shedder", shedder),
    limiter := Case(
        "limiter",
        lambda: RateLimiter(2),
        in_limiter,
        interval=0.5,
        roomy=lambda: RateLimiter(1000, burst=5),
    ),
    Case(
        "costly_limiter",
        lambda: RateLimiter(4, burst=4, cost=4, actual=lambda result: 2),
        in_limiter,
        interval=1.0,
        roomy=lambda: RateLimiter(4000, burst=4, cost=4, actual=lambda result: 2),
    ),
    fallback := Case("fallback", lambda: Fallback(value=Spare("fallback"))),
    keyed := Case(
        "keyed",
        lambda: Keyed(lambda key: CircuitBreaker(100, name=key), key=lambda: "key"),
        in_keyed,
    ),
    # One hedges what hangs, the other one every call.
    hedge := Case("hedge", lambda: Hedge(0.5, budget=None), in_hedge, side_by_side=True),
    eager := Case("eager_hedge", lambda: Hedge(0.005, budget=None), in_hedge, side_by_side=True),
    Case("last_good", lambda: LastGood(3600.0, key=lambda: "key")),
    own := Case("own", Announce),
    Case("coalesce", lambda: Coalesce(key=lambda: "key"), in_coalesce),
]
patient = Case("patient", lambda: Timeout(30.0), in_timeout)

STACKS = [
    Case("empty", Pipeline),
    four := stack("four", patient, retry, breaker, timeout),
    five := stack("five", patient, retry, breaker, bulkhead, timeout),
    stack("five_touchy", patient, retry, touchy, bulkhead, timeout),
    stack("five_half_open", patient, retry, half_open, hurried, timeout),
    fallback_five := stack("fallback_five", fallback, five),
    stack("keyed_five", patient, retry, keyed, bulkhead, timeout),
    hedged := stack("hedged", patient, retry, eager, breaker, bulkhead, timeout),
    stack("limited_touchy", patient, retry, limiter, touchy, timeout),
    stack("touchy_limited", patient, retry, touchy, limiter, timeout),
    twice := stack("twice", timeout, timeout, breaker, breaker, hurried, patient),
]

# Each policy alone, the stacks, and each policy between a retry and a timeout.
CASES = [
    *PARTS,
    *STACKS,
    *(stack(f"retried_{part}", patient, retry, part, timeout) for part in PARTS),
]
