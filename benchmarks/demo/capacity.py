"""A server's capacity: some workers, and a bounded queue of requests in front of them."""

from __future__ import annotations

import asyncio
from collections import deque


class Full(Exception):
    """The queue is over its bound, so the request is turned away."""


class Capacity:
    """Workers that serve in the order of arrival; their number may change while requests wait."""

    def __init__(self, workers: int, queue: int) -> None:
        self.workers = workers
        self.queue = queue
        self.busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def queued(self) -> int:
        """How many requests wait for a worker."""
        return len(self._waiting)

    async def take(self) -> None:
        """Wait for a worker, or raise `Full`."""
        if self.busy < self.workers and not self._waiting:
            self.busy += 1
            return
        if len(self._waiting) >= self.queue:
            raise Full
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()
            else:
                self._waiting.remove(turn)
            raise

    def give_back(self) -> None:
        """Free a worker and let in as many of those who wait as there are workers now."""
        self.busy -= 1
        while self._waiting and self.busy < self.workers:
            self.busy += 1
            self._waiting.popleft().set_result(None)
