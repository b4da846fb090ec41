"""What the policies share that let a call run only while it holds a slot."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from seawall.core import lazy_events as events
from seawall.core.checks import check_number
from seawall.core.clock import check_move
from seawall.core.errors import BulkheadFullError
from seawall.core.observe import is_heard, tell
from seawall.core.policy import Policy
from seawall.core.waiting import Slots

if TYPE_CHECKING:
    from seawall.core.call import Call
    from seawall.core.clock import Loop


class SlotPolicy(Policy):
    """Base of the policies that hand out slots, which differ in who says how many there are.

    Args:
        limit: slots at the start.
        queue: calls that may wait for one.
        max_wait: seconds that a call may wait; ``None`` for as long as the timeouts around it
            allow.
    """

    def __init__(self, limit: int, *, queue: float, max_wait: float | None) -> None:
        check_number("max_wait", max_wait, at_least=0, infinite=True, optional=True)
        self.queue = queue
        self.max_wait = max_wait
        self.rejected = 0
        self._loop: Loop | None = None
        self._slots = Slots(limit)

    @property
    def in_flight(self) -> int:
        """Calls that hold a slot now."""
        return self._slots.in_flight

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot now."""
        return len(self._slots.queue)

    async def _wait(self, slots: Slots, call: Call[Any]) -> None:
        """Return once the call has a slot.

        Raises:
            BulkheadFullError: no place in the queue was free, or ``max_wait`` passed.
        """
        if len(slots.queue) < self.queue and self.max_wait != 0:
            until = inf if self.max_wait is None else call.now() + self.max_wait
            on_queued = partial(self._tell_queued, call, slots) if is_heard(self) else None
            if await slots.wait(call, until, on_queued):
                return
        self.rejected += 1
        if is_heard(self):
            tell(self, call, events.CallRefused, error="BulkheadFullError")
        raise BulkheadFullError(policy=self, name=self.name, key=call.key)

    def _tell_queued(self, call: Call[Any], slots: Slots) -> None:
        tell(self, call, events.CallQueued, waiting=len(slots.queue))

    def _move(self, loop: Loop) -> None:
        check_move(self, self._loop, loop)
        if self._loop is not None:
            self._slots = Slots(self._slots.limit)
        self._loop = loop
