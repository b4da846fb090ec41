"""Limits that do not protect, or that hold up what they should not."""

from __future__ import annotations

from math import ceil, inf
from typing import TYPE_CHECKING, Final

from seawall.advice.finding import Finding
from seawall.advice.totals import totals_of
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import CircuitBreaker
from seawall.policies.retry import Retry
from seawall.policies.timeout import Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.advice.lint.facts import Facts
    from seawall.advice.onion import Onion


def check_waiting(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW401: calls wait for a slot or a turn, and nothing ends that."""
    for place, bulkhead in onion.each(Bulkhead):
        if _queues(bulkhead) and bulkhead.max_wait in {None, inf} and not _is_timed(onion, place):
            many = "any number of calls" if bulkhead.queue == inf else f"{bulkhead.queue:g} calls"
            yield Finding(
                code="SW401",
                sentence=f"{many} may wait for a slot, and nothing ends that",
                numbers={"queue": bulkhead.queue},
                remedy="Put a Timeout around it, or take a max_wait",
                policy=bulkhead,
            )


def check_fleet(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW402: all clients together may hold as much as the dependency can do in a timeout."""
    if facts.capacity is None:
        return
    clients = facts.clients or 1
    for place, bulkhead in onion.each(Bulkhead):
        seconds = _held(onion, place)
        in_flight, bearable = clients * bulkhead.limit, facts.capacity * seconds
        if in_flight >= bearable:
            advised = ceil(bearable / clients) - 1
            yield Finding(
                code="SW402",
                sentence=(
                    f"{clients} × {bulkhead.limit} = {in_flight} calls may be in flight, and in "
                    f"{seconds:g} s the dependency serves {bearable:g}: it protects nothing"
                ),
                numbers={
                    "limit": bulkhead.limit,
                    "clients": clients,
                    "capacity": facts.capacity,
                    "seconds": seconds,
                },
                remedy=(
                    f"Take a limit of at most {advised}"
                    if advised
                    else "Have fewer clients, or limit them in one place"
                ),
                policy=bulkhead,
            )


def check_slot_in_pauses(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW403: a slot is held while a retry pauses."""
    for place, bulkhead in onion.each(Bulkhead):
        attempts = [retry.attempts for retry in onion.inside(place, Retry) if retry.attempts > 1]
        if attempts:
            yield Finding(
                code="SW403",
                sentence="a call keeps its slot in the pauses of the Retry inside it",
                numbers={"limit": bulkhead.limit, "attempts": attempts[0]},
                remedy="Put it inside the Retry, so that a slot is held for an attempt only",
                policy=bulkhead,
            )


def check_traffic(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW405: a limit that refuses or holds up healthy traffic."""
    rate, latency = facts.requests_per_second, facts.latency
    if rate is None or latency is None:
        return
    for _, bulkhead in onion.each(Bulkhead):
        usual = rate * latency
        if bulkhead.limit < usual:
            yield Finding(
                code="SW405",
                sentence=(
                    f"of healthy traffic, {rate:g} calls per second of {latency:g} s each, "
                    f"{usual:.4g} are in flight: more than {bulkhead.limit}"
                ),
                numbers={"limit": bulkhead.limit, "usual": usual},
                remedy=f"Take a limit of well above {usual:.4g}",
                policy=bulkhead,
            )


def check_queue_outside(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW406: calls wait for a slot though the circuit would refuse them."""
    for place, bulkhead in onion.each(Bulkhead):
        if _queues(bulkhead) and onion.inside(place, CircuitBreaker):
            yield Finding(
                code="SW406",
                sentence="calls wait for its slots also while the circuit inside refuses them all",
                numbers={"queue": bulkhead.queue},
                remedy="Put it inside the CircuitBreaker, which then refuses those who wait too",
                policy=bulkhead,
            )


def _queues(bulkhead: Bulkhead) -> bool:
    return bulkhead.queue > 0 and bulkhead.max_wait != 0


def _is_timed(onion: Onion, place: int) -> bool:
    """Say whether a timeout is around a place, be it only that of a view."""
    outside = onion.layers[:place]
    return onion.hides(0, place) or any(isinstance(each.policy, Timeout) for each in outside)


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
