"""The places of the probes: who may try whether the dependency is back."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seawall.policies.circuit.ticket import Ticket


class Places(dict["Ticket", float]):
    """The probes that hold a place, each with the end of its lease.

    All leases of one period are of about the same length, so the first to be taken is the first to
    end.
    """

    __slots__ = ()

    def free(self, ticket: Ticket) -> None:
        """Take its place from a probe, if it still has one."""
        self.pop(ticket, None)

    def free_one(self, limit: int, ticket: Ticket) -> None:
        """Make room if there is none, because of a sign of life from this call."""
        if ticket not in self and len(self) >= limit:
            del self[next(iter(self))]

    def has_room(self, limit: int, now: float) -> bool:
        """End the leases that are over; say whether fewer than this many places are held."""
        while self:
            oldest = next(iter(self))
            if now < self[oldest]:
                break
            del self[oldest]
        return len(self) < limit

    def wait(self, limit: int, now: float) -> float:
        """Return the seconds until there is room, if no probe is settled before; never below 0."""
        # More than the limit where there were more places once.
        excess = len(self) - limit
        if excess < 0:
            return 0.0
        return max(0.0, next(islice(self.values(), excess, None)) - now)
