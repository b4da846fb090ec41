"""The driver: a chain of policies run by hand, with a body of code as its innermost step.

The rules:

1. A block or a loop runs the same chain of policies as a function does. The chain is a coroutine
   that is driven by hand: it runs on until its innermost step, and there it is parked while the
   body runs. The outcome of the body is then sent or thrown into it.
2. Whatever the chain awaits on its way is handed on to the event loop, and what the loop sends or
   throws is handed back. So it works on asyncio and trio alike.
3. A loop (``async for attempt in pipeline``) is parked a second time when a retry is due, before
   it sleeps: between two attempts nothing is held, and ``break`` is free.
4. An exception of the body leaves as it came: the chain's frames are taken off its traceback.
"""

from __future__ import annotations

import types
from enum import Enum
from typing import TYPE_CHECKING, Any

from seawall.core.clock import call_on
from seawall.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator
    from types import CoroutineType

    from seawall.core.call import Call, Proceed
    from seawall.core.deadline import Scope


class Stop(Enum):
    """Where a chain that is driven by hand has come to."""

    BODY = "the body may run"
    PAUSE = "another attempt is due"
    DONE = "the chain has returned"


# On 3.11, to read a member from its class takes longer than to call a function.
BODY, PAUSE, DONE = Stop.BODY, Stop.PAUSE, Stop.DONE


@types.coroutine
def park(stop: Stop) -> Generator[Any, Any, Any]:
    """Stop here until whoever drives the chain goes on; return what it sends."""
    return (yield stop)


class Driver:
    """Runs the chain of one block or loop by hand."""

    __slots__ = ("_chain", "_coroutine", "_outer", "_paused", "call", "value")

    def __init__(self, chain: Proceed[Any], call: Call[Any]) -> None:
        self.call = call
        self.value: Any = None
        self._chain = chain
        self._coroutine: CoroutineType[Any, Any, Any] | None = None
        self._outer = call.scope
        self._paused: list[tuple[Scope, Any]] = []

    async def advance(self, error: BaseException | None = None, value: object = None) -> Stop:
        """Send or throw the outcome of the body; run on to the next stop, and say which it is."""
        try:
            came = self.move(error, value)
        finally:
            # As in `move`.
            del error, value
        return came if isinstance(came, Stop) else await self.go_on(came)

    def move(self, error: BaseException | None = None, value: object = None) -> Any:
        """Send or throw the outcome of the body; return the next stop if it comes at once.

        Else return what the chain waits for: :meth:`go_on` hands that on.
        """
        try:
            coroutine = self._coroutine
            if coroutine is None:
                coroutine = self._coroutine = _as_coroutine(self._chain(self.call))
            elif self._paused:
                self._resume()
            try:
                came = coroutine.send(value) if error is None else coroutine.throw(error)
            except StopIteration as stop:
                self.value = stop.value
                self.call.forget_verdict()
                return DONE
        except BaseException:
            self.call.fail()
            raise
        finally:
            # This frame is on the traceback of what the chain raises; it must not refer to it.
            del error, value
        if isinstance(came, Stop):
            self.call.in_body = came is BODY
            if came is PAUSE:
                self._pause()
        return came

    @types.coroutine
    def go_on(self, came: Any) -> Generator[Any, Any, Stop]:
        """Hand on what the chain waits for, up to its next stop."""
        thrown: BaseException | None
        try:
            while not isinstance(came, Stop):
                sent = thrown = None
                try:
                    sent = yield came
                except BaseException as error:
                    # The chain goes on outside of this handler: what it raises has its own context.
                    thrown = error
                came = self.move(thrown, sent)
            return came
        finally:
            # As in `move`.
            sent = thrown = None

    def _pause(self) -> None:
        # Between two attempts the code that runs is the user's own, outside every timeout here.
        scope = self.call.scope
        while scope is not None and scope is not self._outer:
            self._paused.append((scope, scope.pause()))
            scope = scope.outer

    def _resume(self) -> None:
        while self._paused:
            scope, paused = self._paused.pop()
            scope.resume(paused)

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
            error.with_traceback(traceback)
            return DONE, True
        finally:
            del error, traceback

    def close(self) -> None:
        """Leave the chain where it is, releasing all it holds, on the loop that owns it."""
        if self._coroutine is None or self._coroutine.cr_frame is None:
            return
        call_on(self.call.loop, self._leave)

    def _leave(self) -> None:
        try:
            if self._coroutine is not None:
                self._coroutine.close()
        finally:
            self.call.fail()


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    kind = type(awaitable)
    return awaitable if kind is types.CoroutineType else _await(awaitable)


def raise_skipped() -> None:
    """Raise the error for a policy that answers before the body of a block could run."""
    message = (
        "a policy answered instead of the block, and a block cannot be skipped; "
        "raise the refusal when `call.is_block`, or pass a function to `execute`"
    )
    raise UsageError(message)
