"""A block of code as the innermost step of a pipeline.

The rules:

1. A block runs the same chain of policies as a function does. The chain is a coroutine that is
   driven by hand: it runs on until its innermost step, and there it is parked while the body
   runs. The outcome of the body is then sent or thrown into it.
2. Whatever the chain awaits on its way is handed on to the event loop, and what the loop sends or
   throws is handed back. So it works on asyncio and trio alike.
3. A loop (``async for attempt in pipeline``) is parked a second time when a retry is due, before
   it sleeps: between two attempts nothing is held, and ``break`` is free.
4. The shared pipeline finds a block again by the frame that runs the ``async with``, whatever
   task or context it ends in. A frame of an exit stack is gone by then, so such a block is found
   by the task that entered it.
5. An exception of the body leaves as it came: the chain's frames are taken off its traceback.
"""

from __future__ import annotations

import contextlib
import types
from asyncio import current_task, get_running_loop
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary, ref

from seawall.core.call import Call
from seawall.core.clock import trio_loop
from seawall.core.errors import UsageError
from seawall.core.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from types import CoroutineType, FrameType, TracebackType

    from seawall.core.call import Proceed


class Stop(Enum):
    """Where a chain that is driven by hand has come to."""

    BODY = "the body may run"
    PAUSE = "another attempt is due"
    DONE = "the chain has returned"


@types.coroutine
def _park(stop: Stop) -> Generator[Any, Any, Any]:
    return (yield stop)


class _Driver:
    """Runs the chain of one block or loop by hand."""

    __slots__ = ("call", "coroutine", "value")

    def __init__(self, chain: Proceed[Any], call: Call[Any]) -> None:
        self.call = call
        self.value: Any = None
        self.coroutine: CoroutineType[Any, Any, Any] = _as_coroutine(chain(call))

    @types.coroutine
    def advance(
        self, error: BaseException | None = None, value: object = None
    ) -> Generator[Any, Any, Stop]:
        """Send or throw the outcome of the body; run on to the next stop, and say which it is."""
        step: Callable[[Any], Any] = self.coroutine.send if error is None else self.coroutine.throw
        argument: Any = value if error is None else error
        try:
            while True:
                try:
                    signal = step(argument)
                except StopIteration as stop:
                    self.value = stop.value
                    self.call.forget_verdict()
                    return Stop.DONE
                if isinstance(signal, Stop):
                    self.call.in_body = signal is Stop.BODY
                    return signal
                try:
                    argument = yield signal
                    step = self.coroutine.send
                except BaseException as thrown:
                    argument = thrown
                    step = self.coroutine.throw
        except BaseException:
            self.call.fail()
            raise
        finally:
            # This frame is on the traceback of what the chain raises; it must not refer to it.
            del argument, error, step

    async def end(self, error: BaseException | None, value: object) -> tuple[Stop, bool]:
        """Give the outcome of the body; say where the chain is, and whether the error stays."""
        if error is None:
            return await self.advance(value=value), False
        traceback = error.__traceback__
        try:
            return await self.advance(error), False
        except BaseException as raised:
            same = raised is error or (
                # The interpreter does not let a StopIteration pass a coroutine as it is.
                isinstance(error, StopIteration) and raised.__cause__ is error
            )
            if not same:
                raise
            error.__traceback__ = traceback
            return Stop.DONE, True
        finally:
            del error

    def close(self) -> None:
        """Leave the chain where it is, releasing all it holds, on the loop that owns it."""
        if self.coroutine.cr_frame is None:
            return
        loop = self.call.loop
        running: object = None
        with suppress(RuntimeError):
            running = get_running_loop()
        if not self.call.on_asyncio:
            with suppress(UsageError):
                running = trio_loop()
        if running is loop or loop.is_closed():
            self.coroutine.close()
        else:
            loop.call_soon_threadsafe(self.coroutine.close)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    kind = type(awaitable)
    return awaitable if kind is types.CoroutineType else _await(awaitable)


class Attempt:
    """One attempt of a block or a loop.

    Attributes:
        number: counted from 1.
        previous: how the last attempt ended; ``None`` in the first. It is forgotten when this
            attempt ends.
        result: what the body sets here is judged like the value of a function. Where a policy
            answered instead of a body that failed, its answer is here after the attempt.
    """

    __slots__ = ("_call", "_loop", "_result", "number", "previous")

    def __init__(
        self,
        call: Call[Any],
        number: int,
        previous: Outcome | None = None,
        loop: Attempts | None = None,
    ) -> None:
        self.number = number
        self.previous = previous
        self._call = call
        # `break` must free the loop at once, though the name of the attempt lives on.
        self._loop = None if loop is None else ref(loop)
        self._result: Any = _UNSET

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline of the call (0.0 at least); ``None`` if there is none."""
        when = self._call.deadline
        return None if when == float("inf") else max(0.0, when - self._call.now())

    @property
    def result(self) -> Any:
        """The value of this attempt, ``None`` until one is set."""
        return None if self._result is _UNSET else self._result

    @result.setter
    def result(self, value: Any) -> None:
        self._result = value

    def outcome(self) -> Any:
        """Return what the body set, and tell the call whether it may be judged."""
        self._call.unjudged = self._result is _UNSET
        return self.result

    async def __aenter__(self) -> Self:
        await self._find_loop().enter(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return await self._find_loop().exit(self, error)

    def _find_loop(self) -> Attempts:
        loop = None if self._loop is None else self._loop()
        if loop is None:
            message = (
                "this attempt has no loop that is still running.\n"
                "  wrong: async with pipeline as attempt:\n"
                "             async with attempt: ...\n"
                "  right: async for attempt in pipeline:\n"
                "             async with attempt: ..."
            )
            raise UsageError(message)
        return loop


_UNSET = object()


class _Body:
    """The innermost step of a block: it parks the chain while the body runs, once."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = False

    def __call__(self) -> Awaitable[Any]:
        if self._begun:
            message = (
                "a block can run only once, but a policy tried to run it again.\n"
                "  wrong: async with pipeline: ...\n"
                "  right: async for attempt in pipeline:\n"
                "             async with attempt: ..."
            )
            raise UsageError(message)
        self._begun = True
        return _park(Stop.BODY)


class _Block:
    """One ``async with pipeline``."""

    __slots__ = ("_driver", "attempt", "task")

    def __init__(self, chain: Proceed[Any]) -> None:
        call: Call[Any] = Call()
        call.begin(_Body())
        call.is_block = True
        call.single_run = (
            "a block runs once; to repeat it, write `async for attempt in pipeline:` "
            "and inside `async with attempt:`"
        )
        self.task = running_task(call)
        self.attempt = Attempt(call, 1)
        self._driver = _Driver(chain, call)

    async def enter(self) -> Attempt:
        if await self._driver.advance() is not Stop.BODY:
            raise_skipped()
        return self.attempt

    async def exit(self, error: BaseException | None) -> bool:
        stop, stays = await self._driver.end(error, self.attempt.outcome())
        if stop is Stop.DONE and not stays and error is not None:
            self.attempt.result = self._driver.value
            return True
        return False

    def __del__(self) -> None:
        with suppress(AttributeError):
            self._driver.close()


class Blocks:
    """The open blocks of one pipeline, each found again by its frame or its task."""

    __slots__ = ("_framed", "_stacked")

    def __init__(self) -> None:
        self._framed: dict[FrameType, list[_Block]] = {}
        self._stacked: WeakKeyDictionary[Any, list[_Block]] = WeakKeyDictionary()

    async def enter(self, chain: Proceed[Any], frame: FrameType) -> Attempt:
        """Begin a block for the frame that runs the ``async with``."""
        block = _Block(chain)
        attempt = await block.enter()
        if frame.f_code.co_filename == contextlib.__file__ and block.task is not None:
            self._stacked.setdefault(block.task, []).append(block)
        else:
            self._framed.setdefault(frame, []).append(block)
        return attempt

    async def exit(self, frame: FrameType, error: BaseException | None) -> bool:
        """End the block of this frame, or else the last one that this task began."""
        block = self._take(frame)
        del frame
        return await block.exit(error)

    def _take(self, frame: FrameType) -> _Block:
        if frame in self._framed:
            return _pop(self._framed, frame)
        task = running_task(None)
        if task is not None and task in self._stacked:
            return _pop(self._stacked, task)
        for entered, blocks in reversed(self._framed.items()):
            if blocks[-1].task is task:
                return _pop(self._framed, entered)
        for other in reversed(list(self._stacked)):
            return _pop(self._stacked, other)
        message = "this block was never entered: write `async with pipeline: ...`"
        raise UsageError(message)


def _pop(blocks: Any, key: object) -> _Block:
    found: list[_Block] = blocks[key]
    block = found.pop()
    if not found:
        del blocks[key]
    return block


class Attempts:
    """One ``async for attempt in pipeline``.

    It is over when an attempt succeeds, when a policy gives up (the exception leaves the
    ``async with attempt``), or when the loop is left. Where something else keeps a reference to
    it, close it: ``async with contextlib.aclosing(aiter(pipeline)) as attempts:``.
    """

    __slots__ = ("__weakref__", "_driver", "_next", "_previous", "_stop")

    def __init__(self, chain: Proceed[Any]) -> None:
        call: Call[Any] = Call()
        call.begin(lambda: _park(Stop.BODY))
        call.pauses = lambda: _park(Stop.PAUSE)
        call.is_block = True
        self._driver = _Driver(chain, call)
        self._stop = Stop.PAUSE
        self._next: Attempt | None = None
        self._previous: Outcome | None = None

    def __aiter__(self) -> Attempts:
        return self

    async def __anext__(self) -> Attempt:
        if self._stop is Stop.DONE:
            raise StopAsyncIteration
        if self._next is not None:
            message = (
                "each turn of the loop must run its attempt.\n"
                "  wrong: async for attempt in pipeline: await fetch()\n"
                "  right: async for attempt in pipeline:\n"
                "             async with attempt: await fetch()"
            )
            raise UsageError(message)
        call = self._driver.call
        number = call.attempt if self._previous is None else call.attempt + 1
        self._next = attempt = Attempt(call, number, self._previous, self)
        self._previous = None
        return attempt

    async def enter(self, attempt: Attempt) -> None:
        """Run the chain to the body of this attempt."""
        if attempt is not self._next:
            message = "this attempt is over: each `async with attempt:` can be entered once"
            raise UsageError(message)
        try:
            # Still parked at BODY only where a policy went on without a pause.
            while self._stop is Stop.PAUSE:
                self._stop = await self._driver.advance()
            if self._stop is Stop.DONE:
                raise_skipped()
        except BaseException:
            self._stop = Stop.DONE
            raise
        finally:
            self._next = None
        attempt.number = self._driver.call.attempt

    async def exit(self, attempt: Attempt, error: BaseException | None) -> bool:
        """Give the outcome of the body; say whether its error is dealt with."""
        attempt.previous = None
        value = attempt.outcome()
        self._stop, stop = Stop.DONE, self._stop
        stop, stays = await self._driver.end(error, value)
        self._stop = stop
        if stop is Stop.DONE:
            if error is not None and not stays:
                attempt.result = self._driver.value
        else:
            self._previous = Outcome(value=value, exception=error)
        return error is not None and not stays

    async def aclose(self) -> None:
        """Leave the loop where it is and release all it holds."""
        self._end()

    def _end(self) -> None:
        self._stop = Stop.DONE
        if self._next is not None:
            self._next.previous = None
        self._next = self._previous = None
        self._driver.close()

    def __del__(self) -> None:
        with suppress(AttributeError):
            self._end()


def running_task(call: Call[Any] | None) -> Any:
    """Return the task that runs now, of asyncio or of trio."""
    with suppress(RuntimeError):
        if call is None or call.on_asyncio:
            return current_task()
    return trio_loop().task()


def raise_skipped() -> None:
    """Raise the error for a policy that answers before the body of a block could run."""
    message = (
        "a policy answered instead of the block, and a block cannot be skipped; "
        "raise the refusal when `call.is_block`, or pass a function to `execute`"
    )
    raise UsageError(message)
