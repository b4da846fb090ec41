"""FLAT.md: windows, keys and calls in flight, one section for each Python."""

from __future__ import annotations

import asyncio
import platform
from pathlib import Path

from benchmarks.overhead import flat, flight
from benchmarks.overhead.loops import runners_of_loops
from benchmarks.overhead.measure import Variant, ratio
from benchmarks.overhead.page import Page
from benchmarks.overhead.report import aligned, heading

PATH = Path(__file__).parents[1] / "FLAT.md"

BUILDS, ROUNDS, FLIGHT_ROUNDS = 3, 60, 60

INTRODUCTION = """\
# Flat costs

A call costs the same whatever the window of its breaker holds, and however many keys a `Keyed` has
seen: the aim is a ratio of at most 1.2. Nor does it matter how many calls are in flight: at most
1.3. `make bench BENCH=flat` measures this and replaces the section of the Python that it runs on.

![Calls in flight](figures/flight.svg)
![Windows](figures/windows.svg)

* Each table is measured by itself: each round runs a slice of about a millisecond of every variant,
  in an order of chance, and a ratio is taken within a round. All is built anew several times, since
  the cost also depends on where in memory it lies. Shown are the median over all rounds, and
  the lowest and the highest median of one build. Time is the CPU time of the thread. **Again** is
  the first variant once more, with objects of its own: how far its ratio is from 1 is how far the
  others can be trusted.
* Every tenth call fails, so that successes and failures are counted both, and
  `FailureRate(0.9, window)` never trips. Windows are full before anything is measured.
* **A breaker**: `CircuitBreaker(...).execute(fn)`. **The tally alone**: what of it depends on the
  window, `record` of the rule's tally, called for each verdict, without the rest of the call that
  would hide a difference. (In a breaker a window of time hears most successes in bulk.)
* **Windows of time** are 32 buckets of equal length: in 0.1 s of calls the bucket changes thirty
  times, in 10,000 s hardly ever while this runs. The calls that fill them came evenly spread.
* **Keys**: `Keyed(lambda key: CircuitBreaker(), max_keys=1000)`, with the key from the call's
  argument. *Hits* are calls of keys that it remembers, ten of them in turn, or all that there are
  in turn; *misses* are calls of keys never seen before, which make a breaker and, beyond 1,000,
  forget one.
* **Hits of all keys in turn** is the one table that is not flat, and it cannot be: ten breakers fit
  into the fastest cache of a processor, a thousand hardly into the second, and each call meets
  another one. The same code runs, as the ten keys show; and a plain `dict` of a thousand breakers,
  with no `Keyed` around, is about twice as slow as one of ten, too. Breakers that were made between
  others which are gone lie scattered, which costs a little more.
* **In flight**: the four policies, with a `Bulkhead` and a `Timeout` that let so many wait. *A call
  beside others* comes and goes while they wait inside. Calls that are in flight *together* go in
  one after the other, each in a task of its own, and then all come out; what the task costs is part
  of it, and so is what the bare call shows: that many tasks fit into no cache. After each thousand
  one call is answered at once: were none answered for a second, the circuit would take it for
  silence.
"""


def joined(builds):
    """Return one variant with the samples of all builds, of one place in the tables."""
    variant = Variant(builds[0].name, builds[0].run)
    for build in builds:
        variant.samples += build.samples
    return variant


def table(builds):
    """The same group, built several times: each variant against the first."""
    base = joined([group.variants[0] for group in builds])
    rows = [[builds[0].name, "ns", f"÷ {base.name}", "lowest–highest build"]]
    for number, first in enumerate(builds[0].variants):
        variant = joined([group.variants[number] for group in builds])
        medians = [ratio(group.variants[number], group.variants[0]) for group in builds]
        spread = f"{min(medians):.2f}–{max(medians):.2f}" if number else ""
        middle = f"{ratio(variant, base):.2f}"
        rows.append([first.name, f"{variant.nanoseconds:.0f}", middle, spread])
    return aligned(rows)


def values(builds, flights):
    """Return what targets and figures need."""
    groups = {group.name: list(at) for at in zip(*builds, strict=True) for group in at[:1]}

    def of(title, name):
        found = groups[title]
        base = joined([group.variants[0] for group in found])
        return ratio(joined([group[name] for group in found]), base)

    def most_in_flight(number):
        most = max(flight.sizes_of(flights["asyncio"][number]))
        return [flight.ratio_of(groups[number], most) for groups in flights.values()]

    sizes = {f"{size:,}": f"`Calls({size:_})`" for size in flat.SIZES}
    together = flights["asyncio"][1]
    return {
        "targets": {
            "beside": most_in_flight(0),
            "together": most_in_flight(1),
            "calls": [of(flat.CALLS_WINDOW, sizes["1,000,000"])],
            "tally": [of(flat.CALLS_TALLY, sizes["1,000,000"])],
            "seconds": [of(flat.TIME_WINDOW, "10,000 s")],
            "hits": [of(flat.HITS, "100,000 keys seen")],
            "misses": [of(flat.MISSES, "100,000 keys seen")],
        },
        "in flight": {
            f"{size:,}": flight.ratio_of(together, size) for size in flight.sizes_of(together)
        },
        "windows": {label: of(flat.CALLS_WINDOW, name) for label, name in sizes.items()},
    }


def measured(*, quick):
    """Measure it all on this Python."""
    builds, rounds = (1, 20) if quick else (BUILDS, ROUNDS)
    sizes = flight.SIZES[:-1] if quick else flight.SIZES
    flights = {
        name: on_loop(flight.groups(20 if quick else FLIGHT_ROUNDS, sizes))
        for name, on_loop in runners_of_loops().items()
    }
    found = [asyncio.run(flat.build_and_measure(rounds)) for _ in range(builds)]
    opening = f"{platform.python_version()}, {builds} builds, {rounds} rounds each, on asyncio."
    tables = [
        *map(table, zip(*found, strict=True)),
        *(flight.table(name, group) for name, groups in flights.items() for group in groups),
    ]
    section = "\n\n".join([heading(), opening, *tables]) + "\n"
    return Page(PATH, INTRODUCTION, section, values(found, flights))
