"""What an admitted call holds of a circuit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from seawall.core.call import Held
    from seawall.policies.circuit.core import Circuit


class Waiter(Protocol):
    """What an admitted call waits with, for a slot or a turn further inside."""

    def refuse(self, error: BaseException) -> None:
        """End the wait with this error. It must not raise."""


class Ticket:
    """The part of a circuit that one admitted call holds, until it is settled.

    Attributes:
        circuit: the circuit that admitted the call.
        generation: its generation then; below 0 if the ticket counts for nothing.
        start: when the call was admitted, or has last gone on after a wait.
        probe: whether it is a probe.
        first: whether it is the first attempt of its call.
        waiters: how many waits of the call the circuit has been told of; unset before the first.
        above: the ticket of the parent, if the circuit has one.
        outer: the ticket of the next circuit outside; a link for whoever keeps the tickets.
    """

    # No __init__: with it, making a ticket takes nearly twice as long. The circuit sets all slots.
    __slots__ = ("above", "circuit", "first", "generation", "outer", "probe", "start", "waiters")

    circuit: Circuit
    generation: int
    start: float
    probe: bool
    first: bool
    waiters: int
    above: Ticket | None
    outer: Held | None

    def waits(self, waiter: Waiter) -> None:
        """Remember that the call waits: if the circuit opens meanwhile, the waiter is refused.

        The wait ends with :meth:`goes_on`. A ticket may have several waiters at a time.
        """
        self.circuit.pause(self, waiter)
        if self.above is not None:
            self.above.waits(waiter)

    def goes_on(self, waiter: Waiter, now: float) -> None:
        """Forget the waiter: the call waits no longer."""
        self.circuit.resume(self, waiter, now)
        if self.above is not None:
            self.above.goes_on(waiter, now)


class PlainTicket(Ticket):
    """The ticket of a first attempt through a closed circuit, which has no other around it."""

    # Of the class, so that they need not be set.
    __slots__ = ()

    probe = False
    first = True
    above = None
    outer = None
