"""How much of what is asked of a dependency it accepts. Pure: the time is passed in.

Of the *requests* in the window, those refused here included, so many *accepts* were accepted. A
call is refused with the probability max(0, (requests - k · accepts) / (requests + 1)): what passes
settles at about k times what the dependency accepts. After "Handling overload" (Site Reliability
Engineering, 2016), from which two things differ:

* The probability is capped below 1, and the window is short. What passes then finds out within
  about one window that the dependency is back. With the book's two minutes and no cap that takes
  1,000 s at 100 calls a second.
* A request counts once it is known whether it was accepted. If it counted when it is sent, those
  that take longer than half of the window would look refused, and a slow dependency ill.
"""

from __future__ import annotations

import random as chance
from math import isnan, nan
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

BUCKETS: Final = 20


class Acceptance:
    """Requests and accepts of the latest ``window`` seconds.

    The window is a ring of 20 buckets: each request counts for at least 19/20 of the window and at
    most for all of it. Counting costs O(1), a jump of time of any length O(buckets).

    Args:
        k: requests that may pass for each that is accepted.
        window: seconds.
        max_reject: the highest probability with which a call is refused.
        random: returns a number from 0 to 1, 1 excluded.

    Attributes:
        requests: how many are in the window.
        accepts: how many of those were accepted.
    """

    __slots__ = (
        "_accepts",
        "_edge",
        "_k",
        "_max_reject",
        "_position",
        "_random",
        "_requests",
        "_width",
        "accepts",
        "requests",
    )

    def __init__(
        self,
        k: float,
        window: float,
        max_reject: float,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self.requests = 0
        self.accepts = 0
        self._k = k
        self._max_reject = max_reject
        self._random = random
        self._width = window / BUCKETS
        self._requests = [0] * BUCKETS
        self._accepts = [0] * BUCKETS
        self._position = 0
        # When the current bucket ends; NaN before the first request.
        self._edge = nan

    def refuses(self, now: float) -> bool:
        """Draw whether to refuse a call; if so, it is counted as a request."""
        if now >= self._edge:
            self._advance(now)
        excess = self.requests - self._k * self.accepts
        if excess <= 0:
            return False
        if self._random() >= min(self._max_reject, excess / (self.requests + 1)):
            return False
        self.count(now, accepted=False)
        return True

    def count(self, now: float, *, accepted: bool) -> None:
        """Count a request that the dependency has accepted, or has not."""
        if not now < self._edge:
            self._advance(now)
        self.requests += 1
        self._requests[self._position] += 1
        if accepted:
            self.accepts += 1
            self._accepts[self._position] += 1

    def at(self, now: float) -> tuple[int, int, float]:
        """Return requests, accepts and the probability of a refusal; it changes nothing."""
        requests, accepts = self.requests, self.accepts
        for step in range(1, 1 + self._steps(now)):
            position = (self._position + step) % BUCKETS
            requests -= self._requests[position]
            accepts -= self._accepts[position]
        excess = (requests - self._k * accepts) / (requests + 1)
        return requests, accepts, min(self._max_reject, max(0.0, excess))

    def follow(self, now: float) -> None:
        """Go by another clock from now on; from one clock to another no time passes."""
        if not isnan(self._edge):
            self._edge = now + self._width

    def _steps(self, now: float) -> int:
        """Return how many buckets are over."""
        late = now - self._edge
        if not late >= 0.0:
            return 0
        # Before the division: of times far apart it may be more than an int takes.
        return BUCKETS if late >= self._width * BUCKETS else 1 + int(late / self._width)

    def _advance(self, now: float) -> None:
        """Begin the bucket that this time is in, and forget what has become too old."""
        steps = min(self._steps(now), BUCKETS)
        if steps in {0, BUCKETS}:
            self._edge = now + self._width
        else:
            self._edge += steps * self._width
        for _ in range(steps):
            self._position = position = (self._position + 1) % BUCKETS
            self.requests -= self._requests[position]
            self.accepts -= self._accepts[position]
            self._requests[position] = self._accepts[position] = 0
