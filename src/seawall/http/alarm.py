"""One timer for the deadlines of all open bodies.

Nearly all bodies end long before their deadline. So the timer is set for the earliest one, and
stays when that body has ended: when it goes off, it looks at the bodies that are open then, and is
set for the next. A timer for each body would be set and cancelled with each request, and would lie
in the loop's heap in the way of the client's own.
"""

from __future__ import annotations

from contextvars import Context
from math import inf
from typing import TYPE_CHECKING

from seawall.core.resolution import RESOLUTION

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle

    from seawall.http.open_body import OpenBody


class Alarm:
    """Ends the open bodies of one transport, each at its deadline.

    Args:
        loop: the asyncio loop of their calls.
    """

    __slots__ = ("_bodies", "_context", "_timer", "_when", "loop")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        # Of its own: the timer must not keep the context of the call that set it.
        self._context = Context()
        self._bodies: dict[OpenBody, float] = {}
        self._timer: TimerHandle | None = None
        self._when = inf

    def add(self, body: OpenBody, deadline: float) -> None:
        """End a body at this loop time, unless it is removed before."""
        self._bodies[body] = deadline
        if deadline < self._when:
            self._set(deadline)

    def remove(self, body: OpenBody) -> None:
        """Leave a body alone."""
        self._bodies.pop(body, None)

    def _set(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._when = when
        self._timer = self.loop.call_at(when, self._go_off, context=self._context)

    def _go_off(self) -> None:
        now = self.loop.time()
        self._timer = None
        self._when = inf
        due = [body for body, deadline in self._bodies.items() if deadline <= now]
        for body in due:
            del self._bodies[body]
        if self._bodies:
            self._set(max(min(self._bodies.values()), now + RESOLUTION))
        for body in due:
            body.expire()
