"""A limit on how many calls run at a time."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, TypeVar

from seawall.core.checks import check_count
from seawall.core.slot_policy import SlotPolicy

if TYPE_CHECKING:
    from seawall.core.call import Call, Proceed
    from seawall.policies.bulkhead.snapshot import BulkheadSnapshot

T = TypeVar("T")


class Bulkhead(SlotPolicy):
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
        super().__init__(limit, queue=queue, max_wait=max_wait)
        self.limit = limit

    def __repr__(self) -> str:
        wait = "" if self.max_wait is None else f", max_wait={self.max_wait!r}"
        queue = f", queue={self.queue!r}" if self.queue else ""
        return f"Bulkhead({self.limit!r}{queue}{wait})"

    def snapshot(self) -> BulkheadSnapshot:
        """Return how full it is now; it changes nothing."""
        from seawall.policies.bulkhead.snapshot import BulkheadSnapshot  # noqa: PLC0415 - seldom needed

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
