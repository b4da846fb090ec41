"""A race on asyncio.

The first attempt runs in the task of the caller, which is cancelled as by ``asyncio.timeout`` when
a hedge wins; on the way out the cancellation is taken back with ``Task.uncancel()``. A cancellation
that somebody else has asked for passes, whenever it comes.
"""

from __future__ import annotations

from asyncio import CancelledError, current_task
from contextlib import nullcontext
from contextvars import copy_context
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from seawall.core.call import is_cancellation
from seawall.core.clock import call_on
from seawall.policies.hedge.race import Race
from seawall.policies.hedge.runner import is_good

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future, Task, TimerHandle
    from contextvars import Context

    from seawall.core.call import Call, Proceed
    from seawall.policies.hedge.hedge import Hedge
    from seawall.policies.hedge.runner import Runner

T = TypeVar("T")


class RaceOnAsyncio(Race[T]):
    """One call on asyncio.

    Attributes:
        fired: whether the task of the caller was cancelled by the race.
    """

    __slots__ = ("_all_ended", "_cancelling", "_context", "_loop", "_task", "_timer", "fired")

    def __init__(self, hedge: Hedge, call: Call[T], proceed: Proceed[T]) -> None:
        super().__init__(hedge, call, proceed)
        self.fired = False
        self._loop: AbstractEventLoop = call.loop  # type: ignore[assignment]
        self._task: Task[Any] = current_task(self._loop)  # type: ignore[assignment]
        self._cancelling = self._task.cancelling()
        # A hedge inherits what was set outside, and nothing that the first attempt has set.
        self._context: Context = copy_context()
        self._timer: TimerHandle | None = None
        self._all_ended: Future[None] | None = None

    async def run(self) -> T:
        """Run the first attempt, and others beside it if it takes too long."""
        call = self.call
        call.ticket = self
        # Written out for the calls that are answered in time: no methods, two of an event loop.
        if self.delay < inf:
            loop = self._loop
            when = loop.time() + self.delay
            self._timer = loop.call_at(when, self._try, context=self._context)
        try:
            value = await self.proceed(call)
        except BaseException as error:
            self.leave()
            if self.is_alone:
                self.learn(good=False)
                # A task keeps the error that it ends with, and so this race.
                del self._task
                raise
            first = self.make_first()
            if isinstance(error, GeneratorExit):
                if self.fired:
                    self._task.uncancel()
                del self._task
                self._abandon()
                raise
            if not self._take_back(first, error):
                self.raised(first, error)
        else:
            call.ticket = self.outer
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if not self.hedges and self.interruption is None:
                self.learn(good=call.classifier is None or is_good(call.judge_result(value)))
                return value
            first = self.make_first()
            self._take_back(first, None)
            self.returned(first, value)
        if self._was_cancelled():
            # That is what the function made of it.
            self.decide(first)
        del self._task
        self.learn(good=first.succeeded)
        await self._join()
        return await self.conclude()

    def arm(self) -> None:
        """Have a timer try a hedge, unless there are as many as may be."""
        # A wait may end because its loop is closed already.
        if self.delay < inf and self.may_have_more and not self._loop.is_closed():
            self._timer = self._loop.call_later(self.delay, self._try, context=self._context)

    def disarm(self) -> None:
        """Cancel the timer."""
        timer = self._timer
        if timer is not None:
            self._timer = None
            timer.cancel()

    def _try(self) -> None:
        self._timer = None
        if self._was_cancelled():
            # The first attempt cleans up, and nobody asks for an answer.
            return
        try:
            runner = self.make_hedge()
            if runner is None:
                return
            self._start(runner)
        except BaseException as error:
            # Of a listener or a task factory; the caller must hear it, not the loop.
            self.interrupt(error)
        else:
            self.arm()

    def _start(self, runner: Runner[T]) -> None:
        hedge = self._run_hedge(runner)
        try:
            runner.task = task = self._loop.create_task(hedge)
        except BaseException:
            hedge.close()
            self.running.discard(runner)
            runner.end()
            raise
        task.add_done_callback(partial(self._end, runner))

    async def _run_hedge(self, runner: Runner[T]) -> None:
        try:
            value = await self.proceed(runner.call)
        except GeneratorExit:
            raise
        except BaseException as error:
            if self.over and not isinstance(error, Exception) and not is_cancellation(error):
                # What ends the program ends it by the loop, where no caller is left.
                raise
            self.raised(runner, error)
        else:
            self.returned(runner, value)
        if self.over and runner.call.open is not None:
            await runner.call.open.discard(runner.last_word)

    def _end(self, runner: Runner[T], task: Task[None]) -> None:
        # A callback, for a task that is cancelled before its first step says nothing itself. It
        # keeps its CancelledError then, and by that a frame that knows this race.
        runner.task = None
        del task
        self.running.discard(runner)
        runner.end()
        if self.over:
            runner.call.forget_verdict()
        waiting = self._all_ended
        if waiting is not None and not waiting.done() and not self._is_running():
            waiting.set_result(None)

    def _is_running(self) -> bool:
        return any(runner in self.running for runner in self.hedges)

    def cancel_first(self) -> None:
        """Cancel the task of the caller, once."""
        if not self.fired:
            self.fired = True
            self._task.cancel()

    def cancel(self, runner: Runner[T]) -> None:
        """Cancel the task of a hedge, once."""
        if not runner.cancelled and runner.task is not None:
            runner.cancelled = True
            runner.task.cancel()

    def _was_cancelled(self) -> bool:
        """Say whether somebody else has cancelled the task of the caller."""
        return self._task.cancelling() > self._cancelling

    def _take_back(self, first: Runner[T], error: BaseException | None) -> bool:
        """Take back the race's own cancellation; say whether that is all that the error is."""
        if not self.fired:
            return False
        first.cancelled = True
        if self._task.uncancel() > self._cancelling:
            # Somebody else has asked for it too, and the first attempt may have swallowed that.
            self.interrupt(error if isinstance(error, CancelledError) else CancelledError())
        return isinstance(error, CancelledError)

    async def _join(self) -> None:
        """Wait until all hedges have ended, whatever is asked of this task meanwhile."""
        interrupted = False
        while self._is_running():
            self._all_ended = self._loop.create_future()
            # A scope of anyio repeats its cancellation until the task ends: once is enough.
            with anyio.CancelScope(shield=True) if interrupted else nullcontext():
                try:
                    await self._all_ended
                except GeneratorExit:
                    self._abandon()
                    raise
                except BaseException as error:
                    interrupted = True
                    self.interrupt(error)

    def _abandon(self) -> None:
        """End the race where nothing can be awaited: the call is closed, or was dropped."""
        self.over = True
        for runner in self.hedges:
            if runner.call.open is not None and runner not in self.running:
                runner.call.open.end(runner.last_word)
        self.forget()
        if self._loop.is_closed():
            # Their tasks will never run again: what they hold is released here.
            for runner in self.hedges:
                coroutine = runner.task and runner.task.get_coro()
                if coroutine is not None:
                    coroutine.close()
        else:
            call_on(self._loop, self._cancel_all)

    def _cancel_all(self) -> None:
        for runner in self.hedges:
            self.cancel(runner)
