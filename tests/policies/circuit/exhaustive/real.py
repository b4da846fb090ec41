"""A world of real circuits: what does happen at each step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from seawall import CircuitOpenError
from seawall.core.verdict import Kind
from seawall.policies.circuit.core import Circuit
from seawall.policies.circuit.ticket import Ticket
from tests.doubles import HeardCircuit
from tests.policies.circuit.exhaustive.ideal import Seen, View
from tests.policies.circuit.exhaustive.model import CLOSED, Opening, Refusal
from tests.policies.circuit.exhaustive.setups import Step, World

KINDS = {kind.value: kind for kind in Kind}

MakeCircuit = Callable[..., Circuit]


class Waiter:
    """Waits in the place of a bulkhead."""

    error: BaseException | None = None

    def refuse(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error


class Real:
    """The circuits of a world, at a time; see :class:`Ideal`."""

    def __init__(self, world: World, make: MakeCircuit = HeardCircuit) -> None:
        self.world = world
        self.now = 0.0
        jitter = world.jitter
        self.circuits: list[Circuit] = []
        for setup in world.circuits:
            more: dict[str, Any] = {"parent": self.circuits[0]} if self.circuits else {}
            circuit = make(**setup.arguments, **more, random=lambda: jitter)
            circuit.name = str(len(self.circuits))
            self.circuits.append(circuit)
        self.tickets: dict[int, Ticket] = {}
        self.begun: list[int] = []
        self.waiters: dict[int, Waiter] = {}
        self.ended: list[Ticket] = []
        for circuit in self.circuits:
            if circuit.end_stalled:
                circuit.on_stalled = self.ended.append
        self.admitted = 0

    def run(self, steps: Iterable[Step]) -> None:
        """Take steps at which nobody looks."""
        for step in steps:
            self._take(step)

    def apply(self, step: Step) -> Seen:
        """Take a step, and return what is seen."""
        self.ended.clear()
        for waiter in self.waiters.values():
            waiter.error = None
        probe, refusal = self._take(step)
        told = tuple(
            (number, _read(waiter.error))
            for number, waiter in sorted(self.waiters.items())
            if waiter.error is not None
        )
        ended = sorted(number for number, ticket in self.tickets.items() if ticket in self.ended)
        return Seen(probe, refusal, told, tuple(ended), self.views())

    def _take(self, step: Step) -> tuple[tuple[bool, ...] | None, Refusal | None]:
        action = step[0]
        now = self.now
        if action == "to":
            self.now = step[1]
        elif action == "settle":
            self.waiters.pop(step[1], None)
            ticket = self.tickets.pop(step[1])
            kind = KINDS[step[2]]
            if step[1] in self.begun and kind is Kind.SUCCESS:
                # As a breaker does at the end of a body.
                ticket.circuit.end(ticket, kind, now)
            else:
                ticket.circuit.settle(ticket, kind, now, "E")
        elif action == "admit":
            try:
                ticket = self.circuits[step[1]].admit(now, step[2])
            except CircuitOpenError as error:
                return None, _read(error)
            self.tickets[self.admitted] = ticket
            self.admitted += 1
            if step[1] == 0:
                return (ticket.probe,), None
            assert ticket.above is not None
            return (ticket.probe, ticket.above.probe), None
        elif action == "wait":
            waiter = self.waiters[step[1]] = Waiter()
            self.tickets[step[1]].waits(waiter)
        elif action == "go":
            self.tickets[step[1]].goes_on(self.waiters.pop(step[1]), now)
        elif action == "begin":
            ticket = self.tickets[step[1]]
            ticket.circuit.begin(ticket, now)
            self.begun.append(step[1])
        elif action == "shadow":
            self.circuits[step[1]].shadow = step[2]
        elif action == "reconfigure":
            self.circuits[step[1]].reconfigure(**self.world.changes[step[2]])
        else:
            getattr(self.circuits[step[1]], action)(now)
        return None, None

    def views(self) -> tuple[View, ...]:
        return tuple(self._view(circuit) for circuit in self.circuits)

    def _view(self, circuit: Circuit) -> View:
        now = self.now
        opening = circuit.opening
        retry_after, refuses = circuit.retry_after(now), circuit.refuses(now)
        state = circuit.state.value  # last: to be asked shall change nothing
        return View(
            state,
            retry_after,
            refuses,
            circuit.evidence(now) if state == CLOSED else None,
            None if opening is None else (opening.failures, opening.calls, opening.cause),
            circuit.would_refuse,
            circuit.would_refuse_succeeded,
            circuit.rejected,
        )


def _read(error: BaseException | None) -> Refusal:
    assert isinstance(error, CircuitOpenError), error
    opening = Opening(error.failures, error.calls, error.cause)
    return Refusal(
        int(error.name or 0),
        error.state,
        error.retry_after,
        opening,
    )
