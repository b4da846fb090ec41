"""What a closed circuit has heard, by its trip rule."""

# Theory of operation: a healthy circuit hears little but successes, and no success makes a rule
# trip before `quiet_until` of its tally. Until then the circuit only counts them, in `quiet`; they
# are handed over together when something else happens.

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seawall.core.verdict import Kind
    from seawall.policies.circuit.rules import TripRule
    from seawall.policies.circuit.tallies import Tally


class Evidence:
    """The tally of one circuit, behind a count of quiet successes.

    Attributes:
        rule: the trip rule.
        quiet: successes that the tally has not been told of yet.
        quiet_until: time until which successes need only be added to ``quiet``.
        handed_over: successes that came by way of ``quiet``, in the life of the circuit.
    """

    __slots__ = ("_tally", "handed_over", "quiet", "quiet_until", "rule")

    def __init__(self, rule: TripRule) -> None:
        self.rule = rule
        self._tally: Tally = rule.start()
        self.quiet = self.handed_over = 0
        self.quiet_until: float = self._tally.quiet_until

    def record(self, kind: Kind, duration: float, now: float) -> bool:
        """Count one call that ended, and say whether the rule holds now."""
        self._hand_over()
        tripped = self._tally.record(kind, max(0.0, duration), now)
        self.quiet_until = self._tally.quiet_until
        return tripped

    def read(self, now: float) -> tuple[int, int]:
        """Return the failures, and the calls among which they were."""
        self._hand_over()
        return self._tally.evidence(now)

    def forget(self) -> None:
        """Begin a new closed period."""
        self._hand_over()
        self._tally.reset()
        self.quiet_until = self._tally.quiet_until

    def change_rule(self, rule: TripRule) -> None:
        """Go by another rule, which takes over what it can use of what has been counted."""
        self._hand_over()
        tally = rule.start()
        tally.carry_over(self._tally)
        self.rule, self._tally = rule, tally
        self.quiet_until = tally.quiet_until

    def shift(self, delta: float) -> None:
        """Move all times along by ``delta`` seconds."""
        self._tally.shift(delta)
        self.quiet_until = self._tally.quiet_until

    def _hand_over(self) -> None:
        if self.quiet:
            self._tally.add_successes(self.quiet)
            self.handed_over += self.quiet
            self.quiet = 0
