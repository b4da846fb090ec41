"""What an outcome means: one verdict per attempt, read by every policy.

Classifying is separate from reacting: a :class:`Classifier` says what happened, and a circuit,
a retry or a limit decides what to do about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeGuard, cast

from seawall.core.errors import UsageError
from seawall.core.retry_after import retry_after_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ExceptionTypes: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]


class Kind(Enum):
    """What a circuit counts."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


class Verdict(NamedTuple):
    """The meaning of one attempt.

    Attributes:
        kind: what a circuit counts.
        retryable: whether a further attempt makes sense.
        throttled: whether the server asked for less traffic (429, 529, 503 with ``Retry-After``).
        retry_after: seconds to wait before the next attempt; 0.0 means at once, ``None`` that
            nothing is known.
        unprocessed: whether it is known that the dependency did no work, so that even a call
            that is not idempotent may be repeated.
        timed_out: whether the dependency gave no answer in the time that it was given, which says
            that it is too slow and not only that it fails.
    """

    kind: Kind
    retryable: bool = False
    throttled: bool = False
    retry_after: float | None = None
    unprocessed: bool = False
    timed_out: bool = False


SUCCESS = Verdict(Kind.SUCCESS)
FAILURE = Verdict(Kind.FAILURE, retryable=True)
NEUTRAL = Verdict(Kind.NEUTRAL)

PROGRAMMING_ERRORS = (
    TypeError,
    AttributeError,
    NameError,
    AssertionError,
    NotImplementedError,
)


class Outcome(NamedTuple):
    """How one attempt ended: with a value, or with an exception.

    Attributes:
        value: what the function returned; ``None`` if it raised.
        exception: what it raised; ``None`` if it returned.
    """

    value: Any = None
    exception: BaseException | None = None


Classify: TypeAlias = "Callable[[Outcome], Verdict]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """Rules that say what an outcome means.

    Args:
        failures: exception types that are a FAILURE; every other exception is then a SUCCESS
            (the dependency answered), programming errors excepted. By default each ``Exception``
            is a FAILURE, or is judged by the HTTP status that it carries.
        ignore: exception types that are NEUTRAL and not retried.
        results: called with the value of an attempt; true makes it a FAILURE that is retried and,
            when the attempts are spent, returned as it is.
        retry_after: called with the exception, or with the value of a failed result; returns the
            seconds to wait before the next attempt, or ``None``.

    Raises:
        TypeError: an argument is of the wrong type.
    """

    failures: ExceptionTypes | None = None
    ignore: ExceptionTypes = ()
    results: Callable[[Any], object] | None = None
    retry_after: Callable[[Any], float | None] | None = None

    def __post_init__(self) -> None:
        if self.failures is not None:
            check_exception_types("failures", self.failures)
        check_exception_types("ignore", self.ignore)
        for name in ("results", "retry_after"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                message = f"{name} must be callable or None, not {value!r}"
                raise TypeError(message)

    def __call__(self, outcome: Outcome) -> Verdict:
        """Judge one outcome of the function itself."""
        error = outcome.exception
        if error is None:
            if self.results is None or not self.results(outcome.value):
                return SUCCESS
            verdict = FAILURE
        else:
            verdict = self._judge_error(error)
        if self.retry_after is not None and verdict.retryable:
            seconds = self.retry_after(outcome.value if error is None else error)
            check_wait(seconds, self)
            if seconds is not None:
                verdict = verdict._replace(retry_after=max(0.0, seconds))
        return verdict

    def _judge_error(self, error: BaseException) -> Verdict:
        verdict = judge_exception(error)
        if isinstance(error, self.ignore):
            return NEUTRAL
        if self.failures is None:
            return verdict
        if isinstance(error, self.failures):
            answered = status_of(error) is not None
            return verdict._replace(
                kind=Kind.FAILURE, retryable=verdict.retryable if answered else True
            )
        return verdict if isinstance(error, PROGRAMMING_ERRORS) else SUCCESS


def judge_exception(error: BaseException) -> Verdict:
    """Judge an exception that came from the function, by the default rules."""
    if isinstance(error, PROGRAMMING_ERRORS):
        return NEUTRAL
    status = status_of(error)
    if status is not None:
        return judge_status(status, retry_after_of(error))
    if isinstance(error, ConnectionRefusedError):
        return FAILURE._replace(unprocessed=True)
    return FAILURE._replace(timed_out=True) if is_timeout(error) else FAILURE


def is_timeout(error: BaseException) -> bool:
    """Say whether an exception is a ``TimeoutError``, or was raised from one, as clients do."""
    cause: BaseException | None = error
    for _ in range(_DEEPEST_CAUSE):
        if cause is None:
            break
        if isinstance(cause, TimeoutError):
            return True
        cause = cause.__cause__
    return False


_DEEPEST_CAUSE: Final = 8


def status_of(outcome: object) -> int | None:
    """Return the HTTP status from 400 to 599 that an exception or a result carries, or ``None``."""
    try:
        response = getattr(outcome, "response", None)
        for holder, name in (
            (outcome, "status_code"),
            (outcome, "status"),
            (response, "status_code"),
        ):
            status = getattr(holder, name, None)
            if isinstance(status, int) and not isinstance(status, bool):
                return int(status) if 400 <= status <= 599 else None
    except Exception:
        # A foreign object's attributes may do whatever they like.
        return None
    return None


def judge_status(status: int, retry_after: float | None = None) -> Verdict:
    """Judge an HTTP status from 400 to 599.

    Args:
        status: the status code.
        retry_after: seconds that the server asked the client to wait, if it did.
    """
    if status in {HTTPStatus.TOO_MANY_REQUESTS, 529}:
        return Verdict(Kind.NEUTRAL, True, True, retry_after, True)  # noqa: FBT003
    if status in {HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED}:
        return SUCCESS
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        asked = status == HTTPStatus.SERVICE_UNAVAILABLE and retry_after is not None
        return FAILURE._replace(throttled=asked, retry_after=retry_after)
    retryable = status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY}
    return SUCCESS._replace(retryable=retryable, retry_after=retry_after if retryable else None)


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """Judge an exception group by the verdicts of its leaves."""
    leaves = list(verdicts)
    kinds = {leaf.kind for leaf in leaves}
    kind = Kind.SUCCESS
    if Kind.FAILURE in kinds:
        kind = Kind.FAILURE
    elif kinds == {Kind.NEUTRAL}:
        kind = Kind.NEUTRAL
    waits = [leaf.retry_after for leaf in leaves if leaf.retry_after is not None]
    return Verdict(
        kind,
        retryable=all(leaf.retryable for leaf in leaves),
        throttled=any(leaf.throttled for leaf in leaves),
        retry_after=max(waits, default=None),
        unprocessed=all(leaf.unprocessed for leaf in leaves),
        timed_out=any(leaf.timed_out for leaf in leaves),
    )


def is_group(error: BaseException) -> TypeGuard[BaseExceptionGroup[BaseException]]:
    """Say whether an exception is a group of others."""
    return isinstance(error, BaseExceptionGroup)


def leaves_of(error: BaseException) -> list[BaseException]:
    """Return the leaves of an exception group, or the exception itself."""
    if is_group(error):
        return [leaf for member in error.exceptions for leaf in leaves_of(member)]
    return [error]


def check_exception_types(parameter: str, value: object) -> None:
    """Raise ``TypeError`` unless the value is an exception type or a tuple of them."""
    types = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
    for item in types:
        if not (isinstance(item, type) and issubclass(item, BaseException)):
            message = f"{parameter} must be an exception type or a tuple of them, not {value!r}"
            raise TypeError(message)


def check_verdict(verdict: object, classify: object) -> Verdict:
    """Return what a classifier said, or show how to write one if it said something else."""
    if isinstance(verdict, Verdict):
        if not isinstance(verdict.kind, Kind):
            message = f"the classifier {classify!r} returned {verdict!r}, whose kind is no Kind"
            raise UsageError(message)
        check_wait(verdict.retry_after, classify)
        return verdict
    message = (
        f"the classifier {classify!r} returned {verdict!r}, not a Verdict.\n"
        "  wrong: classify=lambda outcome: outcome.value.status >= 500\n"
        "  right: classify=Classifier(results=lambda value: value.status >= 500)"
    )
    raise UsageError(message)


def check_wait(seconds: object, source: object) -> None:
    """Raise ``UsageError`` unless these are seconds to wait, or ``None``."""
    if seconds is None:
        return
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or seconds != seconds:  # noqa: PLR0124 - only NaN differs from itself
        message = f"retry_after of {source!r} must be a number of seconds or None, not {seconds!r}"
        raise UsageError(message)
