"""Answers that are missing, or that hide what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from seawall.advice.finding import Finding
from seawall.core.errors import (
    BulkheadFullError,
    CallTimeoutError,
    CircuitOpenError,
    LoadShedError,
    RateLimitedError,
)
from seawall.policies.adaptive_limit import AdaptiveLimit
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import CircuitBreaker
from seawall.policies.fallback import Fallback
from seawall.policies.last_good import LastGood
from seawall.policies.load_shedder import LoadShedder
from seawall.policies.rate_limiter import RateLimiter
from seawall.policies.retry import Retry
from seawall.policies.timeout import Timeout

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


def check_passed(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW503: a timeout that no answer is given for."""
    for place, layer in enumerate(onion.layers):
        timeouts = onion.outside(place, Timeout)
        if not timeouts or not _answers_timeouts(layer.policy):
            continue
        if onion.inside(place, Timeout) or onion.hides(place):
            continue
        if any(_answers_timeouts(outside.policy) for outside in onion.layers[:place]):
            continue
        yield Finding(
            code="SW503",
            sentence=f"it does not answer for what the Timeout outside ends after "
            f"{timeouts[-1].seconds:g} s",
            numbers={"seconds": timeouts[-1].seconds},
            remedy="Put it outside the Timeout, or another Timeout inside it",
            policy=layer.policy,
        )


def _answers_timeouts(policy: Policy) -> bool:
    if isinstance(policy, Fallback):
        return issubclass(CallTimeoutError, policy.on)
    return isinstance(policy, LastGood)


def _answers_all(policy: Policy) -> bool:
    """Say whether a policy answers for any failure; one for some of them may be meant so."""
    if isinstance(policy, Fallback):
        kinds = policy.on if isinstance(policy.on, tuple) else (policy.on,)
        return Exception in kinds
    return isinstance(policy, LastGood)


def _judges(policy: Policy) -> bool:
    """Say whether a policy does something about failures."""
    if isinstance(policy, Retry):
        return policy.attempts > 1
    return isinstance(policy, CircuitBreaker | AdaptiveLimit | LoadShedder | RateLimiter)


def _refusal_of(policy: Policy) -> type[Exception] | None:
    if isinstance(policy, CircuitBreaker):
        return None if policy._circuit.shadow else CircuitOpenError
    if isinstance(policy, Bulkhead | AdaptiveLimit):
        return BulkheadFullError
    if isinstance(policy, RateLimiter):
        return RateLimitedError
    return LoadShedError if isinstance(policy, LoadShedder) else None


FALLBACK_CHECKS: Final = (check_missing, check_hiding, check_passed)
