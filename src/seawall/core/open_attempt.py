"""An attempt that goes on after its function has returned.

A streamed response is returned while its body is still open: the slot it holds and the verdict it
will get belong to the end of the body. The innermost function then puts an :class:`OpenAttempt` on
the call, and each policy hands the steps it would take on return to that instead.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from seawall.core.verdict import Verdict


class OpenAttempt:
    """What must still happen when an attempt that has returned comes to its end.

    There are two kinds of step, both synchronous: a *settle* step takes the final verdict, a
    *release* step gives something back. They run once, innermost policy first, and a step that is
    handed in after the end runs at once. What a step raises is raised when all have run.

    Args:
        close: closes what is still open; awaited by :meth:`discard`.
    """

    __slots__ = ("_close", "_releases", "_settles", "_verdict", "ended")

    # Whether the final verdict may ask for less traffic where the one on return has not.
    may_be_throttled: ClassVar[bool] = True

    def __init__(self, close: Callable[[], Awaitable[object]]) -> None:
        self._close = close
        self._settles: list[Callable[[Verdict], object]] = []
        self._releases: list[Callable[[], object]] = []
        self._verdict: Verdict | None = None
        self.ended = False

    def on_settle(self, step: Callable[[Verdict], object]) -> None:
        """Hand in a step that takes the final verdict."""
        if self._verdict is None:
            self._settles.append(step)
        else:
            step(self._verdict)

    def on_release(self, step: Callable[[], object]) -> None:
        """Hand in a step that gives something back."""
        if self.ended:
            step()
        else:
            self._releases.append(step)

    def settle(self, verdict: Verdict) -> None:
        """Give the verdict now, while the attempt stays open; the first verdict counts."""
        if self._verdict is not None:
            return
        self._verdict = verdict
        steps = iter(self._settles)
        self._settles = []
        try:
            for step in steps:
                step(verdict)
        except BaseException:
            _take(steps, verdict)
            raise

    def end(self, verdict: Verdict) -> None:
        """Give the verdict, unless it was given before, and give back what is held, once."""
        if self.ended:
            return
        self.ended = True
        try:
            self.settle(verdict)
        finally:
            steps = iter(self._releases)
            self._releases = []
            try:
                for release in steps:
                    release()
            except BaseException:
                _take(steps)
                raise

    async def discard(self, verdict: Verdict) -> None:
        """Close what is open, then end the attempt, whatever happens while it closes."""
        try:
            # What fails to close is given up all the same: the next attempt does not depend on it.
            with suppress(Exception):
                await self._close()
        finally:
            self.end(verdict)


def _take(steps: Iterator[Callable[..., object]], *verdict: Verdict) -> None:
    """Take the steps that are left where one has raised: a listener may end the program."""
    try:
        for step in steps:
            step(*verdict)
    except BaseException:
        _take(steps, *verdict)
        raise
