"""Limits that do not protect, or that hold up what they should not."""

from __future__ import annotations

from math import ceil, inf
from typing import TYPE_CHECKING, Final

from seawall.advice.finding import Finding
from seawall.advice.totals import totals_of
from seawall.policies.adaptive_limit import AdaptiveLimit
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import CircuitBreaker
from seawall.policies.rate_limiter import RateLimiter
from seawall.policies.retry import Retry
from seawall.policies.timeout import Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.advice.lint.facts import Facts
    from seawall.advice.onion import Onion


def check_waiting(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW401: calls wait for a slot, and nothing ends that."""
    for place, limit in _limits(onion):
        if queues(limit) and limit.max_wait in {None, inf} and not is_timed(onion, place):
            many = "any number of calls" if limit.queue == inf else f"{limit.queue:g} calls"
            yield Finding(
                code="SW401",
                sentence=f"{many} may wait for a slot, and nothing ends that",
                numbers={"queue": limit.queue},
                remedy="Put a Timeout around it, or take a max_wait",
                policy=limit,
            )


def check_fleet(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW402: all clients together may hold as much as the dependency can do in a timeout."""
    if facts.capacity is None:
        return
    clients = facts.clients or 1
    for place, limit in _limits(onion):
        seconds = _held(onion, place)
        most = _most(limit)
        in_flight, bearable = clients * most, facts.capacity * seconds
        if in_flight < bearable:
            continue
        learns = isinstance(limit, AdaptiveLimit)
        advised = ceil(bearable / clients) - 1
        yield Finding(
            code="SW402",
            sentence=(
                f"{clients} × {most} = {in_flight} calls may be in flight"
                f"{' at the start' if learns else ''}, and in {seconds:g} s the dependency serves "
                f"{bearable:g}: {'until it has shrunk ' if learns else ''}it protects nothing"
            ),
            numbers={
                "limit": most,
                "clients": clients,
                "capacity": facts.capacity,
                "seconds": seconds,
            },
            remedy=(
                f"Take {'an initial limit' if learns else 'a limit'} of at most {advised}"
                if advised
                else "Have fewer clients, or limit them in one place"
            ),
            policy=limit,
        )


def check_slot_in_pauses(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW403: a slot is held while a retry pauses, or while a call waits for its turn."""
    for place, limit in _limits(onion):
        attempts = [retry.attempts for retry in onion.inside(place, Retry) if retry.attempts > 1]
        if attempts:
            when, numbers = "in the pauses of the Retry inside it", {"attempts": attempts[0]}
            remedy = "Put it inside the Retry, so that a slot is held for an attempt only"
        elif any(map(waits_for_turns, onion.inside(place, RateLimiter))):
            when, numbers = "while it waits for its turn at the RateLimiter inside it", {}
            remedy = "Put it inside the RateLimiter, so that only who has a turn has a slot"
        else:
            continue
        yield Finding(
            code="SW403",
            sentence=f"a call keeps its slot {when}",
            numbers={"limit": _most(limit), **numbers},
            remedy=remedy,
            policy=limit,
        )


def check_traffic(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW405: a limit that refuses or holds up healthy traffic."""
    rate, latency = facts.requests_per_second, facts.latency
    if rate is None or latency is None:
        return
    for _, limit in _limits(onion):
        usual = rate * latency
        most = limit.maximum if isinstance(limit, AdaptiveLimit) else limit.limit
        if most < usual:
            yield Finding(
                code="SW405",
                sentence=(
                    f"of healthy traffic, {rate:g} calls per second of {latency:g} s each, "
                    f"{usual:.4g} are in flight: more than {most}"
                ),
                numbers={"limit": most, "usual": usual},
                remedy=f"Take a limit of well above {usual:.4g}",
                policy=limit,
            )


def check_queue_outside(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW406: calls wait for a slot though the circuit would refuse them."""
    for place, limit in _limits(onion):
        if queues(limit) and onion.inside(place, CircuitBreaker):
            yield Finding(
                code="SW406",
                sentence="calls wait for its slots also while the circuit inside refuses them all",
                numbers={"queue": limit.queue},
                remedy="Put it inside the CircuitBreaker, which then refuses those who wait too",
                policy=limit,
            )


def queues(limit: Bulkhead | AdaptiveLimit) -> bool:
    """Say whether a call may wait for a slot."""
    return limit.queue > 0 and limit.max_wait != 0


def waits_for_turns(limiter: RateLimiter) -> bool:
    """Say whether a call may wait for its turn, or for the end of a pause."""
    return limiter.max_wait != 0 and (limiter.rate is not None or limiter.max_pause > 0)


def is_timed(onion: Onion, place: int) -> bool:
    """Say whether a timeout is around a place, be it only that of a view."""
    outside = onion.layers[:place]
    return onion.hides(0, place) or any(isinstance(each.policy, Timeout) for each in outside)


def _limits(onion: Onion) -> Iterator[tuple[int, Bulkhead | AdaptiveLimit]]:
    for place, layer in enumerate(onion.layers):
        if isinstance(layer.policy, Bulkhead | AdaptiveLimit):
            yield place, layer.policy


def _most(limit: Bulkhead | AdaptiveLimit) -> int:
    """Return how many calls it lets run at a time; one that learns, at the start."""
    return limit.initial if isinstance(limit, AdaptiveLimit) else limit.limit


def _held(onion: Onion, place: int) -> float:
    """Return the seconds for which a call may hold what it got at a place."""
    outside = [timeout.seconds for timeout in onion.outside(place, Timeout)]
    return min([totals_of(onion.layers[place + 1 :]).seconds, *outside])


LIMIT_CHECKS: Final = (
    check_waiting,
    check_fleet,
    check_slot_in_pauses,
    check_traffic,
    check_queue_outside,
)
