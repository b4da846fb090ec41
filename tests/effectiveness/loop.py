"""An asyncio loop of virtual time for simulations: it makes no system call at all.

``tests/virtual_time.py`` also looks at files and stops before each callback, as tests need it; a
simulation of a million calls needs neither.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(BaseException):
    """Nothing is left to do, and no timer is armed: the simulation would wait for ever."""


class SimulationLoop(asyncio.SelectorEventLoop):
    """A loop whose time is a number that jumps to the next timer; it begins at 0.0."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_NoFiles(self))

    def time(self) -> float:
        return self.now

    def jump(self) -> None:
        # To the timer itself: a sum of differences would be a little off.
        self.now = max(self.now, self._scheduled[0].when())


class _NoFiles(selectors.SelectSelector):
    """Waits for nothing, and lets the time jump instead."""

    def __init__(self, loop: SimulationLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Stuck
        if timeout > 0:
            self._loop.jump()
        return []


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new loop, as ``asyncio.run`` does."""
    with asyncio.Runner(loop_factory=SimulationLoop) as runner:
        return runner.run(main)
