"""Reading the stream of a response, chunk by chunk, until a deadline.

A read that waits at the deadline is cancelled, and its cancellation turned into our timeout in the
way of ``asyncio.timeout``: taken back with ``Task.uncancel()``, and only if nobody else has asked
to cancel the task. No cancel scope is ever open between two reads, which may be in different tasks.
"""

from __future__ import annotations

from asyncio import CancelledError, Task, create_task, current_task
from asyncio import wait as wait_for
from math import inf
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from seawall.core.clock import Loop


class Reader:
    """Reads one stream.

    Args:
        stream: the response's own stream.
        loop: the loop of the call.
        on_asyncio: whether that is asyncio's.

    Attributes:
        deadline: loop time at which a read that waits ends.
        timed_out: makes the error of such a read.
        size: bytes read so far.
        complete: whether the end of the stream was reached.
    """

    __slots__ = (
        "_fired",
        "_iterator",
        "_loop",
        "_on_asyncio",
        "_pending",
        "_stream",
        "_task",
        "complete",
        "deadline",
        "size",
        "timed_out",
    )

    def __init__(self, stream: Any, loop: Loop, *, on_asyncio: bool) -> None:
        self.deadline: float = inf
        self.timed_out: Callable[[], BaseException] = TimeoutError
        self.size = 0
        self.complete = False
        self._stream = stream
        self._loop = loop
        self._on_asyncio = on_asyncio
        self._iterator: AsyncIterator[bytes] | None = None
        self._pending: Task[bytes | None] | None = None
        self._task: Task[Any] | None = None
        self._fired = False

    async def next(self) -> bytes:
        """Return the next chunk.

        Raises:
            StopAsyncIteration: there is none.
            BaseException: what ``timed_out`` makes, at the deadline.
        """
        if self.deadline == inf:
            return await self._advance()
        if self._fired:
            # The last chunk came in spite of the cancellation.
            raise self.timed_out()
        task = current_task() if self._on_asyncio else None
        if task is None:
            return await self._next_within_scope()
        cancelling = task.cancelling()
        self._task = task
        try:
            chunk = await self._advance()
        except BaseException as error:
            if self._fired and task.uncancel() <= cancelling and isinstance(error, CancelledError):
                raise self.timed_out() from error
            raise
        else:
            if self._fired:
                task.uncancel()
            return chunk
        finally:
            self._task = None

    async def next_before(self, until: float) -> bytes | None:
        """Return the next chunk, or ``None`` if it does not come in time; then it comes later.

        On trio it is waited for in any case.

        Raises:
            StopAsyncIteration: there is none.
        """
        if not self._on_asyncio:
            return await self._advance()
        # In a task of its own: to cancel the read itself would be the end of the stream.
        pending = self._pending
        if pending is None:
            pending = self._pending = create_task(_next_or_end(self._open()))
        await wait_for({pending}, timeout=max(0.0, until - self._loop.time()))
        return await self._take(pending) if pending.done() else None

    def interrupt(self) -> bool:
        """End the read that waits with our timeout; say whether there is one."""
        if self._task is None or self._fired:
            return False
        self._fired = True
        self._task.cancel()
        return True

    async def close(self) -> None:
        """Close the stream."""
        pending, self._pending = self._pending, None
        self._iterator = None
        if pending is not None:
            pending.cancel()
            pending.add_done_callback(forget_error)
            await wait_for({pending})
        await self._stream.aclose()

    async def _next_within_scope(self) -> bytes:
        with anyio.CancelScope(deadline=self.deadline):
            return await self._advance()
        raise self.timed_out()

    async def _advance(self) -> bytes:
        pending = self._pending
        if pending is not None:
            return await self._take(pending)
        try:
            chunk = await (self._iterator or self._open()).__anext__()
        except StopAsyncIteration:
            self.complete = True
            raise
        self.size += len(chunk)
        return chunk

    async def _take(self, pending: Task[bytes | None]) -> bytes:
        chunk = await pending
        self._pending = None
        if chunk is None:
            self.complete = True
            raise StopAsyncIteration
        self.size += len(chunk)
        return chunk

    def _open(self) -> AsyncIterator[bytes]:
        iterator = self._iterator
        if iterator is None:
            opened: AsyncIterator[bytes] = self._stream.__aiter__()
            self._iterator = iterator = opened
        return iterator


async def _next_or_end(iterator: AsyncIterator[bytes]) -> bytes | None:
    try:
        return await iterator.__anext__()
    except StopAsyncIteration:
        return None


def forget_error(task: Task[Any]) -> None:
    """Let go of the error of a task that nobody waits for."""
    if not task.cancelled():
        task.exception()
