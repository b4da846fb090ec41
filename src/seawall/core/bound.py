"""A light view of a policy that sets something on each call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from seawall.core.call import invoke
from seawall.core.checks import check_number, check_type
from seawall.core.policy import Policy
from seawall.core.stream import NO_TIMES, ItemTimes, StreamCall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from seawall.core.call import Call, Proceed
    from seawall.core.listeners import Subscription
    from seawall.core.snapshot import Snapshot

T = TypeVar("T")


class Bound(Policy):
    """What :meth:`Policy.bind` returns; it has the same ways in as the policy itself."""

    def __init__(
        self,
        policy: Policy,
        *,
        key: Any = None,
        timeout: float | None = None,
        idempotent: bool | None = None,
        tags: Mapping[str, Any] | None = None,
        first_item_timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> None:
        from seawall.policies.timeout import ViewTimeout  # noqa: PLC0415 - core knows no other policy

        check_number("timeout", timeout, above=0, optional=True)
        check_type("idempotent", idempotent, bool, "a bool or None", optional=True)
        check_type("tags", tags, Mapping, "a mapping or None", optional=True)
        self._times = ItemTimes(first_item_timeout, idle_timeout)
        self._times.check()
        self.name = policy.name
        self._policy = policy
        self._timeout = None if timeout is None else ViewTimeout(timeout, policy)
        self._settings: dict[str, Any] = {
            "key": key,
            "timeout": timeout,
            "idempotent": idempotent,
            "tags": tags,
            **self._times._asdict(),
        }

    def __repr__(self) -> str:
        given = ", ".join(f"{n}={v!r}" for n, v in self._settings.items() if v is not None)
        return f"{self._policy!r}.bind({given})"

    def bind(
        self,
        *,
        key: Any = None,
        timeout: float | None = None,
        idempotent: bool | None = None,
        tags: Mapping[str, Any] | None = None,
        first_item_timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> Bound:
        """Return a view with these settings, and the ones of this view where none is given."""
        settings = dict(self._settings)
        given = {
            "key": key,
            "timeout": timeout,
            "idempotent": idempotent,
            "tags": tags,
            "first_item_timeout": first_item_timeout,
            "idle_timeout": idle_timeout,
        }
        settings.update((name, value) for name, value in given.items() if value is not None)
        return Bound(self._policy, **settings)

    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        """Run the policy with the settings on the call."""
        return await self.link(proceed)(call)

    def link(self, proceed: Proceed[T]) -> Proceed[T]:
        """Set the call's fields on the way in, and restore them on the way out.

        What is not idempotent stays so, for a retry further out would repeat it too.
        """
        step = self._link_alone(proceed)

        async def enclosed(call: Call[T]) -> T:
            key, tags = call.key, call.tags
            times = call.times if isinstance(call, StreamCall) else NO_TIMES
            try:
                return await step(call)
            finally:
                call.key, call.tags = key, tags
                if isinstance(call, StreamCall):
                    call.times = times

        return enclosed

    def _build(self) -> Proceed[Any]:
        # Alone it is the outermost: there is nobody to restore the fields for.
        self._chain = self._link_alone(invoke)
        return self._chain

    def _link_alone(self, proceed: Proceed[T]) -> Proceed[T]:
        inner = self._policy.link(proceed)
        if self._timeout is not None:
            inner = self._timeout.link(inner)
        names = ("key", "idempotent", "tags")
        fields = {name: self._settings[name] for name in names if self._settings[name] is not None}
        times = self._times

        def step(call: Call[T]) -> Awaitable[T]:
            for name, value in fields.items():
                setattr(call, name, value)
            return inner(call)

        if times == NO_TIMES:
            return step

        def timed(call: Call[T]) -> Awaitable[T]:
            if isinstance(call, StreamCall):
                call.bind_times(times)
            return step(call)

        return timed

    @property
    def _listeners(self) -> tuple[Subscription, ...]:  # type: ignore[override]
        # Those who hear the policy behind this view.
        return self._policy._listeners

    def speakers(self) -> Iterator[Policy]:
        """Yield the policy behind this view, and all in it."""
        yield from self._policy.speakers()

    def snapshot(self) -> Snapshot:
        """Return what the policy behind this view is doing now."""
        return self._policy.snapshot()

    def matters(self, now: float) -> bool:
        """Say whether forgetting the policy behind this view would lose anything."""
        return self._policy.matters(now)
