"""What a trip rule is, and how rules combine.

A rule may be shared by any number of circuits, because it counts nothing itself: each circuit asks
it for a fresh :class:`~seawall.policies.circuit.tallies.Tally`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from seawall.policies.circuit.combined import AllTally, AnyTally

if TYPE_CHECKING:
    from seawall.policies.circuit.tallies import Tally


class TripRule(ABC):
    """When a circuit trips. Combine rules with ``|`` (any of them) and ``&`` (all at once).

    A rule of your own says how to count, and its :class:`Tally` counts, for one circuit::

        class SlowFailures(TripRule):
            def start(self):
                return SlowFailuresTally()

        class SlowFailuresTally(Tally):
            in_a_row = 0

            def record(self, kind, duration, now):
                slow = kind is Kind.FAILURE and duration > 1.0
                self.in_a_row = self.in_a_row + 1 if slow else 0
                return self.in_a_row >= 3

            def reset(self):
                self.in_a_row = 0

            def evidence(self, now):
                return self.in_a_row, self.in_a_row
    """

    __slots__ = ()

    @abstractmethod
    def start(self) -> Tally:
        """Return a fresh tally for one circuit."""

    def __or__(self, other: TripRule) -> TripRule:
        return AnyOf(self, other) if _is_rule(other) else NotImplemented

    def __and__(self, other: TripRule) -> TripRule:
        return AllOf(self, other) if _is_rule(other) else NotImplemented


def _is_rule(value: object) -> bool:
    return isinstance(value, TripRule)


class AnyOf(TripRule):
    """Trip when at least one of several rules holds. ``rule | rule`` makes one.

    Attributes:
        rules: the rules; one that is an ``AnyOf`` itself is replaced by its own rules.

    Raises:
        TypeError: an argument is not a rule.
        ValueError: none is given.
    """

    __slots__ = ("rules",)

    def __init__(self, *rules: TripRule) -> None:
        self.rules = _flatten(AnyOf, rules)

    def start(self) -> Tally:
        """Return a fresh tally for one circuit."""
        return AnyTally(tuple([rule.start() for rule in self.rules]))

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.rules))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnyOf) and other.rules == self.rules

    def __hash__(self) -> int:
        return hash((AnyOf, self.rules))


class AllOf(TripRule):
    """Trip when all of several rules hold at the same call. ``rule & rule`` makes one.

    Attributes:
        rules: the rules; one that is an ``AllOf`` itself is replaced by its own rules.

    Raises:
        TypeError: an argument is not a rule.
        ValueError: none is given.
    """

    __slots__ = ("rules",)

    def __init__(self, *rules: TripRule) -> None:
        self.rules = _flatten(AllOf, rules)

    def start(self) -> Tally:
        """Return a fresh tally for one circuit."""
        return AllTally(tuple([rule.start() for rule in self.rules]))

    def __repr__(self) -> str:
        return " & ".join(f"({r!r})" if isinstance(r, AnyOf) else repr(r) for r in self.rules)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AllOf) and other.rules == self.rules

    def __hash__(self) -> int:
        return hash((AllOf, self.rules))


def _flatten(kind: type[AnyOf | AllOf], rules: tuple[TripRule, ...]) -> tuple[TripRule, ...]:
    if not rules:
        raise ValueError(f"{kind.__name__} needs at least one rule")
    flat: list[TripRule] = []
    for rule in rules:
        if not _is_rule(rule):
            raise TypeError(f"{kind.__name__} takes rules, not {rule!r}")
        flat.extend(rule.rules if isinstance(rule, kind) else (rule,))
    return tuple(flat)
