"""What one call meets twice, and what several dependencies share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from seawall.advice.finding import Finding
from seawall.policies.adaptive_limit import AdaptiveLimit
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import CircuitBreaker
from seawall.policies.keyed import Keyed
from seawall.policies.load_shedder import LoadShedder
from seawall.policies.rate_limiter import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seawall.advice.lint.facts import Facts
    from seawall.advice.onion import Onion
    from seawall.core.policy import Policy


_SHOWN: Final = 4


def check_shared(onions: Iterable[Onion], facts: Facts) -> Iterator[Finding]:
    """SW105: several dependencies have one circuit, or another policy that goes by one of them."""
    keys_of: dict[Policy, dict[Any, None]] = {}
    reason: dict[Policy, str] = {}
    for onion in onions:
        for place, layer in enumerate(onion.layers):
            policy, one = layer.policy, _one(layer.policy)
            if one is None:
                continue
            if layer.depth:
                keys_of.setdefault(policy, {})[layer.key] = None
            elif onion.inside(place, Keyed):
                reason[policy] = f"it is outside of Keyed, so it is the {one} of all keys"
            elif len(facts.keys) > 1:
                reason[policy] = f"it is the {one} of several keys: {_shown(facts.keys)}"
    for policy, keys in keys_of.items():
        if len(keys) > 1:
            reason[policy] = f"the factory has returned it for several keys: {_shown(keys)}"
    for policy, why in reason.items():
        circuit = isinstance(policy, CircuitBreaker)
        make = "CircuitBreaker(name=key)" if circuit else f"{type(policy).__name__}(...)"
        yield Finding(
            code="SW105",
            sentence=f"{why}; a dependency that is {'down' if circuit else 'ill'} cuts off the "
            "others",
            numbers={"keys": max(len(keys_of.get(policy, ())), len(facts.keys))},
            remedy=f"Take Keyed(lambda key: {make})"
            f"{'; what they share is a parent=' if circuit else ''}",
            policy=policy,
        )


def _one(policy: Policy) -> str | None:
    """Return what a policy is called that goes by one dependency; ``None`` for any other."""
    if isinstance(policy, CircuitBreaker):
        return "circuit"
    if isinstance(policy, AdaptiveLimit):
        return "limit"
    # One with a rate may be meant for all of them.
    pauses = isinstance(policy, RateLimiter) and policy.rate is None
    return "pause" if pauses else "shedder" if isinstance(policy, LoadShedder) else None


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
    if isinstance(policy, Bulkhead | AdaptiveLimit | RateLimiter | LoadShedder):
        yield policy
    while isinstance(policy, CircuitBreaker):
        yield policy
        if policy.parent is None:
            return
        policy = cast("Policy", policy.parent)


SHARING_CHECKS: Final = (check_twice,)
