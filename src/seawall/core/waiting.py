"""Waiting for a slot or a turn, in order of arrival, and handing it over.

Only admission waits; giving back is synchronous. A waiter is granted or refused by whoever owns
what it waits for, and reads which of the two it was only when it runs again. So a waiter that is
cancelled in the very tick in which it was granted a slot still knows that it has one to pass on.
"""

from __future__ import annotations

from asyncio import get_running_loop
from collections import OrderedDict
from math import inf
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable

    from seawall.core.call import Call


class Waiter:
    """One call that waits for its turn.

    Attributes:
        granted: whether it has been given what it waits for.
        error: why it was refused, if it was; that outranks a grant.
    """

    __slots__ = ("_event", "_future", "error", "granted")

    def __init__(self) -> None:
        self.granted = False
        self.error: BaseException | None = None
        self._future: Future[None] | None = None
        self._event: anyio.Event | None = None

    def grant(self) -> None:
        """Give the waiter its turn."""
        self.granted = True
        self._wake()

    def refuse(self, error: BaseException) -> None:
        """Make the waiter raise this error when it runs again."""
        self.error = error
        self._wake()

    async def wait(self, until: float, *, on_asyncio: bool) -> None:
        """Wait until woken, or until the given loop time."""
        if self.granted or self.error is not None:
            return
        if on_asyncio:
            await self._wait_on_asyncio(until)
        else:
            self._event = anyio.Event()
            with anyio.CancelScope(deadline=until):
                await self._event.wait()

    async def _wait_on_asyncio(self, until: float) -> None:
        loop = get_running_loop()
        self._future = loop.create_future()
        if until == inf:
            await self._future
            return
        timer = loop.call_at(until, self._wake)
        try:
            await self._future
        finally:
            timer.cancel()

    def _wake(self) -> None:
        future = self._future
        if future is not None:
            # A slot may be given back while its loop is already closed (a finalizer at exit).
            if not future.done() and not future.get_loop().is_closed():
                future.set_result(None)
        elif self._event is not None:
            self._event.set()


class Slots:
    """A number of slots, and a queue of those who wait for one.

    Holders keep the object that they took their slot from, so a policy that moves to another event
    loop begins with new slots, and a late release of the old loop changes nothing.

    Args:
        limit: how many calls may hold a slot at a time. It may be changed while slots are held:
            a limit below what is in flight takes nothing away, it only grants nothing more.
    """

    __slots__ = ("in_flight", "limit", "queue")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self.queue: OrderedDict[Waiter, None] = OrderedDict()

    def take(self) -> bool:
        """Take a slot if one is free and nobody waits for it."""
        if self.in_flight < self.limit and not self.queue:
            self.in_flight += 1
            return True
        return False

    async def wait(
        self, call: Call[Any], until: float, on_queued: Callable[[], object] | None = None
    ) -> bool:
        """Wait for a slot in order of arrival; say whether it was granted by ``until``.

        ``on_queued`` is called when the place in the queue is taken.
        """
        waiter = Waiter()
        self.queue[waiter] = None
        try:
            if on_queued is not None:
                on_queued()
            granted = await call.turn(waiter, until)
        except BaseException:
            if waiter.granted:
                self.release()
            raise
        finally:
            self.queue.pop(waiter, None)
        return granted

    def release(self) -> None:
        """Give a slot back: to the longest waiting, if the limit still allows it."""
        self.in_flight -= 1
        if self.queue:
            self.grant()

    def grant(self) -> None:
        """Give the free slots to those who wait, in order of arrival."""
        while self.queue and self.in_flight < self.limit:
            waiter, _ = self.queue.popitem(last=False)
            self.in_flight += 1
            waiter.grant()
