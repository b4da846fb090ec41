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
        seconds: how long one takes whose turn comes at this time.
        crash_above: a queue that is longer kills the server: all that it holds is lost, and it
            begins again.
        restart_at: it also begins again with the first request from this time on.

    Attributes:
        sent: the times of all attempts.
        abandoned: how many attempts were given up by their callers.
        crashes: when it has crashed.
        lives: how often it has begun again.
        worked: how many requests it has finished, wanted or not, in its present life.
    """

    def __init__(
        self,
        random: Random,
        *,
        workers: int,
        seconds: Callable[[FifoServer, float], float],
        crash_above: float = inf,
        restart_at: float = inf,
    ) -> None:
        self.sent: list[float] = []
        self.abandoned = 0
        self.crashes: list[float] = []
        self.lives = 0
        self.worked = 0
        self.random = random
        self._seconds = seconds
        self._crash_above = crash_above
        self._restart_at = restart_at
        self._free = workers
        self._workers = workers
        self._queue: deque[Future[bool]] = deque()
        self._at_work: set[Future[bool]] = set()

    async def __call__(self) -> None:
        loop = get_running_loop()
        now = loop.time()
        self.sent.append(now)
        if now >= self._restart_at:
            self._restart_at = inf
            self._begin_again()
        answer: Future[bool] = loop.create_future()
        self._queue.append(answer)
        if self._free:
            self._begin(loop)
        elif len(self._queue) > self._crash_above:
            self.crashes.append(now)
            self._begin_again()
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
        self._at_work.add(answer)
        seconds = self._seconds(self, loop.time())
        loop.call_later(seconds, self._end, loop, answer, self.lives)

    def _end(self, loop: Any, answer: Future[bool], life: int) -> None:
        if life != self.lives:
            return
        self.worked += 1
        self._free += 1
        self._at_work.discard(answer)
        if not answer.done():
            answer.set_result(True)
        if self._queue:
            self._begin(loop)

    def _begin_again(self) -> None:
        """Lose all that it holds, and begin a new life."""
        self.lives += 1
        self.worked = 0
        self._free = self._workers
        lost = [*self._at_work, *self._queue]
        self._queue.clear()
        self._at_work.clear()
        for answer in lost:
            if not answer.done():
                answer.set_result(False)
