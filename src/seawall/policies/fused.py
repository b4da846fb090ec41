"""Neighbouring policies of a pipeline as one step: one coroutine in place of one for each.

The rules:

1. Fused are neighbours in the advised order, each one optional: ``Timeout`` for the whole call,
   ``Retry``, ``CircuitBreaker``, ``Bulkhead``, ``Timeout`` per attempt. A subclass is a policy of
   its own, and stays a step of its own; but for a timeout that only says other seconds.
2. The fused step has a way of its own only for what is usual: asyncio, a closed circuit, a free
   slot. There nothing waits between the entering of the first policy and the function. All else
   goes the way of the ``run`` of each policy, and so does each attempt after the first.
3. ``run`` says what a policy means. What is written out here is what it does when nothing goes
   wrong; what has gone wrong is handed to the policy's own methods.
"""

from __future__ import annotations

from asyncio import current_task
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from seawall.core.deadline import current_scope, leave
from seawall.core.observe import is_heard
from seawall.core.story import record_attempt
from seawall.core.verdict import Kind
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import CircuitBreaker
from seawall.policies.circuit.state import State
from seawall.policies.circuit.ticket import Ticket
from seawall.policies.retry import Retry
from seawall.policies.timeout import Timeout
from seawall.policies.timeout.running import Running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from seawall.core.call import Call, Proceed
    from seawall.core.policy import Policy
    from seawall.core.waiting import Slots

T = TypeVar("T")

_CLOSED = State.CLOSED
_SUCCESS = Kind.SUCCESS
set_scope, reset_scope = current_scope.set, current_scope.reset


class Row(NamedTuple):
    """The policies of one fused step, outermost first; what is missing is ``None``."""

    # Not typed further: no checker sees that what one policy needs is there if the policy is.
    total: Any = None
    retry: Any = None
    breaker: Any = None
    bulkhead: Any = None
    timeout: Any = None


_KINDS: Final[tuple[type[Policy], ...]] = (Timeout, Retry, CircuitBreaker, Bulkhead, Timeout)


def link_all(policies: Sequence[Policy], proceed: Proceed[T]) -> Proceed[T]:
    """Put policies around the rest of a pipeline, the first one outermost."""
    rest = list(policies)
    while rest:
        row, length = _last_row(rest)
        if length > 1 or row.breaker is not None or row.timeout is not None:
            proceed = _fuse(row, proceed)
            del rest[-length:]
        else:
            proceed = rest.pop().link(proceed)
    return proceed


def _last_row(policies: Sequence[Policy]) -> tuple[Row, int]:
    """Return the longest row at the end of these policies, and how many are in it."""
    found: dict[str, Policy] = {}
    place = len(_KINDS)
    for policy in reversed(policies):
        places = [p for p in range(place) if _is_plain(policy, _KINDS[p])]
        if not places:
            break
        place = places[-1]
        found[Row._fields[place]] = policy
    return Row(**found), len(found)


def _is_plain(policy: Policy, kind: type[Policy]) -> bool:
    """Say whether a policy does just what this kind does."""
    if type(policy) is kind:
        return True
    # A timeout may have other seconds for each call.
    return kind is Timeout and isinstance(policy, Timeout) and type(policy).run is Timeout.run


def _varies(timeout: Timeout | None) -> bool:
    """Say whether a timeout may have other seconds for each call."""
    return timeout is not None and type(timeout).seconds_for is not Timeout.seconds_for


def _fuse(row: Row, proceed: Proceed[T]) -> Proceed[T]:
    """Return the step of a row of policies."""
    total, retry, breaker, bulkhead, timeout = row
    # What an attempt after the first one runs, and what an unusual call runs.
    attempt = proceed
    for policy in (timeout, bulkhead, breaker):
        if policy is not None:
            attempt = policy.link(attempt)
    apart = attempt
    for policy in (retry, total):
        if policy is not None:
            apart = policy.link(apart)
    circuit: Any = None
    sent: Any = None
    silence: Any = None
    if breaker is not None:
        circuit = breaker._circuit
        sent, silence = circuit._sent, circuit._silence
    total_varies, varies = _varies(total), _varies(timeout)
    # What belongs to the loop on which the policies are. They leave it only once it is closed.
    loop: Any = None
    slots: Slots | None = None
    total_lane: Any = None
    usual_lane: Any = None

    def move(call: Call[Any]) -> None:
        nonlocal loop, slots, total_lane, usual_lane
        new: Any = call.loop
        if total is not None:
            total_lane = total.find_lane(call, new)
        if retry is not None and retry._loop is not new:
            retry._move(new)
        if breaker is not None and breaker._loop is not new:
            breaker._move(new, new.time())
        if bulkhead is not None:
            if bulkhead._loop is not new:
                bulkhead._move(new)
            slots = bulkhead._slots
        if timeout is not None:
            usual_lane = timeout.find_lane(call, new)
        loop = new

    def refuse(call: Call[Any], now: float) -> None:
        """Raise a refusal at once, where nothing else would come of the call."""
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

    async def step(call: Call[T]) -> T:
        if call.loop is not loop:
            if not call.on_asyncio:
                return await apart(call)
            move(call)
        now = loop.time()
        held = slots
        if circuit is not None and (
            circuit._state is not _CLOSED
            or breaker._has_extras
            or (sent and now - silence.youngest > silence.patience)
        ):
            refuse(call, now)
            return await apart(call)
        if held is not None and (held.in_flight >= held.limit or held.queue):
            return await apart(call)
        whole = running = ticket = first = None
        task: Any = None
        if total_lane is not None:
            lane = total.find_lane(call, loop) if total_varies else total_lane
            task = current_task(loop)
            whole = Running()
            whole.lane = lane
            whole.loop = loop
            whole.task = task
            whole.when = when = now + lane.seconds
            whole.fired = whole.ended = False
            whole.outer = whole_outer = call.scope
            whole_deadline = call.deadline
            whole_cancelling = task.cancelling()
            if when < whole_deadline:
                call.deadline = when
            call.scope = whole
            lane.entries[whole] = None
            if lane.timer is None:
                lane.arm(when)
            whole_token = set_scope(whole)
        if circuit is not None:
            breaker._seen = now
            traffic = circuit._traffic
            if traffic is not None:
                gap = now - circuit._latest
                if gap <= traffic.usual:
                    mean = traffic.mean_gap
                    traffic.mean_gap = mean + (gap - mean) * 0.015625
                else:
                    traffic.learn(gap)
            ticket = Ticket()
            ticket.circuit = circuit
            ticket.generation = circuit.generation
            ticket.start = circuit._latest = now
            ticket.probe = False
            ticket.first = call.attempt == 1
            ticket.above = None
            ticket.outer = outer_ticket = call.ticket
            sent[ticket] = None
            call.ticket = ticket
        if held is not None:
            held.in_flight += 1
        if usual_lane is not None:
            lane = timeout.find_lane(call, loop) if varies else usual_lane
            if task is None:
                task = current_task(loop)
            running = Running()
            running.lane = lane
            running.loop = loop
            running.task = task
            running.when = when = now + lane.seconds
            running.fired = running.ended = False
            running.outer = outer = call.scope
            outer_deadline = call.deadline
            cancelling = task.cancelling()
            if when < outer_deadline:
                call.deadline = when
            call.scope = running
            lane.entries[running] = None
            if lane.timer is None:
                lane.arm(when)
            token = set_scope(running)
        try:
            try:
                result = await proceed(call)
            except BaseException as error:
                if running is not None:
                    running.cancelling = cancelling
                    running.token = token
                    running.outer_deadline = outer_deadline
                raised = fail(call, running, task, held, ticket, error)
                try:
                    if retry is None or not isinstance(raised, Exception):
                        if raised is error:
                            raise
                        raise raised from raised.__cause__
                    first = _First(attempt, error=raised)
                finally:
                    # This frame is on its traceback.
                    del raised
            else:
                if running is not None:
                    if running.fired:
                        task.uncancel()
                    del running.lane.entries[running]
                    running.ended = True
                    running.task = None
                    if call.is_block:
                        leave(running)
                    else:
                        try:
                            reset_scope(token)
                        except ValueError:
                            leave(running)
                    call.scope = outer
                    call.deadline = outer_deadline
                if held is not None:
                    if call.open is None:
                        held.in_flight -= 1
                        if held.queue:
                            held.grant()
                    else:
                        call.open.on_release(held.release)
                if call.classifier is None and call.open is None:
                    if ticket is not None:
                        call.ticket = outer_ticket
                        now = loop.time()
                        if (
                            ticket in sent
                            and ticket.generation == circuit._closed_generation
                            and now < circuit._evidence.quiet_until
                            and ticket.first
                            and now - silence.youngest <= silence.usual_lag
                        ):
                            del sent[ticket]
                            if ticket.start > silence.youngest:  # noqa: PLR1730 - `max` is slower
                                silence.youngest = ticket.start
                            circuit._evidence.quiet += 1
                        else:
                            circuit.settle(ticket, _SUCCESS, now)
                    if retry is not None:
                        budget = retry.budget
                        if (
                            budget is not None
                            and budget.tokens < budget.capacity
                            and call.attempt == 1
                        ):
                            budget.earn()
                else:
                    first = judge(call, ticket, result)
            if first is not None:
                result = await retry.run(call, first)
        except BaseException as error:
            raised = error
            try:
                if whole is not None:
                    whole.cancelling = whole_cancelling
                    whole.token = whole_token
                    whole.outer_deadline = whole_deadline
                    raised = total.end(whole, call, task, error)
                if raised is error:
                    raise
                raise raised from raised.__cause__
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
                    reset_scope(whole_token)
                except ValueError:
                    leave(whole)
            call.scope = whole_outer
            call.deadline = whole_deadline
        return result

    def fail(  # noqa: PLR0917 - all that an attempt holds
        call: Call[T],
        running: Running | None,
        task: Any,
        held: Slots | None,
        ticket: Ticket | None,
        error: BaseException,
    ) -> BaseException:
        """End an attempt that raises; return what is raised then."""
        try:
            if running is not None:
                error = timeout.end(running, call, task, error)
        except BaseException as raised:
            error = raised
        if held is not None:
            held.release()
        try:
            if ticket is not None:
                breaker._settle_error(call, ticket, error)
        except BaseException as raised:
            return raised
        return error

    def judge(call: Call[T], ticket: Ticket | None, result: T) -> _First | None:
        """Settle an attempt by what it returned; return it if there may be another one."""
        if ticket is not None:
            call.ticket = ticket.outer
            try:
                breaker._settle_result(call, ticket, result)
            except Exception as error:
                if retry is None:
                    raise
                return _First(attempt, error=error)
        if retry is None:
            return None
        verdict = call.judge_result(result)
        if verdict.retryable:
            return _First(attempt, result=result)
        if call.attempt == 1 and verdict.kind is _SUCCESS:
            retry._earn()
        return None

    return step


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
