"""The places of the probes: who may try whether the dependency is back."""

from __future__ import annotations

from itertools import islice
from math import inf
from operator import itemgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from seawall.policies.circuit.ticket import Ticket


class Places(dict["Ticket", float]):
    """The probes that hold a place, each with the end of its lease.

    They are kept in the order in which the leases end.

    Attributes:
        lost: how many leases of this half-open period are known to have ended before their probes.
    """

    __slots__ = ("lost",)

    def __init__(self) -> None:
        self.lost = 0

    def clear(self) -> None:
        """Forget all probes."""
        super().clear()
        self.lost = 0

    def take(self, ticket: Ticket, until: float) -> None:
        """Give a probe a place, until its lease ends."""
        last = next(reversed(self.values()), -inf)
        self[ticket] = until
        if until < last:
            ordered = sorted(self.items(), key=itemgetter(1))
            super().clear()
            self.update(ordered)

    def free(self, ticket: Ticket, now: float) -> None:
        """Take its place from a probe, if it still has one."""
        if now >= self.pop(ticket, inf):
            self.lost += 1

    def free_one(self, limit: int, ticket: Ticket, now: float) -> None:
        """Make room if there is none, because of a sign of life from this call."""
        if ticket not in self and len(self) >= limit:
            self.free(next(iter(self)), now)

    def has_room(self, limit: int, now: float) -> bool:
        """End the leases that are over; say whether fewer than this many places are held."""
        while self:
            oldest = next(iter(self))
            if now < self[oldest]:
                break
            self.free(oldest, now)
        return len(self) < limit

    def wait(self, limit: int, now: float) -> float:
        """Return the seconds until there is room, if no probe is settled before; never below 0."""
        # More than the limit where there were more places once.
        excess = len(self) - limit
        if excess < 0:
            return 0.0
        return max(0.0, next(islice(self.values(), excess, None)) - now)


# Of every circuit that is not half-open: no probe ever takes a place here.
NO_PLACES: Final = Places()
