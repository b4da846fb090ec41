"""A race on trio: a nursery, in which the first attempt is the body, with a scope of its own."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, TypeVar

import anyio

from seawall.core.call import has_waited, is_cancellation, mark_wait
from seawall.policies.hedge.race import Race

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from seawall.core.call import Call, Proceed
    from seawall.policies.hedge.hedge import Hedge
    from seawall.policies.hedge.runner import Runner

T = TypeVar("T")


class RaceOnTrio(Race[T]):
    """One call on trio."""

    __slots__ = ("_answered", "_due", "_nap", "_scope", "_waited")

    def __init__(self, hedge: Hedge, call: Call[T], proceed: Proceed[T]) -> None:
        super().__init__(hedge, call, proceed)
        self._scope = anyio.CancelScope()
        # When the next hedge begins, and where the task sleeps that begins it.
        self._due = inf
        self._nap: anyio.CancelScope | None = None
        # Whether the first attempt waited for a slot or a turn when it was cancelled, and whether
        # it came to an end of its own though it was.
        self._waited = self._answered = False

    async def run(self) -> T:
        """Run the first attempt, and others beside it if it takes too long."""
        self.call.ticket = self
        if self.delay == inf:
            await self._run_first()
        else:
            self.arm()
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._watch, group)
                    await self._run_first()
            except BaseException as error:
                if not (self._answered and is_cancellation(error)):
                    await self._end_cancelled(error)
                    raise
        return await self.conclude()

    async def _end_cancelled(self, error: BaseException) -> None:
        """Cancelled from outside: no answer is asked for any more."""
        if self._waited:
            # The nursery raises another one.
            mark_wait(error)
        interruption = self.interruption
        try:
            try:
                self.tell_end()
            finally:
                if not isinstance(error, GeneratorExit):
                    await self.drop_all_but(None)
            if interruption is not None:
                raise interruption from None
        finally:
            self.forget()
            del error, interruption

    async def _run_first(self) -> None:
        returned: list[T] = []
        try:
            with self._scope:
                returned.append(await self.proceed(self.call))
        except BaseException as error:
            self._leave()
            if is_cancellation(error) or isinstance(error, GeneratorExit):
                self._waited = has_waited(error)
                self.learn(good=False)
                raise
            first = self._make_first()
            self.raised(first, error)
        else:
            self._leave()
            first = self._make_first()
            if returned:
                self.returned(first, returned[0])
        if self.is_alone and anyio.current_effective_deadline() == -inf:
            # Somebody has cancelled the call, and that is what the function made of it.
            self.decide(first)
            self._answered = True
        self.learn(good=first.succeeded)

    def _make_first(self) -> Runner[T]:
        first = self.make_first()
        first.cancelled = self._scope.cancel_called
        return first

    def _leave(self) -> None:
        self.leave()
        if self._nap is not None:
            self._nap.cancel()

    async def _watch(self, group: TaskGroup) -> None:
        try:
            while self.first is None and self.may_have_more:
                with anyio.CancelScope(deadline=self._due) as self._nap:
                    await anyio.sleep_forever()
                if self.first is not None or self.call.now() < self._due or not self.may_have_more:
                    continue
                runner = self.make_hedge()
                if runner is None:
                    break
                runner.task = anyio.CancelScope()
                group.start_soon(self._run_hedge, runner)
                self.arm()
        except BaseException as error:
            if is_cancellation(error):
                raise
            # Of a listener; the caller must hear it as it is, in no group.
            self.interrupt(error)

    async def _run_hedge(self, runner: Runner[T]) -> None:
        returned: list[T] = []
        try:
            if runner.cancelled:
                return
            with runner.task:
                returned.append(await self.proceed(runner.call))
        except BaseException as error:
            if is_cancellation(error):
                raise
            self.raised(runner, error)
        else:
            if returned:
                self.returned(runner, returned[0])
        finally:
            self.running.discard(runner)
            runner.end()

    def arm(self) -> None:
        """Have the watching task try a hedge when the delay has passed."""
        self._set_due(self.call.now() + self.delay)

    def disarm(self) -> None:
        """Let the watching task sleep on."""
        self._set_due(inf)

    def _set_due(self, when: float) -> None:
        self._due = when
        if self._nap is not None:
            self._nap.deadline = when

    def cancel_first(self) -> None:
        """Cancel the scope of the first attempt."""
        self._scope.cancel()

    def cancel(self, runner: Runner[T]) -> None:
        """Cancel the scope of a hedge, once."""
        if not runner.cancelled:
            runner.cancelled = True
            if runner.task is not None:
                runner.task.cancel()
