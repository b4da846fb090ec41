"""Reading the stream of a response, chunk by chunk, until a deadline, and none for too long.

A read that waits at the deadline, or for longer than a read may, is cancelled, and its cancellation
turned into our timeout in the way of ``asyncio.timeout``: taken back with ``Task.uncancel()``, and
only if nobody else has asked to cancel the task. No cancel scope is ever open between two reads,
which may be in different tasks. One timer watches all reads of a body: it is not armed anew for
each of them, but looks, when it goes off, since when the read waits that waits then.
"""

from __future__ import annotations

from asyncio import CancelledError, Task, create_task
from asyncio import wait as wait_for
from math import inf
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio

from seawall.core.clock import task_on
from seawall.core.open_attempt import OpenAttempt

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections import deque
    from collections.abc import AsyncIterator

    from seawall.core.verdict import Verdict

Phase: TypeAlias = Literal["call", "idle"]


class Reader(OpenAttempt):
    """The part of an open body that reads its stream.

    Its fields are set by the open body.

    Attributes:
        head: the verdict on the head of the response.
        ahead: chunks that were read before the caller asked for them.
        closed: whether the end has begun.
        error: what a read raises beyond what was read ahead.
        deadline: loop time at which a read that waits ends.
        idle: seconds that each read may wait.
        size: bytes read so far.
        loop: the loop of the call.
        on_asyncio: whether that is asyncio's.
    """

    __slots__ = (
        "_fired",
        "_iterator",
        "_pending",
        "_since",
        "_stream",
        "_task",
        "_timer",
        "ahead",
        "closed",
        "deadline",
        "error",
        "head",
        "idle",
        "loop",
        "on_asyncio",
        "size",
    )

    head: Verdict
    ahead: deque[bytes] | None
    closed: bool
    error: BaseException | None
    deadline: float
    idle: float
    size: int
    loop: Any
    on_asyncio: bool
    _fired: Phase | None
    _iterator: AsyncIterator[bytes] | None
    _pending: Task[bytes | None] | None
    _since: float
    _stream: Any
    _task: Task[Any] | None
    _timer: TimerHandle | None

    def timed_out(self, phase: Phase) -> BaseException:
        """Return the error of a read that was ended, by what ended it."""
        raise NotImplementedError

    async def stop(self, error: BaseException) -> None:
        """End the attempt with what a read has raised: the end of the body, or an error."""
        raise NotImplementedError

    async def finish(self, verdict: Verdict | None, *, clean: bool) -> None:
        """Close the stream, then settle with the verdict if one is given; once."""
        raise NotImplementedError

    async def next(self, body: object = None) -> bytes:
        """Return the next chunk.

        Args:
            body: what the caller reads, kept for as long as a read waits; with it, the end of the
                stream and an error are the end of the attempt. ``None`` for a read of our own.

        Raises:
            StopAsyncIteration: there is none.
            BaseException: what ``timed_out`` returns, at the deadline or after too long a wait.
        """
        if body is not None and (self.ahead or self.closed or self.error is not None):
            return self._read_before()
        task: Any = task_on(self.loop) if self.on_asyncio else None
        if task is None or self._fired is not None:
            return await self._next_otherwise(body)
        if self.idle < inf:
            self._watch()
        cancelling = task.cancelling()
        self._task = task
        try:
            if self._pending is None:
                chunk = await (self._iterator or self._open()).__anext__()
            else:
                chunk = await self._take(self._pending)
        except StopAsyncIteration:
            self._task = None
            if self._fired:
                task.uncancel()
            if body is not None:
                await self.finish(self.head, clean=True)
            raise
        except BaseException as error:
            self._task = None
            raised = error
            try:
                fired = self._fired
                if fired and task.uncancel() <= cancelling and isinstance(error, CancelledError):
                    raised = self.timed_out(fired)
                if body is not None:
                    await self.stop(raised)
                if raised is not error:
                    raise raised from error
                raise
            finally:
                # This frame is on its traceback.
                del raised
        self._task = None
        if self._fired:
            task.uncancel()
        self.size += len(chunk)
        return chunk

    async def _next_otherwise(self, body: object) -> bytes:
        """Read where there is no task to cancel, or no time left."""
        try:
            if self._fired is not None:
                # The last chunk came in spite of the cancellation.
                raise self.timed_out(self._fired)
            return await self._next_within_scope()
        except BaseException as error:
            if body is not None:
                await self.stop(error)
            raise

    def _read_before(self) -> bytes:
        if self.ahead:
            return self.ahead.popleft()
        raise StopAsyncIteration if self.error is None else self.error

    async def next_before(self, until: float) -> bytes | None:
        """Return the next chunk, or ``None`` if it does not come in time; then it comes later.

        On trio it is waited for in any case.

        Raises:
            StopAsyncIteration: there is none.
        """
        if not self.on_asyncio:
            return await self._advance()
        # In a task of its own: to cancel the read itself would be the end of the stream.
        pending = self._pending
        if pending is None:
            pending = self._pending = create_task(_next_or_end(self._open()))
        await wait_for({pending}, timeout=max(0.0, until - self.loop.time()))
        if not pending.done():
            return None
        chunk = await self._take(pending)
        self.size += len(chunk)
        return chunk

    def interrupt(self, phase: Phase) -> bool:
        """End the read that waits with our timeout; say whether there is one."""
        if self._task is None or self._fired:
            return False
        self._fired = phase
        self._task.cancel()
        return True

    def disarm(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def close_stream(self) -> None:
        """Close the stream, where a read of it may go on in a task of its own."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
            pending.add_done_callback(forget_error)
            await wait_for({pending})
        await self._stream.aclose()

    async def _next_within_scope(self) -> bytes:
        if self.deadline == inf and self.idle == inf:
            return await self._advance()
        idle_until = self.loop.time() + self.idle
        with anyio.CancelScope(deadline=min(self.deadline, idle_until)):
            return await self._advance()
        raise self.timed_out("idle" if idle_until < self.deadline else "call")

    def _watch(self) -> None:
        """Note that a read begins to wait; the alarm, armed once, looks at it when it goes off."""
        self._since = self.loop.time()
        if self._timer is None:
            self._timer = self.loop.call_at(self._since + self.idle, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._task is None:
            # The next read arms it again.
            return
        due = self._since + self.idle
        if self.loop.time() < due:
            self._timer = self.loop.call_at(due, self._look)
        else:
            self.interrupt("idle")

    async def _advance(self) -> bytes:
        chunk = await (self._iterator or self._open()).__anext__()
        self.size += len(chunk)
        return chunk

    async def _take(self, pending: Task[bytes | None]) -> bytes:
        chunk = await pending
        self._pending = None
        if chunk is None:
            raise StopAsyncIteration
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
