"""Those who wait for their turn, in order of arrival."""

from __future__ import annotations

from collections import OrderedDict
from contextvars import Context
from math import inf, ulp
from typing import TYPE_CHECKING, Any, Final

from seawall.core.resolution import RESOLUTION
from seawall.policies.rate_limiter.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.core.call import Call
    from seawall.core.clock import Loop
    from seawall.policies.rate_limiter.pacer import Pacer

# 0.1 * 50 is a little more than 5 in binary fractions; and at the deadline itself it is too late.
_ABOUT: Final = 1e-9


class Line:
    """The line of one rate limiter on one event loop, with one alarm for all who wait.

    Nobody waits in vain: who is known to have no turn in time is refused, on arrival and later on.
    Calls keep the line that they came to, so a limiter that moves to another event loop begins a
    new one, and what ends late on the old loop changes nothing.

    Args:
        pacer: what says when a call may go.
        loop: the event loop.
        refuse: makes the error for a call whose turn would come in so many seconds, and gives it
            to the waiter, if there is one.
    """

    __slots__ = (
        "_ahead",
        "_alarm",
        "_context",
        "_pacer",
        "_refuse",
        "_slack",
        "_timer",
        "loop",
        "queue",
    )

    def __init__(self, pacer: Pacer, loop: Loop, refuse: Callable[..., BaseException]) -> None:
        self.loop = loop
        self.queue: OrderedDict[Turn, None] = OrderedDict()
        self._pacer = pacer
        self._refuse = refuse
        # What those who wait will take.
        self._ahead = 0.0
        # By how much turns may move back before somebody waits in vain.
        self._slack = inf
        self._timer: Any = None
        self._alarm = inf
        # Of its own: an alarm is set from the one before, and must not keep a call's for ever.
        self._context = Context()

    async def wait(
        self,
        call: Call[Any],
        cost: float,
        max_wait: float | None,
        on_queued: Callable[[], object] | None,
    ) -> int:
        """Wait for the turn of a call; return the number of its take.

        ``on_queued`` is called when its place in the line is taken.
        """
        now = self.loop.time()
        turn = self._pacer.turn(now, self._ahead + cost)
        until = now + call.remaining() - _ABOUT
        if max_wait is not None:
            until = min(until, now + max_wait + _ABOUT)
        if turn > until:
            raise self._refuse(call, _seconds(now, turn))
        waiter = Turn(call, cost, until, self.serve)
        self.queue[waiter] = None
        self._ahead += cost
        self._slack = min(self._slack, until - turn)
        try:
            if on_queued is not None:
                on_queued()
            self.serve()
            await call.turn(waiter)
        except BaseException:
            self._leave(waiter)
            raise
        return waiter.number

    def serve(self) -> None:
        """Let all go whose turn has come, and set the alarm for the next one."""
        while self.queue and not self.loop.is_closed():
            waiter = next(iter(self.queue))
            now = self.loop.time()
            turn = self._pacer.turn(now, waiter.cost)
            if waiter.error is None and now < turn <= waiter.until:
                self._set_alarm(waiter, turn)
                return
            self._remove(waiter)
            if waiter.error is not None:
                # Refused by a circuit that has opened; it has not run since.
                continue
            if turn <= now:
                waiter.number = self._pacer.admit(now, waiter.cost)
                waiter.grant()
            else:
                # The loop was late, and with it all turns.
                self._refuse(waiter.call, _seconds(now, turn), waiter)
        self._end_alarm()

    def move_back(self, seconds: float) -> None:
        """All turns come so much later than was known: refuse those who now wait in vain."""
        self._slack -= seconds
        if self._slack >= 0:
            return
        now = self.loop.time()
        ahead, slack = 0.0, inf
        futile: list[tuple[Turn, float]] = []
        for waiter in self.queue:
            turn = self._pacer.turn(now, ahead + waiter.cost)
            if turn > waiter.until:
                futile.append((waiter, _seconds(now, turn)))
            else:
                ahead += waiter.cost
                slack = min(slack, waiter.until - turn)
        self._slack = slack
        for waiter, wait in futile:
            # Whoever hears of a refusal may have let others go meanwhile.
            if waiter in self.queue:
                self._remove(waiter)
                self._refuse(waiter.call, wait, waiter)
        self.serve()

    def _leave(self, waiter: Turn) -> None:
        """Let go of the place or the turn of a call that ends before it went: the next has it."""
        if waiter in self.queue:
            self._remove(waiter)
        elif waiter.granted and not self.loop.is_closed():
            self._pacer.give_back(self.loop.time(), waiter.number, waiter.cost)
        self.serve()

    def _remove(self, waiter: Turn) -> None:
        del self.queue[waiter]
        self._ahead -= waiter.cost
        if not self.queue:
            self._ahead = 0.0
            self._slack = inf

    def _set_alarm(self, waiter: Turn, when: float) -> None:
        if not waiter.call.on_asyncio:
            waiter.set_alarm(when)
        elif self._timer is None or when < self._alarm:
            self._end_alarm()
            self._alarm = when
            self._arm(when)

    def _arm(self, when: float) -> None:
        loop: Any = self.loop
        self._timer = loop.call_at(when, self._on_alarm, context=self._context)

    def _end_alarm(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _on_alarm(self) -> None:
        self._timer = None
        now = self.loop.time()
        if now < self._alarm - _ABOUT:
            # Too early, as on uvloop, whose timers and clock know whole milliseconds only: until
            # the next one has begun there is nothing to see.
            self._arm(max(self._alarm, now + RESOLUTION))
        else:
            self.serve()


def _seconds(now: float, when: float) -> float:
    """Return how long to wait; who waits just so long has not come a rounding error too early."""
    seconds = when - now
    return seconds if now + seconds >= when else seconds + ulp(when)
