"""What may be asked of a circuit breaker and told to it, without a call."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final

from seawall.core.checks import check_number, check_type
from seawall.core.clock import TrioLoop, check_move, current_loop
from seawall.core.deadline import current_scope, earliest
from seawall.core.errors import DeadlineError, UsageError
from seawall.core.policy import Policy
from seawall.core.verdict import ExceptionTypes, check_exception_types
from seawall.core.waiting import Waiter
from seawall.policies.circuit.empty import EMPTY

if TYPE_CHECKING:
    from seawall.core.clock import Loop
    from seawall.policies.circuit.core import Circuit, State, Ticket
    from seawall.policies.circuit.ending import Ending
    from seawall.policies.circuit.rules import TripRule
    from seawall.policies.circuit.snapshot import CircuitSnapshot

_KEEP: Final[Any] = object()
# Turns of a loop in which an answer gets from its socket to the caller, whatever is in between.
_TURNS: Final = 10


class CircuitControls(Policy):
    """A circuit and its parents, with the clock that they share, and those who wait for them."""

    # How often silence was found.
    _silences = 0
    # Those that wait until calls are admitted.
    _awaiting: dict[Waiter, None] = EMPTY
    # The calls that may have to be ended.
    _endings: dict[Ticket, Ending] = EMPTY

    def __init__(
        self,
        circuit: Circuit,
        *,
        parent: CircuitControls | None,
        failures: ExceptionTypes | None,
        ignore: ExceptionTypes,
        name: str | None,
    ) -> None:
        self.name = name
        self.parent = parent
        self.failures: ExceptionTypes | None = failures
        self.ignore: ExceptionTypes = ignore
        self._circuit = circuit
        circuit.owner = self
        circuit.name = name
        self._loop: Loop | None = None
        self._seen = 0.0
        self._note_extras()

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
        check_narrowing(failures, ignore)
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
        while self._circuit.refuses(now):
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
        from seawall.policies.circuit.snapshot import snapshot_of  # noqa: PLC0415 - seldom needed

        now = self._last_time()
        parent = None if self.parent is None else self.parent.name
        return snapshot_of(self._circuit, now, self, parent)

    def _note_extras(self) -> None:
        # Whether an admitted call may be one let pass in shadow, or one to be ended.
        circuit = self._circuit
        self._has_extras = circuit.shadow or circuit.end_stalled or circuit.parent is not None
        if circuit.end_stalled and self._endings is EMPTY:
            self._endings = {}

    def _wake(self) -> None:
        for waiter in self._awaiting:
            waiter.grant()

    def _catch_up(self) -> None:
        """Let the loop turn: it may have been busy, and the answers may be there."""
        self._silences += 1
        self._turn(self._loop, self._silences, _TURNS)

    def _turn(self, loop: Loop | None, silence: int, left: int) -> None:
        if loop is None or loop is not self._loop or silence != self._silences:
            return
        if left:
            loop.call_soon_threadsafe(self._turn, loop, silence, left - 1)
        else:
            self._circuit.caught_up()

    async def _wait_for_change(self, until: float, loop: Loop) -> None:
        waiter = Waiter()
        family: list[CircuitControls] = []
        breaker: CircuitControls | None = self
        while breaker is not None:
            if not breaker._awaiting:
                breaker._awaiting = {}
            breaker._awaiting[waiter] = None
            family.append(breaker)
            breaker = breaker.parent
        try:
            await waiter.wait(until, on_asyncio=not isinstance(loop, TrioLoop))
        finally:
            # Another loop may have forgotten it.
            for breaker in family:
                breaker._awaiting.pop(waiter, None)

    def _now(self) -> float:
        """Return the loop's time; without a running loop, the last one seen."""
        try:
            loop = current_loop()
        except UsageError:
            return self._last_time()
        now = loop.time()
        if loop is not self._loop:
            self._move(loop, now)
        self._see(loop, now)
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

    def _see(self, loop: Loop, now: float) -> None:
        """Remember the time, for the parents too: they may be used by way of their children.

        The call of a closed loop may end when they go by the clock of another one.
        """
        breaker: CircuitControls | None = self
        while breaker is not None and breaker._loop is loop:
            breaker._seen = now
            breaker = breaker.parent

    def _is_family(self, policy: object) -> bool:
        breaker: CircuitControls | None = self
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


def check_narrowing(failures: ExceptionTypes | None, ignore: ExceptionTypes) -> None:
    """Raise unless these can narrow what counts as a failure.

    Raises:
        TypeError: one of them is no exception type, and no tuple of them.
    """
    if failures is not None:
        check_exception_types("failures", failures)
    check_exception_types("ignore", ignore)
