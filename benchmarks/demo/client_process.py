"""One client in a process of its own, given the side's name, the URL, the seed and the seconds.

It says ``ready``, waits for a line, and then writes a line for each call that ended and for each
state that its circuit has taken. When its standard input ends, so does it: whatever becomes of
the process that started it, nothing is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from threading import Thread
from typing import TYPE_CHECKING

from benchmarks.demo.sides import SIDES
from benchmarks.demo.traffic import arrivals, send

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_EVERY = 0.05


def say(line: str) -> None:
    """Tell the process that started this one."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def run(side_name: str, url: str, seed: int, seconds: float) -> None:
    """Send one side's traffic."""
    side = SIDES[side_name]()
    times = arrivals(seed, seconds)
    async with side.client:
        # Client libraries load much at the first call, which would be blamed on the first second.
        await side.client.get(url)
        begin = _listen()
        say("ready")
        await begin.wait()
        watching = asyncio.create_task(_watch(side.circuit))
        try:
            await send(side.client, url, times, lambda call: say(call.line()))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            say(f"circuit {side.circuit()}")


async def _watch(circuit: Callable[[], str]) -> None:
    last = None
    while True:
        state = circuit()
        if state != last:
            say(f"circuit {state}")
            last = state
        await asyncio.sleep(LOOK_EVERY)


def _listen() -> asyncio.Event:
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    begin = asyncio.Event()

    def listen() -> None:
        # The buffered sys.stdin would be locked while the interpreter shuts down.
        with contextlib.suppress(RuntimeError):  # the loop has ended before the input
            if os.read(0, 1):
                loop.call_soon_threadsafe(begin.set)
                while os.read(0, 64):
                    pass
            if main is not None:
                loop.call_soon_threadsafe(main.cancel)

    Thread(target=listen, daemon=True).start()
    return begin


def main() -> int:
    """Run one side; an interrupt is for the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    side_name, url, seed, seconds = sys.argv[1:]
    try:
        asyncio.run(run(side_name, url, int(seed), float(seconds)))
    except (asyncio.CancelledError, BrokenPipeError):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
