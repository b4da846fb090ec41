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
        generation: its generation then; below 0 once settled, or if the ticket counts for nothing.
        start: when the call was admitted.
        probe: whether it is a probe.
        first: whether it is the first attempt of its call.
        outer: the ticket of the next circuit outside; a link for whoever keeps the tickets.
    """

    # No __init__: with it, making a ticket takes nearly twice as long. The circuit sets all slots.
    __slots__ = ("circuit", "first", "generation", "outer", "probe", "start")

    circuit: Circuit
    generation: int
    start: float
    probe: bool
    first: bool
    outer: Held | None

    def waits(self, waiter: Waiter) -> None:
        """Remember that the call waits: if the circuit opens meanwhile, the waiter is refused.

        The wait ends with :meth:`goes_on`. A ticket may have several waiters at a time.
        """
        self.circuit.waiting[waiter] = self

    def goes_on(self, waiter: Waiter) -> None:
        """Forget the waiter: the call waits no longer."""
        self.circuit.waiting.pop(waiter, None)
