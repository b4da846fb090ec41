"""What is due when a stream ends.

The rules:

1. The attempt is the time until the first item. What it holds, its slot, its ticket and its
   verdict, belongs to the end of the stream, which comes once: the last item, an error, an early
   end that the consumer chose, a cancellation, the deadline, or the garbage collector.
2. The verdict on the last item is SUCCESS, on an error whatever the call's rules say, and on an
   early end NEUTRAL. It is given at once. What is held is given back when the function has
   cleaned up, so that no slot outlives the work that it stands for.
3. Where nothing can be awaited, in a finalizer or when a coroutine is closed, all is given back at
   once, and the function's generator is left to the event loop.
4. A time limit runs only while a read waits, for the time in between is the consumer's own; but
   the deadline also ends a stream that nobody reads. One alarm per stream serves all its limits.
   It is set on asyncio alone: on trio, only the next read finds that the deadline has passed.
5. :class:`OpenStream` does not know the :class:`~seawall.Stream` that the consumer holds, and
   nothing else does that outlives the attempt. Or one that was dropped would never be freed.
"""

from __future__ import annotations

from contextlib import suppress
from contextvars import Context
from math import inf
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from seawall.core.call import judge
from seawall.core.clock import call_on
from seawall.core.errors import CallTimeoutError
from seawall.core.item_reader import ItemReader
from seawall.core.open_attempt import OpenAttempt
from seawall.core.resolution import RESOLUTION
from seawall.core.verdict import NEUTRAL, SUCCESS

if TYPE_CHECKING:
    from asyncio import Task, TimerHandle
    from collections.abc import Awaitable, Callable

    from seawall.core.call import Call
    from seawall.core.verdict import Verdict

_closing: Final[set[Task[None]]] = set()


class OpenStream(OpenAttempt):
    """The open end of an attempt: what the function yields, and what is due when that ends.

    It is what policies see as the result of the call.

    Args:
        opened: what the function returned.
        call: the call.
        idle_timeout: seconds that each read after the first item may take; ``None`` for any.

    Attributes:
        last: the item that was read last; ``None`` before the first one.
        count: how many items were read.
        empty: whether there is no item at all.
        closed: whether the end has begun.
        handed_out: whether a consumer has it; until then the call sees to its end.
    """

    __slots__ = (
        "__weakref__",
        "_alarm",
        "_classifier",
        "_deadline",
        "_expiry",
        "_idle_timeout",
        "_loop",
        "_name",
        "_on_asyncio",
        "_reader",
        "_seconds",
        "closed",
        "count",
        "empty",
        "handed_out",
        "last",
    )

    def __init__(self, opened: Any, call: Call[Any], idle_timeout: float | None) -> None:
        super().__init__(_unused)
        self.last: Any = None
        self.count = 0
        self.empty = False
        self.closed = False
        self.handed_out = False
        self._reader = ItemReader(opened, call.loop, on_asyncio=call.on_asyncio)
        self._loop: Any = call.loop
        self._on_asyncio = call.on_asyncio
        self._classifier = call.classifier
        self._name = None if call.pipeline is None else call.pipeline.name
        self._idle_timeout = idle_timeout
        self._deadline = inf
        self._seconds = inf
        self._alarm: TimerHandle | None = None
        self._expiry: Task[None] | None = None

    async def begin(self, timeout: float | None) -> None:
        """Fetch the first item; without one, the stream has ended well.

        Raises:
            CallTimeoutError: it did not come within the timeout.
            Exception: what the function raised instead.
        """
        reader = self._reader
        try:
            if timeout is None:
                self.last = await reader.first()
            else:
                due = self._loop.time() + timeout
                self.last = await self._within(reader.first, due, timeout, "first_item")
            self.count = 1
        except StopAsyncIteration:
            self.empty = True
            self._complete()
        except GeneratorExit:
            self.drop()
            raise
        except BaseException:
            self.closed = True
            with suppress(Exception):
                await self._finish(NEUTRAL)
            raise

    def watch(self, deadline: float, seconds: float) -> None:
        """End the stream at this loop time, so many seconds after its call began."""
        self._deadline = self._reader.deadline = deadline
        self._seconds = seconds
        self._set_alarm(deadline)

    async def read(self) -> Any:
        """Return the next item; the end of the stream, or an error, ends the attempt.

        Raises:
            StopAsyncIteration: there is none.
            CallTimeoutError: it did not come in time.
        """
        if self._deadline < inf and self._deadline <= self._loop.time():
            # The time was the consumer's own.
            with suppress(Exception):
                await self.close()
            raise self._timed_out(self._seconds, "call")
        try:
            self.last = item = await self._read()
        except StopAsyncIteration:
            self._complete()
            raise
        except GeneratorExit:
            self.drop()
            raise
        except BaseException as error:
            self.closed = True
            verdict = NEUTRAL
            try:
                verdict = judge(error, self._classifier, self._loop)
            finally:
                with suppress(Exception):
                    await self._finish(verdict)
            raise
        self.count += 1
        return item

    async def close(self) -> None:
        """End the stream early, as the consumer wishes."""
        if self._expiry is not None:
            await self._expiry
        elif not self.closed:
            self.closed = True
            await self._finish(NEUTRAL)

    async def discard(self, verdict: Verdict) -> None:
        """Close what is open, then end the attempt, whatever happens while it closes."""
        if self.closed:
            self.end(verdict)
            return
        self.closed = True
        with suppress(Exception):
            await self._finish(verdict)

    def end(self, verdict: Verdict) -> None:
        """Give the verdict, unless it was given before, and give back what is held, once."""
        self._disarm()
        super().end(verdict)

    def drop(self) -> None:
        """End the stream where nothing can be awaited."""
        if self.closed:
            return
        self.closed = True
        try:
            self.end(NEUTRAL)
        finally:
            self._reader.drop()

    def abandon(self) -> None:
        """End the stream from a finalizer, in whatever thread that runs."""
        if not self.closed:
            call_on(self._loop, self.drop)

    async def _read(self) -> Any:
        reader = self._reader
        idle, deadline = self._idle_timeout, self._deadline
        if idle is None and deadline == inf:
            return await reader.next()
        now = self._loop.time()
        if idle is None or deadline <= now + idle:
            return await self._within(reader.next, deadline, self._seconds, "call")
        return await self._within(reader.next, now + idle, idle, "idle")

    async def _within(
        self, read: Callable[[], Awaitable[Any]], due: float, seconds: float, phase: Any
    ) -> Any:
        self._set_alarm(due)
        return await self._reader.within(read, due, lambda: self._timed_out(seconds, phase))

    def _timed_out(self, seconds: float, phase: Any) -> CallTimeoutError:
        return CallTimeoutError(seconds, name=self._name, phase=phase)

    def _complete(self) -> None:
        self.closed = True
        try:
            self.end(SUCCESS)
        finally:
            self._reader.drop()

    async def _finish(self, verdict: Verdict) -> None:
        try:
            self.settle(verdict)
        finally:
            try:
                await self._reader.close()
            finally:
                self.end(verdict)

    def _set_alarm(self, when: float) -> None:
        """Have the alarm go off at this time, or before: then it is set anew."""
        alarm = self._alarm
        if not self._on_asyncio or when == inf or (alarm is not None and alarm.when() <= when):
            return
        if alarm is not None:
            alarm.cancel()
        # In a context of its own: that of the consumer may refer to the stream.
        self._alarm = self._loop.call_at(when, _ring, ref(self), context=Context())

    def ring(self) -> None:
        """Look at what is due, as the alarm goes off."""
        self._alarm = None
        now = self._loop.time()
        due = self._reader.due
        if due <= now:
            self._reader.interrupt()
        elif self._deadline <= now and due == inf:
            self._expire()
        else:
            # Not within a millisecond, which is as fine as uvloop's clock is.
            self._set_alarm(max(min(due, self._deadline), now + RESOLUTION))

    def _expire(self) -> None:
        """End a stream that nobody reads."""
        self.closed = True
        self._expiry = task = self._loop.create_task(self._finish_unheard())
        _closing.add(task)
        task.add_done_callback(_closing.discard)

    async def _finish_unheard(self) -> None:
        with suppress(Exception):
            await self._finish(NEUTRAL)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def _ring(stream: ref[OpenStream]) -> None:
    # A timer keeps nothing alive: what the function refers to may hold the stream.
    found = stream()
    if found is not None:
        found.ring()


async def _unused() -> None:
    """Stand in for what an OpenStream does itself."""
