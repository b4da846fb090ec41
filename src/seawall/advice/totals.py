"""What a call comes to at worst, built up from the function outwards.

Each policy turns what runs inside it into what it makes of it. One that is not known passes a call
through once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import singledispatch
from math import inf
from typing import TYPE_CHECKING, Any

from seawall.advice.pauses import longest, shortest
from seawall.core.bound import Bound
from seawall.core.errors import RejectedError
from seawall.policies.adaptive_limit import AdaptiveLimit
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.hedge import Hedge, Percentile
from seawall.policies.rate_limiter import RateLimiter
from seawall.policies.retry import Retry
from seawall.policies.timeout import Timeout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seawall.advice.onion import Layer
    from seawall.core.policy import Policy


@dataclass(frozen=True, slots=True)
class Totals:
    """What one call comes to.

    Attributes:
        seconds: how long it takes at most, with all waits; ``inf`` if nothing ends it.
        busy: how long it takes if each attempt takes as long as it may, without waiting for a turn
            or for a server that asks for it, and with the shortest pauses.
        attempts: how often the function runs at most.
        load: attempts that reach the dependency while everything fails, if budgets had no end.
        spent: the same once the budgets are empty.
        drips: attempts per second that come back to each budget, by its identity.
        uncut: what ``seconds`` would be without the timeout that ends it.
        cut_by: this timeout.
        once: whether what reached the dependency may not be repeated.
    """

    seconds: float = inf
    busy: float = inf
    attempts: int = 1
    load: int = 1
    spent: int = 1
    drips: Mapping[int, float] = field(default_factory=dict[int, float])
    uncut: float | None = None
    cut_by: Timeout | None = None
    once: bool = False

    def repeat(self, times: int, budget: object, per_second: float) -> Totals:
        """Return what it comes to if it may run so often, paid from a budget unless it is None."""
        attempts = times * self.attempts
        if self.once or times == 1:
            return replace(self, attempts=attempts)
        if budget is None:
            return replace(
                self, attempts=attempts, load=times * self.load, spent=times * self.spent
            )
        drips = {id(budget): per_second * self.spent} | dict(self.drips)
        return replace(self, attempts=attempts, load=times * self.load, drips=drips)

    def wait(self, max_wait: float | None) -> Totals:
        """Return what it comes to if it waits before."""
        return replace(self, seconds=self.seconds + (inf if max_wait is None else max_wait))


def totals_of(layers: Iterable[Layer]) -> Totals:
    """Return what a call comes to in all of these."""
    totals = Totals()
    for layer in reversed(tuple(layers)):
        totals = around(layer.policy, totals)
    return totals


@singledispatch
def around(policy: Policy, inner: Totals) -> Totals:  # noqa: ARG001 - it is passed through
    """Return what a policy makes of what runs inside it."""
    return inner


@around.register
def around_timeout(policy: Timeout, inner: Totals) -> Totals:
    """Cut off what takes longer."""
    limit = policy.seconds
    if inner.seconds <= limit:
        return inner
    busy = min(inner.busy, limit)
    return replace(inner, seconds=limit, busy=busy, uncut=inner.seconds, cut_by=policy)


@around.register
def around_retry(policy: Retry, inner: Totals) -> Totals:
    """Repeat it, with pauses between."""
    times = policy.attempts
    if times == 1:
        return inner
    pauses = times - 1
    budget, asked = policy.budget, pauses * policy.max_retry_after
    paused = replace(
        inner,
        seconds=times * inner.seconds + longest(policy.backoff, pauses) + asked,
        busy=times * inner.busy + shortest(policy.backoff, pauses),
        once=inner.once or only_refusals(policy),
    )
    floor = 0.0 if budget is None else budget.floor
    return replace(paused.repeat(times, budget, floor), once=inner.once)


@around.register
def around_hedge(policy: Hedge, inner: Totals) -> Totals:
    """Run it again beside itself, while it runs."""
    times = 1 + policy.max_hedges
    floor = 0.0 if policy.budget is None else policy.budget.floor
    seconds = times * inner.seconds
    if not isinstance(policy.delay, Percentile) and inner.seconds == inner.busy:
        # Otherwise it may wait inside, and then no time passes for the delay.
        seconds = min(seconds, inner.seconds + policy.max_hedges * policy.delay)
    return replace(inner, seconds=seconds).repeat(times, policy.budget, floor)


@around.register
def around_bulkhead(policy: Bulkhead, inner: Totals) -> Totals:
    """Wait for a slot before it."""
    return inner if policy.queue == 0 else inner.wait(policy.max_wait)


@around.register
def around_adaptive_limit(policy: AdaptiveLimit, inner: Totals) -> Totals:
    """Wait for a slot before it."""
    return inner.wait(policy.max_wait)


@around.register
def around_rate_limiter(policy: RateLimiter, inner: Totals) -> Totals:
    """Wait for a turn, and for the end of a pause, before it."""
    never = policy.rate is None and policy.max_pause == 0
    return inner if never else inner.wait(policy.max_wait)


@around.register
def around_view(policy: Bound, inner: Totals) -> Totals:
    """Repeat only what never reached the dependency, if the view says so."""
    if policy._settings["idempotent"] is not False:
        return inner
    return replace(inner, load=1, spent=1, drips={}, once=True)


def only_refusals(policy: Retry) -> bool:
    """Say whether a retry repeats nothing but what was refused, so never reached anything."""
    on: Any = policy.on
    kinds: list[Any] = [*on] if isinstance(on, tuple) else [on]
    return all(isinstance(kind, type) and issubclass(kind, RejectedError) for kind in kinds)
