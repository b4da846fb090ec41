"""Answers that are missing, or that hide what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from seawall.advice.finding import Finding
from seawall.core.errors import BulkheadFullError, CircuitOpenError
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import CircuitBreaker
from seawall.policies.fallback import Fallback
from seawall.policies.last_good import LastGood
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
        if error is None or onion.hides(0, place) or onion.outside(place, LastGood):
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
    """SW502: what would repeat or count a failure sees none that is answered for."""
    for place, layer in enumerate(onion.layers):
        if not _answers_all(layer.policy):
            continue
        for outside in onion.layers[:place]:
            if _judges(outside.policy):
                name = type(outside.policy).__name__
                yield Finding(
                    code="SW502",
                    sentence=f"the {name} outside it sees no failure that it has answered for",
                    numbers={},
                    remedy=f"Put it outside the {name}",
                    policy=layer.policy,
                )
                break


def _answers_all(policy: Policy) -> bool:
    """Say whether a policy answers for any failure; one for some of them may be meant so."""
    if isinstance(policy, Fallback):
        kinds = policy.on if isinstance(policy.on, tuple) else (policy.on,)
        return Exception in kinds
    return isinstance(policy, LastGood)


def _judges(policy: Policy) -> bool:
    """Say whether a policy does something about failures."""
    return isinstance(policy, CircuitBreaker) or (isinstance(policy, Retry) and policy.attempts > 1)


def _refusal_of(policy: Policy) -> type[Exception] | None:
    if isinstance(policy, CircuitBreaker) and not policy._circuit.shadow:
        return CircuitOpenError
    return BulkheadFullError if isinstance(policy, Bulkhead) else None


FALLBACK_CHECKS: Final = (check_missing, check_hiding)
