"""What policies do, as events: see :func:`seawall.subscribe` and ``Policy.subscribe``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from seawall.core.json_ready import JsonReady

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(JsonReady):
    """One thing that happened.

    Attributes:
        time: when, in seconds of the event loop's clock.
        policy: the class name of the policy that tells of it.
        name: the name of that policy, if it has one.
        pipeline: the name of the pipeline that the caller used, if it has one.
        key: the key of the call, or of the circuit in a ``Keyed``, if there is one.
        attempt: the number of the attempt, counted from 1; 0 where no call is concerned.
        tags: what the caller gave by ``bind(tags=...)``.
    """

    time: float
    policy: str
    name: str | None = None
    pipeline: str | None = None
    key: Any = None
    attempt: int = 0
    tags: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitEvent(Event):
    """A circuit changed its state.

    A circuit may serve several pipelines, and controls change it too, so this names neither a
    pipeline nor an attempt.

    Attributes:
        before: the state before.
        after: the state after.
        trigger: what made it change, in words.
        lasted: seconds that the state before lasted; ``None`` if it was the first one.
    """

    before: str
    after: str
    trigger: str
    lasted: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitOpened(CircuitEvent):
    """A circuit opened, or an open one was tripped again.

    Attributes:
        failures: failures in the evidence.
        calls: calls in the evidence.
        cause: type name of the last error; ``"stalled"`` where calls got no answer at all.
        open_for: seconds until a probe may be let through.
    """

    failures: int
    calls: int
    cause: str | None
    open_for: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitHalfOpened(CircuitEvent):
    """The open time is over, and the first probe is let through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitClosed(CircuitEvent):
    """A circuit lets all calls pass again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitIsolated(CircuitEvent):
    """A circuit was told to refuse all calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRefused(Event):
    """A policy refused a call, which never reached the dependency.

    Attributes:
        error: type name of the error that the caller gets.
        retry_after: seconds until a further try makes sense; ``None`` if unknown.
        shadow: whether the call was let pass all the same, as the shadow mode does.
    """

    error: str
    retry_after: float | None = None
    shadow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallQueued(Event):
    """A call waits for a slot or a turn.

    Attributes:
        waiting: calls that wait now, this one included.
    """

    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitChanged(Event):
    """An ``AdaptiveLimit`` lets more calls, or fewer, run at a time.

    Attributes:
        before: the limit before.
        after: the limit after.
        reason: what moved it: ``"grew"``, ``"latency"``, ``"timeouts"`` or ``"throttled"``.
    """

    before: int
    after: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimiterPaused(Event):
    """The server has throttled an attempt, and all calls of a rate limiter pause, or pause longer.

    Attributes:
        retry_after: seconds that the server asked for.
        paused_for: seconds until the pause ends.
        waiting: calls that wait now.
    """

    retry_after: float
    paused_for: float
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed(Event):
    """An attempt failed, or returned a result that is to be retried.

    Attributes:
        error: type name of the error; ``"result"`` for a result.
        kind: the verdict: ``"success"``, ``"failure"`` or ``"neutral"``.
        retryable: whether the verdict says that a further attempt may help.
    """

    error: str
    kind: str
    retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled(Event):
    """Another attempt will be made.

    Attributes:
        error: type name of the error of this attempt; ``"result"`` for a result.
        delay: seconds until the next attempt.
    """

    error: str
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryNotMade(Event):
    """No further attempt will be made, although this one failed.

    Attributes:
        error: type name of the error of this attempt; ``"result"`` for a result.
        reason: why, in words.
    """

    error: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut(Event):
    """A ``Timeout`` ended a call.

    Attributes:
        seconds: the timeout.
        overrun: seconds from the timeout until the call had ended: how long its cleanup took.
    """

    seconds: float
    overrun: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeStarted(Event):
    """A further attempt begins beside one that takes long.

    Attributes:
        delay: seconds that the attempt before it had.
    """

    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeNotMade(Event):
    """A call is not hedged: it cannot be, or the budget does not allow it now.

    Attributes:
        reason: why, in words.
    """

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeEnded(Event):
    """A hedge has ended.

    Attributes:
        outcome: ``"won"``, ``"lost"`` (another attempt was faster), ``"failed"``, or ``"gave_way"``
            (a policy inside refused it, or would have let it wait).
        error: type name of its error, if it has one.
    """

    outcome: Literal["won", "lost", "failed", "gave_way"]
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackUsed(Event):
    """A ``Fallback`` answers in place of a call.

    Attributes:
        error: type name of the error that it answers for.
    """

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LastGoodServed(Event):
    """A ``LastGood`` serves the last good value in place of a call that failed.

    Attributes:
        error: type name of the error; ``"result"`` for a result.
        age: seconds since the value came.
    """

    error: str
    age: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFinished(Event):
    """A call has ended.

    For a call whose response is still open (HTTP bodies), that is when its response began, and for
    a stream when its first item came.

    Attributes:
        outcome: ``"returned"``, ``"raised"``, ``"rejected"`` or ``"cancelled"``.
        error: type name of the error, if there is one.
        duration: seconds, with all waits and attempts.
        attempts: how many attempts were begun.
    """

    outcome: Literal["returned", "raised", "rejected", "cancelled"]
    error: str | None
    duration: float
    attempts: int
