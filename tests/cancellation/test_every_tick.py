"""A call is cancelled before every callback that the loop runs while it lasts."""

from __future__ import annotations

from asyncio import CancelledError, current_task, sleep

import anyio
import pytest

from seawall import SeawallError
from tests.cancellation.policies import fallback_five, five, hedged, twice
from tests.cancellation.product import named, product
from tests.cancellation.trial import Trial, new_loop

HARDEST = [five, fallback_five, twice, hedged]


def cancel_at(trial: Trial, *steps: int) -> None:
    """Run the call to its end, cancelling its task before these of the loop's callbacks."""
    task = trial.start(trial.call())
    step = 0

    def on_step() -> None:
        nonlocal step
        if trial.begun and not trial.ended:
            for _ in range(steps.count(step)):
                task.cancel()
                trial.cancels += 1
            step += 1

    trial.run(task, on_step)


@product()
def test_a_call_can_be_cancelled_at_every_tick(case, way, situation):
    """The cancellation reaches the caller, and leaves nothing behind, whenever it comes."""
    with new_loop() as loop:
        step = 0
        while True:
            trial = Trial(loop, case, way, situation)
            cancel_at(trial, step)
            if trial.cancels and not trial.work.swallowed:
                assert isinstance(trial.error, CancelledError)
            trial.check()
            if not trial.cancels:
                break
            step += 1
        # Only a refusal takes no tick at all.
        assert step >= 1 or trial.work.attempts == 0


@product(named("answers", "hangs_then_answers", "waits"), HARDEST)
def test_a_call_can_be_cancelled_twice(case, way, situation):
    """A second cancellation, at once or while the call cleans up, changes nothing."""
    with new_loop() as loop:
        for later in (0, 1, 2, 4):
            step = 0
            while True:
                trial = Trial(loop, case, way, situation)
                cancel_at(trial, step, step + later)
                if trial.cancels:
                    assert isinstance(trial.error, CancelledError)
                trial.check()
                if not trial.cancels:
                    break
                step += 1


async def after_a_cancellation(trial: Trial) -> object:
    """Call in a task that was already cancelled, as its cleanup does."""
    current_task().cancel()
    with pytest.raises(CancelledError):
        await sleep(0)
    trial.cancels = 1
    return await trial.way.run(trial.policy, trial.work)


@product(named("answers", "hangs", "waits"), HARDEST)
def test_a_cancelled_task_can_call_and_be_cancelled_again(case, way, situation):
    """What a task was asked before its call stays as it was: only the new cancellation counts."""
    with new_loop() as loop:
        step = 0
        while True:
            trial = Trial(loop, case, way, situation)
            task = trial.start(after_a_cancellation(trial))
            count = 0

            def on_step() -> None:
                nonlocal count
                if trial.begun and not trial.ended and trial.cancels:
                    if count == step:
                        task.cancel()
                        trial.cancels += 1
                    count += 1

            trial.run(task, on_step)
            if trial.cancels == 2:
                assert isinstance(trial.error, CancelledError)
            trial.check()
            if trial.cancels == 1:
                break
            step += 1


@product(named("answers", "fails", "hangs_then_answers", "waits"), HARDEST)
def test_a_cancel_scope_of_anyio_can_end_a_call(case, way, situation):
    """A scope that cancels its task again and again gets the cancellation, and no count stays."""
    with new_loop() as loop:
        step = caught = 0
        while True:
            trial = Trial(loop, case, way, situation)
            scopes: list[anyio.CancelScope] = []

            async def scoped() -> bool:
                with anyio.CancelScope() as scope:
                    scopes.append(scope)
                    await trial.way.run(trial.policy, trial.work)
                    return True
                return False

            task = trial.start(scoped())
            count = 0

            def on_step() -> None:
                nonlocal count
                if scopes and not trial.ended:
                    if count == step:
                        scopes[0].cancel()
                    count += 1

            trial.run(task, on_step)
            trial.check()
            if count <= step:
                break
            # A scope does not cancel what goes on in this tick anyhow: that may return, or raise.
            ended = trial.value is True or isinstance(trial.error, (OSError, SeawallError))
            assert scopes[0].cancelled_caught is not ended
            caught += scopes[0].cancelled_caught
            step += 1
        # Only a refusal takes no tick at all.
        assert caught >= 1 or trial.work.attempts == 0
