"""Whether a call costs the same however many are in flight.

Two questions, for the four policies and for the bare call: what a call costs that comes and goes
beside so many that wait inside, and what each of so many costs that go in one after the other and
then all come out, their tasks included. The bare call tells how much of that is the machine's: a
hundred thousand tasks fit into no cache.
"""

from __future__ import annotations

import asyncio
import gc
from functools import partial
from time import thread_time_ns

from benchmarks.overhead import cases, runners
from benchmarks.overhead.measure import Group, Variant, measure, quartiles, shuffled, with_own_code
from benchmarks.overhead.report import aligned, times

SIZES = (1, 100, 1_000, 10_000, 100_000)
BASE = 100
MOST = 2 * SIZES[-1]
# Calls in one sample, at least: of a single one the clock would see little.
CALLS = 1000

# Calls that go in within one turn of the loop.
TICK = 1000

BESIDE = "A call beside others in flight"
TOGETHER = "Calls that are in flight together, each"
BARE, FOUR = "bare", "four policies"


class Dependency:
    """Answers at once, or holds its calls until they are let go."""

    def __init__(self):
        self.holds = False
        self.gate = asyncio.Event()

    async def answer(self):
        if self.holds:
            await self.gate.wait()
        return "answer"

    async def hold(self, number, call):
        """Let so many calls go in."""
        tasks = []
        while len(tasks) < number:
            self.holds = True
            more = min(TICK, number - len(tasks))
            tasks += [asyncio.ensure_future(call()) for _ in range(more)]
            await asyncio.sleep(0)
            self.holds = False
            if len(tasks) < number:
                # Were none answered for a second, the circuit would take it for silence.
                await call()
        return tasks

    async def let_go(self, tasks):
        self.gate.set()
        for task in tasks:
            await task
        self.gate.clear()


def way(name, dependency):
    if name == BARE:
        return dependency.answer
    seawall = cases.OWN.seawall
    # They wait for longer than ten seconds, and there are more of them than a hundred.
    four = cases.OWN.four(bulkhead=seawall.Bulkhead(MOST), timeout=seawall.Timeout(3600.0))
    return partial(four.execute, dependency.answer)


def label(name, size):
    return f"{name}, {size:,}"


async def beside(rounds, sizes):
    variants, held = [], []
    for name in (BARE, FOUR):
        for size in sizes:
            dependency = Dependency()
            call = way(name, dependency)
            held.append((dependency, await dependency.hold(size, call)))
            variants.append(Variant(label(name, size), with_own_code(runners.awaited(call))))
    group = Group(BESIDE, variants)
    await measure([group], rounds)
    for dependency, tasks in held:
        await dependency.let_go(tasks)
    return group


async def in_and_out(dependency, call, size):
    """Return the nanoseconds that each of so many calls took."""
    times_over = max(1, CALLS // size)
    start = thread_time_ns()
    for _ in range(times_over):
        tasks = await dependency.hold(size, call)
        await dependency.let_go(tasks)
        del tasks
    return (thread_time_ns() - start) / (times_over * size)


async def together(rounds, sizes):
    dependency = Dependency()
    calls = {name: way(name, dependency) for name in (BARE, FOUR)}
    group = Group(TOGETHER, [])
    for name, call in calls.items():
        for size in sizes:
            variant = Variant(label(name, size), partial(in_and_out, dependency, call, size))
            await variant.run()
            group.variants.append(variant)
    for number in range(rounds):
        for variant in shuffled(group.variants, number):
            gc.collect()
            gc.disable()
            try:
                variant.samples.append(await variant.run())
            finally:
                gc.enable()
    return group


async def groups(rounds, sizes):
    """Measure both; of calls together there are fewer rounds, for each takes long."""
    return [await beside(rounds, sizes), await together(max(3, rounds // 15), sizes)]


def ratio_of(group, size):
    return quartiles(group[label(FOUR, size)], group[label(FOUR, BASE)])[1]


def sizes_of(group):
    return [size for size in SIZES if group.find(label(FOUR, size))]


def table(loop, group):
    head = [f"{group.name}, {loop}"]
    head += [f"{name}, {what}" for name in (BARE, FOUR) for what in ("ns", f"÷ {BASE} in flight")]
    rows = [[*head, "lower–upper quartile"]]
    for size in sizes_of(group):
        row = [f"{size:,}"]
        for name in (BARE, FOUR):
            variant = group[label(name, size)]
            lower, middle, upper = quartiles(variant, group[label(name, BASE)])
            row += [f"{variant.nanoseconds:.0f}", times(middle)]
        rows.append([*row, f"{times(lower)}–{times(upper)}"])
    return aligned(rows)
