"""Hedges that add load, or that do nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from seawall.advice.finding import Finding
from seawall.advice.totals import totals_of
from seawall.policies.hedge import Hedge, Percentile
from seawall.policies.retry import Retry
from seawall.policies.timeout import Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.advice.lint.facts import Facts
    from seawall.advice.onion import Onion


def check_budget(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW311: nothing bounds the hedges while everything is slow."""
    for _, hedge in onion.each(Hedge):
        if hedge.budget is None:
            times = 1 + hedge.max_hedges
            yield Finding(
                code="SW311",
                sentence=f"while everything is slow it makes {times} times the load: "
                "there is no budget",
                numbers={"attempts": times},
                remedy="Leave budget=None out: by default it has a budget of its own",
                policy=hedge,
            )


def check_place(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW312: the pauses of a retry look like a slow answer."""
    for place, hedge in onion.each(Hedge):
        attempts = [retry.attempts for retry in onion.inside(place, Retry) if retry.attempts > 1]
        if attempts:
            yield Finding(
                code="SW312",
                sentence="the pauses of the Retry inside it look to it like a slow answer",
                numbers={"attempts": (1 + hedge.max_hedges) * attempts[0]},
                remedy="Put it inside the Retry, around one attempt",
                policy=hedge,
            )


def check_begins(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW313: no attempt takes as long as the delay."""
    for place, hedge in onion.each(Hedge):
        delay = _least_delay(hedge)
        outside = [timeout.seconds for timeout in onion.outside(place, Timeout)]
        longest = min([totals_of(onion.layers[place + 1 :]).seconds, *outside])
        if delay >= longest:
            yield Finding(
                code="SW313",
                sentence=(
                    f"it never begins: it waits {delay:g} s, and a call ends after {longest:g} s"
                ),
                numbers={"delay": delay, "seconds": longest},
                remedy="Take a delay that most answers keep, such as Percentile(0.95)",
                policy=hedge,
            )


def check_latency(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW314: most calls are made twice."""
    for _, hedge in onion.each(Hedge):
        delay = hedge.delay
        if isinstance(delay, Percentile):
            continue
        latency = facts.latency
        if delay == 0 or (latency is not None and delay <= latency):
            takes = "some time" if latency is None else f"{latency:g} s"
            yield Finding(
                code="SW314",
                sentence=(
                    f"it hedges the usual call: after {delay:g} s, and an answer takes {takes}"
                ),
                numbers={"delay": delay, "latency": latency},
                remedy="Take a delay that most answers keep, such as Percentile(0.95)",
                policy=hedge,
            )


def _least_delay(hedge: Hedge) -> float:
    delay = hedge.delay
    return delay.at_least if isinstance(delay, Percentile) else delay


HEDGE_CHECKS: Final = (check_budget, check_place, check_begins, check_latency)
