"""A call is cancelled before every callback that the loop runs while it lasts."""

from __future__ import annotations

from asyncio import CancelledError

import pytest

from tests.cancellation.policies import CASES
from tests.cancellation.trial import Trial, new_loop
from tests.cancellation.ways import WAYS
from tests.cancellation.work import SITUATIONS


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

    trial.loop.on_step = on_step
    trial.loop.run_until_complete(task)
    trial.loop.on_step = None


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
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
