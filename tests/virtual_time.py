"""An asyncio loop whose time is a number: nothing sleeps, and every run is the same.

When nothing is left to do, the time jumps to the next timer. Before each callback that the loop
runs, ``on_step`` is called, so that a test can act between any two of them.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(BaseException):
    """Nothing is left to do, and no timer is armed: the test would wait for ever."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that jumps from one timer to the next.

    Args:
        start: its time at the beginning, in seconds.

    Attributes:
        on_step: called before each callback, if set.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self.now = start
        self.on_step: Callable[[], object] | None = None
        super().__init__(_Jump(self))
        self._ready = _Steps(self)

    def time(self) -> float:
        return self.now

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return the timers that are armed."""
        return [timer for timer in self._scheduled if not timer.cancelled()]

    def callbacks(self) -> list[asyncio.Handle]:
        """Return the callbacks that are to run next."""
        return [handle for handle in self._ready if not handle.cancelled()]


class _Jump(selectors.DefaultSelector):
    """Looks at files without waiting for them, and lets the time jump instead."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise Stuck
            if timeout > 0:
                # To the timer itself: a sum of differences would be a little off.
                self._loop.now = max(self._loop.now, self._loop._scheduled[0].when())
        return found


class _Steps(deque[Any]):
    """The callbacks that are ready to run."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def popleft(self) -> Any:
        if self._loop.on_step is not None:
            self._loop.on_step()
        return super().popleft()


def run(main: Coroutine[Any, Any, T], *, start: float = 1000.0) -> T:
    """Run a coroutine on a new loop, as ``asyncio.run`` does."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(start)) as runner:
        return runner.run(main)
