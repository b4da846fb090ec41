"""Further attempts where a call failed in a way that may heal."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from seawall.core.checks import check_count, check_number, check_type
from seawall.core.clock import check_move
from seawall.core.errors import DeadlineError, RejectedError
from seawall.core.policy import Policy
from seawall.core.verdict import ExceptionTypes, Kind, check_exception_types, leaves_of
from seawall.policies.retry.backoff import as_backoff, delay_of, exponential
from seawall.policies.retry.budget import RetryBudget

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.core.call import Call, Proceed
    from seawall.core.clock import Loop
    from seawall.core.verdict import Verdict
    from seawall.policies.retry.backoff import Backoff

T = TypeVar("T")

_OWN_BUDGET: Final[Any] = object()
_BACKOFF: Final = exponential(0.1, cap=10.0)
_NOTE: Final = "seawall: "
_TOLD: Final = 12
_SLEPT: Final = "slept "


class Retry(Policy):
    """Repeats a call that failed in a way that may heal, and stops where repeating does harm.

    What may heal is said by the verdict on the attempt. It never sleeps past the deadline of the
    call nor begins an attempt that has no time left; then, and when the attempts or the budget are
    spent, the last error of the dependency itself is raised, with one note that tells the story.
    A result that is judged a failure is repeated likewise, and in the end returned. Cancellations
    are never repeated.

    Args:
        attempts: attempts at most, the first one counted; at least 1.
        backoff: seconds between two attempts: ``exponential()``, ``constant()``, ``linear()``, a
            number, or a callable ``(number of the failed attempt, last delay) -> seconds``.
        on: exception types to repeat in place of the verdict, or a predicate of the exception; of
            a group, all leaves must match.
        budget: what retries are paid from; by default a ``RetryBudget()`` of its own, ``None`` for
            unlimited retries.
        max_retry_after: the longest wait, in seconds, that a server may ask for; beyond it there
            is no further attempt.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        attempts: int = 3,
        *,
        backoff: Backoff | float = _BACKOFF,
        on: ExceptionTypes | Callable[[BaseException], object] | None = None,
        budget: RetryBudget | None = _OWN_BUDGET,
        max_retry_after: float = 30.0,
    ) -> None:
        check_count("attempts", attempts, at_least=1)
        check_number("max_retry_after", max_retry_after, at_least=0, infinite=True)
        if budget is not _OWN_BUDGET:
            check_type("budget", budget, RetryBudget, "a RetryBudget or None", optional=True)
        self.attempts = attempts
        self.backoff = as_backoff(backoff)
        self.budget = RetryBudget() if budget is _OWN_BUDGET else budget
        self.max_retry_after = max_retry_after
        self.on = on
        self._matches = _as_predicate(on)
        self._loop: Loop | None = None

    def __repr__(self) -> str:
        on = "" if self.on is None else f", on={self.on!r}"
        return f"Retry({self.attempts!r}, backoff={self.backoff!r}{on}, budget={self.budget!r})"

    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        """Run the rest of the pipeline, again where that makes sense.

        Raises:
            DeadlineError: no time was left before the first attempt.
        """
        if call.loop is not self._loop:
            self._move(call.loop)
        failed = 0
        delay = 0.0
        # What came last from the dependency itself: a refusal does not hide it.
        real: Exception | None = None
        context: BaseException | None = None
        answered = False
        answer: T | None = None
        try:
            while True:
                try:
                    result = await proceed(call)
                except Exception as error:
                    if (
                        isinstance(error, RejectedError)
                        and call.attempt == 1
                        and self._matches is None
                    ):
                        # What follows would come to the same; in an outage this is the hot path.
                        _record(call, type(error).__name__)
                        raise
                    failed += 1
                    verdict = call.judge_error(error)
                    reached = not all(isinstance(leaf, RejectedError) for leaf in leaves_of(error))
                    step = self._next(call, verdict, error, failed, delay)
                    if reached or (real is None and not answered):
                        if isinstance(step, str):
                            _tell(error, call, step)
                            raise
                        if reached:
                            real, answered = error, False
                            context = error.__context__
                else:
                    if call.classifier is None:
                        budget = self.budget
                        if (
                            budget is not None
                            and budget.tokens < budget.capacity
                            and call.attempt == 1
                        ):
                            budget.earn()
                        return result
                    verdict = call.judge_result(result)
                    if not verdict.retryable:
                        if call.attempt == 1 and verdict.kind is Kind.SUCCESS:
                            self._earn()
                        return result
                    failed += 1
                    step = self._next(call, verdict, None, failed, delay)
                    if isinstance(step, str):
                        return result
                    real, answered, answer = None, True, result
                if isinstance(step, str):
                    # Refused, but an earlier attempt did reach the dependency.
                    if answered:
                        return cast("T", answer)
                    _tell(real, call, step)
                    raise cast("Exception", real)
                if call.open is not None:
                    open_attempt, call.open = call.open, None
                    await open_attempt.discard(verdict)
                delay = step
                if not await call.sleep(delay):
                    if answered:
                        return cast("T", answer)
                    if real is None:
                        raise DeadlineError(policy=self, name=self.name, key=call.key)
                    _tell(real, call, "no time was left")
                    raise real
                call.attempt += 1
        finally:
            if real is not None:
                # Raised later on, it would take on what the caller is handling. An exception may
                # be a frozen dataclass.
                object.__setattr__(real, "__context__", context)
            # The frame is on its traceback.
            real = context = None

    def _next(
        self,
        call: Call[Any],
        verdict: Verdict,
        error: Exception | None,
        failed: int,
        last: float,
    ) -> float | str:
        """Return the seconds until the next attempt, or why there is none."""
        if error is None or self._matches is None:
            retryable = verdict.retryable
        else:
            retryable = all(self._matches(leaf) for leaf in leaves_of(error))
        name = "result" if error is None else type(error).__name__
        if not retryable:
            _record(call, name)
            return f"{name} is not retried" if call.attempt > 1 else ""
        if failed >= self.attempts:
            _record(call, name)
            return ""
        reason = self._obstacle(call, verdict)
        if reason:
            _record(call, name)
            return reason
        delay = delay_of(self.backoff, failed, last)
        asked = verdict.retry_after
        if asked is not None:
            delay = asked + delay if asked > 0 else 0.0
        reason = self._shortage(call, verdict, delay)
        _record(call, name)
        if reason:
            return reason
        if call.story is not None:
            call.story.append(f"{_SLEPT}{delay:.3g} s")
        return delay

    def _obstacle(self, call: Call[Any], verdict: Verdict) -> str:
        if call.single_run is not None:
            return call.single_run
        if call.idempotent is False and not verdict.unprocessed:
            return "the call is not idempotent, and it may have reached the dependency"
        asked = verdict.retry_after
        if asked is not None and asked > self.max_retry_after:
            return f"the server asks to wait {asked:.3g} s, max_retry_after={self.max_retry_after}"
        return ""

    def _shortage(self, call: Call[Any], verdict: Verdict, delay: float) -> str:
        if call.remaining() <= delay:
            return f"no time was left to wait {delay:.3g} s"
        asked_to_wait = verdict.throttled and verdict.retry_after is not None
        if self.budget is None or asked_to_wait or self.budget.spend(call.now()):
            return ""
        return "the retry budget was empty"

    def _earn(self) -> None:
        if self.budget is not None:
            self.budget.earn()

    def _move(self, loop: Loop) -> None:
        check_move(self, self._loop, loop)
        if self.budget is not None:
            self.budget.follow(loop, loop.time())
        self._loop = loop


def _as_predicate(on: Any) -> Callable[[BaseException], object] | None:
    if on is None:
        return None
    if callable(on) and not isinstance(on, type):
        predicate: Callable[[BaseException], object] = on
        return predicate
    check_exception_types("on", on)
    types: ExceptionTypes = on
    return lambda error: isinstance(error, types)


def _record(call: Call[Any], outcome: str) -> None:
    """Tell how an attempt ended, unless a retry further inside has told it."""
    story = call.story
    if story is None:
        call.story = [outcome]
    elif story[-1].startswith(_SLEPT):
        story.append(outcome)
        if len(story) > 2 * _TOLD:
            # Of a long story, the beginning and the end are told.
            story[_TOLD : _TOLD + 3] = ["..."]


def _tell(error: BaseException | None, call: Call[Any], reason: str) -> None:
    """Put the one note on an error, in place of an earlier one."""
    if error is None or (call.attempt == 1 and not reason):
        return
    attempts = "1 attempt" if call.attempt == 1 else f"{call.attempt} attempts"
    story = ", ".join(call.story or ())
    note = f"{_NOTE}gave up after {attempts}: {story}{'; ' if reason else ''}{reason}"
    notes: Any = getattr(error, "__notes__", None)
    others: list[object] = []
    if isinstance(notes, list):
        others = [text for text in cast("list[object]", notes) if not _is_ours(text)]
    # An exception may be a frozen dataclass, or have no room for notes.
    with suppress(AttributeError, TypeError):
        object.__setattr__(error, "__notes__", [*others, note])


def _is_ours(note: object) -> bool:
    return isinstance(note, str) and note.startswith(_NOTE)
