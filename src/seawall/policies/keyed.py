"""One policy for each key."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from seawall.core.checks import check_count
from seawall.core.errors import UsageError
from seawall.core.policy import Policy
from seawall.core.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from seawall.core.call import Call, Proceed

T = TypeVar("T")

# What is around the policy of a key: policies before it, after it, and the rest of the pipeline.
_Rest: TypeAlias = "tuple[Sequence[Policy], Sequence[Policy], Proceed[T]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedSnapshot(Snapshot):
    """The state of a :class:`Keyed`.

    Attributes:
        max_keys: keys that it remembers, and more only while more of them matter.
        keys: the state of the policy of each key, the longest unused first.
    """

    max_keys: int
    keys: Mapping[Any, Snapshot]


class Keyed(Policy):
    """Runs each call through the policy of its key, which is made when it is first needed.

    With one circuit for several hosts, a dead one would cut off the healthy ones. The number of
    keys is bounded: beyond ``max_keys`` the longest unused is forgotten, but never one that has
    calls inside, nor one whose circuit refuses or may be asked soon again. If all of them matter,
    there are more than ``max_keys`` until some do not.

    Args:
        factory: called with a key, returns the policy or pipeline for it.
        key: called with the arguments of the call, returns its key. Default: the key that was set
            by ``bind(key=...)``.
        max_keys: keys to remember.

    Raises:
        ValueError: ``max_keys`` is less than 1.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        factory: Callable[[Any], Policy],
        *,
        key: Callable[..., Any] | None = None,
        max_keys: int = 1000,
    ) -> None:
        if isinstance(factory, type | Policy) or not callable(factory):
            raise UsageError(_explain_factory(factory))
        if key is not None and not callable(key):
            message = f"key must be a callable of the call's arguments or None, not {key!r}"
            raise TypeError(message)
        check_count("max_keys", max_keys, at_least=1)
        self.factory = factory
        self._key = key
        self.max_keys = max_keys
        # The longest unused first.
        self._entries: OrderedDict[Any, _Entry] = OrderedDict()

    def __repr__(self) -> str:
        return f"Keyed({self.factory!r}, max_keys={self.max_keys!r})"

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._entries))

    def __getitem__(self, key: Any) -> Policy:
        """Return the policy of a key that has been used.

        Raises:
            KeyError: the key has not been used, or has been forgotten.
        """
        return self._entries[key].policy

    @property
    def is_by_call(self) -> bool:
        """Whether it takes the key that a call has already."""
        return self._key is None

    def link_around(
        self, before: Sequence[Policy], following: Sequence[Policy], proceed: Proceed[T]
    ) -> Proceed[T]:
        """Put some policies, the one of the key and some others around the rest of a pipeline.

        For the length of a call, which has a key and keeps it, the key's policy stays the same. So
        those before it may as well be around it for each key.
        """
        return partial(self._run, (before, following, proceed))

    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        """Run the rest of the pipeline inside the policy of the call's key.

        Raises:
            UsageError: the call has no key.
        """
        return await self._run(((), (), proceed), call)

    def link(self, proceed: Proceed[T]) -> Proceed[T]:
        """Put this policy around the rest of a pipeline."""
        own = type(self).run is not Keyed.run
        return super().link(proceed) if own else self.link_around((), (), proceed)

    async def _run(self, rest: _Rest[T], call: Call[T]) -> T:
        key = call.key if self._key is None else self._key(*call.args, **call.kwargs)
        entry = self._entries.get(key)
        if entry is None:
            if rest[0]:
                return await self._begin(call, rest)
            entry = self._add(key, call.now())
        else:
            self._entries.move_to_end(key)
        # Equal, if not the same: a subclass with a `run` of its own makes it for each call.
        step = entry.step if entry.rest is rest or entry.rest == rest else None
        if step is None:
            step = entry.link(rest)
        outer_key, call.key = call.key, key
        entry.inside += 1
        try:
            result: T = await step(call)
        except BaseException:
            entry.inside -= 1
            call.key = outer_key
            raise
        call.key = outer_key
        if call.open is None:
            entry.inside -= 1
        else:
            call.open.on_release(entry.leave)
        return result

    async def _begin(self, call: Call[T], rest: _Rest[T]) -> T:
        """Run the first call of a key; if no policy is made, those before hear of it."""
        from seawall.policies.fused import link_all  # noqa: PLC0415 - it knows all policies

        failed: Exception | None = None
        try:
            self._add(call.key, call.now())
        except Exception as error:
            failed = error
        if failed is None:
            return await self._run(rest, call)
        before, following, proceed = rest

        async def attempt(call: Call[T]) -> T:
            nonlocal failed
            if failed is None:
                return await self._run(((), following, proceed), call)
            error, failed = failed, None
            try:
                raise error
            finally:
                # This frame is on its traceback.
                del error

        try:
            return await link_all(before, attempt)(call)
        finally:
            # Where no attempt was made, this frame is on its traceback still.
            failed = None

    def speakers(self) -> Iterator[Policy]:
        """Yield this policy, and those of all keys."""
        yield self
        for entry in list(self._entries.values()):
            yield from entry.policy.speakers()

    def snapshot(self) -> KeyedSnapshot:
        """Return what the policy of each key is doing now; it changes nothing."""
        return KeyedSnapshot(
            policy=type(self).__name__,
            name=self.name,
            max_keys=self.max_keys,
            keys={key: entry.policy.snapshot() for key, entry in self._entries.items()},
        )

    def matters(self, now: float) -> bool:
        """Say whether one of the keys matters."""
        return any(entry.matters(now) for entry in self._entries.values())

    def make(self, key: Any) -> Policy:
        """Return a new policy, as one is made for a key, without keeping it.

        Raises:
            UsageError: the factory returned something else.
        """
        policy = self.factory(key)
        if not isinstance(policy, Policy):
            message = f"factory({key!r}) must return a Policy, not {policy!r}"
            raise UsageError(message)
        return policy

    def _add(self, key: Any, now: float) -> _Entry:
        if key is None:
            raise UsageError(_NO_KEY)
        policy = self.make(key)
        for speaker in policy.speakers():
            # A policy that several keys share stays with the first one.
            if speaker._made_for is None:
                object.__setattr__(speaker, "_made_for", key)
            for subscription in self._listeners:
                speaker.add_listener(subscription)
        entry = self._entries[key] = _Entry(policy)
        if len(self._entries) > self.max_keys:
            self._forget(key, now)
        return entry

    def _forget(self, new: Any, now: float) -> None:
        # What matters moves to the end, so that it is not looked at again for each new key.
        for _ in range(_LOOKED_AT):
            key, entry = next(iter(self._entries.items()))
            if key == new or entry.matters(now):
                self._entries.move_to_end(key)
                continue
            del self._entries[key]
            if len(self._entries) <= self.max_keys:
                return


_LOOKED_AT: Final = 16
_NO_KEY: Final = (
    "this call has no key.\n"
    "  right: await pipeline.bind(key=host).execute(fetch, url)\n"
    "  right: Keyed(lambda host: CircuitBreaker(name=host), key=lambda url: urlsplit(url).hostname)"
)


class _Entry:
    """The policy of one key."""

    __slots__ = ("inside", "policy", "rest", "step")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.inside = 0
        # The policy around the rest of a pipeline, which is nearly always the same.
        self.rest: _Rest[Any] | None = None
        self.step: Proceed[Any] | None = None

    def link(self, rest: _Rest[Any]) -> Proceed[Any]:
        """Put the policy around the rest of a pipeline."""
        self.rest = rest
        self.step = step = self.policy.link_between(*rest)
        return step

    def leave(self) -> None:
        """Count one call less inside."""
        self.inside -= 1

    def matters(self, now: float) -> bool:
        """Say whether the policy may not be forgotten now."""
        return self.inside > 0 or self.policy.matters(now)


def _explain_factory(factory: object) -> str:
    name = getattr(factory, "__name__", type(factory).__name__)
    return (
        f"factory must be a function that takes a key and returns a policy, not {factory!r}.\n"
        f"  wrong: Keyed({name})\n"
        f"  right: Keyed(lambda key: {name}())"
    )
