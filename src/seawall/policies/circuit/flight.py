"""The calls that a circuit has admitted and that have not been settled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seawall.policies.circuit.empty import EMPTY

if TYPE_CHECKING:
    from seawall.policies.circuit.ticket import Ticket


class Flight:
    """Every unsettled ticket, in one of three places.

    Attributes:
        sent: in flight, without an answer; the first sent first. The value is of no meaning.
        stalled: found in flight for too long, in silence; the first sent first.
        apart: not in flight. With ``None``: waiting for a slot or a turn. With a number: the
            response has begun, after this many seconds.
    """

    __slots__ = ("apart", "sent", "stalled")

    def __init__(self) -> None:
        self.sent: dict[Ticket, None] = {}
        self.stalled: dict[Ticket, None] = EMPTY
        self.apart: dict[Ticket, float | None] = EMPTY

    def __len__(self) -> int:
        return len(self.sent) + len(self.stalled) + len(self.apart)

    def pause(self, ticket: Ticket) -> bool:
        """Take a call out of what is in flight: it waits for a slot or a turn.

        Returns whether it was stalled.
        """
        stalled = ticket in self.stalled
        if stalled or ticket in self.sent:
            del (self.stalled if stalled else self.sent)[ticket]
            self.set_apart(ticket, None)
            ticket.waiters = 1
        elif ticket in self.apart and self.apart[ticket] is None:
            ticket.waiters += 1
        return stalled

    def resume(self, ticket: Ticket, now: float) -> None:
        """Go on with a call that waited: its time in flight begins now."""
        if ticket in self.apart and self.apart[ticket] is None:
            ticket.waiters -= 1
            if not ticket.waiters:
                del self.apart[ticket]
                ticket.start = now
                self.sent[ticket] = None

    def set_apart(self, ticket: Ticket, took: float | None) -> None:
        """Keep the ticket of a call that waits, or whose response has begun."""
        if not self.apart:
            self.apart = {}
        self.apart[ticket] = took

    def find_stalled(self, sent_before: float) -> list[Ticket]:
        """Move to ``stalled`` what was sent before a time; return what was moved."""
        found: list[Ticket] = []
        for ticket in self.sent:
            if ticket.start >= sent_before:
                break
            found.append(ticket)
        if found and not self.stalled:
            self.stalled = {}
        for ticket in found:
            del self.sent[ticket]
            self.stalled[ticket] = None
        return found

    def clear(self) -> None:
        """Forget all tickets."""
        for tickets in (self.sent, self.stalled, self.apart):
            tickets.clear()
