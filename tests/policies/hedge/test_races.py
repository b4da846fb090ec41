"""Every interleaving of two attempts that race, and of a caller who cancels.

The end of the first attempt, the end of the hedge, and the cancellation each come before one of the
callbacks that the loop runs; all combinations of these are run, for all ways in which attempts end
and take being cancelled.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import count, product
from typing import Any

import pytest
import trio
import trio.testing

from seawall import Bulkhead, Call, Hedge, Pipeline, Policy
from seawall.core.open_attempt import OpenAttempt
from tests.virtual_time import VirtualLoop

# How an attempt ends when it is let go, and what it does when it is cancelled before.
ENDS = ["answers", "fails", "interrupts"]
REACTIONS = ["obeys", "cleans up", "refuses", "fails", "interrupts"]
# Before which callback an attempt is let go (-1: before the call). `None` is when nothing else is
# left to do; there are fewer callbacks until then.
GATES = (*range(-1, 8), None)

# One attempt in each way, beside one that obeys; the rest is for the soak.
OFTEN = {(one, "obeys") for one in REACTIONS} | {("obeys", one) for one in REACTIONS}
# On trio, what does not obey meets each end once on either side.
OFTEN_ON_TRIO = set(zip(ENDS, [*ENDS[1:], ENDS[0]], strict=True))


class MadeUp(Exception):
    """What an attempt raises."""


class Track:
    """Two attempts: what they do, and what they did, in this order.

    Attributes:
        gates: what each of them waits for.
        inside: how many have not ended.
        cancels: how often each was cancelled.
        opened: what those that returned left open.
        closed: what of that was closed.
    """

    def __init__(self, ends: Any, reactions: Any, event: Any, pause: Any) -> None:
        self.ends = ends
        self.reactions = reactions
        self.gates = [event(), event()]
        self.pause = pause
        self.begun = self.inside = 0
        self.log: list[tuple[int, str]] = []
        self.cancels: Counter[int] = Counter()
        self.opened: list[OpenAttempt] = []
        self.closed: list[OpenAttempt] = []

    async def __call__(self) -> int:
        number = self.begun
        self.begun += 1
        self.inside += 1
        try:
            try:
                await self.gates[number].wait()
            except BaseException:
                self.cancels[number] += 1
                what = self.reactions[number]
                if what == "cleans up":
                    await self.clean_up(number)
                if what in {"obeys", "cleans up"}:
                    raise
                return self.end(number, what)
            return self.end(number, self.ends[number])
        finally:
            self.inside -= 1

    async def clean_up(self, number: int) -> None:
        try:
            await self.pause()
            await self.pause()
        except BaseException:
            self.cancels[number] += 1
            raise

    def end(self, number: int, what: str) -> int:
        self.log.append((number, what))
        if what == "fails":
            raise MadeUp(number)
        if what == "interrupts":
            raise KeyboardInterrupt
        return number

    def outcomes(self, *, cancelled: bool) -> set[str]:
        """Return what the call may come to, by what the attempts did."""
        if any(what == "interrupts" for _, what in self.log):
            return {"KeyboardInterrupt"}
        if cancelled:
            # What the function itself makes of a cancellation is for the function to say.
            swallowed = {(0, "refuses"): {"0"}, (0, "fails"): {"MadeUp(0)"}}
            allowed = [swallowed.get(end, set()) for end in self.log]
            return {"CancelledError"}.union(*allowed)
        for number, what in self.log:
            if what == "answers":
                return {str(number)}
        return {"MadeUp(0)"}


class Opens(Policy):
    """Leaves each attempt that returns open, as an HTTP body does."""

    def __init__(self, track: Track) -> None:
        self.track = track

    async def run(self, call, proceed):
        value = await proceed(call)

        async def close():
            self.track.closed.append(opened)

        call.open = opened = OpenAttempt(close)
        self.track.opened.append(opened)
        return value


def outcome_of(error: BaseException) -> str:
    return repr(error) if isinstance(error, MadeUp) else type(error).__name__


def check_open(track: Track, call: Call[Any], bulkhead: Bulkhead, *, returned: bool) -> None:
    """Check that the winner alone is open, and that it has all that it holds."""
    for opened in track.opened:
        if not (returned and opened is call.open):
            assert opened.ended
            assert opened in track.closed
    assert (call.open is not None) is returned
    if returned:
        assert not call.open.ended
        assert call.open in track.opened
        assert bulkhead.in_flight == 1
        call.open.end(call.judge_result(None))
    assert bulkhead.in_flight == 0


def race_on_asyncio(loop: VirtualLoop, track: Track, gates: Any, cancel: int) -> int:
    """Run one race, and check it; return before how many callbacks something could happen."""
    bulkhead, hedge = Bulkhead(2), Hedge(0, budget=None)
    policy = Pipeline(hedge, bulkhead, Opens(track))
    call: Call[Any] = Call()
    results: list[str] = []
    left: list[int] = []
    step = cancels = 0
    begun = False

    async def main() -> None:
        nonlocal begun
        call.begin(track)
        begun = True
        try:
            results.append(str(await policy.conduct(call)))
        except BaseException as error:
            results.append(outcome_of(error))
        tasks = len(asyncio.all_tasks()) - 1
        left.extend([track.inside, tasks, len(hedge.running)])
        left.append(asyncio.current_task().cancelling() - cancels)

    for gate, at in zip(track.gates, gates, strict=True):
        if at == -1:
            gate.set()
    task = loop.create_task(main())
    late = [loop.call_later(1 + number, gate.set) for number, gate in enumerate(track.gates)]

    def on_step() -> None:
        nonlocal step, cancels
        if not begun or results:
            return
        for gate, at in zip(track.gates, gates, strict=True):
            if at == step:
                gate.set()
        if cancel == step:
            task.cancel()
            cancels += 1
        step += 1

    loop.on_step = on_step
    loop.run_until_complete(task)
    loop.on_step = None
    for timer in late:
        timer.cancel()
    # At the very moment when the call returned or raised.
    assert left == [0, 0, 0, 0]
    assert results[0] in track.outcomes(cancelled=cancels > 0)
    assert track.cancels[0] <= 1 + cancels
    assert track.cancels[1] <= 1
    check_open(track, call, bulkhead, returned=results[0].isdigit())
    return step


def often(ends: Any, reactions: Any) -> bool:
    return reactions in OFTEN


def often_on_trio(ends: Any, reactions: Any) -> bool:
    obeys = reactions == ("obeys", "obeys")
    return obeys or (reactions in OFTEN and ends in OFTEN_ON_TRIO)


def ends_and_reactions(often: Callable[[Any, Any], bool]) -> list[Any]:
    return [
        pytest.param(
            ends,
            reactions,
            id="-".join((*ends, *reactions)).replace(" ", "_"),
            marks=() if often(ends, reactions) else pytest.mark.soak,
        )
        for ends in product(ENDS, repeat=2)
        for reactions in product(REACTIONS, repeat=2)
    ]


@pytest.mark.parametrize("ends, reactions", ends_and_reactions(often))
def test_every_interleaving(ends, reactions):
    """The first answer wins, the loser is awaited, the caller is heard: nothing stays behind."""
    loop = VirtualLoop()
    problems: list[Any] = []
    loop.set_exception_handler(lambda _, problem: problems.append(problem))
    seen = set()
    for gates in product(GATES, repeat=2):
        for cancel in count():
            track = Track(ends, reactions, asyncio.Event, lambda: asyncio.sleep(0))
            steps = race_on_asyncio(loop, track, gates, cancel)
            seen.add(track.begun)
            if cancel >= steps:
                # The call has ended before, and so it would with all that come later.
                break
    assert loop.callbacks() == []
    assert loop.timers() == []
    assert problems == []
    assert seen == {1, 2}
    loop.close()


class Steps(trio.abc.Instrument):
    """Lets attempts go, and cancels the caller, before given steps of trio's tasks."""

    def __init__(self, track: Track, gates: Any, cancel: int) -> None:
        self.track = track
        self.gates = gates
        self.cancel = cancel
        self.scope = trio.CancelScope()
        self.step = 0
        self.running = False

    def before_task_step(self, task: Any) -> None:
        if not self.running:
            return
        for gate, at in zip(self.track.gates, self.gates, strict=True):
            if at == self.step:
                gate.set()
        if self.cancel == self.step:
            self.scope.cancel()
        self.step += 1


async def race_on_trio(track: Track, gates: Any, cancel: int) -> int:
    """Run one race, and check it; return before how many steps something could happen."""
    bulkhead, hedge = Bulkhead(2), Hedge(0, budget=None)
    policy = Pipeline(hedge, bulkhead, Opens(track))
    call: Call[Any] = Call()
    call.begin(track)
    steps = Steps(track, gates, cancel)
    result = "CancelledError"
    for gate, at in zip(track.gates, gates, strict=True):
        if at == -1:
            gate.set()
    trio.lowlevel.add_instrument(steps)
    async with trio.open_nursery() as nursery:

        async def late() -> None:
            for gate in track.gates:
                await trio.sleep(1)
                gate.set()
            await trio.sleep_forever()

        nursery.start_soon(late)
        await trio.sleep(0.5)
        steps.running = True
        try:
            with steps.scope:
                result = str(await policy.conduct(call))
        except BaseException as error:
            result = outcome_of(error)
        steps.running = False
        # At the very moment when the call returned or raised.
        left = (track.inside, len(hedge.running), len(nursery.child_tasks) - 1)
        nursery.cancel_scope.cancel()
    trio.lowlevel.remove_instrument(steps)
    assert left == (0, 0, 0)
    if steps.scope.cancelled_caught:
        assert not any(what == "interrupts" for _, what in track.log)
    else:
        # Both attempts are in the scope that was cancelled, and either may have swallowed that.
        swallowed = {str(number) for number, what in track.log if what == "refuses"}
        cancelled = steps.scope.cancel_called
        assert result in track.outcomes(cancelled=False) | (swallowed if cancelled else set())
    check_open(track, call, bulkhead, returned=result.isdigit())
    return steps.step


@pytest.mark.parametrize("ends, reactions", ends_and_reactions(often_on_trio))
def test_every_interleaving_on_trio(ends, reactions):
    """The same is true of its nursery and its scopes."""

    async def main() -> None:
        for gates in product(GATES, repeat=2):
            for cancel in count():
                track = Track(ends, reactions, trio.Event, lambda: trio.sleep(0))
                if cancel >= await race_on_trio(track, gates, cancel):
                    break

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
