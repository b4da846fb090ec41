"""One call that waits for its turn at a rate limiter."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import anyio

from seawall.core.waiting import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.core.call import Call


class Turn(Waiter):
    """One call that waits.

    On trio, which has no timers, the first in the queue has the alarm for all: a deadline of the
    scope that it waits in.

    Args:
        call: the call.
        cost: what it takes.
        until: the loop time from which on a turn would be of no use to it.
        on_alarm: called at the time of the alarm.

    Attributes:
        number: the number of the take, once it is granted.
    """

    __slots__ = ("_alarm", "_on_alarm", "_scope", "call", "cost", "number", "until")

    def __init__(
        self, call: Call[Any], cost: float, until: float, on_alarm: Callable[[], object]
    ) -> None:
        super().__init__()
        self.call = call
        self.cost = cost
        self.until = until
        self.number = 0
        self._on_alarm = on_alarm
        self._alarm = inf
        self._scope: anyio.CancelScope | None = None

    def set_alarm(self, when: float) -> None:
        """On trio, have the alarm at this loop time."""
        self._alarm = when
        if self._scope is not None:
            self._scope.deadline = when

    async def wait(self, until: float, *, on_asyncio: bool) -> None:
        """Wait until woken, or until the given loop time."""
        if on_asyncio:
            await super().wait(until, on_asyncio=True)
            return
        self._event = anyio.Event()
        while not self.granted and self.error is None:
            try:
                with anyio.CancelScope(deadline=self._alarm) as self._scope:
                    await self._event.wait()
            finally:
                self._scope = None
            if not self._event.is_set():
                self._alarm = inf
                self._on_alarm()
