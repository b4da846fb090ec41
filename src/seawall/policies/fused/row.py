"""Some policies as one step: one coroutine in place of one for each.

The rules:

1. The fused step has a way of its own only for what is usual: asyncio, a closed circuit, a free
   slot. There nothing waits between the entering of the first policy and the function. All else
   goes the way of the ``run`` of each policy, and so does each attempt after the first.
2. Where a policy is one row and nothing else, its call needs no :class:`Call` up to the moment
   when something goes wrong: what one would hold is in local variables. It is made then, as it
   would have been. A call inside a timeout has one from the start: that one knows what is left.
3. ``run`` says what a policy means. What is written out here is what it does when nothing goes
   wrong; what has gone wrong is handed to the policy's own methods. With one ``try`` inside
   another, each policy hears of just the errors that it would hear of in its ``run``.
"""

# What belongs to one policy is bound where that policy is there, which no checker sees.
# pyright: reportPossiblyUnboundVariable=false, reportOptionalMemberAccess=false
# Results are of any type.
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from asyncio import _get_running_loop as _running_loop
from functools import partial
from math import inf
from types import CoroutineType, MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from seawall.core.call import Call, check_result, invoke
from seawall.core.clock import task_on
from seawall.core.deadline import current_scope, leave
from seawall.core.listeners import SUBSCRIPTIONS
from seawall.core.observe import is_heard
from seawall.core.story import record_attempt
from seawall.core.verdict import SUCCESS, Kind
from seawall.policies.circuit.state import State
from seawall.policies.circuit.ticket import PlainTicket, Ticket
from seawall.policies.circuit.traffic import STEADY_WEIGHT
from seawall.policies.fused.first import First
from seawall.policies.timeout import Timeout
from seawall.policies.timeout.running import Running

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seawall.core.call import Proceed
    from seawall.core.policy import Policy
    from seawall.core.verdict import Verdict
    from seawall.policies.bulkhead import Bulkhead
    from seawall.policies.circuit import CircuitBreaker
    from seawall.policies.rate_limiter import RateLimiter
    from seawall.policies.retry import Retry

T = TypeVar("T")

_CLOSED, _OPEN = State.CLOSED, State.OPEN
_SUCCESS = Kind.SUCCESS
_get_scope, _set_scope, _reset_scope = current_scope.get, current_scope.set, current_scope.reset
_NO_KEYWORDS: Final = MappingProxyType[str, Any]({})
# No loop: on trio, none of asyncio's runs.
_NOWHERE: Final = object()


class FusedRow:
    """Some policies as one step, around the rest of a pipeline.

    Args:
        proceed: the rest of the pipeline.
        total: the outermost policy, if there is one; likewise the others, from outside inwards.
    """

    # Slots and a method, no closures: there may be a pipeline for each of very many keys.
    __slots__ = (
        "_apart",
        "_attempt",
        "_breaker",
        "_bulkhead",
        "_circuit",
        "_lane",
        "_limiter",
        "_line",
        "_loop",
        "_proceed",
        "_retry",
        "_slots",
        "_timeout",
        "_total",
        "_total_lane",
    )

    def __init__(
        self,
        proceed: Proceed[Any],
        *,
        total: Timeout | None = None,
        retry: Retry | None = None,
        limiter: RateLimiter | None = None,
        breaker: CircuitBreaker | None = None,
        bulkhead: Bulkhead | None = None,
        timeout: Timeout | None = None,
    ) -> None:
        self._proceed: Any = proceed
        # What an attempt after the first one runs.
        self._attempt = _linked([limiter, breaker, bulkhead, timeout], proceed)
        # What an unusual call runs.
        self._apart: Any = _linked([total, retry], self._attempt)
        # Not typed further: no checker sees that what one policy needs is there if the policy is.
        self._total: Any = total
        self._retry: Any = retry
        self._limiter: Any = limiter
        self._breaker: Any = breaker
        self._bulkhead: Any = bulkhead
        self._timeout: Any = timeout
        self._circuit: Any = None if breaker is None else breaker._circuit
        # What belongs to the loop that the policies are on. They leave it only once it is closed.
        # A timeout that may have other seconds for each call has no lane here.
        self._loop: Any = _NOWHERE
        self._line: Any = None
        self._slots: Any = None
        self._total_lane: Any = None
        self._lane: Any = None

    async def step(
        self,
        call: Any,
        policy: Any = None,
        function: Any = None,
        args: Any = (),
        kwargs: Any = _NO_KEYWORDS,
    ) -> Any:
        """Run the rest of the pipeline behind all policies of the row.

        Args:
            call: the call; ``None`` for a new one of a policy that is this row and nothing else.
                It is made only if something is to be kept of it.
            policy: the policy that the caller used, if there is no call yet.
            function: what it was given to run, likewise.
            args: positional arguments for the function.
            kwargs: keyword arguments for it.
        """
        loop = self._loop
        if call is None:
            if (
                _running_loop() is not loop
                or _get_scope() is not None
                or (SUBSCRIPTIONS and is_heard(policy))
            ):
                return await policy._execute(function, args, kwargs)
        elif call.loop is not loop:
            if not call.on_asyncio:
                return await self._apart(call)
            self._move(call)
            loop = self._loop
        now = loop.time()
        circuit, slots = self._circuit, self._slots
        line = self._line
        if circuit is not None:
            sent, silence = circuit._sent, circuit._silence
        if (
            (line is not None and (line.queue or not self._limiter._pacer.admit(now, 0.0)))
            or (
                circuit is not None
                and (
                    circuit._state is not _CLOSED
                    or self._breaker._has_extras
                    or (sent and now - silence.youngest > silence.patience)
                )
            )
            or (slots is not None and (slots.in_flight >= slots.limit or slots.queue))
        ):
            raised = self._refuse(call, line, now)
            if raised is not None:
                try:
                    raise raised
                finally:
                    # This frame is on its traceback.
                    del raised
            if call is not None:
                return await self._apart(call)
            call = _make_call(policy, function, args, kwargs, loop)
            try:
                return await self._apart(call)
            except BaseException:
                call.fail()
                raise
        if call is None:
            scope = None
            deadline = inf
        else:
            scope = call.scope
            deadline = call.deadline
        whole = running = first = None
        task: Any = None
        ticket: Any = None
        if self._total is not None:
            lane = self._total_lane
            if lane is None:
                lane = self._total._find_lane(call, loop)
            task = task_on(loop)
            whole = Running()
            whole.cancelling = task.cancelling()
            whole.lane = lane
            whole.loop = loop
            whole.task = task
            whole.when = when = now + lane.seconds
            whole.fired = whole.ended = False
            whole.outer = scope
            whole.outer_deadline = deadline
            scope = whole
            if when < deadline:  # noqa: PLR1730 - `min` is slower
                deadline = when
            if call is not None:
                call.scope = whole
                call.deadline = deadline
            lane.entries[whole] = None
            if lane.timer is None:
                lane.arm(when)
            whole.token = _set_scope(whole)
        if circuit is not None:
            self._breaker._seen = now
            traffic = circuit._traffic
            if traffic is not None:
                gap = now - circuit._latest
                # As in the circuit's `_let_pass`.
                if gap <= traffic.usual:
                    traffic.mean_gap += (gap - traffic.mean_gap) * STEADY_WEIGHT
                else:
                    traffic.learn(gap)
            if call is None:
                ticket = PlainTicket()
            else:
                ticket = Ticket()
                ticket.probe = False
                ticket.first = call.attempt == 1
                ticket.above = None
                ticket.outer = call.ticket
                call.ticket = ticket
            ticket.circuit = circuit
            ticket.generation = circuit.generation
            ticket.start = circuit._latest = now
            sent[ticket] = None
        if slots is not None:
            slots.in_flight += 1
        try:
            try:
                try:
                    try:
                        try:
                            if self._timeout is not None:
                                lane = self._lane
                                if lane is None:
                                    lane = self._timeout._find_lane(call, loop)
                                if task is None:
                                    task = task_on(loop)
                                cancelling = task.cancelling()
                                running = Running()
                                running.lane = lane
                                running.loop = loop
                                running.task = task
                                running.when = when = now + lane.seconds
                                running.fired = running.ended = False
                                running.outer = scope
                                if call is not None:
                                    call.scope = running
                                    if when < deadline:
                                        call.deadline = when
                                lane.entries[running] = None
                                if lane.timer is None:
                                    lane.arm(when)
                                token = _set_scope(running)
                            if call is None:
                                # Without an empty dict it is a tenth quicker.
                                result = function(*args, **kwargs) if kwargs else function(*args)
                                if type(result) is not CoroutineType:
                                    check_result(result, function)
                                result = await result
                            else:
                                result = await self._proceed(call)
                        except BaseException as error:
                            # What was awaited, and may hold this error.
                            result = None
                            if call is None:
                                call = _make_call(policy, function, args, kwargs, loop)
                                call.ticket = ticket
                                call.scope = running or scope
                                call.deadline = deadline
                                if running is not None and running.when < deadline:
                                    call.deadline = running.when
                            if running is not None:
                                running.cancelling = cancelling
                                running.token = token
                                running.outer_deadline = deadline
                                raised = self._timeout._end(running, call, task, error)
                                try:
                                    if raised is not error:
                                        raise raised from error
                                finally:
                                    # This frame is on its traceback.
                                    del raised
                            raise
                    except BaseException as error:
                        if slots is not None:
                            slots.release()
                        if ticket is not None:
                            self._breaker._settle_error(call, ticket, error)
                        raise
                    if running is not None:
                        if running.fired:
                            task.uncancel()
                        del running.lane.entries[running]
                        # Child tasks may keep it in their context for as long as they live.
                        running.ended = True
                        running.task = None
                        if call is not None and call.is_block:
                            leave(running)
                        else:
                            try:
                                _reset_scope(token)
                            except ValueError:
                                leave(running)
                    if call is None:
                        left_open = None
                        is_judged = False
                    else:
                        call.scope = scope
                        call.deadline = deadline
                        if ticket is not None:
                            call.ticket = ticket.outer
                        left_open = call.open
                        # What was found a success already needs no more than one that is none.
                        is_judged = call.classifier is not None and not (
                            call._verdict is SUCCESS and call._judged is result
                        )
                    if slots is not None:
                        if left_open is None:
                            slots.in_flight -= 1
                            if slots.queue:
                                slots.grant()
                        else:
                            left_open.on_release(slots.release)
                    if ticket is not None:
                        if is_judged or left_open is not None:
                            self._breaker._settle_result(call, ticket, result)
                        else:
                            now = loop.time()
                            if (
                                ticket in sent
                                and ticket.generation == circuit._closed_generation
                                and now < circuit._evidence.quiet_until
                                and (call is None or ticket.first)
                                and now - silence.youngest <= silence.usual_lag
                            ):
                                del sent[ticket]
                                if ticket.start > silence.youngest:  # noqa: PLR1730 - `max` is slower
                                    silence.youngest = ticket.start
                                circuit._evidence.quiet += 1
                            else:
                                circuit.settle(ticket, _SUCCESS, now)
                except BaseException as error:
                    if line is not None and line is self._limiter._line:
                        if call is None:
                            call = _make_call(policy, function, args, kwargs, loop)
                            call.scope = scope
                            call.deadline = deadline
                        self._limiter._fail(line, call, error, 1, 0.0, waited=False)
                    raise
                if line is not None and (is_judged or left_open is not None):
                    verdict = call.judge_result(result)
                    self._hear(line, verdict, left_open)
            except Exception as error:
                retry = self._retry
                # One that has gone on to a later loop has no part in a call that this one left.
                if retry is None or retry._loop is not loop:
                    raise
                if call is None:
                    call = _make_call(policy, function, args, kwargs, loop)
                    call.scope = scope
                    call.deadline = deadline
                first = First(self._attempt, error=error)
            else:
                retry = self._retry
                if retry is not None:
                    budget = retry.budget
                    if is_judged:
                        if line is None:
                            verdict = call.judge_result(result)
                        if verdict.kind is not _SUCCESS:
                            budget = None
                        if verdict.retryable and retry._loop is loop:
                            budget = None
                            first = First(self._attempt, result=result)
                            # Beyond the next attempt nobody keeps it.
                            del result
                    if (
                        budget is not None
                        and budget.tokens < budget.capacity
                        and (call is None or call.attempt == 1)
                    ):
                        budget.earn()
            if first is not None:
                result = await retry.run(call, first)
        except BaseException as error:
            raised = error
            if call is None:
                call = _make_call(policy, function, args, kwargs, loop)
                call.scope = scope
            try:
                if whole is not None:
                    raised = self._total._end(whole, call, task, error)
                    if raised is not error:
                        raise raised from error
                raise
            finally:
                if policy is not None:
                    call.fail()
                # This frame is on its traceback, and a task keeps the error that it ends with.
                del raised, task
        if whole is not None:
            if whole.fired:
                task.uncancel()
            del whole.lane.entries[whole]
            whole.ended = True
            whole.task = None
            if call is not None and call.is_block:
                leave(whole)
            else:
                try:
                    _reset_scope(whole.token)
                except ValueError:
                    leave(whole)
            del whole.token
            if call is not None:
                call.scope = whole.outer
                call.deadline = whole.outer_deadline
        return result

    def is_whole(self) -> bool:
        """Say whether it is all of a pipeline, and can run a call that is not made yet."""
        timeouts = (self._total, self._timeout)
        varying = any(each is not None and _varies(each) for each in timeouts)
        return self._proceed is invoke and not varying

    def _hear(self, line: Any, verdict: Verdict, left_open: Any) -> None:
        """Let the limiter hear what the server asks for, now or with the end of the body."""
        if verdict.throttled:
            self._limiter._obey(line, verdict)
        elif left_open is not None and left_open.may_be_throttled:
            left_open.on_settle(partial(self._limiter._obey, line))

    def _move(self, call: Call[Any]) -> None:
        """Have the policies follow the call to its loop."""
        loop: Any = call.loop
        limiter = self._limiter
        if limiter is not None:
            line = limiter._line
            self._line = limiter._move(loop) if line is None or line.loop is not loop else line
        if self._total is not None and not _varies(self._total):
            self._total_lane = self._total._find_lane(call, loop)
        for policy in (self._retry, self._bulkhead):
            if policy is not None and policy._loop is not loop:
                policy._move(loop)
        if self._breaker is not None and self._breaker._loop is not loop:
            self._breaker._move(loop, loop.time())
        if self._bulkhead is not None:
            self._slots = self._bulkhead._slots
        if self._timeout is not None and not _varies(self._timeout):
            self._lane = self._timeout._find_lane(call, loop)
        self._loop = loop

    def _refuse(self, call: Call[Any] | None, line: Any, now: float) -> Any:
        """Return a refusal, where nothing else would come of the call and nobody hears of it."""
        circuit, breaker, retry = self._circuit, self._breaker, self._retry
        if circuit is None or circuit._state is _CLOSED:
            return None
        if line is not None and (line.queue or not self._limiter._pacer.admit(now, 0.0)):
            return None
        if breaker._has_extras or (SUBSCRIPTIONS and is_heard(breaker)):
            return None
        if retry is not None and (
            retry._matches is not None
            or (call is not None and call.attempt > 1)
            or (SUBSCRIPTIONS and is_heard(retry))
        ):
            return None
        breaker._seen = now
        # Mostly the first; a call of its own is dear.
        if not ((circuit._state is _OPEN and now < circuit._open_until) or circuit.refuses(now)):
            return None
        if call is None:
            return circuit.refusal(now)
        if retry is not None:
            record_attempt(call, "CircuitOpenError")
        return circuit.refusal(now, call.key)


# What a task shows of the call that it runs, and a warning of one that was never awaited.
FusedRow.step.__name__, FusedRow.step.__qualname__ = "execute", "Policy.execute"


def _make_call(policy: Any, function: Any, args: Any, kwargs: Any, loop: Any) -> Call[Any]:
    """Make what was not needed up to now."""
    call: Call[Any] = Call()
    call.begin(function, args, kwargs, loop)
    call.pipeline = policy
    return call


def _linked(policies: Sequence[Policy | None], proceed: Proceed[T]) -> Proceed[T]:
    """Put each policy as a step of its own around the rest of a pipeline."""
    for policy in reversed(policies):
        if policy is not None:
            proceed = policy.link(proceed)
    return proceed


def _varies(timeout: Timeout) -> bool:
    """Say whether a timeout may have other seconds for each call."""
    return type(timeout).seconds_for is not Timeout.seconds_for
