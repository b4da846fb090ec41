"""One call on a loop of virtual time, with what must be true after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import seawall
from seawall import CircuitOpenError, LoadShedError, Policy
from tests.cancellation.policies import Case
from tests.cancellation.ways import Way
from tests.cancellation.work import Situation, Work
from tests.virtual_time import VirtualLoop


class Trial:
    """One call, of one policy, in one way, in one situation.

    The call may have company: one call before it that holds the slot, and one behind it that
    waits for it too.

    Attributes:
        begun: whether the call has begun.
        ended: whether it has ended, with a value or an error.
        closed: whether it was closed, so that it could await nothing more.
        cancels: how often its task was asked to cancel in between.
        before: ``Task.cancelling()`` when it began; ``after`` when it had ended.
    """

    def __init__(self, loop: VirtualLoop, case: Case, way: Way, situation: Situation) -> None:
        self.loop = loop
        self.case = case
        self.way = way
        self.situation = situation
        self.policy: Policy = case.make()
        self.works: list[Work] = []
        self.work = self.new_work(*situation.plan)
        self.begun = self.ended = self.closed = False
        self.cancels = self.before = self.after = 0
        self.value: object = None
        self.error: BaseException | None = None
        self.left: float | None = None
        self.ended_at = 0.0
        self.company: list[tuple[Work, asyncio.Task[Any]]] = []
        self.problems: list[object] = []
        loop.set_exception_handler(lambda _, problem: self.problems.append(problem))

    def new_work(self, *plan: str) -> Work:
        work = Work(plan, asyncio.sleep, self.loop.time)
        self.works.append(work)
        return work

    def call(self) -> Coroutine[Any, Any, Any]:
        """Return the call itself; a test may wrap it."""
        return self.way.run(self.policy, self.work)

    def start(self, call: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        """Begin the call in a task of its own, and its company before and behind it."""
        if self.case.prepare is not None or self.situation.before is not None:
            self.loop.run_until_complete(self._prepare())
        task = self.loop.create_task(self.watch(call))
        if self.company:
            self._join("answer")
        return task

    async def _prepare(self) -> None:
        if self.case.prepare is not None:
            self.case.prepare(self.policy)
            await asyncio.sleep(2.0)
        if self.situation.before is not None:
            self._join(self.situation.before)
            await asyncio.sleep(0.001)

    def _join(self, what: str) -> None:
        work = self.new_work(what)
        self.company.append((work, self.loop.create_task(self._accompany(work))))

    async def _accompany(self, work: Work) -> float:
        try:
            await self.policy.execute(work)
        except (OSError, seawall.SeawallError):
            pass
        return self.loop.time()

    def run(self, task: asyncio.Task[None], on_step: Callable[[], object] | None = None) -> None:
        """Run the loop until the call has ended."""
        self.loop.on_step = on_step
        self.loop.run_until_complete(task)
        self.loop.on_step = None

    async def watch(self, call: Coroutine[Any, Any, Any]) -> None:
        """Await the call, and remember how it ended and what it left to its caller."""
        task = asyncio.current_task()
        self.before = task.cancelling()
        self.begun = True
        try:
            self.value = await call
        except BaseException as error:
            # Without its traceback: that refers to this frame.
            self.error = error.with_traceback(None)
        self.after = task.cancelling()
        with suppress(seawall.UsageError):
            # Where a test closes the task after its loop, there is none to ask.
            self.left = seawall.deadline()
        self.ended = True
        self.ended_at = self.loop.time()

    def check(self) -> None:
        """Check that the call left nothing behind, and that the next one gets all it needs."""
        assert self.ended
        assert self.after == self.before + self.cancels
        assert self.left is None
        if self.closed and self.case.side_by_side:
            self.loop.run_until_complete(asyncio.sleep(0.1))
        assert self.work.inside == 0
        self.loop.run_until_complete(self._check_company())
        self.check_idle()
        harmed = self.work.harmed or any(work.harmed for work, _ in self.company)
        self.loop.run_until_complete(self._check_next(harmed=harmed))
        self.check_idle()
        assert self.loop.timers() == []
        assert self.loop.callbacks() == []
        assert asyncio.all_tasks(self.loop) == set()
        assert self.problems == []

    async def _check_company(self) -> None:
        if not self.company:
            return
        (_, first), (behind, second) = self.company
        first_ended = await first
        await second
        if behind.began is not None:
            # It had its turn in the very moment in which there was room for it.
            room = self._turn_of(behind) if self.case.interval else max(first_ended, self.ended_at)
            assert behind.began <= room

    def _turn_of(self, work: Work) -> float:
        """When the first attempt of this work had to begin at the latest, by those before it."""
        others = [begin for other in self.works if other is not work for begin in other.begins]
        before = [begin for begin in others if begin < work.begins[0]]
        return max(before, default=0.0) + self.case.interval

    def check_idle(self) -> None:
        assert self.case.held(self.policy) == 0
        for timer in self.loop.timers():
            # The one timer of a Timeout may still be armed, but it watches nothing.
            assert timer._callback.__self__.entries == {}

    async def _check_next(self, *, harmed: bool) -> None:
        work = self.new_work("answer")
        now = self.loop.time()
        try:
            await self.policy.execute(work)
        except (CircuitOpenError, LoadShedError) as error:
            assert harmed, "a call is refused though nothing has failed"
            # A load shedder does not know when, but 10 s later it has forgotten all.
            await asyncio.sleep(10.5 if error.retry_after is None else error.retry_after)
            now = self.loop.time()
            await self.policy.execute(work)
        if work.began is None:
            # A fallback answered for the circuit, which must be ready when its time has passed.
            assert harmed
            await asyncio.sleep(1.0)
            now = self.loop.time()
            await self.policy.execute(work)
        assert work.began is not None
        assert now <= work.began <= max(now, self._turn_of(work) if self.case.interval else now)
        await asyncio.sleep(100.0)


@contextmanager
def new_loop() -> Iterator[VirtualLoop]:
    """Give a loop that is closed at the end."""
    loop = VirtualLoop()
    try:
        yield loop
    finally:
        loop.on_step = None
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
