"""What runs inside a timeout: a scope for each call, and the timer that many of them share."""

from __future__ import annotations

from asyncio import CancelledError, current_task
from contextvars import Context
from math import inf
from typing import TYPE_CHECKING, Any

from seawall.core.deadline import Scope, current_scope, leave, reset
from seawall.core.resolution import RESOLUTION

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task, TimerHandle
    from contextvars import Token

    import anyio

    from seawall.core.call import Call


class TimeoutScope(Scope):
    """One call inside a timeout.

    Attributes:
        outer_deadline: the deadline of the call outside.
        token: what takes this scope out of the context.
    """

    __slots__ = ("outer_deadline", "token")

    outer_deadline: float
    token: Token[Scope | None]

    def leave(self, call: Call[Any]) -> None:
        """Let go of the call."""
        # Child tasks may keep it in their context for as long as they live.
        self.ended = True
        if call.is_block:
            leave(self)
        else:
            reset(self, self.token)
        del self.token
        call.scope = self.outer
        call.deadline = self.outer_deadline


class TrioRunning(TimeoutScope):
    """One call inside a timeout on trio."""

    __slots__ = ("cancel_scope",)

    cancel_scope: anyio.CancelScope

    def enter(self, call: Call[Any], when: float) -> None:
        """Bound the call, and all that it starts from here on."""
        self.loop = call.loop
        self.when = when
        self.fired = self.ended = False
        self.outer = call.scope
        self.outer_deadline = call.deadline
        call.deadline = min(when, call.deadline)
        call.scope = self
        self.token = current_scope.set(self)

    def has_fired(self) -> bool:
        """Say whether this timeout has cancelled what runs inside it."""
        return self.cancel_scope.cancel_called

    def pause(self) -> None:
        """Cancel nothing for now."""
        self.cancel_scope.deadline = inf

    def resume(self, paused: None) -> None:  # noqa: ARG002
        """Go on."""
        self.cancel_scope.deadline = self.when


class Running(TimeoutScope):
    """One call inside a timeout on asyncio.

    Attributes:
        lane: the calls with the same limit.
        task: the task to cancel; ``None`` while it must not be.
        cancelling: cancellations of the task that were asked for before.
    """

    __slots__ = ("cancelling", "lane", "task")

    lane: Lane
    task: Task[Any] | None
    cancelling: int

    def leave(self, call: Call[Any]) -> None:
        """Let go of the call and of its task."""
        del self.lane.entries[self]
        self.task = None
        super().leave(call)

    def has_ended_by(self, error: BaseException, task: Task[Any]) -> bool:
        """Take back the cancellation, if there was one; say whether this is what has come of it.

        Only if nobody else has asked to cancel the task, and in that task.
        """
        return (
            self.fired
            and task.uncancel() <= self.cancelling
            and isinstance(error, CancelledError)
            and current_task() is task
        )

    def pause(self) -> Task[Any] | None:
        """Cancel nothing for now. Returns what resumes it."""
        task, self.task = self.task, None
        return task

    def resume(self, paused: Task[Any] | None) -> None:
        """Go on; where the time has passed meanwhile, cancel soon."""
        self.task = paused
        if self.when <= self.loop.time():
            self.loop.call_soon_threadsafe(self.fire)

    def fire(self) -> None:
        """Cancel the task, once, unless the call is over or paused."""
        if self.task is not None and not self.fired:
            self.fired = True
            self.task.cancel()


class Lane:
    """The running calls of one duration, the earliest deadline first, and their timer."""

    __slots__ = ("_context", "entries", "loop", "seconds", "timer")

    def __init__(self, seconds: float, loop: AbstractEventLoop) -> None:
        self.seconds = seconds
        self.loop = loop
        # Of its own: an idle timer must not keep the context of the call that armed it.
        self._context = Context()
        self.entries: dict[Running, None] = {}
        self.timer: TimerHandle | None = None

    def enter(self, call: Call[Any], task: Task[Any], now: float) -> Running:
        """Bound the call, and all that it starts from here on."""
        running = Running()
        running.lane = self
        running.loop = self.loop
        running.task = task
        running.cancelling = task.cancelling()
        running.when = when = now + self.seconds
        running.fired = running.ended = False
        running.outer = call.scope
        call.scope = running
        running.outer_deadline = call.deadline
        call.deadline = min(when, call.deadline)
        self.entries[running] = None
        if self.timer is None:
            self.arm(when)
        running.token = current_scope.set(running)
        return running

    def arm(self, when: float) -> None:
        """Watch for a deadline."""
        if when < inf:
            self.timer = self.loop.call_at(when, self._fire, context=self._context)

    def rest(self) -> None:
        """Let go of the timer while no call runs."""
        if self.timer is not None and not self.entries:
            self.timer.cancel()
            self.timer = None

    def _fire(self) -> None:
        now = self.loop.time()
        self.timer = None
        due: list[Running] = []
        for running in self.entries:
            if running.when > now:
                self.arm(max(running.when, now + RESOLUTION))
                break
            due.append(running)
        for running in due:
            running.fire()
