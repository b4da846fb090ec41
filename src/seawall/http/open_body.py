"""What is due when the body of a response ends that was returned while it is still open.

What the attempt holds, its slot, its ticket and its verdict, belongs to the end of the body:

1. It is settled once, by whichever comes first: the end of the body, an error in it, ``aclose()``,
   a cancellation, the deadline, a discarding ``Retry``, or the garbage collector. A ``break`` in a
   loop over the body reaches this place only as ``aclose()``.
2. The stream below is closed first, so that no slot outlives its connection. After an end that is
   not clean, the client's pool is repaired.
3. A head that was no SUCCESS keeps its verdict. Else the whole body is a SUCCESS, an error in it
   is a FAILURE, and an early end that the caller chose is NEUTRAL.
4. One alarm per body ends it at the deadline, also when nobody reads. A read that waits for longer
   than a read may ends it too.
5. :class:`OpenBody` knows neither the response nor the stream that the caller holds, and nothing
   else that outlives the attempt does. Or one that was dropped would never be collected.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import anyio

from seawall.core.open_attempt import OpenAttempt
from seawall.core.verdict import NEUTRAL
from seawall.http.ending import verdict_on_end
from seawall.http.pool import close_connections
from seawall.http.reader import Reader, forget_error

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Callable

    from seawall.core.clock import Loop
    from seawall.core.verdict import Verdict
    from seawall.http.alarm import Alarm
    from seawall.http.reader import Phase

DRAIN_BYTES: Final = 64 * 1024
"""At most so much of a response is read in order to keep its connection."""

DRAIN_SECONDS: Final = 0.25
"""At most so long a response is read in order to keep its connection."""

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
        error: what a read raises beyond what was read ahead.
        reader: reads the stream.
    """

    __slots__ = (
        "_alarm",
        "_repair",
        "ahead",
        "closed",
        "empty",
        "error",
        "handed_out",
        "head",
        "reader",
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
        self.error: BaseException | None = None
        self.reader = Reader(stream, loop, on_asyncio=on_asyncio)
        self._repair = repair
        self._alarm: Alarm | None = None

    def watch(
        self,
        deadline: float,
        idle: float,
        timed_out: Callable[[Phase], BaseException],
        alarm: Alarm | None,
    ) -> None:
        """End the body at this loop time, or when a read waits for longer than ``idle`` seconds.

        Reads then raise what ``timed_out`` returns. The alarm, which only asyncio needs, ends the
        body at its deadline.
        """
        reader = self.reader
        reader.deadline = deadline
        reader.idle = idle
        reader.timed_out = timed_out
        if alarm is not None:
            self._alarm = alarm
            alarm.add(self, deadline)

    async def stop(self, error: BaseException) -> None:
        """End the attempt with what a read has raised: the end of the body, or an error."""
        if isinstance(error, StopAsyncIteration):
            await self.finish(self.head, clean=True)
            return
        verdict = verdict_on_end(self.head, error, self.reader.loop, empty=self.empty)
        try:
            await self.finish(verdict, clean=False)
        except Exception:
            pass

    async def read_ahead(self, deadline: float) -> None:
        """Read up to the drain cap before anybody asks; what was read stays readable.

        A body that ends within the cap is closed. An error is kept for whoever reads up to it.

        Args:
            deadline: loop time at which the attempt ends. At most half of what is left is used,
                so that a slow body does not make a timeout of an answer.
        """
        reader = self.reader
        now = reader.loop.time()
        until = now + min(DRAIN_SECONDS, (deadline - now) / 2)
        try:
            while reader.size < DRAIN_BYTES:
                chunk = await reader.next_before(until)
                if chunk is None:
                    return
                self.ahead.append(chunk)
        except StopAsyncIteration:
            await self.finish(None, clean=True)
        except Exception as error:
            self.error = error
            await self.finish(None, clean=False)

    async def buffer(self, most: int, length: int) -> None:
        """Read a body of up to ``most`` bytes before anybody asks; an error in it is raised.

        Args:
            most: bytes to read; of a longer body, what was read stays readable.
            length: bytes that the body is said to have, of which nothing is read if there are more.
        """
        if length > most:
            return
        try:
            while self.reader.size <= most:
                self.ahead.append(await self.reader.next())
        except StopAsyncIteration:
            await self.finish(None, clean=True)

    async def discard(self, verdict: Verdict) -> None:
        """Read the rest up to the drain cap, so that the connection can serve again, and end."""
        try:
            if not self.closed:
                await self.finish(None, clean=await self._drain())
        finally:
            self.end(verdict)

    async def close(self) -> None:
        """End the body early, as the caller wishes."""
        await self.finish(
            verdict_on_end(self.head, None, self.reader.loop, empty=self.empty), clean=False
        )

    async def finish(self, verdict: Verdict | None, *, clean: bool) -> None:
        """Close the stream, then settle with the verdict if one is given; once."""
        if self.closed:
            return
        self.closed = True
        self._disarm()
        try:
            await self.reader.close()
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
        self.end(verdict_on_end(self.head, None, self.reader.loop, empty=self.empty))

    def abandon(self) -> None:
        """End the body from a finalizer, in whatever thread that runs."""
        try:
            self.reader.loop.call_soon_threadsafe(self._end_in_background)
        except RuntimeError:
            # Its loop is closed, and there is no connection any more.
            self.end_at_once()

    def _end_in_background(self) -> None:
        if self.closed:
            return
        if self.reader.on_asyncio:
            task = self.reader.loop.create_task(self.close())
            _closing.add(task)
            task.add_done_callback(_closing.discard)
            task.add_done_callback(forget_error)
        else:
            # trio has no task without a parent.
            self.end_at_once()

    def expire(self) -> None:
        """End the body at its deadline: through the read that waits, or without one."""
        if not self.reader.interrupt("call") and not self.closed:
            self.error = self.reader.timed_out("call")
            self.ahead.clear()
            self._end_in_background()

    async def _drain(self) -> bool:
        """Read up to the cap; say whether the body has ended."""
        reader = self.reader
        try:
            with anyio.move_on_after(DRAIN_SECONDS):
                while reader.size < DRAIN_BYTES:
                    await reader.next()
        except StopAsyncIteration:
            return True
        except Exception:
            pass
        except GeneratorExit:
            self._drop()
            raise
        except BaseException:
            await self.finish(None, clean=False)
            raise
        return False

    def _drop(self) -> None:
        self.closed = True
        self._disarm()
        self._repair()

    def _disarm(self) -> None:
        self.reader.rest()
        if self._alarm is not None:
            self._alarm.remove(self)
            self._alarm = None


async def _unused() -> None:
    """Stand in for what an OpenBody does itself."""
