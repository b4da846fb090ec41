"""The one protocol: a policy is an async function around the rest of the pipeline."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from functools import wraps
from inspect import isasyncgenfunction, isawaitable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from seawall.core.advised import Advised
from seawall.core.async_mark import mark_async
from seawall.core.attempts import Attempt, Attempts
from seawall.core.block import Blocks
from seawall.core.call import Call, Proceed, invoke
from seawall.core.errors import UsageError
from seawall.core.listeners import CHANGING, SUBSCRIPTIONS, Subscription, check_listener
from seawall.core.observe import is_heard, observed
from seawall.core.stream import ItemTimes, Stream, Streamed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from seawall.core.bound import Bound
    from seawall.core.listeners import Listener
    from seawall.core.snapshot import Snapshot
    from seawall.policies.fused.row import FusedRow

P = ParamSpec("P")
T = TypeVar("T")


class Policy(Advised, ABC):
    """Base of every policy, and of :class:`~seawall.Pipeline`.

    A policy of one's own overrides :meth:`run`; all ways in come with it::

        class Announce(Policy):
            async def run(self, call, proceed):
                print("attempt", call.attempt)
                return await proceed(call)

    A policy holds only what all its calls share. What belongs to one call is on the ``call``, or
    in a local variable of ``run``. A policy that proceeds several times at once gives each of them
    a copy of its own, ``await proceed(copy.copy(call))``.
    """

    name: str | None = None
    # The one way in: a chain of steps, or a single one that can do without a `Call`.
    _chain: Proceed[Any] | None = None
    _row: FusedRow | None = None
    _blocks: Blocks | None = None
    # Those who hear the events of this policy.
    _listeners: tuple[Subscription, ...] = ()
    # The key that a `Keyed` made this policy for.
    _made_for: Any = None
    # What events call this policy, if not by its class.
    _shown_as: str | None = None

    @abstractmethod
    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        """Run the rest of the pipeline, ``await proceed(call)``, and do this policy's part."""

    def link(self, proceed: Proceed[T]) -> Proceed[T]:
        """Put this policy around the rest of a pipeline; done once, when the pipeline is built."""
        run = self.run

        def step(call: Call[T]) -> Awaitable[T]:
            return run(call, proceed)

        return step

    def link_between(
        self, before: Sequence[Policy], following: Sequence[Policy], proceed: Proceed[T]
    ) -> Proceed[T]:
        """Put some policies, this one and some others around the rest of a pipeline."""
        from seawall.policies.fused import link_all  # noqa: PLC0415 - core knows no policies

        return link_all((*before, self, *following), proceed)

    def matters(self, now: float) -> bool:  # noqa: ARG002 - policies with something to say use it
        """Say whether forgetting this policy now would lose what callers rely on."""
        return False

    @overload
    def execute(
        self, target: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def execute(self, target: Awaitable[T], /) -> Coroutine[Any, Any, T]: ...
    def execute(self, target: Any, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Run a function, or await an awaitable, behind this policy.

        Args:
            target: any callable that returns an awaitable; it is called with the further
                arguments, as often as the policies say. Or an awaitable, which can run only once:
                a retry then makes a single attempt. A coroutine object that is refused is closed.
            args: positional arguments for the callable.
            kwargs: keyword arguments for the callable.

        Raises:
            RejectedError: a policy refused the call; it never reached the function.
            CallTimeoutError: a ``Timeout`` ended the call.
            UsageError: the target is no callable that returns an awaitable, and no awaitable.
            Exception: whatever the function raises, as it is.
        """
        # No async function itself: a coroutine less for each call.
        row = self._row
        if row is None or not callable(target):
            return self._execute(target, args, kwargs)
        return row.step(None, self, target, args, kwargs)

    async def _execute(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not callable(target):
            return await self._execute_awaitable(target, args, kwargs)
        call: Call[Any] = Call()
        call.begin(target, args, kwargs)
        call.pipeline = self
        # What is raised before anything was awaited (a refusal) leaves nothing to end.
        rest = self.entry()(call)
        try:
            result = await rest
        except BaseException:
            call.fail()
            raise
        if call._verdict is not None:
            call.forget_verdict()
        return result

    async def conduct(self, call: Call[T]) -> T:
        """Run a call that was begun by hand, where a function with arguments is not enough.

        ``call.begin(function)`` comes first; then the call may be given its own ``classifier``,
        ``key`` and ``idempotent``. After a return with ``call.open`` set, who ends the body ends
        that.
        """
        call.pipeline = self
        try:
            result: T = await self.entry()(call)
        except BaseException:
            call.fail()
            raise
        call.forget_verdict()
        return result

    async def _execute_awaitable(
        self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if not isawaitable(target):
            raise UsageError(_explain_target(target, with_arguments=False))
        once = OnlyOnce(target)
        try:
            if args or kwargs:
                raise UsageError(_explain_target(target, with_arguments=True))
            call: Call[Any] = Call()
            call.begin(once)
            call.single_run = (
                "a coroutine object or other awaitable can run only once; to repeat it, pass the "
                "function: `await pipeline.execute(fetch, url)`, not `execute(fetch(url))`"
            )
            return await self.conduct(call)
        finally:
            once.close()

    def entry(self) -> Proceed[Any]:
        """Return the chain by which a call enters this policy."""
        row = self._row
        chain = self._chain or self._build() if row is None else row.step
        return observed(self, chain) if SUBSCRIPTIONS and is_heard(self) else chain

    def _build(self) -> Proceed[Any]:
        from seawall.policies.fused import link_all, whole_row  # noqa: PLC0415 - core knows no policies

        chain = link_all((self,), invoke)
        row = whole_row(chain)
        # Also for policies that are frozen dataclasses.
        if row is None:
            object.__setattr__(self, "_chain", chain)
        else:
            object.__setattr__(self, "_row", row)
        return chain

    def __getstate__(self) -> dict[str, Any]:
        """Leave out of a copy what is tied to this very object."""
        own = {"_chain", "_row", "_blocks", "_listeners"}
        return {name: value for name, value in vars(self).items() if name not in own}

    # With time limits the arguments are not checked: behind `P.args` nothing may be named.
    @overload
    def stream(
        self,
        function: Callable[..., Streamed[T]],
        /,
        *args: Any,
        first_item_timeout: float | None,
        idle_timeout: float | None = None,
        **kwargs: Any,
    ) -> Stream[T]: ...
    @overload
    def stream(
        self,
        function: Callable[..., Streamed[T]],
        /,
        *args: Any,
        idle_timeout: float | None,
        **kwargs: Any,
    ) -> Stream[T]: ...
    @overload
    def stream(
        self, function: Callable[P, Streamed[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Stream[T]: ...
    def stream(  # type: ignore[misc]  # as if `P.kwargs` held its keywords
        self,
        function: Any,
        /,
        *args: Any,
        first_item_timeout: float | None = None,
        idle_timeout: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the items of an async generator function that runs behind this policy.

        An attempt lasts until the first item: up to there it is retried, and fallen back from. What
        the policies hold is held to the end of the stream, and the verdict is on how that ends: an
        error after the first item is judged like any other, and raised as it is. To leave the
        stream early is NEUTRAL. The outermost ``Timeout`` bounds the whole stream, those further
        inside the time until the first item.

        Args:
            function: any callable that returns an async iterable, or an awaitable of one; it is
                called with the further arguments, once for each attempt. What it returns is closed
                (``aclose()`` or ``close()``) when the stream ends early.
            args: positional arguments for the callable.
            first_item_timeout: seconds that each attempt may take until its first item.
            idle_timeout: seconds that each later item may take, while it is waited for.
            kwargs: keyword arguments for the callable.

        Raises:
            ValueError: a timeout is not a positive number of seconds.
            TypeError: an argument is of the wrong type.
        """
        times = ItemTimes(first_item_timeout, idle_timeout)
        stream: Stream[Any] = Stream(self, function, args, kwargs, times)
        return stream

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __call__(self, function: Callable[P, AsyncIterator[T]], /) -> Callable[P, Stream[T]]: ...
    @overload
    def __call__(
        self, function: Callable[P, Awaitable[T]], /
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __call__(self, function: Any, /) -> Any:
        """Decorate an async function so that each of its calls runs behind this policy.

        An async generator function becomes a function that returns a :class:`~seawall.Stream`.

        Raises:
            UsageError: what is decorated is neither.
        """
        _check_decorated(function)
        if isasyncgenfunction(function) or isasyncgenfunction(type(function).__call__):

            @wraps(function)
            def stream_behind_policy(*args: Any, **kwargs: Any) -> Stream[Any]:
                return Stream(self, function, args, kwargs)

            return stream_behind_policy

        @wraps(function)
        async def behind_policy(*args: Any, **kwargs: Any) -> Any:
            row = self._row
            if row is not None:
                return await row.step(None, self, function, args, kwargs)
            # What `_execute` does, without a coroutine more.
            call: Call[Any] = Call()
            call.begin(function, args, kwargs)
            call.pipeline = self
            rest = self.entry()(call)
            try:
                result = await rest
            except BaseException:
                call.fail()
                raise
            call.forget_verdict()
            return result

        return behind_policy

    def bind(
        self,
        *,
        key: Any = None,
        timeout: float | None = None,
        idempotent: bool | None = None,
        tags: Mapping[str, Any] | None = None,
        first_item_timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> Bound:
        """Return a light view of this policy that sets these on each call.

        Args:
            key: what ``Keyed`` chooses a policy by, and refusals name.
            timeout: seconds that the whole call may take, as a ``Timeout`` around this policy.
            idempotent: ``False`` lets ``Retry`` repeat only what never reached the dependency.
            tags: what the caller wants to find again, by name.
            first_item_timeout: see :meth:`stream`, where it may be given too.
            idle_timeout: likewise.

        Raises:
            ValueError: a timeout is not a positive number of seconds.
            TypeError: an argument is of the wrong type.
        """
        from seawall.core.bound import Bound  # noqa: PLC0415 - a view is a policy itself

        return Bound(
            self,
            key=key,
            timeout=timeout,
            idempotent=idempotent,
            tags=tags,
            first_item_timeout=first_item_timeout,
            idle_timeout=idle_timeout,
        )

    def subscribe(self, listener: Listener) -> Subscription:
        """Have a function called with each event of this policy, and of all policies in it.

        Where a policy is shared by several pipelines, what it does for the others is heard too;
        ``event.pipeline`` tells which one it was. A function that is subscribed in several ways
        hears each event once.

        Args:
            listener: a plain function of one :class:`~seawall.events.Event`. It is called where the
                event happens, so it must be quick, and must not block. What it raises is logged.

        Returns:
            what ends it: ``subscription.unsubscribe()``, or ``with policy.subscribe(listener):``.

        Raises:
            UsageError: the listener is not callable, or is an async function.
        """
        check_listener(listener)
        subscription = Subscription(listener, self._unsubscribe)
        for speaker in self.speakers():
            speaker.add_listener(subscription)
        return subscription

    def _unsubscribe(self, subscription: Subscription) -> None:
        for speaker in self.speakers():
            speaker.remove_listener(subscription)

    def speakers(self) -> Iterator[Policy]:
        """Yield every policy whose events are heard by those who subscribe to this one."""
        yield self

    def add_listener(self, subscription: Subscription) -> None:
        """Let this policy alone, without those in it, be heard; a second time does nothing."""
        with CHANGING:
            if subscription not in self._listeners:
                object.__setattr__(self, "_listeners", (*self._listeners, subscription))

    def remove_listener(self, subscription: Subscription) -> None:
        """Undo :meth:`add_listener`."""
        with CHANGING:
            others = tuple([other for other in self._listeners if other is not subscription])
            object.__setattr__(self, "_listeners", others)

    def snapshot(self) -> Snapshot:
        """Return what this policy is doing now; it changes nothing."""
        from seawall.core.snapshot import Snapshot  # noqa: PLC0415 - seldom needed

        return Snapshot(policy=type(self).__name__, name=self.name)

    # The three below are no async functions: the frame that calls them is the one to remember.

    def __aenter__(self) -> Coroutine[Any, Any, Attempt]:
        blocks = self._blocks
        if blocks is None:
            blocks = Blocks()
            object.__setattr__(self, "_blocks", blocks)
        return blocks.enter(self, sys._getframe(1))

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, bool]:
        return (self._blocks or Blocks()).exit(sys._getframe(1), error)

    def __aiter__(self) -> Attempts:
        return Attempts(self)


mark_async(Policy.execute)
# What a task shows of the call that it runs, and a warning of one that was never awaited.
Policy._execute.__name__, Policy._execute.__qualname__ = "execute", "Policy.execute"


class OnlyOnce:
    """An awaitable as the function of a call."""

    __slots__ = ("_awaitable", "_begun")

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self._awaitable: Awaitable[Any] | None = awaitable
        self._begun = False

    def __call__(self) -> Awaitable[Any]:
        """Give the awaitable away, once."""
        awaitable = self._awaitable
        if awaitable is None or self._begun:
            message = "an awaitable can run only once, but a policy tried to run it again"
            raise UsageError(message)
        self._begun = True
        return awaitable

    def close(self) -> None:
        """Close a coroutine that never began, so that nothing warns about it."""
        awaitable, self._awaitable = self._awaitable, None
        if not self._begun and isinstance(awaitable, Coroutine):
            awaitable.close()


def _explain_target(target: object, *, with_arguments: bool) -> str:
    if with_arguments:
        return (
            "arguments were given beside an awaitable, which cannot take them.\n"
            "  wrong: await pipeline.execute(fetch(), url)\n"
            "  right: await pipeline.execute(fetch, url)"
        )
    return (
        f"execute() needs a callable that returns an awaitable, or an awaitable, not {target!r}.\n"
        "  wrong: await pipeline.execute(time.sleep(1))\n"
        "  right: await pipeline.execute(asyncio.sleep, 1)"
    )


def _check_decorated(function: object) -> None:
    if not callable(function):
        raise UsageError(_explain_decorated(function))


def _explain_decorated(function: object) -> str:
    if hasattr(function, "__aiter__"):
        return (
            "a pipeline is called with a function to decorate, not with what it yields.\n"
            "  wrong: pipeline(tokens(prompt))\n"
            "  right: pipeline.stream(tokens, prompt)"
        )
    if isawaitable(function):
        if isinstance(function, Coroutine):
            function.close()
        return (
            "a pipeline is called with a function to decorate, not with a coroutine.\n"
            "  wrong: await pipeline(fetch(url))\n"
            "  right: await pipeline.execute(fetch, url)"
        )
    return (
        f"a pipeline decorates async functions, not {function!r}.\n"
        "  right: @pipeline\n"
        "         async def fetch(url): ..."
    )
