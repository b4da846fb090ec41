"""What is due when the body of a response ends that was returned while it is still open.

What the attempt holds, its slot, its ticket and its verdict, belongs to the end of the body:

1. It is settled once, by whichever comes first: the end of the body, an error in it, ``aclose()``,
   a cancellation, the deadline, a discarding ``Retry``, or the garbage collector. A ``break`` in a
   loop over the body reaches this place only as ``aclose()``.
2. The stream below is closed first, so that no slot outlives its connection. After an end that is
   not clean, the client's pool is repaired.
3. A head that was no SUCCESS keeps its verdict. Else the whole body is a SUCCESS, an error in it
   is a FAILURE, and an early end that the caller chose is NEUTRAL.
4. An alarm ends each body at its deadline, also when nobody reads. A read that waits for longer
   than a read may ends it too.
5. :class:`OpenBody` knows neither the response nor the stream that the caller holds, and nothing
   else that outlives the attempt does. Or one that was dropped would never be collected.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, Final

import anyio

from seawall.core.errors import CallTimeoutError
from seawall.core.verdict import NEUTRAL
from seawall.http.ending import verdict_on_end
from seawall.http.head import is_empty
from seawall.http.pool import close_connections
from seawall.http.reader import Reader, forget_error

if TYPE_CHECKING:
    from asyncio import Task

    from seawall.core.verdict import Verdict
    from seawall.http.alarm import Alarm
    from seawall.http.exchange import Exchange
    from seawall.http.reader import Phase

DRAIN_BYTES: Final = 64 * 1024
"""At most so much of a response is read in order to keep its connection."""

DRAIN_SECONDS: Final = 0.25
"""At most so long a response is read in order to keep its connection."""

_closing: Final[set[Task[None]]] = set()


class OpenBody(Reader):
    """The open end of an attempt: the stream of its response, and what is due when that ends.

    Args:
        stream: the response's own stream.
        exchange: the call.
        extensions: those of the attempt's request, by which the client's pool is repaired.

    Attributes:
        status: the status code of the response, as soon as the caller may get it.
        handed_out: whether the caller has it; until then the transport sees to its end.
    """

    __slots__ = (
        "_alarm",
        "_extensions",
        "_request",
        "_started",
        "_transport",
        "handed_out",
        "status",
    )

    # By its status or not at all.
    may_be_throttled = False

    def __init__(self, stream: Any, exchange: Exchange, extensions: object) -> None:
        # All in one place: through the constructors of the three classes it takes twice as long.
        self._settles = []
        self._releases = []
        self._verdict = None
        self.ended = False
        self.loop = exchange.loop
        self.on_asyncio = exchange.on_asyncio
        self.deadline = self.idle = inf
        self.size = 0
        self._stream = stream
        self._iterator = self._pending = self._task = self._fired = self._timer = None
        self.head = NEUTRAL
        self.handed_out = self.closed = False
        self.status = 0
        self.ahead = self.error = None
        self._transport = exchange.transport
        self._request = exchange.request
        self._started = exchange.started
        self._extensions = extensions
        self._alarm: Alarm | None = None

    def watch(self, deadline: float, idle: float) -> None:
        """End the body at this loop time, or when a read waits for longer than ``idle`` seconds."""
        self.deadline = deadline
        self.idle = idle
        if self.on_asyncio and deadline < inf:
            self._alarm = self._transport.alarm(self.loop)
            self._alarm.add(self, deadline)

    def timed_out(self, phase: Phase) -> BaseException:
        """Return the error of a read when the time of the body is up."""
        seconds = self.idle if phase == "idle" else round(self.deadline - self._started, 3)
        return self._transport.family.adopt(CallTimeoutError(seconds, phase=phase), self._request)

    async def stop(self, error: BaseException) -> None:
        """End the attempt with what a read has raised: the end of the body, or an error."""
        if isinstance(error, StopAsyncIteration):
            await self.finish(self.head, clean=True)
            return
        if isinstance(error, GeneratorExit):
            self.end_at_once()
            return
        verdict = verdict_on_end(self.head, error, self.loop, empty=self._is_empty())
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
        ahead = self.ahead = deque[bytes]()
        now = self.loop.time()
        until = now + min(DRAIN_SECONDS, (deadline - now) / 2)
        try:
            while self.size < DRAIN_BYTES:
                chunk = await self.next_before(until)
                if chunk is None:
                    return
                ahead.append(chunk)
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
        ahead = self.ahead = deque[bytes]()
        try:
            while self.size <= most:
                ahead.append(await self.next())
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
        verdict = verdict_on_end(self.head, None, self.loop, empty=self._is_empty())
        await self.finish(verdict, clean=False)

    async def finish(self, verdict: Verdict | None, *, clean: bool) -> None:
        """Close the stream, then settle with the verdict if one is given; once."""
        if self.closed:
            return
        self.closed = True
        self.disarm()
        self._iterator = None
        try:
            if self._pending is None:
                await self._stream.aclose()
            else:
                await self.close_stream()
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
        self.end(verdict_on_end(self.head, None, self.loop, empty=self._is_empty()))

    def abandon(self) -> None:
        """End the body from a finalizer, in whatever thread that runs."""
        try:
            self.loop.call_soon_threadsafe(self._end_in_background)
        except RuntimeError:
            # Its loop is closed, and there is no connection any more.
            self.end_at_once()

    def _end_in_background(self) -> None:
        if self.closed:
            return
        if self.on_asyncio:
            task = self.loop.create_task(self.close())
            _closing.add(task)
            task.add_done_callback(_closing.discard)
            task.add_done_callback(forget_error)
        else:
            # trio has no task without a parent.
            self.end_at_once()

    def expire(self) -> None:
        """End the body at its deadline: through the read that waits, or without one."""
        if not self.interrupt("call") and not self.closed:
            self.error = self.timed_out("call")
            self.ahead = None
            self._end_in_background()

    async def _drain(self) -> bool:
        """Read up to the cap; say whether the body has ended."""
        try:
            with anyio.move_on_after(DRAIN_SECONDS):
                while self.size < DRAIN_BYTES:
                    await self.next()
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

    def _is_empty(self) -> bool:
        """Say whether the head says that no body follows."""
        return is_empty(self.status, self._request.method)

    def _drop(self) -> None:
        self.closed = True
        self.disarm()
        self._repair()

    def _repair(self) -> list[Any]:
        return self._transport.repair(self._extensions)

    def disarm(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            super().disarm()
        if self._alarm is not None:
            self._alarm.remove(self)
            self._alarm = None
