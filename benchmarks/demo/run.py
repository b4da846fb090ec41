"""A run: both lanes from the start to the end, shown while they go."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol

from benchmarks.demo.lane import Lane
from benchmarks.demo.script import Script
from benchmarks.demo.sides import SIDES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.demo.arguments import Arguments

SHOW_EVERY = 0.5


class Screen(Protocol):
    """What shows a run while it goes."""

    def begin(self, script: Script, lanes: Sequence[Lane]) -> None:
        """Show that the run has begun."""

    def show(self, elapsed: float) -> None:
        """Show how the lanes stand, some seconds after the start."""

    def end(self) -> None:
        """Show nothing more."""


async def run(arguments: Arguments, screen: Screen) -> tuple[Script, list[Lane]]:
    """Let both sides go through the script, and return them with what they have seen."""
    script = Script(arguments.seconds)
    async with AsyncExitStack() as stack:
        lanes = [
            await stack.enter_async_context(Lane(name, script, arguments.seed)) for name in SIDES
        ]
        stack.push_async_callback(_stop, lanes)
        clients = [await lane.start() for lane in lanes]
        for client in clients:
            await client.ready()
        screen.begin(script, lanes)
        stack.callback(screen.end)
        for lane, client in zip(lanes, clients, strict=True):
            lane.begin(client)
        await _play(lanes, screen)
    return script, lanes


async def _play(lanes: Sequence[Lane], screen: Screen) -> None:
    loop = asyncio.get_running_loop()
    zero = loop.time()
    elapsed = 0.0
    # The last second is shown in full.
    while any(lane.running for lane in lanes) or elapsed % 1:
        elapsed += SHOW_EVERY
        await asyncio.sleep(max(0.0, zero + elapsed - loop.time()))
        for lane in lanes:
            lane.raise_failure()
            if not elapsed % 1:
                lane.close_second(elapsed)
        screen.show(elapsed)


async def _stop(lanes: Sequence[Lane]) -> None:
    await asyncio.gather(*(lane.stop() for lane in lanes))
