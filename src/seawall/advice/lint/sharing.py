"""What one call meets twice, and what several dependencies share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from seawall.advice.finding import Finding
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import CircuitBreaker
from seawall.policies.keyed import Keyed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seawall.advice.lint.facts import Facts
    from seawall.advice.onion import Onion
    from seawall.core.policy import Policy


_SHOWN: Final = 4


def check_shared_circuits(onions: Iterable[Onion], facts: Facts) -> Iterator[Finding]:
    """SW105: several dependencies have one circuit."""
    keys_of: dict[CircuitBreaker, dict[Any, None]] = {}
    reason: dict[CircuitBreaker, str] = {}
    for onion in onions:
        for place, breaker in onion.each(CircuitBreaker):
            layer = onion.layers[place]
            if layer.depth:
                keys_of.setdefault(breaker, {})[layer.key] = None
            elif onion.inside(place, Keyed):
                reason[breaker] = "it is outside of Keyed, so it is the circuit of all keys"
            elif len(facts.keys) > 1:
                reason[breaker] = f"it is the circuit of several keys: {_shown(facts.keys)}"
    for breaker, keys in keys_of.items():
        if len(keys) > 1:
            reason[breaker] = f"the factory has returned it for several keys: {_shown(keys)}"
    for breaker, why in reason.items():
        yield Finding(
            code="SW105",
            sentence=f"{why}; a dependency that is down cuts off the others",
            numbers={"keys": max(len(keys_of.get(breaker, ())), len(facts.keys))},
            remedy="Take Keyed(lambda key: CircuitBreaker(name=key)); what they share is a parent=",
            policy=breaker,
        )


def _shown(keys: Iterable[Any]) -> str:
    *first, last = map(repr, keys)
    return ", ".join([*first, last]) if len(first) < _SHOWN else f"{', '.join(first[:_SHOWN])}, …"


def check_twice(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW601: a call meets one circuit or limit twice."""
    met: set[Policy] = set()
    told: set[Policy] = set()
    for layer in onion.layers:
        family = list(_family(layer.policy))
        if not met.isdisjoint(family) and layer.policy not in told:
            told.add(layer.policy)
            what = "it" if layer.policy in met else "its parent circuit"
            yield Finding(
                code="SW601",
                sentence=f"a call meets {what} twice, so it may stand in its own way",
                numbers={"times": 2},
                remedy="Make one for each place",
                policy=layer.policy,
            )
        met.update(family)


def _family(policy: Policy) -> Iterator[Policy]:
    """Yield what a call holds while it is inside, parents included."""
    if isinstance(policy, Bulkhead):
        yield policy
    while isinstance(policy, CircuitBreaker):
        yield policy
        if policy.parent is None:
            return
        policy = cast("Policy", policy.parent)


SHARING_CHECKS: Final = (check_twice,)
