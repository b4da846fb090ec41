"""The circuit breaker: the circuit as a policy."""

from __future__ import annotations

from asyncio import _get_running_loop as _running_loop
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

from seawall.core.call import forget_wait, has_waited
from seawall.core.checks import check_name, check_number, check_type
from seawall.core.clock import TrioLoop, check_move, current_loop
from seawall.core.deadline import current_scope, earliest
from seawall.core.errors import CallTimeoutError, CircuitOpenError, DeadlineError, UsageError
from seawall.core.events import CallRefused
from seawall.core.observe import is_heard, tell
from seawall.core.policy import Policy
from seawall.core.verdict import ExceptionTypes, Kind, check_exception_types, leaves_of
from seawall.core.waiting import Waiter
from seawall.policies.circuit.announce import announce
from seawall.policies.circuit.core import Circuit, State
from seawall.policies.circuit.ending import Ending
from seawall.policies.circuit.snapshot import CircuitSnapshot

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from seawall.core.call import Call, Proceed
    from seawall.core.clock import Loop
    from seawall.core.verdict import Verdict
    from seawall.policies.circuit.core import Ticket
    from seawall.policies.circuit.rules import TripRule
    from seawall.policies.circuit.state import Transition

T = TypeVar("T")

_KEEP: Final[Any] = object()
_SUCCESS, _FAILURE = Kind.SUCCESS, Kind.FAILURE
_CLOSED = State.CLOSED


class CircuitBreaker(Policy):
    """Refuses calls while the dependency is down, and finds out when it is back.

    Closed, it lets all calls pass and hears how first attempts end. When the trip rule holds it
    opens and refuses with :class:`~seawall.CircuitOpenError`, which says when to come back. After
    the open time a probe is let through: its success closes the circuit, its failure opens it
    again. Cancelled calls and local refusals count for nothing, and a probe that hangs makes room
    for the next one. One breaker belongs to one dependency; for several, see ``Keyed``.

    Args:
        trip: when to open: a rule, such as ``FailureRate(0.5) | ConsecutiveFailures(8)``; an
            ``int``, failures in a row; or a ``float``, the share of failures in 30 s. Default:
            half of at least 20 calls in 30 s, or 8 failures in a row.
        open_for: seconds to stay open, exactly. Default: the time of about 20 calls at the rate
            before, from 1 s to 30 s, jittered.
        max_open_for: lets each re-opening double the open time up to this many seconds, jittered.
        probes: calls at a time that may try whether the dependency is back.
        close_after: successes of probes in a row that close the circuit.
        probe_lease: seconds after which an unsettled probe makes room for the next. Default: the
            time after which a call is stalled, at most 30 s.
        failures: exception types that are failures here; others that the verdict calls a failure
            are then successes.
        ignore: exception types that count for nothing here.
        count_retries: whether retries are evidence too; by default only first attempts are.
        stalls: whether silence is evidence: while nothing of what was sent lately is answered, a
            call that has been in flight for much longer than answers used to take is a failure.
        end_stalled: whether such calls are ended too, once that has opened the circuit, with
            ``CallTimeoutError(phase="stalled")``. The oldest one is left alone.
        parent: a breaker that stands for several: while it is open, the calls of this one are
            refused, and the verdicts on them are its evidence too. No call may meet it twice, by
            the parent itself or two of its children: it would take the place of its own probe.
        shadow: whether to let all calls pass and only count what would be refused.
        name: shown in refusals.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        trip: TripRule | float | None = None,
        *,
        open_for: float | None = None,
        max_open_for: float | None = None,
        probes: int = 1,
        close_after: int = 1,
        probe_lease: float | None = None,
        failures: ExceptionTypes | None = None,
        ignore: ExceptionTypes = (),
        count_retries: bool = False,
        stalls: bool = True,
        end_stalled: bool = False,
        parent: CircuitBreaker | None = None,
        shadow: bool = False,
        name: str | None = None,
    ) -> None:
        check_name(name)
        _check_narrowing(failures, ignore)
        check_type("parent", parent, CircuitBreaker, "a CircuitBreaker or None", optional=True)
        self.name = name
        self.parent = parent
        self.failures: ExceptionTypes | None = failures
        self.ignore: ExceptionTypes = ignore
        self._narrows = failures is not None or ignore != ()
        self._circuit: Circuit = Circuit(
            trip,
            open_for=open_for,
            max_open_for=max_open_for,
            probes=probes,
            close_after=close_after,
            probe_lease=probe_lease,
            count_retries=count_retries,
            stalls=stalls,
            end_stalled=end_stalled,
            parent=None if parent is None else parent._circuit,
            shadow=shadow,
        )
        self._circuit.owner = self
        self._circuit.name = name
        self._circuit.on_change = self._changed
        self._circuit.on_room = self._wake
        self._circuit.on_stalled = self._end
        self._loop: Loop | None = None
        self._seen = 0.0
        # Those that wait until calls are admitted.
        self._awaiting: dict[Waiter, None] = {}
        self._endings: dict[Ticket, Ending] = {}
        self._opened = 0
        self._note_extras()

    def __repr__(self) -> str:
        name = "" if self.name is None else f", name={self.name!r}"
        return f"CircuitBreaker({self._circuit.rule!r}{name})"

    @property
    def state(self) -> State:
        """The state; it reads ``State.OPEN`` until a probe has been let through."""
        return self._circuit.state

    def isolate(self) -> None:
        """Refuse all calls, also those that wait inside, until :meth:`reset`."""
        self._circuit.isolate(self._now())

    def shadow(self, on: bool = True) -> None:  # noqa: FBT001, FBT002 - reads as shadow(False)
        """Let all calls pass and only count what would be refused; the state moves as it would."""
        check_type("on", on, bool, "True or False")
        self._circuit.shadow = on
        self._note_extras()
        self._wake()

    def trip(self) -> None:
        """Open now, for the whole open time."""
        self._circuit.trip(self._now())

    def reset(self) -> None:
        """Close now, from any state; the shadow mode stays as it is."""
        self._circuit.reset(self._now())

    def reconfigure(
        self,
        *,
        trip: TripRule | float | None = _KEEP,
        open_for: float | None = _KEEP,
        max_open_for: float | None = _KEEP,
        probes: int = _KEEP,
        close_after: int = _KEEP,
        probe_lease: float | None = _KEEP,
        failures: ExceptionTypes | None = _KEEP,
        ignore: ExceptionTypes = _KEEP,
        count_retries: bool = _KEEP,
        stalls: bool = _KEEP,
        end_stalled: bool = _KEEP,
    ) -> None:
        """Change arguments of the constructor while calls run: all that are given, or none.

        The state stays, an open circuit stays open for as long as it was going to, and a new trip
        rule takes over what the last one counted, as far as it counts the same.

        Raises:
            ValueError: a number is out of range; then nothing has changed.
            TypeError: an argument is of the wrong type; then nothing has changed.
        """
        failures = self.failures if failures is _KEEP else failures
        ignore = self.ignore if ignore is _KEEP else ignore
        _check_narrowing(failures, ignore)
        changes = {
            "trip": trip,
            "open_for": open_for,
            "max_open_for": max_open_for,
            "probes": probes,
            "close_after": close_after,
            "probe_lease": probe_lease,
            "count_retries": count_retries,
            "stalls": stalls,
            "end_stalled": end_stalled,
        }
        given = {name: value for name, value in changes.items() if value is not _KEEP}
        self._circuit.reconfigure(**given)
        self.failures, self.ignore = failures, ignore
        self._narrows = failures is not None or ignore != ()
        self._note_extras()
        self._wake()

    async def wait_until_admitting(self, max_wait: float | None = None) -> bool:
        """Wait until a call would be let through: it may be refused all the same if others come.

        Args:
            max_wait: seconds to wait at most. Default: as long as the deadline allows.

        Returns:
            whether a call would be let through now; ``False`` if ``max_wait`` passed first.

        Raises:
            DeadlineError: the deadline of the calling code passed first.
            ValueError: ``max_wait`` is below 0.
        """
        check_number("max_wait", max_wait, at_least=0, infinite=True, optional=True)
        loop = current_loop()
        now = self._now()
        deadline = earliest(current_scope.get(), loop)
        until = min(deadline, inf if max_wait is None else now + max_wait)
        while self._refuses(now):
            if now >= until:
                if now >= deadline:
                    raise DeadlineError(policy=self, name=self.name, key=self._made_for)
                return False
            wait = self._circuit.retry_after(now)
            await self._wait_for_change(until if wait is None else min(until, now + wait), loop)
            now = loop.time()
        return True

    def snapshot(self) -> CircuitSnapshot:
        """Return what the circuit is doing now; it changes nothing, and any thread may ask."""
        circuit = self._circuit
        now = self._last_time()
        failures, calls = circuit.evidence(now)
        ended = circuit.successes + circuit.failures + circuit.neutral
        return CircuitSnapshot(
            policy=type(self).__name__,
            name=self.name,
            state=circuit.state,
            shadow=circuit.shadow,
            since=None if circuit.since == -inf else max(0.0, now - circuit.since),
            retry_after=circuit.retry_after(now),
            calls=ended + circuit.in_flight,
            successes=circuit.successes,
            failures=circuit.failures,
            neutral=circuit.neutral,
            in_flight=circuit.in_flight,
            rejected=circuit.rejected,
            would_refuse=circuit.would_refuse,
            would_refuse_succeeded=circuit.would_refuse_succeeded,
            window_calls=calls,
            window_failures=failures,
            rate=failures / calls if calls else None,
            opened=self._opened,
            cause=None if circuit.opening is None else circuit.opening.cause,
            patience=circuit.patience,
            parent=None if self.parent is None else self.parent.name,
        )

    def matters(self, now: float) -> bool:
        """Say whether the circuit is half-open, isolated, or open until 60 s after its time."""
        return self._circuit.matters(now)

    def link(self, proceed: Proceed[T]) -> Proceed[T]:
        """Put the breaker around the rest of a pipeline."""
        run = self.run
        circuit = self._circuit

        def step(call: Call[T]) -> Awaitable[T]:
            # A refusal is raised right here: it costs no coroutine, and two frames less.
            # With a parent it may be the parent's, and each arrival may end calls that are stalled.
            if circuit._state is not _CLOSED and call.loop is self._loop and not self._has_extras:
                self._seen = now = call.loop.time()
                if circuit.refuses(now):
                    raise self._tell_refusal(call, circuit.refusal(now, call.key))
            return run(call, proceed)

        return step

    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        """Run the rest of the pipeline if the circuit admits the call.

        Raises:
            CircuitOpenError: it does not, or it opened while the call waited inside.
        """
        loop = call.loop
        if loop is not self._loop:
            self._move(loop, loop.time())
        circuit = self._circuit
        self._seen = now = loop.time()
        try:
            ticket = circuit.admit(now, call.attempt == 1)
        except CircuitOpenError as refusal:
            refusal.key = call.key
            self._see(now)
            self._tell_refusal(call, refusal)
            raise
        ticket.outer = call.ticket
        call.ticket = ticket
        try:
            if self._has_extras:
                proceed = self._add_extras(call, ticket, proceed)
            result = await proceed(call)
        except BaseException as error:
            self._settle_error(call, ticket, error)
            raise
        call.ticket = ticket.outer
        if call.classifier is None and call.open is None:
            circuit.settle(ticket, _SUCCESS, loop.time())
        else:
            self._settle_result(call, ticket, result)
        return result

    def _settle_error(self, call: Call[Any], ticket: Ticket, error: BaseException) -> None:
        call.ticket = ticket.outer
        kind = Kind.NEUTRAL
        try:
            kind = self._narrow(call.judge_error(error).kind, error)
        finally:
            now = call.loop.time()
            self._see(now)
            self._circuit.settle(ticket, kind, now, type(error).__name__)
        if (
            isinstance(error, CircuitOpenError)
            and self._is_family(error.policy)
            and has_waited(error)
        ):
            # Refused while it waited inside; another call of this breaker may be further outside.
            forget_wait(error)
            error.key = call.key
            self._tell_refusal(call, error)

    def _settle_result(self, call: Call[Any], ticket: Ticket, result: object) -> None:
        kind = Kind.NEUTRAL
        try:
            kind = call.judge_result(result).kind
        finally:
            if call.open is None or kind is _FAILURE:
                self._circuit.settle(ticket, kind, call.loop.time())
            else:
                self._circuit.begin(ticket, call.loop.time(), answered=kind is _SUCCESS)
                call.open.on_settle(partial(self._settle_body, call.loop, ticket))

    def _settle_body(self, loop: Loop, ticket: Ticket, verdict: Verdict) -> None:
        self._circuit.settle(ticket, verdict.kind, loop.time())

    def _narrow(self, kind: Kind, error: BaseException) -> Kind:
        if not self._narrows or kind is not _FAILURE or not isinstance(error, Exception):
            return kind
        if isinstance(error, CallTimeoutError) and error.phase == "stalled":
            # No answer is no answer, whatever the failures.
            return kind
        leaves = leaves_of(error)
        failures = self.failures
        if all(isinstance(leaf, self.ignore) for leaf in leaves):
            return Kind.NEUTRAL
        if failures is not None and not any(isinstance(leaf, failures) for leaf in leaves):
            return _SUCCESS
        return _FAILURE

    def _note_extras(self) -> None:
        # Whether an admitted call may be one let pass in shadow, or one to be ended.
        circuit = self._circuit
        self._has_extras = circuit.shadow or circuit.end_stalled or circuit.parent is not None

    def _add_extras(self, call: Call[T], ticket: Ticket, proceed: Proceed[T]) -> Proceed[T]:
        """Return what comes next, for a call that is let pass in shadow or that may be ended."""
        self._see(ticket.start)
        endings: list[tuple[dict[Ticket, Ending], Ticket]] = []
        breaker: CircuitBreaker | None = self
        held: Ticket | None = ticket
        while breaker is not None and held is not None:
            if held.generation < 0:
                tell(breaker, call, CallRefused, error="CircuitOpenError", shadow=True)
            if breaker._circuit.end_stalled:
                endings.append((breaker._endings, held))
            breaker, held = breaker.parent, held.above
        if not endings:
            return proceed

        async def endable(call: Call[T]) -> T:
            ending = Ending(call, ticket)
            for kept, held in endings:
                kept[held] = ending
            try:
                return await ending.run(call, proceed, self.name)
            finally:
                # Another loop may have forgotten it.
                for kept, held in endings:
                    kept.pop(held, None)

        return endable

    def _end(self, ticket: Ticket) -> None:
        ending = self._endings.get(ticket)
        if ending is not None:
            ending.end()

    def _tell_refusal(self, call: Call[Any], refusal: CircuitOpenError) -> CircuitOpenError:
        if is_heard(self):
            tell(self, call, CallRefused, error="CircuitOpenError", retry_after=refusal.retry_after)
        return refusal

    def _changed(self, transition: Transition) -> None:
        self._gate = None if transition.after is _CLOSED else self._refuse
        self._opened += transition.after is State.OPEN
        self._wake()
        announce(self, transition)

    def _wake(self) -> None:
        for waiter in self._awaiting:
            waiter.grant()

    async def _wait_for_change(self, until: float, loop: Loop) -> None:
        waiter = Waiter()
        family: list[CircuitBreaker] = []
        breaker: CircuitBreaker | None = self
        while breaker is not None:
            breaker._awaiting[waiter] = None
            family.append(breaker)
            breaker = breaker.parent
        try:
            await waiter.wait(until, on_asyncio=not isinstance(loop, TrioLoop))
        finally:
            # Another loop may have forgotten it.
            for breaker in family:
                breaker._awaiting.pop(waiter, None)

    def _refuses(self, now: float) -> bool:
        return self._circuit.refuses(now)

    def _refuse(self) -> None:
        loop = self._loop
        running: object = _running_loop()
        if loop is not None and running is loop and not self._has_extras and not is_heard(self):
            self._seen = now = loop.time()
            if self._circuit.refuses(now):
                raise self._circuit.refusal(now)

    def _now(self) -> float:
        """Return the loop's time; without a running loop, the last one seen."""
        try:
            loop = current_loop()
        except UsageError:
            return self._last_time()
        now = loop.time()
        if loop is not self._loop:
            self._move(loop, now)
        self._see(now)
        return now

    def _last_time(self) -> float:
        """Return the time of the loop that it belongs to: no time passes once that is closed."""
        loop, parent = self._loop, self.parent
        if parent is None:
            return self._seen if loop is None or loop.is_closed() else loop.time()
        # Another child may have moved the parent on; both go by one clock.
        now = parent._last_time()
        if parent._loop is not None and parent._loop is not loop:
            self._move(parent._loop, now)
        return now

    def _see(self, now: float) -> None:
        """Remember the time, for the parents too: they may be used by way of their children."""
        breaker: CircuitBreaker | None = self
        while breaker is not None:
            breaker._seen = now
            breaker = breaker.parent

    def _is_family(self, policy: object) -> bool:
        breaker: CircuitBreaker | None = self
        while breaker is not None and breaker is not policy:
            breaker = breaker.parent
        return breaker is not None

    def _move(self, loop: Loop, now: float) -> None:
        check_move(self, self._loop, loop)
        if self.parent is not None and self.parent._loop is not loop:
            self.parent._move(loop, now)
        self._circuit.shift(now - self._seen)
        self._loop = loop
        self._seen = now
        self._awaiting.clear()
        self._endings.clear()


def _check_narrowing(failures: ExceptionTypes | None, ignore: ExceptionTypes) -> None:
    if failures is not None:
        check_exception_types("failures", failures)
    check_exception_types("ignore", ignore)
