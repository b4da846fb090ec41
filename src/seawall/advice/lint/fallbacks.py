"""Answers that are missing, or that hide what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from seawall.advice.finding import Finding
from seawall.core.errors import BulkheadFullError, CircuitOpenError
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import CircuitBreaker
from seawall.policies.fallback import Fallback
from seawall.policies.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.advice.lint.facts import Facts
    from seawall.advice.onion import Onion
    from seawall.core.policy import Policy


def check_missing(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW501: people see that a call was refused."""
    if not facts.user_facing:
        return
    for place, layer in enumerate(onion.layers):
        error = _refusal_of(layer.policy)
        if error is None or onion.hides(0, place):
            continue
        if not any(issubclass(error, each.on) for each in onion.outside(place, Fallback)):
            yield Finding(
                code="SW501",
                sentence=f"people see its {error.__name__}, for no Fallback outside answers for it",
                numbers={"fallbacks": 0},
                remedy="Put a Fallback outside it: an older answer, a plain one, an apology",
                policy=layer.policy,
            )
            # One that is put outside the outermost answers for the others too.
            return


def check_hiding(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW502: what would repeat or count a failure never sees one."""
    for place, fallback in onion.each(Fallback):
        kinds = fallback.on if isinstance(fallback.on, tuple) else (fallback.on,)
        # One for some errors, inside, may well be meant so.
        if Exception not in kinds:
            continue
        for layer in onion.layers[:place]:
            if _judges(layer.policy):
                name = type(layer.policy).__name__
                yield Finding(
                    code="SW502",
                    sentence=f"the {name} outside it never sees what fails inside it",
                    numbers={},
                    remedy=f"Put it outside the {name}",
                    policy=fallback,
                )
                break


def _judges(policy: Policy) -> bool:
    """Say whether a policy does something about failures."""
    return isinstance(policy, CircuitBreaker) or (isinstance(policy, Retry) and policy.attempts > 1)


def _refusal_of(policy: Policy) -> type[Exception] | None:
    if isinstance(policy, CircuitBreaker) and not policy._circuit.shadow:
        return CircuitOpenError
    return BulkheadFullError if isinstance(policy, Bulkhead) else None


FALLBACK_CHECKS: Final = (check_missing, check_hiding)
