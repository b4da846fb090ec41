"""A server with a queue: so many workers, first come, first served.

What its callers give up, it goes on working on: it cannot know. That makes overload last.
"""

from __future__ import annotations

from asyncio import CancelledError, Future, get_running_loop
from collections import deque
from collections.abc import Callable
from math import inf
from random import Random
from typing import Any

from tests.effectiveness.traffic import DependencyError


class FifoServer:
    """The function that the policies protect.

    Args:
        workers: requests that are worked on at a time.
        seconds: how long one takes, for a time at which its turn has come; ``inf`` while the
            server is down, when whoever asks gets an error at once.
        crash_above: a queue that is longer kills the server: all that it holds is lost, and it
            begins again.
        limit: a queue that is this long refuses what comes, at once.
        restarts: seconds that it takes to begin again after a crash.

    Attributes:
        sent: the times of all attempts.
        abandoned: how many attempts were given up by their callers.
        crashes: when it has crashed.
        worked: how many requests it has finished, wanted or not, since it began.
    """

    def __init__(
        self,
        random: Random,
        *,
        workers: int,
        seconds: Callable[[FifoServer, float], float],
        crash_above: float = inf,
        restarts: float = 0.0,
    ) -> None:
        self.sent: list[float] = []
        self.abandoned = 0
        self.crashes: list[float] = []
        self.worked = 0
        self.random = random
        self._seconds = seconds
        self._crash_above = crash_above
        self._restarts = restarts
        self._down_until = 0.0
        self._free = workers
        self._workers = workers
        self._queue: deque[Future[bool]] = deque()
        self._life = 0

    @property
    def queue(self) -> int:
        """How many requests wait for a worker."""
        return len(self._queue)

    async def __call__(self) -> None:
        loop = get_running_loop()
        now = loop.time()
        self.sent.append(now)
        if now < self._down_until:
            raise DependencyError
        answer: Future[bool] = loop.create_future()
        self._queue.append(answer)
        if self._free:
            self._begin(loop)
        elif len(self._queue) > self._crash_above:
            self._crash(now)
        try:
            served = await answer
        except CancelledError:
            self.abandoned += 1
            raise
        if not served:
            raise DependencyError

    def _begin(self, loop: Any) -> None:
        self._free -= 1
        answer = self._queue.popleft()
        loop.call_later(self._seconds(self, loop.time()), self._end, loop, answer, self._life)

    def _end(self, loop: Any, answer: Future[bool], life: int) -> None:
        if life != self._life:
            return
        self.worked += 1
        self._free += 1
        if not answer.done():
            answer.set_result(True)
        if self._queue:
            self._begin(loop)

    def _crash(self, now: float) -> None:
        self.crashes.append(now)
        self._life += 1
        self._down_until = now + self._restarts
        self.worked = 0
        self._free = self._workers
        lost, self._queue = self._queue, deque()
        for answer in lost:
            if not answer.done():
                answer.set_result(False)
