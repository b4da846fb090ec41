"""Reading the items of a stream, each until its time is up.

A read that waits for too long is cancelled, and its cancellation turned into our timeout in the way
of ``asyncio.timeout``: taken back with ``Task.uncancel()``, and only if nobody else has asked to
cancel the task. On trio, a cancel scope does the same. Neither is ever open between two reads,
which may be in different tasks.
"""

from __future__ import annotations

from asyncio import CancelledError, current_task
from inspect import isawaitable
from math import inf
from typing import TYPE_CHECKING, Any

import anyio

from seawall.core.deadline import Scope, current_scope, leave, live
from seawall.core.errors import UsageError

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import AsyncIterator, Awaitable, Callable

    from seawall.core.clock import Loop


class ItemReader:
    """Reads what the function of a stream returned.

    Args:
        opened: an async iterable, or an awaitable of one.
        loop: the loop of the call.
        on_asyncio: whether that is asyncio's.

    Attributes:
        deadline: loop time at which the stream ends, for the code that is read from.
        due: loop time at which the read that waits ends; ``inf`` while none does.
    """

    __slots__ = ("_iterator", "_loop", "_on_asyncio", "_opened", "_scope", "deadline", "due")

    def __init__(self, opened: Any, loop: Loop, *, on_asyncio: bool) -> None:
        self.deadline = inf
        self.due = inf
        self._opened: Any = opened
        self._iterator: AsyncIterator[Any] | None = None
        self._loop = loop
        self._on_asyncio = on_asyncio
        self._scope: _ReadScope | None = None

    async def first(self) -> Any:
        """Open what is to be read, and return its first item.

        Raises:
            StopAsyncIteration: it has none.
            UsageError: there is nothing to iterate over.
        """
        opened = self._opened
        if not hasattr(opened, "__aiter__"):
            if isawaitable(opened):
                opened = self._opened = await _unless_it_stops(opened)
            check_iterable(opened, "the function of a stream returned")
        self._iterator = iterator = aiter(opened)
        return await anext(iterator)

    async def next(self) -> Any:
        """Return the next item.

        Raises:
            StopAsyncIteration: there is none.
        """
        if self._iterator is None:
            raise StopAsyncIteration
        return await anext(self._iterator)

    async def within(
        self,
        read: Callable[[], Awaitable[Any]],
        due: float,
        timed_out: Callable[[], BaseException],
    ) -> Any:
        """Await a read until this loop time; then raise what ``timed_out`` makes."""
        scope = _ReadScope()
        scope.when = self.deadline
        scope.outer = current_scope.get()
        scope.loop = self._loop
        scope.fired = scope.ended = False
        scope.task = scope.cancel_scope = None
        self._scope = scope
        self.due = due
        current_scope.set(scope)
        try:
            if self._on_asyncio:
                return await _read_on_asyncio(scope, read, timed_out)
            with anyio.CancelScope(deadline=due) as scope.cancel_scope:
                return await read()
            raise timed_out()
        finally:
            self.due = inf
            self._scope = scope.task = scope.cancel_scope = None
            # Child tasks may keep it in their context for as long as they live.
            scope.ended = True
            # Of blocks that were left in this read, none may stay in the chain.
            scope.outer = live(scope.outer, self._loop)
            # No token: what is read from may hold a block open that it began in this read.
            leave(scope)

    def interrupt(self) -> None:
        """End the read that waits, on asyncio."""
        scope = self._scope
        if scope is not None and scope.task is not None and not scope.fired:
            scope.fired = True
            scope.task.cancel()

    async def close(self) -> None:
        """Close what is read from: the iterator, then what the function returned."""
        iterator, self._iterator = self._iterator, None
        opened, self._opened = self._opened, None
        try:
            await _close(iterator)
        finally:
            if opened is not iterator:
                await _close(opened)

    def drop(self) -> None:
        """Let go of what is read from, which the event loop finalizes as it may."""
        self._iterator = self._opened = None


class _ReadScope(Scope):
    """One read with a time limit, for the code that runs in it."""

    __slots__ = ("cancel_scope", "task")

    cancel_scope: anyio.CancelScope | None
    task: Task[Any] | None

    def has_fired(self) -> bool:
        return self.fired or (self.cancel_scope is not None and self.cancel_scope.cancel_called)


async def _read_on_asyncio(
    scope: _ReadScope, read: Callable[[], Awaitable[Any]], timed_out: Callable[[], BaseException]
) -> Any:
    task: Task[Any] = current_task()  # type: ignore[assignment]
    scope.task = task
    cancelling = task.cancelling()
    try:
        item = await read()
    except BaseException as error:
        is_ours = (
            scope.fired
            and task.uncancel() <= cancelling
            and isinstance(error, CancelledError)
            and current_task() is task
        )
        # A task keeps the error that it ends with, and so this frame: it must not refer back.
        del task
        if is_ours:
            raise timed_out() from error
        raise
    if scope.fired:
        # The item came in spite of the cancellation.
        task.uncancel()
    return item


async def _unless_it_stops(opening: Awaitable[Any]) -> Any:
    try:
        return await opening
    except StopAsyncIteration as error:
        # Nothing was opened that could have come to its end.
        raise RuntimeError("the function of a stream raised StopAsyncIteration") from error


async def _close(closable: Any) -> None:
    # Clients of APIs call it `close` where a generator has `aclose`.
    close = getattr(closable, "aclose", None) or getattr(closable, "close", None)
    if callable(close):
        closing = close()
        if isawaitable(closing):
            await closing


def check_iterable(opened: object, what: str) -> None:
    """Raise unless there is something to iterate over.

    Raises:
        UsageError: it is no async iterable; the message shows what is.
    """
    if hasattr(opened, "__aiter__"):
        return
    message = (
        f"{what} {type(opened).__name__}, which is no async iterable.\n"
        "  wrong: async def tokens(prompt): return text\n"
        "  right: async def tokens(prompt): yield text"
    )
    raise UsageError(message)
