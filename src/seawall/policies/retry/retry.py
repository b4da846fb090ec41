"""Further attempts where a call failed in a way that may heal."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from seawall.core import lazy_events as events
from seawall.core.budget import RetryBudget
from seawall.core.checks import check_count, check_number, check_type
from seawall.core.clock import check_move
from seawall.core.errors import DeadlineError, RejectedError
from seawall.core.listeners import logger
from seawall.core.observe import is_heard, tell
from seawall.core.policy import Policy
from seawall.core.story import record_attempt, record_sleep, tell_story
from seawall.core.verdict import ExceptionTypes, Kind, check_exception_types, leaves_of
from seawall.policies.retry.backoff import as_backoff, delay_of, exponential

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.core.call import Call, Proceed
    from seawall.core.clock import Loop
    from seawall.core.verdict import Verdict
    from seawall.policies.retry.backoff import Backoff
    from seawall.policies.retry.snapshot import RetrySnapshot

T = TypeVar("T")

_SUCCESS = Kind.SUCCESS
_OWN_BUDGET: Final[Any] = object()
_BACKOFF: Final = exponential(0.1, cap=10.0)
_SPENT: Final = "all attempts are spent"


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
        self.retries = 0
        self._loop: Loop | None = None

    def snapshot(self) -> RetrySnapshot:
        """Return how often it has retried, and what its budget still pays for."""
        from seawall.policies.retry.snapshot import RetrySnapshot  # noqa: PLC0415 - seldom needed

        budget, loop = self.budget, self._loop
        left = None if budget is None else budget.tokens
        if budget is not None and loop is not None and not loop.is_closed():
            left = budget.left(loop, loop.time())
        return RetrySnapshot(
            policy=type(self).__name__,
            name=self.name,
            attempts=self.attempts,
            retries=self.retries,
            budget_left=left,
            budget_capacity=None if budget is None else budget.capacity,
        )

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
                        name = type(error).__name__
                        record_attempt(call, name)
                        if is_heard(self):
                            self._tell_not_made(call, name, f"{name} is not retried")
                        raise
                    failed += 1
                    name = type(error).__name__
                    verdict = call.judge_error(error)
                    reached = not all(isinstance(leaf, RejectedError) for leaf in leaves_of(error))
                    if reached:
                        self._tell_failure(call, verdict, error)
                    step = self._next(call, verdict, error, failed, delay)
                    if reached or (real is None and not answered):
                        if isinstance(step, str):
                            tell_story(error, call, step)
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
                        if call.attempt == 1 and verdict.kind is _SUCCESS:
                            self._earn()
                        return result
                    failed += 1
                    name = "result"
                    self._tell_failure(call, verdict, None)
                    step = self._next(call, verdict, None, failed, delay)
                    if isinstance(step, str):
                        call.give_up(step or _SPENT)
                        return result
                    real, answered, answer = None, True, result
                if isinstance(step, str):
                    # Refused, but an earlier attempt did reach the dependency.
                    if answered:
                        call.give_up(step or _SPENT)
                        return cast("T", answer)
                    tell_story(real, call, step)
                    raise cast("Exception", real)
                if call.open is not None:
                    open_attempt, call.open = call.open, None
                    await open_attempt.discard(verdict)
                delay = step
                if not await call.sleep(delay):
                    if is_heard(self):
                        self._tell_not_made(call, name, "no time was left")
                    if answered:
                        call.give_up("no time was left")
                        return cast("T", answer)
                    if real is None:
                        raise DeadlineError(policy=self, name=self.name, key=call.key)
                    tell_story(real, call, "no time was left")
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
        name = "result" if error is None else type(error).__name__
        record_attempt(call, name)
        step = self._decide(call, verdict, error, failed, last)
        if not isinstance(step, str):
            record_sleep(call, step)
            self.retries += 1
            if logger.isEnabledFor(logging.INFO):
                _log(self, call, name, step)
            if is_heard(self):
                tell(self, call, events.RetryScheduled, error=name, delay=step)
        elif is_heard(self):
            spent = failed >= self.attempts
            reason = _SPENT if spent else f"{name} is not retried"
            self._tell_not_made(call, name, step or reason)
        return step

    def _decide(
        self,
        call: Call[Any],
        verdict: Verdict,
        error: Exception | None,
        failed: int,
        last: float,
    ) -> float | str:
        if error is None or self._matches is None:
            retryable = verdict.retryable
        else:
            retryable = all(self._matches(leaf) for leaf in leaves_of(error))
        if not retryable:
            name = "result" if error is None else type(error).__name__
            return f"{name} is not retried" if call.attempt > 1 else ""
        if failed >= self.attempts:
            return ""
        reason = self._obstacle(call, verdict)
        if reason:
            return reason
        delay = delay_of(self.backoff, failed, last)
        asked = verdict.retry_after
        if asked is not None:
            delay = asked + delay if asked > 0 else 0.0
        return self._shortage(call, verdict, delay) or delay

    def _tell_failure(self, call: Call[Any], verdict: Verdict, error: Exception | None) -> None:
        if is_heard(self):
            name = "result" if error is None else type(error).__name__
            kind = verdict.kind.value
            tell(
                self, call, events.AttemptFailed, error=name, kind=kind, retryable=verdict.retryable
            )

    def _tell_not_made(self, call: Call[Any], error: str, reason: str) -> None:
        tell(self, call, events.RetryNotMade, error=error, reason=reason)

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


def _log(retry: Retry, call: Call[Any], error: str, delay: float) -> None:
    pipeline = None if call.pipeline is None else call.pipeline.name
    context = {
        "seawall_event": "retry_scheduled",
        "seawall_policy": type(retry).__name__,
        "seawall_pipeline": pipeline,
        "seawall_key": call.key,
        "seawall_attempt": call.attempt,
        "seawall_error": error,
        "seawall_delay": delay,
    }
    message = "%sattempt %d failed with %s; the next one is in %.3g s"
    where = "" if pipeline is None else f"{pipeline}: "
    logger.info(message, where, call.attempt, error, delay, extra=context)


def _as_predicate(on: Any) -> Callable[[BaseException], object] | None:
    if on is None:
        return None
    if callable(on) and not isinstance(on, type):
        predicate: Callable[[BaseException], object] = on
        return predicate
    check_exception_types("on", on)
    types: ExceptionTypes = on
    return lambda error: isinstance(error, types)
