"""Timeouts that do not do what they are there for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from seawall.advice.finding import Finding
from seawall.advice.lint.limits import queues, waits_for_turns
from seawall.advice.pauses import shortest
from seawall.advice.totals import only_refusals, totals_of
from seawall.policies.adaptive_limit import AdaptiveLimit
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.rate_limiter import RateLimiter
from seawall.policies.retry import Retry
from seawall.policies.timeout import Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.advice.lint.facts import Facts
    from seawall.advice.onion import Onion
    from seawall.core.policy import Policy


def check_nesting(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW201: a timeout that is no shorter than one outside it."""
    for place, inner in onion.each(Timeout):
        total = _limit(onion, place)
        if total is not None and inner.seconds >= total:
            yield Finding(
                code="SW201",
                sentence=f"it never ends anything: after {total:g} s the Timeout outside has",
                numbers={"seconds": inner.seconds, "outside": total},
                remedy=f"Take less than {total:g} s, or leave it out",
                policy=inner,
            )


def check_fit(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW202: the last attempts cannot be made in the time that there is."""
    for place, retry in onion.each(Retry):
        total = _limit(onion, place)
        attempt = totals_of(onion.layers[place + 1 :]).busy
        if total is None or attempt >= total or retry.attempts == 1:
            # One that takes all the time is what SW201 and SW203 are about.
            continue
        pauses = shortest(retry.backoff, retry.attempts - 1)
        needed = retry.attempts * attempt + pauses
        if needed > total:
            yield Finding(
                code="SW202",
                sentence=(
                    f"{retry.attempts} attempts of {attempt:g} s and {pauses:.4g} s of pauses at "
                    f"least take {needed:.4g} s, and there are {total:g} s"
                ),
                numbers={
                    "attempts": retry.attempts,
                    "attempt_seconds": attempt,
                    "pauses": pauses,
                    "needed": needed,
                    "seconds": total,
                },
                remedy="Make fewer attempts or shorter ones, or give the whole call more time",
                policy=retry,
            )


def check_attempts_end(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW203: one attempt that hangs takes up all the time, so it is never repeated."""
    for place, retry in onion.each(Retry):
        total = _limit(onion, place)
        if total is None or retry.attempts == 1 or only_refusals(retry):
            continue
        if not onion.inside(place, Timeout) and not onion.hides(place):
            yield Finding(
                code="SW203",
                sentence=f"an attempt that hangs takes up all of the {total:g} s, and no other "
                "follows",
                numbers={"attempts": retry.attempts, "seconds": total},
                remedy=f"Put a Timeout inside it too, of at most {total / retry.attempts:.3g} s",
                policy=retry,
            )


def check_latency(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW204: a timeout that a healthy call does not keep."""
    for _, timeout in onion.each(Timeout):
        if facts.latency is not None and timeout.seconds <= facts.latency:
            yield Finding(
                code="SW204",
                sentence=(
                    f"it ends healthy calls: after {timeout.seconds:g} s, and an answer takes "
                    f"{facts.latency:g} s"
                ),
                numbers={"seconds": timeout.seconds, "latency": facts.latency},
                remedy="Take more than the slowest call that you want to wait for",
                policy=timeout,
            )


def check_waits(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW205: what is there for an attempt goes by while it waits for a slot or a turn."""
    for place, timeout in onion.each(Timeout):
        retries = [each for each in onion.outside(place, Retry) if each.attempts > 1]
        if not retries or onion.hides(place):
            continue
        for at in range(place + 1, len(onion.layers)):
            policy = onion.layers[at].policy
            if _may_wait(policy, timeout.seconds) and not onion.inside(at, Timeout):
                yield Finding(
                    code="SW205",
                    sentence=f"its {timeout.seconds:g} s for an attempt go by while the attempt "
                    f"waits at the {type(policy).__name__} inside it",
                    numbers={"seconds": timeout.seconds},
                    remedy=f"Put it inside the {type(policy).__name__}, around what is called",
                    policy=timeout,
                )
                break


def _may_wait(policy: Policy, seconds: float) -> bool:
    """Say whether an attempt may wait that long for a slot or a turn."""
    if isinstance(policy, Bulkhead | AdaptiveLimit):
        waits = queues(policy)
    elif isinstance(policy, RateLimiter):
        waits = waits_for_turns(policy)
    else:
        return False
    return waits and (policy.max_wait is None or policy.max_wait >= seconds)


def _limit(onion: Onion, place: int) -> float | None:
    return min((timeout.seconds for timeout in onion.outside(place, Timeout)), default=None)


TIMEOUT_CHECKS: Final = (
    check_nesting,
    check_fit,
    check_attempts_end,
    check_latency,
    check_waits,
)
