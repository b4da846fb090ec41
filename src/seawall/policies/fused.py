"""Neighbouring policies of a pipeline as one step: one coroutine in place of one for each.

The rules:

1. Fused are neighbours in the advised order, each one optional: ``Timeout`` for the whole call,
   ``Retry``, ``CircuitBreaker``, ``Bulkhead``, ``Timeout`` per attempt. A subclass is a policy of
   its own, and stays a step of its own; but for a timeout that only says other seconds.
2. The fused step has a way of its own only for what is usual: asyncio, a closed circuit, a free
   slot. There nothing waits between the entering of the first policy and the function. All else
   goes the way of the ``run`` of each policy, and so does each attempt after the first.
3. ``run`` says what a policy means. What is written out here is what it does when nothing goes
   wrong; what has gone wrong is handed to the policy's own methods. With one ``try`` inside
   another, each policy hears of just the errors that it would hear of in its ``run``.
"""

# What belongs to one policy is bound where that policy is there, which no checker sees.
# pyright: reportPossiblyUnboundVariable=false, reportOptionalMemberAccess=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from seawall.core.clock import task_on
from seawall.core.deadline import current_scope, leave
from seawall.core.observe import is_heard
from seawall.core.story import record_attempt
from seawall.core.verdict import Kind
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import CircuitBreaker
from seawall.policies.circuit.state import State
from seawall.policies.circuit.ticket import Ticket
from seawall.policies.circuit.traffic import STEADY_WEIGHT
from seawall.policies.retry import Retry
from seawall.policies.timeout import Timeout
from seawall.policies.timeout.running import Running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from seawall.core.call import Call, Proceed
    from seawall.core.policy import Policy

T = TypeVar("T")

_CLOSED = State.CLOSED
_SUCCESS = Kind.SUCCESS
_set_scope, _reset_scope = current_scope.set, current_scope.reset

_ORDER: Final[dict[str, type[Policy]]] = {
    "total": Timeout,
    "retry": Retry,
    "breaker": CircuitBreaker,
    "bulkhead": Bulkhead,
    "timeout": Timeout,
}
# Alone, the others are as quick by themselves.
_WORTH: Final = ("breaker", "timeout")


def link_all(policies: Sequence[Policy], proceed: Proceed[T]) -> Proceed[T]:
    """Put policies around the rest of a pipeline, the first one outermost."""
    rest = list(policies)
    while rest:
        row = _last_row(rest)
        if len(row) > 1 or any(place in row for place in _WORTH):
            proceed = FusedRow(proceed, **row).step
            del rest[-len(row) :]
        else:
            proceed = rest.pop().link(proceed)
    return proceed


def _last_row(policies: Sequence[Policy]) -> dict[str, Any]:
    """Return the longest row at the end of these policies, each with its place."""
    row: dict[str, Any] = {}
    places = list(_ORDER)
    for policy in reversed(policies):
        while places and not _is_plain(policy, _ORDER[places[-1]]):
            places.pop()
        if not places:
            break
        row[places.pop()] = policy
    return row


def _is_plain(policy: Policy, kind: type[Policy]) -> bool:
    """Say whether a policy does just what this kind does."""
    if type(policy) is kind:
        return True
    # A timeout may have other seconds for each call.
    own: Any = type(policy)
    return (
        kind is Timeout
        and issubclass(own, Timeout)
        and own.run is Timeout.run
        and own.link is Timeout.link
    )


def _varies(timeout: Timeout) -> bool:
    """Say whether a timeout may have other seconds for each call."""
    return type(timeout).seconds_for is not Timeout.seconds_for


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
        breaker: CircuitBreaker | None = None,
        bulkhead: Bulkhead | None = None,
        timeout: Timeout | None = None,
    ) -> None:
        self._proceed: Any = proceed
        # What an attempt after the first one runs.
        self._attempt = _linked([breaker, bulkhead, timeout], proceed)
        # What an unusual call runs.
        self._apart: Any = _linked([total, retry], self._attempt)
        # Not typed further: no checker sees that what one policy needs is there if the policy is.
        self._total: Any = total
        self._retry: Any = retry
        self._breaker: Any = breaker
        self._bulkhead: Any = bulkhead
        self._timeout: Any = timeout
        self._circuit: Any = None if breaker is None else breaker._circuit
        # What belongs to the loop that the policies are on. They leave it only once it is closed.
        # A timeout that may have other seconds for each call has no lane here.
        self._loop: Any = None
        self._slots: Any = None
        self._total_lane: Any = None
        self._lane: Any = None

    async def step(self, call: Call[Any]) -> Any:
        """Run the rest of the pipeline behind all policies of the row."""
        loop = self._loop
        if call.loop is not loop:
            if not call.on_asyncio:
                return await self._apart(call)
            self._move(call)
            loop = self._loop
        now = loop.time()
        circuit, slots = self._circuit, self._slots
        if circuit is not None:
            breaker, sent, silence = self._breaker, circuit._sent, circuit._silence
            if (
                circuit._state is not _CLOSED
                or breaker._has_extras
                or (sent and now - silence.youngest > silence.patience)
            ):
                self._refuse(call, now)
                return await self._apart(call)
        if slots is not None and (slots.in_flight >= slots.limit or slots.queue):
            return await self._apart(call)
        whole = running = ticket = first = None
        task: Any = None
        if self._total is not None:
            lane = self._total_lane
            if lane is None:
                lane = self._total._find_lane(call, loop)
            task = task_on(loop)
            whole_cancelling = task.cancelling()
            whole = Running()
            whole.lane = lane
            whole.loop = loop
            whole.task = task
            whole.when = when = now + lane.seconds
            whole.fired = whole.ended = False
            whole.outer = call.scope
            whole_deadline = call.deadline
            if when < whole_deadline:
                call.deadline = when
            call.scope = whole
            lane.entries[whole] = None
            if lane.timer is None:
                lane.arm(when)
            whole_token = _set_scope(whole)
        if circuit is not None:
            breaker._seen = now
            traffic = circuit._traffic
            if traffic is not None:
                gap = now - circuit._latest
                # As in the circuit's `_let_pass`.
                if gap <= traffic.usual:
                    traffic.mean_gap += (gap - traffic.mean_gap) * STEADY_WEIGHT
                else:
                    traffic.learn(gap)
            ticket = Ticket()
            ticket.circuit = circuit
            ticket.generation = circuit.generation
            ticket.start = circuit._latest = now
            ticket.probe = False
            ticket.first = call.attempt == 1
            ticket.above = None
            ticket.outer = call.ticket
            sent[ticket] = None
            call.ticket = ticket
        if slots is not None:
            slots.in_flight += 1
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
                            running.outer = call.scope
                            deadline = call.deadline
                            if when < deadline:
                                call.deadline = when
                            call.scope = running
                            lane.entries[running] = None
                            if lane.timer is None:
                                lane.arm(when)
                            token = _set_scope(running)
                        result = await self._proceed(call)
                    except BaseException as error:
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
                        breaker._settle_error(call, ticket, error)
                    raise
                if running is not None:
                    if running.fired:
                        task.uncancel()
                    del running.lane.entries[running]
                    # Child tasks may keep it in their context for as long as they live.
                    running.ended = True
                    running.task = None
                    if call.is_block:
                        leave(running)
                    else:
                        try:
                            _reset_scope(token)
                        except ValueError:
                            leave(running)
                    call.scope = running.outer
                    call.deadline = deadline
                left_open: Any = call.open
                if slots is not None:
                    if left_open is None:
                        slots.in_flight -= 1
                        if slots.queue:
                            slots.grant()
                    else:
                        left_open.on_release(slots.release)
                is_judged = call.classifier is not None
                if ticket is not None:
                    call.ticket = ticket.outer
                    if is_judged or left_open is not None:
                        breaker._settle_result(call, ticket, result)
                    else:
                        now = loop.time()
                        evidence = circuit._evidence
                        if (
                            ticket in sent
                            and ticket.generation == circuit._closed_generation
                            and now < evidence.quiet_until
                            and ticket.first
                            and now - silence.youngest <= silence.usual_lag
                        ):
                            del sent[ticket]
                            if ticket.start > silence.youngest:  # noqa: PLR1730 - `max` is slower
                                silence.youngest = ticket.start
                            evidence.quiet += 1
                        else:
                            circuit.settle(ticket, _SUCCESS, now)
            except Exception as error:
                retry = self._retry
                # One that has gone on to a later loop has no part in a call that this one left.
                if retry is None or retry._loop is not loop:
                    raise
                first = _First(self._attempt, error=error)
            else:
                retry = self._retry
                if retry is not None:
                    if is_judged:
                        verdict = call.judge_result(result)
                        if verdict.retryable and retry._loop is loop:
                            first = _First(self._attempt, result=result)
                            # Beyond the next attempt nobody keeps it.
                            del result
                        elif call.attempt == 1 and verdict.kind is _SUCCESS:
                            retry._earn()
                    else:
                        budget = retry.budget
                        if (
                            budget is not None
                            and budget.tokens < budget.capacity
                            and call.attempt == 1
                        ):
                            budget.earn()
            if first is not None:
                result = await retry.run(call, first)
        except BaseException as error:
            raised = error
            try:
                if whole is not None:
                    whole.cancelling = whole_cancelling
                    whole.token = whole_token
                    whole.outer_deadline = whole_deadline
                    raised = self._total._end(whole, call, task, error)
                    if raised is not error:
                        raise raised from error
                raise
            finally:
                # This frame is on its traceback, and a task keeps the error that it ends with.
                del raised, task
        if whole is not None:
            if whole.fired:
                task.uncancel()
            del whole.lane.entries[whole]
            whole.ended = True
            whole.task = None
            if call.is_block:
                leave(whole)
            else:
                try:
                    _reset_scope(whole_token)
                except ValueError:
                    leave(whole)
            call.scope = whole.outer
            call.deadline = whole_deadline
        return result

    def _move(self, call: Call[Any]) -> None:
        """Have the policies follow the call to its loop."""
        loop: Any = call.loop
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

    def _refuse(self, call: Call[Any], now: float) -> None:
        """Raise a refusal at once, where nothing else would come of the call."""
        circuit, breaker, retry = self._circuit, self._breaker, self._retry
        if circuit._state is _CLOSED or breaker._has_extras or is_heard(breaker):
            return
        if retry is not None and (
            retry._matches is not None or call.attempt > 1 or is_heard(retry)
        ):
            return
        breaker._seen = now
        if circuit.refuses(now):
            if retry is not None:
                record_attempt(call, "CircuitOpenError")
            raise circuit.refusal(now, call.key)


def _linked(policies: Sequence[Policy | None], proceed: Proceed[T]) -> Proceed[T]:
    """Put each policy as a step of its own around the rest of a pipeline."""
    for policy in reversed(policies):
        if policy is not None:
            proceed = policy.link(proceed)
    return proceed


class _First:
    """What a retry runs where the first attempt has ended already, and the attempts after it."""

    __slots__ = ("_attempt", "_error", "_given", "_result")

    def __init__(
        self, attempt: Proceed[Any], *, error: Exception | None = None, result: Any = None
    ) -> None:
        self._attempt = attempt
        self._error = error
        self._result = result
        self._given = False

    def __call__(self, call: Call[Any]) -> Awaitable[Any]:
        if self._given:
            return self._attempt(call)
        self._given = True
        error, self._error = self._error, None
        result, self._result = self._result, None
        if error is None:
            return _returned(result)
        context = error.__context__
        try:
            raise error
        finally:
            # It is raised anew, and would take on what the caller is handling. An exception may
            # be a frozen dataclass.
            object.__setattr__(error, "__context__", context)
            # This frame is on its traceback.
            del error, context


async def _returned(result: T) -> T:
    return result
