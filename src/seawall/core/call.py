"""One call: everything that belongs to it, and to it alone.

Policies hold only what all calls share. What one call needs, its attempt number, its deadline, the
tickets it holds, the verdict on its last outcome, is on its :class:`Call`.
"""

from __future__ import annotations

from asyncio import CancelledError, get_running_loop, sleep
from collections.abc import Awaitable, Callable
from contextlib import suppress
from inspect import isawaitable
from math import inf
from types import CoroutineType, MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeAlias, TypeVar

import anyio

from seawall.core.clock import trio_loop
from seawall.core.deadline import any_fired, current_scope, earliest, has_ended, live
from seawall.core.errors import CallTimeoutError, DeadlineError, RejectedError, UsageError
from seawall.core.verdict import (
    FAILURE,
    NEUTRAL,
    SUCCESS,
    Kind,
    Outcome,
    Verdict,
    check_verdict,
    combine,
    is_group,
    judge_exception,
    leaves_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seawall.core.clock import Loop
    from seawall.core.deadline import Scope
    from seawall.core.open_attempt import OpenAttempt
    from seawall.core.policy import Policy
    from seawall.core.verdict import Classify
    from seawall.core.waiting import Waiter

T = TypeVar("T")

Pause: TypeAlias = Callable[[], Awaitable[object]]


class Held(Protocol):
    """A ticket of a circuit that the call holds, as waiting sees it."""

    outer: Any

    def waits(self, waiter: Waiter) -> None:
        """Hear that the call waits for its turn."""

    def goes_on(self, waiter: Waiter, now: float) -> None:
        """Hear that the call waits no longer, and what time it is."""


class Call(Generic[T]):
    """One call on its way through a pipeline.

    Attributes:
        function: what the innermost step runs, with ``args`` and ``kwargs``.
        attempt: number of the current attempt of the call, counted from 1.
        deadline: loop time at which the innermost enclosing timeout ends; ``inf`` if there is none.
        loop: the loop that the call runs on; it has the clock.
        on_asyncio: whether that loop is asyncio's.
        classifier: what judges the outcomes; ``None`` for the default rules.
        key: what :class:`~seawall.Keyed` chooses a policy by.
        idempotent: ``False`` if only what never reached the dependency may be repeated.
        tags: what the caller wants to find again in events.
        pipeline: the pipeline or policy that the caller used.
        open: set by a function that returns while its attempt goes on.
        single_run: why the function can run only once, if so.
        ticket: the innermost ticket of a circuit that the call holds.
        scope: the innermost timeout around the call.
        is_block: whether a block or loop runs in place of a function.
        in_body: whether the body of that block has begun in this attempt.
        is_stream: whether the function yields items, and returns when the first one is there.
    """

    # Slots, not class-level defaults: on 3.11 and 3.12 reading a default costs three times as much,
    # and each policy reads several.
    __slots__ = (
        "_judged",
        "_verdict",
        "args",
        "attempt",
        "classifier",
        "deadline",
        "function",
        "idempotent",
        "in_body",
        "is_block",
        "key",
        "kwargs",
        "loop",
        "on_asyncio",
        "open",
        "pauses",
        "pipeline",
        "scope",
        "single_run",
        "story",
        "tags",
        "ticket",
        "unjudged",
    )

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    attempt: int
    deadline: float
    loop: Loop
    on_asyncio: bool
    classifier: Classify | None
    key: Any
    idempotent: bool | None
    tags: Mapping[str, Any] | None
    pipeline: Policy | None
    open: OpenAttempt | None
    single_run: str | None
    ticket: Held | None
    scope: Scope | None
    is_block: bool
    in_body: bool
    pauses: Pause | None
    story: list[str] | None
    unjudged: bool
    _judged: object
    _verdict: Verdict | None

    is_stream: ClassVar[bool] = False

    def begin(
        self,
        function: Callable[..., Any] | None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = MappingProxyType({}),
        loop: Loop | None = None,
    ) -> None:
        """Set every field: a new call on the running loop, with the caller's deadline.

        With the asyncio loop that it is on, it has no deadline yet. Without a function, that is a
        method of its class: bound and kept, it would make a cycle of each call.

        It does the work of an ``__init__``, which on 3.11 and 3.12 is called by way of C and
        takes as long again.

        Raises:
            UsageError: no event loop is running.
            DeadlineError: the deadline of the calling code has passed.
        """
        if function is not None:
            self.function = function
        self.args = args
        self.kwargs = kwargs
        self.attempt = 1
        self.deadline = inf
        self.on_asyncio = True
        self.classifier = None
        self.key = None
        self.idempotent = None
        self.tags = None
        self.pipeline = None
        self.open = None
        self.single_run = None
        self.ticket = None
        self.scope = None
        self.is_block = False
        self.in_body = False
        self.pauses = None
        self.story = None
        self.unjudged = False
        self._judged = None
        self._verdict = None
        if loop is not None:
            self.loop = loop
            return
        try:
            self.loop = get_running_loop()
        except RuntimeError:
            self.loop = trio_loop()
            self.on_asyncio = False
        scope = current_scope.get()
        if scope is not None:
            self._inherit(scope)

    def __copy__(self) -> Self:
        """Return a twin for an attempt beside this one; what a subclass has as a method stays one.

        As the default does it, the twin would get the bound method of the original.
        """
        kind = type(self)
        twin = kind.__new__(kind)
        for name in Call.__slots__:
            if getattr(kind, name) is getattr(Call, name):
                setattr(twin, name, getattr(self, name))
        if kind is not Call:
            vars(twin).update(vars(self))
        return twin

    def _inherit(self, scope: Scope) -> None:
        self.scope = live(scope, self.loop)
        self.deadline = earliest(self.scope, self.loop)
        if self.deadline <= self.loop.time():
            raise DeadlineError(key=self.key)

    def fail(self) -> None:
        """End a call that raises: nothing of it may stay open, or refer to the exception."""
        if self.open is not None:
            self.open.end(self._verdict or NEUTRAL)
            self.open = None
        self._judged = self._verdict = self.story = None

    def alone(self) -> str | None:
        """Return why no second attempt may run beside the first one; ``None`` if it may."""
        if self.single_run is not None:
            return self.single_run
        if self.is_block:
            return "a loop runs its body again, but never twice at a time"
        if self.is_stream:
            return "a stream is read on in the task in which it began"
        return "the call is not idempotent" if self.idempotent is False else None

    def give_up(self, reason: str) -> None:
        """Hear why no further attempt follows a result that is returned though it is no success."""

    def adopt(self, copy: Call[T]) -> None:
        """Take over how an attempt ended that ran on a copy: its verdict, and what it left open."""
        self.open = copy.open
        self._judged = copy._judged
        self._verdict = copy._verdict

    def now(self) -> float:
        """Return the loop's time in seconds."""
        return self.loop.time()

    def remaining(self) -> float:
        """Return the seconds until the deadline, negative once it has passed; ``inf`` without one.

        A deadline that was set by the calling code ends with it, so that is looked at anew.
        """
        if self.deadline == inf:
            return inf
        if has_ended(self.scope, self.deadline):
            self.deadline = earliest(self.scope, self.loop)
        return self.deadline - self.loop.time()

    def total_deadline(self) -> float:
        """Return the loop time at which the outermost timeout around the call ends."""
        when = inf
        scope, loop = self.scope, self.loop
        while scope is not None:
            if scope.when < inf and not scope.ended and scope.loop is loop:
                when = scope.when
            scope = scope.outer
        return when

    async def answer(self, answer: Any, what: str) -> Any:  # noqa: ARG002 - streams name it
        """Return what a policy answers with in place of the function, as the caller will get it.

        Args:
            answer: the answer.
            what: says in an error where it comes from: "a policy answered with".
        """
        return answer

    def judge_result(self, value: object) -> Verdict:
        """Return the verdict on what the current attempt returned."""
        classify = self.classifier
        if classify is None or self.unjudged:
            return SUCCESS
        if self._verdict is None or value is not self._judged:
            self._remember(value, self._ask(classify, Outcome(value=value)))
        return self._verdict or SUCCESS

    def judge_error(self, error: BaseException) -> Verdict:
        """Return the verdict on what the current attempt raised."""
        verdict = self._verdict
        if verdict is None or error is not self._judged:
            if is_group(error):
                verdict = combine(self._judge(leaf) for leaf in leaves_of(error))
            else:
                verdict = self._judge(error)
            self._remember(error, verdict)
        return verdict

    def forget_verdict(self) -> None:
        """Forget the verdict on the last attempt: another one begins."""
        self._judged = self._verdict = None

    def _remember(self, outcome: object, verdict: Verdict) -> None:
        self._judged = outcome
        self._verdict = verdict

    def _judge(self, error: BaseException) -> Verdict:
        if not isinstance(error, Exception):
            return self._judge_cancellation(error)
        if isinstance(error, RejectedError):
            return Verdict(Kind.NEUTRAL, retry_after=error.retry_after, unprocessed=True)
        if isinstance(error, UsageError):
            return NEUTRAL
        if isinstance(error, CallTimeoutError):
            return FAILURE._replace(retryable=error.phase != "stalled", timed_out=True)
        if self.classifier is None:
            return judge_exception(error)
        return self._ask(self.classifier, Outcome(exception=error))

    def _judge_cancellation(self, error: BaseException) -> Verdict:
        hung = is_cancellation(error) and not has_waited(error) and any_fired(self.scope, self.loop)
        return Verdict(Kind.FAILURE, timed_out=True) if hung else NEUTRAL

    def _ask(self, classify: Classify, outcome: Outcome) -> Verdict:
        try:
            return check_verdict(classify(outcome), classify)
        except BaseException as raised:
            self._remember(raised, NEUTRAL)
            raise

    async def turn(self, waiter: Waiter, until: float = inf) -> bool:
        """Wait for a turn; every wait of a policy goes through here.

        The tickets that the call holds hear that it waits, so that a circuit that opens can refuse
        it. Returns whether the turn was granted by ``until`` (loop time).

        Raises:
            DeadlineError: it was granted, but when it was too late to begin.
        """
        ticket = held = self.ticket
        while ticket is not None:
            ticket.waits(waiter)
            ticket = ticket.outer
        try:
            await waiter.wait(until, on_asyncio=self.on_asyncio)
        except BaseException as error:
            # Marked, for all pipelines that it passes: the dependency has no part in this.
            mark_wait(error)
            raise
        finally:
            ticket = held
            while ticket is not None:
                ticket.goes_on(waiter, self.loop.time())
                ticket = ticket.outer
        refusal, waiter.error = waiter.error, None
        if refusal is None:
            # After a loop that was blocked, a turn may come sooner than the timer of a timeout.
            if waiter.granted and self.remaining() <= 0:
                raise DeadlineError(key=self.key)
            return waiter.granted
        try:
            # Marked for the circuit that refused it, which has not told of it yet.
            setattr(refusal, _WAITED, True)
            raise refusal
        finally:
            del refusal

    async def sleep(self, seconds: float) -> bool:
        """Sleep between two attempts; a loop gets its turn first and sleeps when it goes on.

        Returns whether there is time for another attempt. If there is not, it does not sleep.
        """
        if self.pauses is not None:
            await self.pauses()
            if self.remaining() <= seconds:
                return False
        if self.on_asyncio:
            await sleep(seconds)
        else:
            await anyio.sleep(seconds)
        return self.remaining() > 0


_WAITED = "__seawall_waited__"

Proceed: TypeAlias = Callable[[Call[T]], Awaitable[T]]


def has_waited(error: BaseException) -> bool:
    """Say whether an exception ended a call while it waited for its turn."""
    return getattr(error, _WAITED, False)


def mark_wait(error: BaseException) -> None:
    """Mark an exception as one that ended a call while it waited for its turn."""
    with suppress(AttributeError):
        object.__setattr__(error, _WAITED, True)


def forget_wait(error: BaseException) -> None:
    """Take back the mark that :func:`has_waited` reads."""
    vars(error).pop(_WAITED, None)


def is_cancellation(error: BaseException) -> bool:
    """Say whether an exception is asyncio's or trio's cancellation."""
    return isinstance(error, CancelledError) or (
        type(error).__name__ == "Cancelled" and type(error).__module__.startswith("trio")
    )


def judge(error: BaseException, classifier: Classify | None, loop: Loop) -> Verdict:
    """Judge an exception that ended what a call had left open, in the scopes that are live now."""
    call: Call[Any] = Call()
    call.classifier = classifier
    call.loop = loop
    call.scope = current_scope.get()
    call._judged = call._verdict = None
    try:
        return call.judge_error(error)
    finally:
        # What a classifier raises has this frame on its traceback.
        call.forget_verdict()


def invoke(call: Call[T]) -> Awaitable[T]:
    """Run the function of the call: the innermost step of every pipeline."""
    if call._verdict is not None:
        call.forget_verdict()
    kwargs = call.kwargs
    # With an empty mapping it takes four times as long.
    result: Awaitable[T] = (
        call.function(*call.args, **kwargs) if kwargs else call.function(*call.args)
    )
    kind: type[Any] = type(result)
    # What a block awaits is its own.
    if kind is not CoroutineType and not call.is_block:
        check_result(result, call.function)
    return result


def check_result(result: object, function: Callable[..., Any]) -> None:
    """Check what the function of a call returned.

    Raises:
        UsageError: it cannot be awaited.
    """
    if isawaitable(result):
        return
    kind = type(result)
    name = getattr(function, "__qualname__", repr(function))
    if hasattr(result, "__aiter__"):
        message = (
            f"{name} returned {kind.__name__}, which is a stream.\n"
            f"  wrong: await pipeline.execute({name})\n"
            f"  right: async for item in pipeline.stream({name}): ..."
        )
        raise UsageError(message)
    message = (
        f"{name} returned {kind.__name__}, which cannot be awaited.\n"
        f"  wrong: def {name}(...): ...         await pipeline.execute({name})\n"
        f"  right: async def {name}(...): ...   await pipeline.execute({name})\n"
        f"  for blocking code: await pipeline.execute(asyncio.to_thread, {name})"
    )
    raise UsageError(message)
