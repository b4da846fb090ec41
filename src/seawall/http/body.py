"""The body of a response that was returned while it is still open.

What the attempt holds, its slot, its ticket and its verdict, belongs to the end of the body:

1. It is settled once, by whichever comes first: the end of the body, an error in it, ``aclose()``,
   a cancellation, the deadline, a discarding ``Retry``, or the garbage collector. A ``break`` in a
   loop over the body reaches this place only as ``aclose()``.
2. The stream below is closed first, so that no slot outlives its connection. After an end that is
   not clean, the client's pool is repaired.
3. A head that was no SUCCESS keeps its verdict. Else the whole body is a SUCCESS, an error in it
   is a FAILURE, and an early end that the caller chose is NEUTRAL.
4. One alarm per body closes it at the deadline, also when nobody reads. A read that waits then is
   cancelled, and its cancellation turned into our timeout as ``asyncio.timeout`` does it. No
   cancel scope is ever open between two reads.
5. :class:`OpenBody` knows neither the response nor the :class:`Body` that the caller holds, and
   nothing else that outlives the attempt does. Or one that was dropped would never be collected.
"""

from __future__ import annotations

import warnings
from asyncio import CancelledError, Task, create_task, current_task
from asyncio import wait as wait_for
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, Final

import anyio

from seawall.core.call import is_cancellation
from seawall.core.deadline import any_fired, current_scope
from seawall.core.open_attempt import OpenAttempt
from seawall.core.verdict import NEUTRAL, Kind, Verdict
from seawall.http.pool import close_connections

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import AsyncIterator, Callable

    from seawall.core.clock import Loop

DRAIN_BYTES: Final = 64 * 1024
"""At most so much of a response is read in order to keep its connection."""

DRAIN_SECONDS: Final = 0.25
"""At most so long a response is read in order to keep its connection."""

_FAILURE: Final = Verdict(Kind.FAILURE)
_closing: Final[set[Task[None]]] = set()


class OpenBody(OpenAttempt):
    """The open end of an attempt: the stream of its response, and what is due when that ends.

    Args:
        stream: the response's own stream.
        loop: the loop of the call.
        on_asyncio: whether that is asyncio's.
        repair: drops what the attempt has left in the client's pool, and returns the connections
            that are to be closed.

    Attributes:
        head: the verdict on the head of the response.
        empty: whether the head says that no body follows.
        handed_out: whether the caller has it; until then the transport sees to its end.
        ahead: chunks that were read before the caller asked for them.
        closed: whether the end has begun.
        complete: whether the whole body was read.
        error: what a read raises beyond what was read ahead.
    """

    __slots__ = (
        "_alarm",
        "_deadline",
        "_fired",
        "_iterator",
        "_loop",
        "_on_asyncio",
        "_pending",
        "_reader",
        "_repair",
        "_size",
        "_stream",
        "_timed_out",
        "ahead",
        "closed",
        "complete",
        "empty",
        "error",
        "handed_out",
        "head",
    )

    def __init__(
        self, stream: Any, loop: Loop, *, on_asyncio: bool, repair: Callable[[], list[Any]]
    ) -> None:
        super().__init__(_unused)
        self.head: Verdict = NEUTRAL
        self.empty = False
        self.handed_out = False
        self.ahead: deque[bytes] = deque()
        self.closed = False
        self.complete = False
        self.error: BaseException | None = None
        self._stream = stream
        self._loop: Any = loop
        self._on_asyncio = on_asyncio
        self._repair = repair
        self._size = 0
        self._iterator: AsyncIterator[bytes] | None = None
        self._pending: Task[bytes | None] | None = None
        self._deadline: float = inf
        self._timed_out: Callable[[], BaseException] | None = None
        self._alarm: TimerHandle | None = None
        self._reader: Task[Any] | None = None
        self._fired = False

    def watch(self, deadline: float, timed_out: Callable[[], BaseException]) -> None:
        """Close the body at this loop time; reads then raise what ``timed_out`` returns."""
        self._timed_out = timed_out
        self._deadline = deadline
        if self._on_asyncio and deadline < inf:
            self._alarm = self._loop.call_at(deadline, self._expire)

    async def read(self) -> bytes:
        """Return the next chunk from the stream; its end, or an error, ends the attempt.

        Raises:
            StopAsyncIteration: the body is complete.
        """
        try:
            chunk = await self._read()
        except StopAsyncIteration:
            self.complete = True
            await self.finish(self.head, clean=True)
            raise
        except GeneratorExit:
            self.end_at_once()
            raise
        except BaseException as error:
            try:
                await self.finish(self._verdict_on(error), clean=False)
            except Exception:
                pass
            raise
        self._size += len(chunk)
        return chunk

    async def read_ahead(self, deadline: float) -> None:
        """Read up to the drain cap before anybody asks; what was read stays readable.

        A body that ends within the cap is closed. An error is kept for whoever reads up to it.

        Args:
            deadline: loop time at which the attempt ends. At most half of what is left is used,
                so that a slow body does not make a timeout of an answer.
        """
        now = self._loop.time()
        until = now + min(DRAIN_SECONDS, (deadline - now) / 2)
        try:
            while self._size < DRAIN_BYTES:
                chunk = await self._next_before(until)
                if chunk is None:
                    return
                self.ahead.append(chunk)
                self._size += len(chunk)
        except StopAsyncIteration:
            self.complete = True
            await self.finish(None, clean=True)
        except Exception as error:
            self.error = error
            await self.finish(None, clean=False)

    async def discard(self, verdict: Verdict) -> None:
        """Read the rest up to the drain cap, so that the connection can serve again, and end."""
        try:
            if not self.closed:
                await self._drain()
                await self.finish(None, clean=self.complete)
        finally:
            self.end(verdict)

    async def close(self) -> None:
        """End the body early, as the caller wishes."""
        await self.finish(self._verdict_on(None), clean=False)

    async def finish(self, verdict: Verdict | None, *, clean: bool) -> None:
        """Close the stream, then settle with the verdict if one is given; once."""
        if self.closed:
            return
        self.closed = True
        self._disarm()
        try:
            await self._close_stream()
        except GeneratorExit:
            self._repair()
            raise
        except BaseException:
            await close_connections(self._repair())
            raise
        else:
            if not clean:
                await close_connections(self._repair())
        finally:
            if verdict is not None:
                self.end(verdict)

    def end_at_once(self) -> None:
        """End where nothing can be awaited; the connection is dropped, and closes as it may."""
        self._drop()
        self.end(self._verdict_on(None))

    def abandon(self) -> None:
        """End the body from a finalizer, in whatever thread that runs."""
        try:
            self._loop.call_soon_threadsafe(self._end_in_background)
        except RuntimeError:
            # Its loop is closed, and there is no connection any more.
            self.end_at_once()

    def _end_in_background(self) -> None:
        if self.closed:
            return
        if self._on_asyncio:
            task = self._loop.create_task(self.close())
            _closing.add(task)
            task.add_done_callback(_forget)
        else:
            # trio has no task without a parent.
            self.end_at_once()

    def _expire(self) -> None:
        """End the body at its deadline: through the read that waits, or without one."""
        self._alarm = None
        if self._reader is not None and not self._fired:
            self._fired = True
            self._reader.cancel()
        elif not self.closed and self._timed_out is not None:
            self.error = self._timed_out()
            self.ahead.clear()
            self._end_in_background()

    async def _read(self) -> bytes:
        """Return the next chunk, or raise our timeout at the deadline."""
        if self._deadline == inf:
            return await self._advance()
        reader = current_task() if self._on_asyncio else None
        if reader is None:
            return await self._read_within_scope()
        cancelling = reader.cancelling()
        self._reader = reader
        try:
            chunk = await self._advance()
        except BaseException as error:
            if (
                self._fired
                and reader.uncancel() <= cancelling
                and isinstance(error, CancelledError)
                and self._timed_out is not None
            ):
                raise self._timed_out() from error
            raise
        else:
            if self._fired:
                # It came in spite of the cancellation; the next read will not.
                reader.uncancel()
                self._expire()
            return chunk
        finally:
            self._reader = None

    async def _read_within_scope(self) -> bytes:
        with anyio.CancelScope(deadline=self._deadline):
            return await self._advance()
        raise self._timed_out() if self._timed_out is not None else TimeoutError

    async def _advance(self) -> bytes:
        if self._pending is not None:
            return await self._take_pending(self._pending)
        return await self._open_iterator().__anext__()

    def _open_iterator(self) -> AsyncIterator[bytes]:
        iterator = self._iterator
        if iterator is None:
            opened: AsyncIterator[bytes] = self._stream.__aiter__()
            self._iterator = iterator = opened
        return iterator

    async def _next_before(self, until: float) -> bytes | None:
        """Return the next chunk, or ``None`` if it does not come in time; then it comes later."""
        if not self._on_asyncio:
            return await self._advance()
        # In a task of its own: to cancel the read itself would be the end of the stream.
        pending = self._pending
        if pending is None:
            pending = self._pending = create_task(_next_or_end(self._open_iterator()))
        await wait_for({pending}, timeout=max(0.0, until - self._loop.time()))
        return await self._take_pending(pending) if pending.done() else None

    async def _take_pending(self, pending: Task[bytes | None]) -> bytes:
        chunk = await pending
        self._pending = None
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def _drain(self) -> None:
        try:
            with anyio.move_on_after(DRAIN_SECONDS):
                while self._size < DRAIN_BYTES:
                    self._size += len(await self._read())
        except StopAsyncIteration:
            self.complete = True
        except Exception:
            pass
        except GeneratorExit:
            self._drop()
            raise
        except BaseException:
            await self.finish(None, clean=False)
            raise

    async def _close_stream(self) -> None:
        pending, self._pending = self._pending, None
        self._iterator = None
        if pending is not None:
            pending.cancel()
            pending.add_done_callback(_forget)
            await wait_for({pending})
        await self._stream.aclose()

    def _drop(self) -> None:
        self.closed = True
        self._disarm()
        self._repair()

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _verdict_on(self, error: BaseException | None) -> Verdict:
        """Return the verdict on an end before the end of the body."""
        if self.head.kind is not Kind.SUCCESS:
            return self.head
        if error is None:
            return self.head if self.empty else NEUTRAL
        if isinstance(error, Exception) or (
            # An enclosing timeout of ours fired while the dependency had the turn.
            is_cancellation(error) and any_fired(current_scope.get(), self._loop)
        ):
            return _FAILURE
        return NEUTRAL


class Body:
    """The stream that the caller reads; the binding mixes it into its ``AsyncByteStream``."""

    def __init__(self, state: OpenBody) -> None:
        self.state = state

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        state = self.state
        if state.ahead:
            return state.ahead.popleft()
        if state.error is not None:
            raise state.error
        if state.closed:
            raise StopAsyncIteration
        return await state.read()

    async def aclose(self) -> None:
        """Close the body; before its end, that counts neither for nor against the dependency."""
        state = self.state
        if not state.closed:
            await state.close()

    def __del__(self) -> None:
        state = self.state
        if state.handed_out and not state.closed:
            state.abandon()
            warnings.warn(
                "a response was dropped before its body was read or closed; "
                "`async with client.stream(...)` closes it",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )


async def _unused() -> None:
    """Stand in for what an OpenBody does itself."""


async def _next_or_end(iterator: AsyncIterator[bytes]) -> bytes | None:
    try:
        return await iterator.__anext__()
    except StopAsyncIteration:
        return None


def _forget(task: Task[Any]) -> None:
    """Let go of a task that nobody waits for, and of its error."""
    _closing.discard(task)
    if not task.cancelled():
        task.exception()
