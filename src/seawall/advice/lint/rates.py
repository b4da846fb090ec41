"""Rate limiters that do not pace what they should, or not as fast as they should."""

from __future__ import annotations

from math import ceil, inf
from typing import TYPE_CHECKING, Final

from seawall.advice.finding import Finding
from seawall.advice.lint.limits import is_timed, waits_for_turns
from seawall.advice.totals import only_refusals
from seawall.policies.adaptive_limit import AdaptiveLimit
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.hedge import Hedge
from seawall.policies.rate_limiter import RateLimiter
from seawall.policies.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.advice.lint.facts import Facts
    from seawall.advice.onion import Onion

# Turns per second from which on what timers are late matters: at 100 a fortieth of them is lost.
_FAST: Final = 100.0


def check_waiting(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW401: calls wait for a turn, and nothing ends that."""
    for place, limiter in onion.each(RateLimiter):
        # Without a rate there are only pauses, and they end.
        endless = limiter.rate is not None and limiter.max_wait in {None, inf}
        if endless and not is_timed(onion, place):
            yield Finding(
                code="SW401",
                sentence="any number of calls may wait for a turn, and nothing ends that",
                numbers={"queue": inf},
                remedy="Put a Timeout around it, or take a max_wait",
                policy=limiter,
            )


def check_fleet(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW402: all clients together may send more than the dependency serves."""
    if facts.capacity is None:
        return
    clients = facts.clients or 1
    for _, limiter in onion.each(RateLimiter):
        calls = _calls_per_second(limiter)
        if calls is None or clients * calls <= facts.capacity:
            continue
        yield Finding(
            code="SW402",
            sentence=(
                f"{clients} × {calls:g} = {clients * calls:g} calls per second may be sent, and "
                f"the dependency serves {facts.capacity:g}: it protects nothing"
            ),
            numbers={"rate": calls, "clients": clients, "capacity": facts.capacity},
            remedy=f"Take a rate of at most {facts.capacity / clients:.4g} calls per second",
            policy=limiter,
        )


def check_attempts(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW404: attempts that a limit does not count."""
    for place, layer in enumerate(onion.layers):
        limit = layer.policy
        repeating: list[Retry | Hedge] = []
        if isinstance(limit, RateLimiter):
            inner = onion.inside(place, Retry)
            repeating += [each for each in inner if each.attempts > 1 and not only_refusals(each)]
        if isinstance(limit, RateLimiter | Bulkhead | AdaptiveLimit):
            repeating += onion.inside(place, Hedge)
        if repeating:
            first = repeating[0]
            name = type(first).__name__
            attempts = first.attempts if isinstance(first, Retry) else 1 + first.max_hedges
            yield Finding(
                code="SW404",
                sentence=f"it counts one call where the {name} inside it makes {attempts} attempts",
                numbers={"attempts": attempts},
                remedy=f"Put it inside the {name}, so that each attempt is counted",
                policy=limit,
            )


def check_lateness(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW407: turns so close to each other that what timers are late is lost."""
    for _, limiter in onion.each(RateLimiter):
        calls = _calls_per_second(limiter)
        if calls is None or calls < _FAST or not waits_for_turns(limiter):
            continue
        cost = 0.0 if callable(limiter.cost) else limiter.cost
        if limiter.burst < 2 * cost:
            advised = max(2, ceil(calls / 200)) * cost
            yield Finding(
                code="SW407",
                sentence=(
                    f"with a burst of {limiter.burst:g} it makes up for no late timer, and it has "
                    f"{calls:g} turns a second to keep"
                ),
                numbers={"burst": limiter.burst, "calls": calls, "advised": advised},
                remedy=f"Take burst={advised:g}; the rate stays the same",
                policy=limiter,
            )


def _calls_per_second(limiter: RateLimiter) -> float | None:
    """Return how many calls it lets pass in a second; ``None`` if that is not known."""
    if limiter.rate is None or callable(limiter.cost) or limiter.actual is not None:
        return None
    return limiter.rate / limiter.per / limiter.cost if limiter.cost > 0 else None


RATE_CHECKS: Final = (check_waiting, check_fleet, check_attempts, check_lateness)
