"""Tallies of several rules that hear the same calls."""

# ruff: noqa: D102 - Tally says what its methods do

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from seawall.policies.circuit.tallies import Tally

if TYPE_CHECKING:
    from seawall.core.verdict import Kind


class CombinedTally(Tally):
    """Has several tallies count the same calls."""

    __slots__ = ("_tallies",)

    def __init__(self, tallies: tuple[Tally, ...]) -> None:
        self._tallies = tallies

    @property
    def quiet_until(self) -> float:
        quiet = inf
        # Written out, as below: this runs at each call that is not a quiet success.
        for tally in self._tallies:
            until = tally.quiet_until
            if until < quiet:  # noqa: PLR1730 - min() is slower
                quiet = until
        return quiet

    def reset(self) -> None:
        for tally in self._tallies:
            tally.reset()

    def add_successes(self, count: int) -> None:
        for tally in self._tallies:
            tally.add_successes(count)

    def shift(self, delta: float) -> None:
        for tally in self._tallies:
            tally.shift(delta)

    def evidence(self, now: float) -> tuple[int, int]:
        # The widest view.
        return max((t.evidence(now) for t in self._tallies), key=lambda evidence: evidence[1])

    def singles(self) -> list[Tally]:
        return [single for tally in self._tallies for single in tally.singles()]


class AnyTally(CombinedTally):
    """Holds while one of its tallies does."""

    __slots__ = ("_held",)

    def __init__(self, tallies: tuple[Tally, ...]) -> None:
        super().__init__(tallies)
        self._held: Tally | None = None

    def record(self, kind: Kind, duration: float, now: float) -> bool:
        held: Tally | None = None
        # All are asked, also when the answer is known: each has to count the call.
        for tally in self._tallies:
            if tally.record(kind, duration, now) and held is None:
                held = tally
        self._held = held
        return held is not None

    def evidence(self, now: float) -> tuple[int, int]:
        # The rule that tripped is what a refusal should tell of.
        return super().evidence(now) if self._held is None else self._held.evidence(now)

    def reset(self) -> None:
        super().reset()
        self._held = None


class AllTally(CombinedTally):
    """Holds while all of its tallies do."""

    __slots__ = ()

    def record(self, kind: Kind, duration: float, now: float) -> bool:
        holds = True
        for tally in self._tallies:
            if not tally.record(kind, duration, now):
                holds = False
        return holds
