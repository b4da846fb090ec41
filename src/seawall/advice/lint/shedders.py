"""Load shedders that refuse what is healthy, or for too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from seawall.advice.finding import Finding
from seawall.policies.circuit import CircuitBreaker
from seawall.policies.load_shedder import LoadShedder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.advice.lint.facts import Facts
    from seawall.advice.onion import Onion

# A steady share of failures that no default refuses anything for.
_STEADY: Final = 0.2
# Calls in a window of which half fail by chance, now and then.
_FEW: Final = 10
# Seconds of a window with which it takes minutes until nothing is refused any more.
_LONG: Final = 60.0
# Windows until nothing is refused any more, as measured.
_RECOVERY: Final = 1.8


def check_before_circuit(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW106: a circuit behind it gets no chance to see, or to probe."""
    for place, shedder in onion.each(LoadShedder):
        circuits = onion.inside(place, CircuitBreaker)
        if any(not breaker._circuit.shadow for breaker in circuits):
            yield Finding(
                code="SW106",
                sentence="it refuses calls that the CircuitBreaker inside it would probe with: "
                "together they serve less than either",
                numbers={},
                remedy="Take one of them: a circuit for what is up or down, this for what is busy",
                policy=shedder,
            )


def check_healthy(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW408: it refuses calls to what is healthy."""
    for _, shedder in onion.each(LoadShedder):
        share = 1 - 1 / shedder.k
        calls = (facts.requests_per_second or _FEW) * shedder.window
        if shedder.k < 1 / (1 - _STEADY):
            yield Finding(
                code="SW408",
                sentence=f"it refuses calls as soon as {100 * share:.3g} % of them fail",
                numbers={"k": shedder.k, "share": share},
                remedy="Leave k out: with 2 it refuses nothing while half is accepted",
                policy=shedder,
            )
        elif facts.requests_per_second is not None and calls < _FEW:
            yield Finding(
                code="SW408",
                sentence=(
                    f"of the about {calls:.3g} calls in {shedder.window:g} s half may fail by "
                    "chance, and then it refuses some"
                ),
                numbers={"calls": calls, "window": shedder.window},
                remedy="Leave it out, or take a window that holds more calls",
                policy=shedder,
            )


def check_recovery(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW409: it refuses calls long after all is well again."""
    for _, shedder in onion.each(LoadShedder):
        if shedder.window > _LONG:
            yield Finding(
                code="SW409",
                sentence=(
                    f"it looks back {shedder.window:g} s, so it refuses calls for some "
                    f"{_RECOVERY * shedder.window:g} s after an outage has ended"
                ),
                numbers={"window": shedder.window},
                remedy="Leave window out: with 10 s it has recovered after 18 s",
                policy=shedder,
            )


SHEDDER_CHECKS: Final = (check_before_circuit, check_healthy, check_recovery)
