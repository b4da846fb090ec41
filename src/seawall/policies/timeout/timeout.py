"""A time limit for what runs inside.

The rules:

1. On asyncio no timer is armed per call. The deadlines of one duration are met in the order in
   which they were set, so one ordered dict holds the running calls and one loop timer watches the
   first of them: entering and leaving are O(1). The timer is never armed anew within a
   millisecond, which is as fine as uvloop's clock is.
2. When a deadline passes, the task is cancelled, as by ``asyncio.timeout``. On the way out the
   cancellation is taken back with ``Task.uncancel()``. Only if nobody else has asked to cancel the
   task, and what leaves is a ``CancelledError``, it becomes a ``CallTimeoutError``.
3. So a caller's cancellation always passes, whenever it comes, and a ``TimeoutError`` of the
   user's code passes as it is. A function that returns in spite of it has returned.
4. On trio, a cancel scope does the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from seawall.core import lazy_events as events
from seawall.core.checks import check_name, check_number
from seawall.core.clock import check_move, task_on
from seawall.core.errors import CallTimeoutError
from seawall.core.observe import is_heard, tell
from seawall.core.policy import Policy
from seawall.policies.timeout.running import Lane, TrioRunning

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task

    from seawall.core.call import Call, Proceed
    from seawall.core.clock import Loop
    from seawall.core.listeners import Subscription
    from seawall.policies.timeout.running import Running
    from seawall.policies.timeout.snapshot import TimeoutSnapshot

T = TypeVar("T")


class Timeout(Policy):
    """Ends what runs inside after a number of seconds, with :class:`~seawall.CallTimeoutError`.

    It covers everything further inside: as the outermost policy the whole call with its retries
    and waits, inside a ``Retry`` one attempt. Nested code reads what is left from
    ``seawall.deadline()``. On asyncio the function is cancelled in the way of ``asyncio.timeout``;
    a function that swallows the cancellation is not ended.

    Args:
        seconds: the limit, in seconds, more than 0.
        name: shown in errors.

    Raises:
        ValueError: ``seconds`` is not more than 0, or not finite.
        TypeError: an argument is of the wrong type.
    """

    def __init__(self, seconds: float, *, name: str | None = None) -> None:
        check_number("seconds", seconds, above=0)
        check_name(name)
        self.seconds = seconds
        self.name = name
        self.timed_out = 0
        self._on_trio = 0
        self._loop: Loop | None = None
        self._lanes: dict[float, Lane] = {}
        self._lane: Lane | None = None
        # That of calls for which the limit is the usual one.
        self._usual: Lane | None = None

    def snapshot(self) -> TimeoutSnapshot:
        """Return how many calls run, and how many have been ended."""
        from seawall.policies.timeout.snapshot import TimeoutSnapshot  # noqa: PLC0415 - seldom needed

        return TimeoutSnapshot(
            policy=type(self).__name__,
            name=self.name,
            seconds=self.seconds,
            in_flight=self._on_trio + sum(len(lane.entries) for lane in self._lanes.values()),
            timed_out=self.timed_out,
        )

    def __repr__(self) -> str:
        name = "" if self.name is None else f", name={self.name!r}"
        return f"Timeout({self.seconds!r}{name})"

    def seconds_for(self, call: Call[Any]) -> float:  # noqa: ARG002 - for subclasses
        """Return the limit for this call; ``inf`` for none. A subclass may look at the call."""
        return self.seconds

    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        """Run the rest of the pipeline within the limit.

        Raises:
            CallTimeoutError: the limit has passed.
        """
        if not call.on_asyncio:
            return await self._run_on_trio(call, proceed)
        loop: Any = call.loop
        lane = self._lane
        if lane is None or lane.loop is not loop:
            lane = self._find_lane(call, loop)
        task: Task[Any] = task_on(loop)
        running = lane.enter(call, task, loop.time())
        try:
            result = await proceed(call)
        except BaseException as error:
            raised = error
            try:
                raised = self._end(running, call, task, error)
                if raised is not error:
                    raise raised from error
                raise
            finally:
                # This frame is on its traceback, and a task keeps the error that it ends with.
                del raised, task
        if running.fired:
            # The function has returned in spite of it.
            task.uncancel()
        running.leave(call)
        return result

    def _end(
        self, running: Running, call: Call[Any], task: Task[Any], error: BaseException
    ) -> BaseException:
        """End a call that raises; return what is raised then: this error, or that it timed out."""
        try:
            if not running.has_ended_by(error, task):
                return error
            # As above, where a listener ends the program.
            del task
            # What listeners begin is outside.
            running.ended = True
            self._tell(call, running.lane.seconds, running.when)
        finally:
            running.leave(call)
        raised = CallTimeoutError(running.lane.seconds, name=self.name)
        raised.__cause__ = raised.__context__ = error
        return raised

    def _find_lane(self, call: Call[Any], loop: AbstractEventLoop) -> Lane:
        """Return where the calls of this duration run on this loop."""
        if loop is not self._loop:
            check_move(self, self._loop, loop)
            self._loop = loop
            self._lanes = {}
            self._lane = self._usual = None
        seconds = self.seconds_for(call)
        lane = self._lanes.get(seconds)
        if lane is None:
            # A subclass may give each call its own limit: only the lanes in use are kept.
            usual = self._usual
            self._lanes = {
                key: old for key, old in self._lanes.items() if old.entries or old is usual
            }
            lane = self._lanes[seconds] = Lane(seconds, loop)
        if seconds == self.seconds:
            self._usual = lane
        if type(self).seconds_for is Timeout.seconds_for:
            self._lane = lane
        return lane

    async def _run_on_trio(self, call: Call[T], proceed: Proceed[T]) -> T:
        seconds = self.seconds_for(call)
        running = TrioRunning()
        self._on_trio += 1
        running.enter(call, call.now() + seconds)
        try:
            with anyio.CancelScope(deadline=running.when) as running.cancel_scope:
                return await proceed(call)
        finally:
            self._on_trio -= 1
            running.leave(call)
        self._tell(call, seconds, running.when)
        raise CallTimeoutError(seconds, name=self.name)

    def _tell(self, call: Call[Any], seconds: float, when: float) -> None:
        self.timed_out += 1
        if is_heard(self):
            tell(self, call, events.TimedOut, seconds=seconds, overrun=max(0.0, call.now() - when))


class ViewTimeout(Timeout):
    """The timeout of a view: a view may be made for a single call, so no idle timer stays.

    Who listens to the policy behind the view hears it.
    """

    _shown_as = "Timeout"

    def __init__(self, seconds: float, policy: Policy) -> None:
        super().__init__(seconds)
        self._policy = policy

    @property
    def _listeners(self) -> tuple[Subscription, ...]:  # type: ignore[override]
        return self._policy._listeners

    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        """Run the rest of the pipeline within the limit."""
        try:
            return await super().run(call, proceed)
        finally:
            for lane in self._lanes.values():
                lane.rest()
