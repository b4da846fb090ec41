"""Counting the latest calls: a window of time, or of a number of calls.

Both keep running sums, so reading them costs nothing, and both take ``now`` from the caller.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from math import inf
from typing import Final, TypeAlias

from seawall.core.checks import check_count, check_number
from seawall.policies.circuit.times import NEVER, moved

# A power of two: the width of a bucket is then exact, and so is the edge of most windows.
BUCKETS = 32
# What a place holds at most, by its type: most buckets hold few calls, and begin with one byte.
_LARGEST: Final = {"B": 2**8 - 1, "H": 2**16 - 1, "I": 2**32 - 1, "Q": 2**64 - 1}


@dataclass(frozen=True, slots=True)
class Calls:
    """A window over the last ``count`` calls, however long ago they were.

    Args:
        count: how many calls; at least 1. A window takes one byte for each.

    Raises:
        TypeError: ``count`` is not an ``int``.
        ValueError: ``count`` is less than 1.
    """

    count: int

    def __post_init__(self) -> None:
        check_count("count", self.count, at_least=1)


class TimeWindow:
    """Counts of the calls of the last ``length`` seconds, in 33 buckets.

    Every call younger than ``length`` is counted, none as old as ``length`` × 33/32; between the
    two a call leaves together with its bucket. Recording costs O(1), a jump of time of any length
    O(buckets). Time that stands still or goes back is harmless: the call is counted as if it were
    of the current bucket.

    Attributes:
        calls: how many calls are counted.
        bad: how many of them were bad.
        quiet_until: end of the current bucket. Calls before it change no other bucket.
    """

    __slots__ = (
        "_bad_before",
        "_calls_before",
        "_length",
        "_position",
        "_ring",
        "bad",
        "calls",
        "quiet_until",
    )

    def __init__(self, length: float) -> None:
        self._length = length
        # The calls of a bucket, and then the bad ones, in one array, which is smaller than two.
        self._ring: array[int] = array("B", [0]) * (2 * BUCKETS)
        self.reset()

    def reset(self) -> None:
        """Forget everything; the first bucket begins with the next call."""
        for position in range(2 * BUCKETS):
            self._ring[position] = 0
        # The sums without the current bucket: its own counts are the difference, so that a call
        # changes nothing but the sums.
        self._calls_before = self._bad_before = 0
        self.calls = self.bad = 0
        self._position = 0
        self.quiet_until = NEVER

    def shift(self, delta: float) -> None:
        """Move all times along by ``delta`` seconds."""
        self.quiet_until = moved(self.quiet_until, delta)

    def record(self, now: float, *, bad: bool) -> None:
        """Count one call."""
        if now >= self.quiet_until:
            self.advance(now)
        self.calls += 1
        self.bad += bad

    def add_good(self, count: int) -> None:
        """Count this many calls that were not bad, all from before ``quiet_until``."""
        self.calls += count

    def advance(self, now: float) -> None:
        """Drop what has become too old."""
        late = now - self.quiet_until
        if late < 0.0:
            return
        width = self._length / BUCKETS
        if late >= self._length:
            self.reset()
            self.quiet_until = now + width
            return
        steps = int(late / width) + 1
        self.quiet_until += steps * width
        calls, bad = self.calls - self._calls_before, self.bad - self._bad_before
        self._make_fit(calls)
        ring, position = self._ring, self._position
        for _ in range(steps):
            self.calls -= ring[position]
            self.bad -= ring[position + 1]
            ring[position], ring[position + 1] = calls, bad
            position = (position + 2) % len(ring)
            calls = bad = 0
        self._position = position
        self._calls_before, self._bad_before = self.calls, self.bad

    def _make_fit(self, calls: int) -> None:
        """Make all places large enough for this number."""
        if calls > _LARGEST[self._ring.typecode]:
            wider = next(code for code, largest in _LARGEST.items() if calls <= largest)
            self._ring = array(wider, self._ring)

    def take_over(self, previous: Window) -> bool:
        """Count, while this window is empty, the calls of another one, and say whether it can.

        The other may be of any length. A call counts as if it came when its bucket began: so none
        is counted for longer than it would be here, and some up to 1/32 of the previous length
        shorter. It cannot take over from a window of calls, for their age is unknown.
        """
        if not isinstance(previous, TimeWindow):
            return False
        if self._length == previous._length:
            for name in TimeWindow.__slots__:
                setattr(self, name, getattr(previous, name))
            self._ring = previous._ring[:]
            return True
        ring, oldest = previous._ring, previous._position
        buckets = [*ring[oldest:], *ring[:oldest]]
        buckets.append(previous.calls - previous._calls_before)
        buckets.append(previous.bad - previous._bad_before)
        width = previous._length / BUCKETS
        begin = previous.quiet_until - (BUCKETS + 1) * width
        for number in range(BUCKETS + 1):
            calls = buckets[2 * number]
            if calls:
                self.advance(begin + number * width)
                self.calls += calls
                self.bad += buckets[2 * number + 1]
        return True


class CallWindow:
    """Exact counts of the last ``size`` calls. Recording costs O(1).

    Attributes:
        calls: how many calls are counted, at most ``size``.
        bad: how many of them were bad.
        quiet_until: always in the past, for each call pushes one out.
    """

    __slots__ = ("_position", "_ring", "bad", "calls")

    quiet_until: float = -inf

    def __init__(self, size: int) -> None:
        self._ring = bytearray(size)
        self._position = self.calls = self.bad = 0

    def reset(self) -> None:
        """Forget everything."""
        self._ring = bytearray(len(self._ring))
        self._position = self.calls = self.bad = 0

    def shift(self, delta: float) -> None:
        """Do nothing: the window knows no time."""

    def record(self, now: float, *, bad: bool) -> None:  # noqa: ARG002 - as in TimeWindow
        """Count one call."""
        ring, position = self._ring, self._position
        if self.calls < len(ring):
            self.calls += 1
        # A place not used before holds 0. Most calls are like the ones that they push out.
        if bad != ring[position]:
            ring[position] = bad
            self.bad += 1 if bad else -1
        position += 1
        self._position = position if position < len(ring) else 0

    def add_good(self, count: int) -> None:
        """Count this many calls that were not bad."""
        for _ in range(count):
            self.record(0.0, bad=False)

    def advance(self, now: float) -> None:
        """Do nothing: calls leave by number, not by age."""

    def take_over(self, previous: Window) -> bool:
        """Count, while this window is empty, the latest of another one, and say whether it can.

        It cannot take over from a window of time, for the order of those calls is unknown.
        """
        if not isinstance(previous, CallWindow):
            return False
        ring, oldest = previous._ring, previous._position
        # While a ring is not full, its calls end at the position, and the rest is no call.
        in_order = (ring[oldest:] + ring[:oldest])[len(ring) - previous.calls :]
        latest = in_order[-len(self._ring) :]
        self._ring[: len(latest)] = latest
        self.calls, self.bad = len(latest), sum(latest)
        self._position = len(latest) % len(self._ring)
        return True


Window: TypeAlias = TimeWindow | CallWindow


def check_window(value: object) -> None:
    """Raise unless the value can be a ``window``: seconds, or ``Calls``.

    Raises:
        TypeError: it is neither a number nor ``Calls``.
        ValueError: it is not finite or not above 0.
    """
    if isinstance(value, Calls):
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"window must be a number of seconds > 0, or Calls(n), not {value!r}")
    check_number("window", value, above=0)


def make_window(window: float | Calls) -> Window:
    """Return an empty window."""
    return CallWindow(window.count) if isinstance(window, Calls) else TimeWindow(window)
