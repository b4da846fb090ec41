"""The circuit breaker: the circuit as a policy."""

from __future__ import annotations

from asyncio import _get_running_loop as _running_loop
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from seawall.core.checks import check_name
from seawall.core.clock import check_move, current_loop
from seawall.core.errors import CircuitOpenError, UsageError
from seawall.core.policy import Policy
from seawall.core.verdict import ExceptionTypes, Kind, check_exception_types, leaves_of
from seawall.policies.circuit.core import Circuit, State

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from seawall.core.call import Call, Proceed
    from seawall.core.clock import Loop
    from seawall.core.verdict import Verdict
    from seawall.policies.circuit.core import Ticket
    from seawall.policies.circuit.rules import TripRule

T = TypeVar("T")

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
        probe_lease: seconds after which an unsettled probe makes room for the next; 30 by default.
        failures: exception types that are failures here; others that the verdict calls a failure
            are then successes.
        ignore: exception types that count for nothing here.
        count_retries: whether retries are evidence too; by default only first attempts are.
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
        shadow: bool = False,
        name: str | None = None,
    ) -> None:
        check_name(name)
        if failures is not None:
            check_exception_types("failures", failures)
        check_exception_types("ignore", ignore)
        self.name = name
        self.failures = failures
        self.ignore = ignore
        self._narrows = failures is not None or ignore != ()
        self._circuit = Circuit(
            trip,
            open_for=open_for,
            max_open_for=max_open_for,
            probes=probes,
            close_after=close_after,
            probe_lease=probe_lease,
            count_retries=count_retries,
            shadow=shadow,
        )
        self._circuit.owner = self
        self._circuit.name = name
        self._circuit.on_change = self._changed
        self._loop: Loop | None = None
        self._seen = 0.0

    def __repr__(self) -> str:
        name = "" if self.name is None else f", name={self.name!r}"
        return f"CircuitBreaker({self._circuit.rule!r}{name})"

    @property
    def state(self) -> State:
        """The state; it reads ``State.OPEN`` until a probe has been let through."""
        return self._circuit.state

    def isolate(self) -> None:
        """Refuse all calls, also those that wait inside, until :meth:`reset`."""
        self._circuit.isolate()

    def shadow(self, on: bool = True) -> None:  # noqa: FBT001, FBT002 - reads as shadow(False)
        """Let all calls pass and only count what would be refused; the state moves as it would."""
        self._circuit.shadow = on

    def trip(self) -> None:
        """Open now, for the whole open time."""
        self._circuit.trip(self._now())

    def reset(self) -> None:
        """Close now, from any state; the shadow mode stays as it is."""
        self._circuit.reset(self._now())

    def matters(self, now: float) -> bool:
        """Say whether the circuit is half-open, isolated, or open until 60 s after its time."""
        return self._circuit.matters(now)

    def link(self, proceed: Proceed[T]) -> Proceed[T]:
        """Put the breaker around the rest of a pipeline."""
        run = self.run
        circuit = self._circuit

        def step(call: Call[T]) -> Awaitable[T]:
            # A refusal is raised right here: it costs no coroutine, and two frames less.
            if circuit._state is not _CLOSED and call.loop is self._loop:
                self._seen = now = call.loop.time()
                if circuit.refuses(now):
                    raise circuit.refusal(now, call.key)
            return run(call, proceed)

        return step

    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        """Run the rest of the pipeline if the circuit admits the call.

        Raises:
            CircuitOpenError: it does not, or it opened while the call waited inside.
        """
        loop = call.loop
        if loop is not self._loop:
            self._move(loop)
        circuit = self._circuit
        try:
            self._seen = now = loop.time()
            ticket = circuit.admit(now, call.attempt == 1)
        except CircuitOpenError as refusal:
            refusal.key = call.key
            raise
        ticket.outer = call.ticket
        call.ticket = ticket
        try:
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
            self._seen = now = call.loop.time()
            self._circuit.settle(ticket, kind, now, type(error).__name__)
        if isinstance(error, CircuitOpenError) and error.policy is self:
            error.key = call.key

    def _settle_result(self, call: Call[Any], ticket: Ticket, result: object) -> None:
        kind = Kind.NEUTRAL
        try:
            kind = call.judge_result(result).kind
        finally:
            if call.open is None or kind is _FAILURE:
                self._circuit.settle(ticket, kind, call.loop.time())
            else:
                call.open.on_settle(partial(self._settle_body, call.loop, ticket))

    def _settle_body(self, loop: Loop, ticket: Ticket, verdict: Verdict) -> None:
        self._circuit.settle(ticket, verdict.kind, loop.time())

    def _narrow(self, kind: Kind, error: BaseException) -> Kind:
        if not self._narrows or kind is not _FAILURE or not isinstance(error, Exception):
            return kind
        leaves = leaves_of(error)
        failures = self.failures
        if all(isinstance(leaf, self.ignore) for leaf in leaves):
            return Kind.NEUTRAL
        if failures is not None and not any(isinstance(leaf, failures) for leaf in leaves):
            return _SUCCESS
        return _FAILURE

    def _changed(self, before: State, after: State) -> None:  # noqa: ARG002
        self._gate = None if after is _CLOSED else self._refuse

    def _refuse(self) -> None:
        loop = self._loop
        running: object = _running_loop()
        if loop is not None and running is loop:
            self._seen = now = loop.time()
            if self._circuit.refuses(now):
                raise self._circuit.refusal(now)

    def _now(self) -> float:
        """Return the loop's time; without a running loop, the last one seen."""
        try:
            loop = current_loop()
        except UsageError:
            last = self._loop
            return self._seen if last is None or last.is_closed() else last.time()
        if loop is not self._loop:
            self._move(loop)
        self._seen = loop.time()
        return self._seen

    def _move(self, loop: Loop) -> None:
        check_move(self, self._loop, loop)
        now = loop.time()
        self._circuit.shift(now - self._seen)
        self._loop = loop
        self._seen = now
