"""``async for attempt in pipeline``: a block of code that is run again until it succeeds."""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, Self
from weakref import ref

from seawall.core.call import Call
from seawall.core.driver import BODY, DONE, PAUSE, Driver, park, raise_skipped
from seawall.core.errors import UsageError
from seawall.core.verdict import Outcome

if TYPE_CHECKING:
    from types import TracebackType

    from seawall.core.policy import Policy

_UNSET = object()


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
        left = self._call.remaining()
        return None if left == inf else max(0.0, left)

    @property
    def result(self) -> Any:
        """The value of this attempt, ``None`` until one is set."""
        return None if self._result is _UNSET else self._result

    @result.setter
    def result(self, value: Any) -> None:
        self._result = value

    def outcome(self) -> Any:
        """Return what the body set, and tell the call whether it may be judged."""
        self._call.unjudged = is_unset = self._result is _UNSET
        return None if is_unset else self._result

    async def __aenter__(self) -> Self:
        await self._find_loop().enter(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        loop = None if self._loop is None else self._loop()
        # The collector may free a loop before the frame that runs it; then it has let go of all.
        if loop is None:
            return False
        ending = loop.exit(self, error)
        # From the traceback of the error, this frame is reached: as `f_back`, since 3.12.
        del error, traceback
        return await ending

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


class Attempts:
    """One ``async for attempt in pipeline``.

    It is over when an attempt succeeds, when a policy gives up (the exception leaves the
    ``async with attempt``), or when the loop is left. Where something else keeps a reference to
    it, close it: ``async with contextlib.aclosing(aiter(pipeline)) as attempts:``.
    """

    __slots__ = ("__weakref__", "_driver", "_next", "_previous", "_stop")

    def __init__(self, policy: Policy) -> None:
        call: Call[Any] = Call()
        call.begin(lambda: park(BODY))
        call.pipeline = policy
        call.pauses = lambda: park(PAUSE)
        call.is_block = True
        self._driver = Driver(policy.entry(), call)
        self._stop = PAUSE
        self._next: Attempt | None = None
        self._previous: Outcome | None = None

    def __aiter__(self) -> Attempts:
        return self

    async def __anext__(self) -> Attempt:
        if self._stop is DONE:
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
            while self._stop is PAUSE:
                self._stop = await self._driver.advance()
            if self._stop is DONE:
                raise_skipped()
        except BaseException:
            self._stop = DONE
            attempt.previous = None
            raise
        finally:
            self._next = None
        attempt.number = self._driver.call.attempt

    async def exit(self, attempt: Attempt, error: BaseException | None) -> bool:
        """Give the outcome of the body; say whether its error is dealt with."""
        attempt.previous = None
        value = attempt.outcome()
        self._stop = DONE
        try:
            stop, stays = await self._driver.end(error, value)
            self._stop = stop
            if stop is DONE:
                if error is not None and not stays:
                    attempt.result = self._driver.value
            else:
                self._previous = Outcome(value=value, exception=error)
            return error is not None and not stays
        finally:
            del error

    async def aclose(self) -> None:
        """Leave the loop where it is and release all it holds."""
        self._end()

    def _end(self) -> None:
        self._stop = DONE
        if self._next is not None:
            self._next.previous = None
        self._next = self._previous = None
        self._driver.close()

    def __del__(self) -> None:
        with suppress(AttributeError):
            self._end()
