"""The policies that a call meets, in a row: without the pipelines, views and keys around them.

A ``Keyed`` has a policy for each key. Of each key that is in use, or that is asked about, the call
meets other policies, so each of them has an onion of its own. A factory is called only with a key
that is asked about, for it may do more than make a policy, and what it returns is not kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from seawall.core.bound import Bound
from seawall.core.pipeline import Pipeline
from seawall.policies.keyed import Keyed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seawall.core.policy import Policy

AnyPolicy = TypeVar("AnyPolicy")


class Layer(NamedTuple):
    """One policy of an onion.

    Attributes:
        policy: the policy; of a view that sets something on the call, the view itself.
        depth: how many ``Keyed`` are around it.
        key: the key that the innermost of these made it for.
        is_view: whether it is the timeout of a view, which holds for some calls only.
        is_hidden: whether it is a ``Keyed`` of which no key is known.
    """

    policy: Policy
    depth: int = 0
    key: Any = None
    is_view: bool = False
    is_hidden: bool = False


@dataclass(frozen=True, slots=True)
class Onion:
    """The policies that a call with one key meets, the outermost first."""

    layers: tuple[Layer, ...]

    def each(self, kind: type[AnyPolicy]) -> Iterator[tuple[int, AnyPolicy]]:
        """Yield the policies of a type, each with its place; not the timeouts of views."""
        for place, layer in enumerate(self.layers):
            if isinstance(layer.policy, kind) and not layer.is_view:
                yield place, layer.policy

    def outside(self, place: int, kind: type[AnyPolicy]) -> list[AnyPolicy]:
        """Return the policies of a type further outside than a place, the outermost first."""
        return [policy for at, policy in self.each(kind) if at < place]

    def inside(self, place: int, kind: type[AnyPolicy]) -> list[AnyPolicy]:
        """Return the policies of a type further inside than a place, the outermost first."""
        return [policy for at, policy in self.each(kind) if at > place]

    def hides(self, start: int, end: int | None = None) -> bool:
        """Say whether policies from one place up to before another are not known."""
        return any(layer.is_hidden for layer in self.layers[start:end])


def onion(policy: Policy, key: Any = None) -> Onion:
    """Return the onion of one key; without one, of some key that is in use."""
    return Onion(tuple(_peel(policy, key, _Samples(() if key is None else (key,)))))


def onions(policy: Policy, keys: Iterable[Any]) -> list[Onion]:
    """Return the onions of these keys, and of all that are in use; one if there are none."""
    stated = tuple(dict.fromkeys(keys))
    samples = _Samples(stated)
    every = dict.fromkeys([*stated, *_keys_in_use(policy)]) or {None: None}
    return [Onion(tuple(_peel(policy, key, samples))) for key in every]


class _Samples:
    """The policies of keys, made where they are not in use."""

    def __init__(self, stated: tuple[Any, ...]) -> None:
        self._stated = stated
        self._made: dict[tuple[int, Any], Policy] = {}

    def of(self, keyed: Keyed, key: Any) -> tuple[Any, Policy] | None:
        """Return the policy of a key, or of another one, with that key; ``None`` if unknown."""
        in_use = keyed._entries
        if key in in_use:
            return key, in_use[key].policy
        if key in self._stated:
            made = self._made.get((id(keyed), key))
            if made is None:
                made = self._made[id(keyed), key] = keyed.make(key)
            return key, made
        # The one that was used last.
        last = next(reversed(in_use), None)
        return None if last is None else (last, in_use[last].policy)


def _peel(
    policy: Policy, key: Any, samples: _Samples, depth: int = 0, made_for: Any = None
) -> Iterator[Layer]:
    if isinstance(policy, Bound):
        settings = policy._settings
        if policy._timeout is not None:
            yield Layer(policy._timeout, depth, made_for, is_view=True)
        if any(value is not None for name, value in settings.items() if name != "timeout"):
            yield Layer(policy, depth, made_for)
        inner_key = key if settings["key"] is None else settings["key"]
        yield from _peel(policy._policy, inner_key, samples, depth, made_for)
    elif isinstance(policy, Keyed):
        sample = samples.of(policy, key)
        yield Layer(policy, depth, made_for, is_hidden=sample is None)
        if sample is not None:
            yield from _peel(sample[1], key, samples, depth + 1, sample[0])
    elif isinstance(policy, Pipeline):
        if type(policy).run is not Pipeline.run:
            yield Layer(policy, depth, made_for)
        for each in policy.policies:
            yield from _peel(each, key, samples, depth, made_for)
    else:
        yield Layer(policy, depth, made_for)


def _keys_in_use(policy: Policy) -> Iterator[Any]:
    for speaker in policy.speakers():
        if isinstance(speaker, Keyed):
            yield from cast("Iterable[Any]", speaker)
