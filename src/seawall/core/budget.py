"""A budget that keeps further attempts a small share of the traffic. Pure: it is told the time."""

from __future__ import annotations

from seawall.core.checks import check_number


class RetryBudget:
    """Tokens that retries and hedges are paid from; one object may serve several policies.

    Each success of a first attempt earns ``ratio`` tokens and each retry costs one, so retries are
    at most that share of healthy traffic. When everything fails nothing is earned, and apart from
    the slow drip of ``floor`` the retries stop: they would only add load. A retry that succeeds
    earns nothing, which would double the ratio. After "Handling overload" (Site Reliability
    Engineering, 2016), gRPC's retry throttling, and Finagle's ``RetryBudget``.

    Args:
        ratio: tokens for each success of a first attempt, 0 to 1.
        capacity: tokens at most, and at the start; at least 1.
        floor: tokens that come back each second in any case, not negative.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is no number.
    """

    __slots__ = ("_at", "_clock", "capacity", "floor", "ratio", "tokens")

    def __init__(self, ratio: float = 0.1, *, capacity: float = 10, floor: float = 1 / 30) -> None:
        check_number("ratio", ratio, at_least=0, at_most=1)
        check_number("capacity", capacity, at_least=1)
        check_number("floor", floor, at_least=0)
        self.ratio = ratio
        self.capacity = capacity
        self.floor = floor
        self.tokens: float = capacity
        self._at: float | None = None
        self._clock: object = None

    def __repr__(self) -> str:
        return f"RetryBudget({self.ratio!r}, capacity={self.capacity!r}, floor={self.floor:.4g})"

    def earn(self) -> None:
        """Count the success of a first attempt."""
        tokens = self.tokens + self.ratio
        self.tokens = min(self.capacity, tokens)

    def spend(self, now: float) -> bool:
        """Pay for one attempt at this time in seconds; say whether there was a token for it."""
        self.tokens = self.left(self._clock, now)
        self._at = now
        # Ten times 0.1 is a little less than one in binary fractions.
        if self.tokens < 1 - 1e-9:
            return False
        self.tokens = max(0.0, self.tokens - 1)
        return True

    def refund(self) -> None:
        """Give back what an attempt has cost that never reached the dependency."""
        self.tokens = min(self.capacity, self.tokens + 1)

    def left(self, clock: object, now: float) -> float:
        """Return the tokens at this time of a clock; it changes nothing.

        By a clock that the budget does not follow, it returns the last known ones.
        """
        if self._at is None or clock is not self._clock or now <= self._at:
            return self.tokens
        return min(self.capacity, self.tokens + self.floor * (now - self._at))

    def follow(self, clock: object, now: float) -> None:
        """Go by this clock from now on; from one clock to another no time passes."""
        if clock is not self._clock:
            self._clock = clock
            self._at = now
