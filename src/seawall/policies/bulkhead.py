"""A limit on how many calls run at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

from seawall.core.checks import check_count, check_number
from seawall.core.clock import check_move
from seawall.core.errors import BulkheadFullError
from seawall.core.events import CallQueued, CallRefused
from seawall.core.observe import is_heard, tell
from seawall.core.policy import Policy
from seawall.core.snapshot import Snapshot
from seawall.core.waiting import Slots

if TYPE_CHECKING:
    from seawall.core.call import Call, Proceed
    from seawall.core.clock import Loop

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkheadSnapshot(Snapshot):
    """The state of a :class:`Bulkhead`.

    Attributes:
        limit: calls that may run at a time.
        in_flight: calls that hold a slot now.
        waiting: calls that wait for one.
        queue: calls that may wait.
        rejected: calls that it has refused.
    """

    limit: int
    in_flight: int
    waiting: int
    queue: float
    rejected: int


class Bulkhead(Policy):
    """Lets at most ``limit`` calls run at a time; the others wait in order of arrival, or fail.

    A slot that is given back goes straight to the longest waiting, also where that one is
    cancelled in the same tick: it passes the slot on. A bulkhead protects a dependency only if the
    sum of the limits over all clients is below its capacity times the timeout.

    Args:
        limit: calls at a time, at least 1.
        queue: calls that may wait for a slot; 0 refuses at once, ``math.inf`` lets any number
            wait.
        max_wait: seconds that a call may wait; by default as long as the timeouts around it allow.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(self, limit: int, *, queue: float = 0, max_wait: float | None = None) -> None:
        check_count("limit", limit, at_least=1)
        if queue != inf:
            check_count("queue", queue, at_least=0)
        check_number("max_wait", max_wait, at_least=0, infinite=True, optional=True)
        self.limit = limit
        self.queue = queue
        self.max_wait = max_wait
        self.rejected = 0
        self._loop: Loop | None = None
        self._slots = Slots(limit)

    def __repr__(self) -> str:
        wait = "" if self.max_wait is None else f", max_wait={self.max_wait!r}"
        queue = f", queue={self.queue!r}" if self.queue else ""
        return f"Bulkhead({self.limit!r}{queue}{wait})"

    @property
    def in_flight(self) -> int:
        """Calls that hold a slot now."""
        return self._slots.in_flight

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot now."""
        return len(self._slots.queue)

    def snapshot(self) -> BulkheadSnapshot:
        """Return how full it is now; it changes nothing."""
        return BulkheadSnapshot(
            policy=type(self).__name__,
            name=self.name,
            limit=self.limit,
            in_flight=self.in_flight,
            waiting=self.waiting,
            queue=self.queue,
            rejected=self.rejected,
        )

    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        """Run the rest of the pipeline while holding a slot.

        Raises:
            BulkheadFullError: no slot and no place in the queue was free, or ``max_wait`` passed.
        """
        if call.loop is not self._loop:
            self._move(call.loop)
        slots = self._slots
        # `take` and `release` are written out here: each call of a method costs as much as both do.
        if slots.in_flight < slots.limit and not slots.queue:
            slots.in_flight += 1
        else:
            await self._wait(slots, call)
        try:
            result = await proceed(call)
        except BaseException:
            slots.release()
            raise
        if call.open is None:
            slots.in_flight -= 1
            if slots.queue:
                slots.grant()
        else:
            call.open.on_release(slots.release)
        return result

    async def _wait(self, slots: Slots, call: Call[T]) -> None:
        if len(slots.queue) < self.queue and self.max_wait != 0:
            until = inf if self.max_wait is None else call.now() + self.max_wait
            on_queued = partial(self._tell_queued, call, slots) if is_heard(self) else None
            if await slots.wait(call, until, on_queued):
                return
        self.rejected += 1
        tell(self, call, CallRefused, error="BulkheadFullError")
        raise BulkheadFullError(policy=self, name=self.name, key=call.key)

    def _tell_queued(self, call: Call[Any], slots: Slots) -> None:
        tell(self, call, CallQueued, waiting=len(slots.queue))

    def _move(self, loop: Loop) -> None:
        check_move(self, self._loop, loop)
        if self._loop is not None:
            self._slots = Slots(self.limit)
        self._loop = loop
