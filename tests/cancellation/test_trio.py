"""On trio, a call is cancelled before every step that its task makes, and wherever it waits."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import trio
import trio.testing

import seawall
from seawall import CircuitOpenError, LoadShedError, SeawallError
from tests.cancellation.product import by_each_way
from tests.cancellation.work import SITUATIONS, Work

CALM = [situation for situation in SITUATIONS if situation.name != "swallows"]


class CancelAt(trio.abc.Instrument):
    """Cancels a scope before a given step of a task, or before trio waits, whichever comes."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.task: Any = None
        self.scope = trio.CancelScope()
        self.ended = self.cancelled = False

    def before_task_step(self, task: Any) -> None:
        if task is self.task:
            self.count()

    def before_io_wait(self, timeout: float) -> None:
        if self.task is not None and trio.lowlevel.current_statistics().tasks_runnable == 0:
            self.count()

    def count(self) -> None:
        if self.ended:
            return
        if self.step == 0:
            self.cancelled = True
            self.scope.cancel()
        self.step -= 1


async def accompany(policy: Any, what: str) -> None:
    with suppress(OSError, SeawallError):
        await policy.execute(Work((what,), trio.sleep, trio.current_time))


async def cancel_at(step: int, case: Any, way: Any, situation: Any) -> tuple[bool, int]:
    """Cancel one call before this step of its task; say whether it came to that, and attempts."""
    policy = case.make()
    instrument = CancelAt(step)
    work = Work(situation.plan, trio.sleep, trio.current_time)
    outcome: list[object] = []
    if case.prepare is not None:
        case.prepare(policy)
        await trio.sleep(2.0)

    async def call() -> None:
        instrument.task = trio.lowlevel.current_task()
        try:
            with instrument.scope:
                outcome.append(await way.run(policy, work))
        except (OSError, SeawallError) as error:
            outcome.append(error)
        finally:
            instrument.ended = True
        assert seawall.deadline() is None

    trio.lowlevel.add_instrument(instrument)
    async with trio.open_nursery() as nursery:
        if situation.before is not None:
            nursery.start_soon(accompany, policy, situation.before)
            await trio.sleep(0.001)
        nursery.start_soon(call)
    trio.lowlevel.remove_instrument(instrument)
    assert work.inside == 0
    assert case.held(policy) == 0
    if not outcome:
        assert instrument.scope.cancelled_caught
    after = Work(("answer",), trio.sleep, trio.current_time)
    try:
        await policy.execute(after)
    except (CircuitOpenError, LoadShedError) as error:
        # As in `Trial`.
        await trio.sleep(10.5 if error.retry_after is None else error.retry_after)
        await policy.execute(after)
    assert case.held(policy) == 0
    return instrument.cancelled, work.attempts


@by_each_way()
def test_a_call_can_be_cancelled_at_every_step_on_trio(case, way):
    """The cancellation reaches its scope and leaves nothing behind, whenever it comes."""

    async def main() -> None:
        for situation in CALM:
            step = 0
            while True:
                cancelled, attempts = await cancel_at(step, case, way, situation)
                if not cancelled:
                    break
                step += 1
            # Only a refusal takes no step at all.
            assert step >= 1 or attempts == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
