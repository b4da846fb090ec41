"""A limit on how many calls run at a time, learned from how they end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from math import inf, isnan
from typing import TYPE_CHECKING, Any, Final, TypeVar

from seawall.core import lazy_events as events
from seawall.core.checks import check_count
from seawall.core.observe import is_heard, tell_change
from seawall.core.slot_policy import SlotPolicy
from seawall.core.snapshot import Snapshot
from seawall.core.verdict import Kind, status_of
from seawall.policies.adaptive_limit.estimate import Estimate

if TYPE_CHECKING:
    from seawall.core.call import Call, Proceed
    from seawall.core.clock import Loop
    from seawall.core.verdict import Verdict
    from seawall.core.waiting import Slots
    from seawall.policies.adaptive_limit.estimate import Reason

T = TypeVar("T")

_SUCCESS, _FAILURE = Kind.SUCCESS, Kind.FAILURE

# Seconds for which a limit that had to shrink is not forgotten.
_REMEMBERED: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveLimitSnapshot(Snapshot):
    """The state of an :class:`AdaptiveLimit`.

    Attributes:
        limit: calls that may run at a time now.
        minimum: what the limit never falls below.
        maximum: what the limit never exceeds.
        in_flight: calls that hold a slot now; more than the limit where that has shrunk.
        waiting: calls that wait for one.
        rejected: calls that it has refused.
        reason: why the limit last moved: ``"initial"`` (it has not), ``"grew"``, ``"latency"``,
            ``"timeouts"`` or ``"throttled"``.
        learning: whether it grows fast, for no sign of overload was seen yet.
        long_latency: the usual latency in seconds; ``None`` while unknown.
        short_latency: the mean latency lately, in seconds; ``None`` while unknown.
    """

    limit: int
    minimum: int
    maximum: int
    in_flight: int
    waiting: int
    rejected: int
    reason: Reason
    learning: bool
    long_latency: float | None
    short_latency: float | None


class AdaptiveLimit(SlotPolicy):
    """Lets as many calls run at a time as the dependency can take, which it finds out.

    The limit grows while calls that fill it are answered in about the usual time, and shrinks when
    they take more than twice as long, when more than 5 % of them time out, or when the dependency
    asks for less (429, 503). It adjusts once in a second, at most; only at the start, until the
    first sign of overload, it grows with each answer, to twice its size in a second. An error that
    comes fast moves nothing. Where the limit is reached, a call waits for a slot in order of
    arrival.

    Latency is measured from the moment when a call gets its slot to the moment when its function
    returns. A response that is still open then (HTTP bodies) holds its slot until its end, and is
    a timeout if it breaks off with one; how long it took to read says nothing. The policy belongs
    inside ``Retry`` and ``CircuitBreaker``, and outside the ``Timeout`` of the attempt. After
    Netflix' concurrency-limits.

    Args:
        initial: calls at a time at the start, from ``minimum`` to ``maximum``.
        minimum: what the limit never falls below, at least 1.
        maximum: what it never exceeds, at least ``minimum``.
        max_wait: seconds that a call may wait for a slot; ``None`` for as long as the timeouts
            around it allow.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        initial: int = 10,
        *,
        minimum: int = 1,
        maximum: int = 1000,
        max_wait: float | None = 0.25,
    ) -> None:
        check_count("minimum", minimum, at_least=1)
        check_count("maximum", maximum, at_least=minimum)
        check_count("initial", initial, at_least=minimum, at_most=maximum)
        super().__init__(initial, queue=inf, max_wait=max_wait)
        self.initial = initial
        self.minimum = minimum
        self.maximum = maximum
        self._estimate = Estimate(initial, minimum, maximum)

    def __repr__(self) -> str:
        return (
            f"AdaptiveLimit({self.initial!r}, minimum={self.minimum!r}, maximum={self.maximum!r}, "
            f"max_wait={self.max_wait!r})"
        )

    @property
    def limit(self) -> int:
        """Calls that may run at a time now."""
        return self._estimate.limit

    def snapshot(self) -> AdaptiveLimitSnapshot:
        """Return the limit, why it last moved, and how full it is; it changes nothing."""
        estimate = self._estimate
        return AdaptiveLimitSnapshot(
            policy=type(self).__name__,
            name=self.name,
            limit=estimate.limit,
            minimum=self.minimum,
            maximum=self.maximum,
            in_flight=self.in_flight,
            waiting=self.waiting,
            rejected=self.rejected,
            reason=estimate.reason,
            learning=estimate.learning,
            long_latency=None if isnan(estimate.long) else estimate.long,
            short_latency=None if isnan(estimate.short) else estimate.short,
        )

    def matters(self, now: float) -> bool:
        """Say whether the limit is below the initial one, and moved in the last 60 s."""
        estimate = self._estimate
        return estimate.limit < self.initial and now - estimate.moved < _REMEMBERED

    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        """Run the rest of the pipeline while holding a slot.

        Raises:
            BulkheadFullError: no slot was free, nor within ``max_wait``.
        """
        loop = call.loop
        if loop is not self._loop:
            self._move(loop)
        slots = self._slots
        # Written out, as in `Bulkhead`.
        if slots.in_flight < slots.limit and not slots.queue:
            slots.in_flight += 1
        else:
            await self._wait(slots, call)
        granted = loop.time()
        try:
            result = await proceed(call)
        except BaseException as error:
            self._settle_error(call, slots, granted, error)
            raise
        if call.classifier is not None or call.open is not None:
            self._settle_result(call, slots, granted, result)
            return result
        before = slots.limit
        if slots is self._slots:
            estimate, now = self._estimate, loop.time()
            if estimate.answered(now - granted, slots.in_flight, now):
                slots.limit = estimate.limit
        slots.in_flight -= 1
        if slots.queue:
            slots.grant()
        if slots.limit != before:
            self._tell_change(before, loop)
        return result

    def _settle_error(
        self, call: Call[Any], slots: Slots, granted: float, error: BaseException
    ) -> None:
        before = slots.limit
        try:
            self._learn(call, slots, granted, call.judge_error(error), error)
        finally:
            slots.release()
        if slots.limit != before:
            self._tell_change(before, call.loop)

    def _settle_result(self, call: Call[Any], slots: Slots, granted: float, result: object) -> None:
        before = slots.limit
        opened = call.open
        deferred = False
        try:
            verdict = call.judge_result(result)
            self._learn(call, slots, granted, verdict, result)
            deferred = opened is not None
        finally:
            if not deferred:
                slots.release()
        if opened is not None:
            if verdict.kind is _SUCCESS:
                opened.on_settle(partial(self._settle_body, slots, granted, call.loop))
            opened.on_release(slots.release)
        if slots.limit != before:
            self._tell_change(before, call.loop)

    def _settle_body(self, slots: Slots, granted: float, loop: Loop, verdict: Verdict) -> None:
        if verdict.timed_out and slots is self._slots:
            before, in_flight, now = slots.limit, slots.in_flight, loop.time()
            if self._estimate.lost("timeouts", in_flight, now, sent=granted, counted=True):
                slots.limit = self._estimate.limit
                self._tell_change(before, loop)

    def _learn(
        self, call: Call[Any], slots: Slots, granted: float, verdict: Verdict, outcome: object
    ) -> None:
        """Let the estimate hear how an attempt ended, and go by the limit that it comes to."""
        if slots is not self._slots:
            # Begun on a loop that is gone, by another clock.
            return
        estimate, in_flight, now = self._estimate, slots.in_flight, call.now()
        kind = verdict.kind
        if verdict.throttled or (kind is _FAILURE and status_of(outcome) == _UNAVAILABLE):
            moved = estimate.lost("throttled", in_flight, now, sent=granted)
        elif kind is _SUCCESS:
            moved = estimate.answered(now - granted, in_flight, now)
        elif kind is _FAILURE:
            if verdict.timed_out:
                moved = estimate.lost("timeouts", in_flight, now, sent=granted)
            else:
                moved = estimate.failed(in_flight, now)
        else:
            estimate.saw(in_flight)
            moved = False
        if moved:
            slots.limit = estimate.limit
            slots.grant()

    def _tell_change(self, before: int, loop: Loop) -> None:
        if not is_heard(self):
            return
        estimate = self._estimate
        tell_change(
            self,
            loop.time(),
            events.LimitChanged,
            before=before,
            after=estimate.limit,
            reason=estimate.reason,
        )

    def _move(self, loop: Loop) -> None:
        super()._move(loop)
        self._estimate.restart(loop.time())


_UNAVAILABLE: Final = HTTPStatus.SERVICE_UNAVAILABLE
