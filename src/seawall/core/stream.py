"""``async for item in pipeline.stream(function)``: an async generator function behind policies.

Opening the stream and fetching its first item is one attempt, which runs through the policies as
any function does. From the first item on the policies are passed: the consumer reads from the
function's generator, in its own task, and what the policies hold for the stream is given back at
its end.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Self, TypeAlias, TypeVar

from seawall.core.call import Call
from seawall.core.checks import check_number
from seawall.core.errors import UsageError
from seawall.core.item_reader import check_iterable
from seawall.core.open_stream import OpenStream
from seawall.core.verdict import NEUTRAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.core.policy import Policy

T = TypeVar("T")

Streamed: TypeAlias = AsyncIterable[T] | Awaitable[AsyncIterable[T]]


class ItemTimes(NamedTuple):
    """How long items may take, in seconds; ``None`` for as long as they like.

    Attributes:
        first_item_timeout: each attempt, until the first item.
        idle_timeout: each later item, while it is waited for.
    """

    first_item_timeout: float | None = None
    idle_timeout: float | None = None

    def check(self) -> None:
        """Raise ``ValueError`` or ``TypeError`` unless they are positive numbers or ``None``."""
        for name, seconds in self._asdict().items():
            check_number(name, seconds, above=0, optional=True)

    def or_else(self, others: ItemTimes) -> ItemTimes:
        """Return these, and the others where there is none here."""
        pairs = zip(self, others, strict=True)
        return ItemTimes(*[other if own is None else own for own, other in pairs])


NO_TIMES: Final = ItemTimes()


class StreamCall(Call[Any]):
    """The call of one stream.

    Args:
        function: returns an async iterable, or an awaitable of one.
        args: its positional arguments.
        kwargs: its keyword arguments.
        times: how long its items may take.

    Raises:
        DeadlineError: the deadline of the calling code has passed.
        UsageError: no event loop is running.

    Attributes:
        started: loop time at which the call began.
        times: how long its items may take: as given to the call or, if not, by a view.
    """

    is_stream: ClassVar[bool] = True

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        times: ItemTimes,
    ) -> None:
        self.begin(None, args, kwargs)
        self.started = self.now()
        self.times = self._given = times
        # What the results of ordinary calls are judged by says nothing about items.
        self.unjudged = True
        self._opens = function
        self._outer = self.scope
        self._opened: list[OpenStream] = []

    def bind_times(self, times: ItemTimes) -> None:
        """Take these times for what is inside, unless the call was given its own."""
        self.times = self._given.or_else(times.or_else(self.times))

    async def function(self, *args: Any, **kwargs: Any) -> OpenStream:
        """Run one attempt: open the stream, fetch its first item, and take charge of its end."""
        return await self.open_stream(self._opens(*args, **kwargs))

    async def open_stream(self, opened: Any) -> OpenStream:
        """Fetch the first item of what the function returned, or a policy in its place.

        Args:
            opened: an async iterable, or an awaitable of one.

        Raises:
            UsageError: it is neither.
            CallTimeoutError: the first item did not come in time.
            Exception: what opening it, or the first item, raised.
        """
        self.open = None
        stream = OpenStream(opened, self, self.times.idle_timeout)
        await stream.begin(self.times.first_item_timeout)
        if not stream.empty:
            deadline = self._find_deadline()
            if deadline < inf:
                stream.watch(deadline, round(deadline - self.started, 3))
            self._opened.append(stream)
            self.open = stream
        return stream

    async def answer(self, answer: Any, what: str) -> OpenStream:
        """Stream what a policy answers with in place of the function.

        Raises:
            UsageError: it is no async iterable.
        """
        check_iterable(answer, what)
        return await self.open_stream(answer)

    async def conduct_by(self, policy: Policy) -> OpenStream:
        """Run the call behind a policy; return the stream that is to be consumed."""
        stream: Any = None
        try:
            stream = await policy.conduct(self)
            if not isinstance(stream, OpenStream):
                stream = await self.answer(stream, "a policy answered a stream with")
            elif stream.handed_out:
                raise UsageError(_TWICE)
            await self._discard(kept=stream)
        except GeneratorExit:
            for opened in self._opened:
                opened.drop()
            raise
        except BaseException:
            await self._discard(kept=None)
            raise
        finally:
            # They know nothing of each other any more.
            self._opened.clear()
            self.open = None
        stream.handed_out = True
        return stream  # type: ignore[no-any-return]

    async def _discard(self, kept: OpenStream | None) -> None:
        """End what attempts left open and nobody is given."""
        for opened in self._opened:
            if opened is not kept:
                await opened.discard(NEUTRAL)

    def _find_deadline(self) -> float:
        """Return the loop time at which the outermost timeout of this call ends.

        Timeouts of the calling code see to themselves, for as long as they last.
        """
        when = inf
        scope = self.scope
        while scope is not None and scope is not self._outer:
            if scope.when < inf:
                when = scope.when
            scope = scope.outer
        return when


class Stream(AsyncIterator[T]):
    """The items of a stream, as ``pipeline.stream(...)`` returns them.

    Nothing begins before the first item is asked for. Where it is left early, what the policies
    hold for it is given back as soon as it is dropped, or closed: :meth:`aclose` also waits until
    the function has cleaned up. It belongs to one consumer at a time, and nothing can be sent or
    thrown into it.
    """

    __slots__ = ("__weakref__", "_begin", "_busy", "_source")

    def __init__(
        self,
        policy: Policy,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        times: ItemTimes = NO_TIMES,
    ) -> None:
        if not callable(function):
            raise UsageError(_explain_function(function))
        times.check()
        self._begin: tuple[Any, ...] | None = (policy, function, args, kwargs, times)
        self._source: OpenStream | None = None
        self._busy = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._busy:
            raise UsageError(_BUSY)
        self._busy = True
        try:
            source = self._source
            item: T = await (self._first() if source is None else source.read())
        except BaseException:
            self._source = None
            raise
        finally:
            self._busy = False
        return item

    async def aclose(self) -> None:
        """End the stream here; a second time does nothing.

        Raises:
            UsageError: another task waits for the next item.
            Exception: what the function's own cleanup raises.
        """
        if self._busy:
            raise UsageError(_BUSY)
        self._begin = None
        source, self._source = self._source, None
        if source is not None:
            await source.close()

    async def _first(self) -> T:
        if self._begin is None:
            raise StopAsyncIteration
        (policy, function, args, kwargs, times), self._begin = self._begin, None
        call = StreamCall(function, args, kwargs, times)
        source = await call.conduct_by(policy)
        if source.empty:
            raise StopAsyncIteration
        self._source = source
        item: T = source.last
        return item

    def __del__(self) -> None:
        with suppress(AttributeError):
            if self._source is not None:
                self._source.abandon()


_BUSY = (
    "a stream has one consumer at a time, and this one still waits for the next item.\n"
    "  wrong: two tasks, each with `async for item in stream`\n"
    "  right: one task that puts the items into a queue\n"
    "  to end a stream from outside, cancel the task that reads it"
)
_TWICE = "a policy answered with a stream that has been consumed already"


def _explain_function(function: object) -> str:
    if hasattr(function, "__aiter__"):
        return (
            "stream() needs the function that yields the items, so that it can be repeated.\n"
            "  wrong: pipeline.stream(tokens(prompt))\n"
            "  right: pipeline.stream(tokens, prompt)"
        )
    return (
        f"stream() needs an async generator function, not {function!r}.\n"
        "  right: async for token in pipeline.stream(tokens, prompt): ..."
    )
