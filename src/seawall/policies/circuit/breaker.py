"""The circuit breaker: the circuit as a policy."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from seawall.core import lazy_events as events
from seawall.core.call import forget_wait, has_waited
from seawall.core.checks import check_name, check_type
from seawall.core.errors import CallTimeoutError, CircuitOpenError
from seawall.core.observe import is_heard, tell
from seawall.core.verdict import ExceptionTypes, Kind, leaves_of
from seawall.policies.circuit.announce import announce
from seawall.policies.circuit.controls import CircuitControls, check_narrowing
from seawall.policies.circuit.core import Circuit, State
from seawall.policies.circuit.ending import Ending

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from seawall.core.call import Call, Proceed
    from seawall.core.clock import Loop
    from seawall.core.verdict import Verdict
    from seawall.policies.circuit.core import Ticket
    from seawall.policies.circuit.rules import TripRule
    from seawall.policies.circuit.state import Transition

T = TypeVar("T")

_SUCCESS, _FAILURE, _NEUTRAL = Kind.SUCCESS, Kind.FAILURE, Kind.NEUTRAL
_CLOSED = State.CLOSED


class CircuitBreaker(CircuitControls):
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
            time after which a call is stalled, at most 30 s; without ``end_stalled`` twice as long
            after each probe that has lost its place so.
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
        check_narrowing(failures, ignore)
        check_type("parent", parent, CircuitBreaker, "a CircuitBreaker or None", optional=True)
        circuit = BreakerCircuit(
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
        super().__init__(circuit, parent=parent, failures=failures, ignore=ignore, name=name)

    def __repr__(self) -> str:
        name = "" if self.name is None else f", name={self.name!r}"
        return f"CircuitBreaker({self._circuit.rule!r}{name})"

    def matters(self, now: float) -> bool:
        """Say whether the circuit is half-open, isolated, or open until 60 s after its time."""
        return self._circuit.matters(now)

    def link(self, proceed: Proceed[T]) -> Proceed[T]:
        """Put the breaker around the rest of a pipeline."""

        def step(call: Call[T]) -> Awaitable[T]:
            # A refusal is raised right here: it costs no coroutine, and two frames less.
            # With a parent it may be the parent's, and each arrival may end calls that are stalled.
            circuit = self._circuit
            if circuit._state is not _CLOSED and call.loop is self._loop and not self._has_extras:
                self._seen = now = call.loop.time()
                if circuit.refuses(now):
                    raise self._tell_refusal(call, circuit.refusal(now, call.key))
            return self.run(call, proceed)

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
            self._see(loop, now)
            self._tell_refusal(call, refusal)
            raise
        outer = call.ticket
        ticket.outer = outer
        call.ticket = ticket
        try:
            if self._has_extras:
                proceed = self._add_extras(call, ticket, proceed)
            result = await proceed(call)
        except BaseException as error:
            self._settle_error(call, ticket, error)
            raise
        call.ticket = outer
        if call.classifier is None and call.open is None:
            circuit.settle(ticket, _SUCCESS, loop.time())
        else:
            self._settle_result(call, ticket, result)
        return result

    def _settle_error(self, call: Call[Any], ticket: Ticket, error: BaseException) -> None:
        call.ticket = ticket.outer
        kind = _NEUTRAL
        try:
            kind = self._narrow(call.judge_error(error).kind, error)
        finally:
            now = call.loop.time()
            self._see(call.loop, now)
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
        kind = _NEUTRAL
        try:
            kind = call.judge_result(result).kind
        finally:
            if call.open is None or kind is _FAILURE:
                self._circuit.settle(ticket, kind, call.loop.time())
            else:
                self._circuit.begin(ticket, call.loop.time(), answered=kind is _SUCCESS)
                call.open.on_settle(partial(self._settle_body, call.loop, ticket))

    def _settle_body(self, loop: Loop, ticket: Ticket, verdict: Verdict) -> None:
        self._circuit.end(ticket, verdict.kind, loop.time())

    def _narrow(self, kind: Kind, error: BaseException) -> Kind:
        failures, ignore = self.failures, self.ignore
        if failures is None and ignore == ():
            return kind
        if kind is not _FAILURE or not isinstance(error, Exception):
            return kind
        if isinstance(error, CallTimeoutError) and error.phase == "stalled":
            # No answer is no answer, whatever the failures.
            return kind
        leaves = leaves_of(error)
        if all(isinstance(leaf, ignore) for leaf in leaves):
            return _NEUTRAL
        if failures is not None and not any(isinstance(leaf, failures) for leaf in leaves):
            return _SUCCESS
        return _FAILURE

    def _add_extras(self, call: Call[T], ticket: Ticket, proceed: Proceed[T]) -> Proceed[T]:
        """Return what comes next, for a call that is let pass in shadow or that may be ended."""
        self._see(call.loop, ticket.start)
        endings: list[tuple[dict[Ticket, Ending], Ticket]] = []
        breaker: CircuitControls | None = self
        held: Ticket | None = ticket
        while breaker is not None and held is not None:
            if held.generation < 0 and is_heard(breaker):
                tell(breaker, call, events.CallRefused, error="CircuitOpenError", shadow=True)
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

    def _tell_refusal(self, call: Call[Any], refusal: CircuitOpenError) -> CircuitOpenError:
        if is_heard(self):
            tell(
                self,
                call,
                events.CallRefused,
                error="CircuitOpenError",
                retry_after=refusal.retry_after,
            )
        return refusal

    def _hear(self, transition: Transition) -> None:
        self._wake()
        announce(self, transition)


class BreakerCircuit(Circuit):
    """The circuit of a breaker, which hears what happens to it."""

    # Methods, because four functions to call would take 256 bytes of each circuit.
    __slots__ = ()

    def on_change(self, transition: Transition) -> None:
        """Let the breaker hear of a transition."""
        self.owner._hear(transition)

    def on_room(self) -> None:
        """Wake those that wait until calls are admitted."""
        self.owner._wake()

    def on_silence(self) -> None:
        """Let the loop turn before the silence is believed."""
        self.owner._catch_up()

    def on_stalled(self, ticket: Ticket) -> None:
        """End the call of this ticket, if it can be ended."""
        ending = self.owner._endings.get(ticket)
        if ending is not None:
            ending.end()
