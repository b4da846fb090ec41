"""A call is interrupted, closed or dropped wherever it waits."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Coroutine, Generator
from typing import Any

import pytest

from tests.cancellation.product import by_each_way
from tests.cancellation.trial import Trial, new_loop
from tests.cancellation.work import SITUATIONS, Situation

# A task that swallows a cancellation says nothing about other exceptions.
CALM = [situation for situation in SITUATIONS if situation.name != "swallows"]


class Stopped(Exception):
    """The call was closed, or dropped: nothing comes out of it."""


@types.coroutine
def throw_at(
    coroutine: Coroutine[Any, Any, Any], wait: int, error: type[BaseException] | None
) -> Generator[Any, Any, Any]:
    """Await a coroutine, but at its so-and-so-many-th wait throw an error, or close it."""
    waits = 0
    step, argument = coroutine.send, None
    while True:
        try:
            signal = step(argument)
        except StopIteration as stop:
            return stop.value
        if waits == wait:
            if hasattr(signal, "_asyncio_future_blocking"):
                signal._asyncio_future_blocking = False
            if error is None:
                coroutine.close()
                raise Stopped
            step, argument = coroutine.throw, error()
        else:
            try:
                step, argument = coroutine.send, (yield signal)
            except BaseException as thrown:
                step, argument = coroutine.throw, thrown
        waits += 1


def way_can_be_closed(way: Any) -> bool:
    """Say whether closing a coroutine of this way closes the generator that it waits in.

    A loop over an async generator needs the event loop for that, and so does one that awaits when
    it cleans up. And before Python 3.13, closing a coroutine that waits in `anext` or `athrow` does
    not reach the generator at all.
    """
    if way.name in {"generator", "stream_left_early"}:
        return False
    waits_in_generator = way.name in {"manager", "stream", "timed_stream", "decorated_stream"}
    return not waits_in_generator or sys.version_info >= (3, 13)


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, None], ids=str)
@by_each_way()
def test_a_call_can_be_ended_at_every_wait(case, way, error):
    """KeyboardInterrupt, GeneratorExit and closing end a call at any wait, and leave nothing."""
    if error is not KeyboardInterrupt and not way_can_be_closed(way):
        pytest.skip("Python itself leaves the generator of this way open")
    expected = Stopped if error is None else error
    with new_loop() as loop:
        for situation in CALM:
            if error is GeneratorExit and way.name == "generator":
                # Thrown by hand into a coroutine that closes a generator: Python's own affair.
                continue
            wait = 0
            while True:
                trial = Trial(loop, case, way, situation)
                call = trial.call()
                task = trial.start(_run(call, wait, error))
                loop.run_until_complete(task)
                trial.closed = error is not KeyboardInterrupt
                trial.check()
                if not isinstance(trial.error, expected):
                    break
                wait += 1
            assert wait >= 1 or trial.work.attempts == 0


async def _run(call: Coroutine[Any, Any, Any], wait: int, error: Any) -> Any:
    return await throw_at(call, wait, error)


@pytest.mark.parametrize("what", ["interrupt", "exit", "cancel_itself"])
@by_each_way()
def test_what_the_function_raises_is_never_retried(case, way, what):
    """KeyboardInterrupt, GeneratorExit and CancelledError of the function pass, after one try."""
    kinds = {
        "interrupt": KeyboardInterrupt,
        "exit": GeneratorExit,
        "cancel_itself": asyncio.CancelledError,
    }
    with new_loop() as loop:
        trial = Trial(loop, case, way, Situation(what, (what,)))
        loop.run_until_complete(trial.start(trial.call()))
        assert isinstance(trial.error, kinds[what])
        # What runs side by side has begun before.
        assert trial.work.attempts == 1 or case.side_by_side
        trial.closed = what == "exit"
        trial.check()
