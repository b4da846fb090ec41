"""FOOTPRINT.md: what a call, a breaker and an import take: bytes, milliseconds, instructions."""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import statistics
import subprocess
import sys
import tracemalloc
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.overhead import cases, handwritten, instructions, limit
from benchmarks.overhead.page import Page
from benchmarks.overhead.peers import all_peers
from benchmarks.overhead.report import aligned, heading
from benchmarks.overhead.runners import answer

PATH = Path(__file__).parents[1] / "FOOTPRINT.md"

INTRODUCTION = """\
# What a call takes beside time

`make bench BENCH=footprint` measures this and replaces the section of the Python that it runs on.

* **A call in flight**: the bytes that `tracemalloc` sees after a thousand calls have gone in, for
  each, its task included, and how many of them are above those of the bare call. **Blocks held
  inside** are what the allocator has given out for a call when it has come to its innermost, and
  not taken back (`sys.getallocatedblocks`); objects that the interpreter keeps for reuse are none.
  **Bytes at the peak** are the most that one call takes until it is over.
* **A breaker**: a thousand of them, each used once; where there is no such object, or it is not to
  be had, the function behind it, which holds it.
* **Imports** run in new interpreters, fifteen times, with all modules compiled: the median of the
  CPU time, and whether httpx or trio, which are not needed, came with it. asyncio and anyio are a
  part of what `import seawall` takes; `*` brings the rarer policies and rules, which it leaves out.
* **Instructions** are counted by valgrind's callgrind, of one call among four hundred. They are the
  same on a busy machine; what they say of time is limited, for they are not equally fast.
"""

CALLS = 1000
BREAKERS = 1000
IMPORTS = 15

IMPORTED = ("import asyncio", "import asyncio, anyio", "import seawall", "from seawall import *")
BREAKER = "**seawall** `CircuitBreaker()`"


def traced():
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def in_flight(call, gate):
    """Return the bytes of one call that is in flight, its task with it."""
    before = traced()
    tasks = [asyncio.ensure_future(call()) for _ in range(CALLS)]
    await asyncio.sleep(0)
    taken = traced() - before
    assert not any(task.done() for task in tasks)
    gate.set()
    await asyncio.gather(*tasks)
    gate.clear()
    return taken / CALLS


async def one_call(call):
    """Return the blocks that a call holds at its innermost, and the bytes at its peak."""
    for _ in range(100):
        await call()
    before = sys.getallocatedblocks()
    blocks = await call() - before
    tracemalloc.reset_peak()
    least = tracemalloc.get_traced_memory()[0]
    await call()
    return blocks, tracemalloc.get_traced_memory()[1] - least


def builders():
    """Return what puts a function behind the four policies, by name."""

    def by_hand(function):
        return handwritten.four(function, handwritten.Breaker(), limit=2 * CALLS)

    def execute(function):
        # More calls are in flight than the four policies let in.
        pipeline = cases.OWN.four(bulkhead=cases.OWN.seawall.Bulkhead(2 * CALLS))
        return partial(pipeline.execute, function)

    return {
        cases.BARE: lambda function: function,
        cases.LIMIT: lambda function: limit.four(function, limit=2 * CALLS),
        cases.BY_HAND: by_hand,
        cases.EXECUTE: execute,
    }


async def calls():
    """Return bytes in flight, blocks held inside and bytes at the peak of each way to call."""
    gate, found = asyncio.Event(), {}

    async def wait():
        await gate.wait()

    async def count():
        return sys.getallocatedblocks()

    # What the loop has grown to belongs to no call.
    await in_flight(wait, gate)
    for name, build in builders().items():
        call = build(wait)
        # Nor does what is made once, at the first call.
        gate.set()
        await call()
        gate.clear()
        found[name] = (await in_flight(call, gate), *await one_call(build(count)))
    return found


async def bytes_of(use):
    """Return the bytes of what a function uses once and returns."""
    before = traced()
    kept = [await use() for _ in range(BREAKERS)]
    return (traced() - before) / len(kept)


async def breakers():
    async def own():
        breaker = cases.OWN.breaker()
        await breaker.execute(answer)
        return breaker

    async def behind(build):
        function = build(answer)
        await function()
        return function

    by_hand = partial(behind, lambda it: handwritten.broken(it, handwritten.Breaker()))
    found = {BREAKER: await bytes_of(own), cases.BY_HAND: await bytes_of(by_hand)}
    for peer in all_peers():
        if peer.breaker is not None:
            found[peer.name] = await bytes_of(partial(behind, peer.breaker))
    return found


def import_time(statement):
    """Return the milliseconds that an import takes in a new interpreter, and what it brings in."""
    program = (
        "from time import process_time\n"
        "start = process_time()\n"
        f"{statement}\n"
        "taken = process_time() - start\n"
        "import sys\n"
        "print(taken, *[name for name in ('httpx', 'trio') if name in sys.modules])\n"
    )
    with TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        # The first one compiles, as the installation of a package does.
        _, *outputs = [
            subprocess.run(
                [sys.executable, "-c", program],
                check=True,
                capture_output=True,
                text=True,
                env=environment,
            )
            for _ in range(1 + IMPORTS)
        ]
    words = [output.stdout.split() for output in outputs]
    brought = {tuple(line[1:]) for line in words}
    assert len(brought) == 1, brought
    return 1000 * statistics.median(float(line[0]) for line in words), ", ".join(brought.pop())


def all_figures():
    # The first task and the first traces bring in what belongs to none.
    asyncio.run(asyncio.sleep(0))
    tracemalloc.start()
    try:
        measured = {"calls": asyncio.run(calls()), "breakers": asyncio.run(breakers())}
    finally:
        tracemalloc.stop()
    return {**measured, "imports": {name: import_time(name) for name in IMPORTED}}


def tables(measured):
    bare = measured["calls"][cases.BARE]
    rows = [
        [
            "Four policies, bytes",
            "a call in flight",
            "above the bare call",
            "blocks held inside",
            "bytes at the peak of a call",
        ]
    ]
    for name, (flying, blocks, peak) in measured["calls"].items():
        rows.append(
            [name, f"{flying:,.0f}", f"{flying - bare[0]:,.0f}", f"{blocks}", f"{peak:,.0f}"]
        )
    breaker_rows = [["A breaker that was used", "bytes"]]
    breaker_rows += [[name, f"{size:,.0f}"] for name, size in measured["breakers"].items()]
    import_rows = [["Import, CPU time in a new interpreter", "ms", "brings in"]]
    import_rows += [
        [f"`{name}`", f"{milliseconds:.0f}", brought or "neither httpx nor trio"]
        for name, (milliseconds, brought) in measured["imports"].items()
    ]
    return [aligned(rows), aligned(breaker_rows), aligned(import_rows)]


def values(figures):
    """Return what targets need."""
    bare = figures["calls"][cases.BARE][0]
    milliseconds, brought = figures["imports"]["import seawall"]
    return {
        "targets": {
            "breaker": [figures["breakers"][BREAKER]],
            "call": [figures["calls"][cases.EXECUTE][0] - bare],
            "import": [milliseconds],
            "httpx": [int("httpx" in brought)],
        }
    }


def measured(*, quick):
    """Measure it all on this Python; quickly without the instructions."""
    figures = all_figures()
    parts = [heading(), f"{platform.python_version()}.", *tables(figures)]
    if not quick:
        parts.append(instructions.table())
    return Page(PATH, INTRODUCTION, "\n\n".join(parts) + "\n", values(figures))
