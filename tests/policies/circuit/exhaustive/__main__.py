"""``python -m tests.policies.circuit.exhaustive --calls 4``: the full run."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from typing import NamedTuple

from tests.policies.circuit.exhaustive.enumerate import (
    Bounds,
    as_code,
    enumerate_world,
    shorten,
)
from tests.policies.circuit.exhaustive.setups import WORLDS, World, named


class Report(NamedTuple):
    """What the run through one world gave, as text."""

    name: str
    calls: int
    controls: int
    states: int
    transitions: int
    unsure: int
    took: float
    mismatches: list[tuple[str, str]]


def explore(task: tuple[World, Bounds, int]) -> Report:
    world, bounds, at_most = task
    start = time.process_time()
    result = enumerate_world(world, bounds, at_most=at_most)
    shortest = map(shorten, result.mismatches)
    mismatches = [(short.difference, as_code(short)) for short in shortest]
    took = time.process_time() - start
    return Report(
        world.name,
        min(bounds.calls, world.calls),
        min(bounds.controls, world.actions),
        result.states,
        result.transitions,
        result.unsure,
        took,
        mismatches,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="exhaustive", description=__doc__)
    parser.add_argument("--calls", type=int, default=4)
    parser.add_argument("--controls", type=int, default=2, help="control actions")
    parser.add_argument("--paths", type=int, default=1, help="ways from which to expand a state")
    parser.add_argument("--only", nargs="*", default=None, help="beginnings of names of worlds")
    parser.add_argument("--mismatches", type=int, default=1, help="to look for in each world")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    arguments = parser.parse_args()
    bounds = Bounds(arguments.calls, arguments.controls, arguments.paths)
    worlds = WORLDS if arguments.only is None else named(*arguments.only)
    tasks = [(world, bounds, arguments.mismatches) for world in worlds]
    states = transitions = bad = 0
    fewer: list[str] = []
    known: dict[str, str] = {}
    began = time.perf_counter()
    with multiprocessing.Pool(arguments.jobs) as pool:
        # The largest come last in the list; at the end of the run none should be left alone.
        for report in pool.imap_unordered(explore, reversed(tasks)):
            states += report.states
            if report.calls < bounds.calls or report.controls < bounds.controls:
                fewer.append(report.name)
            transitions += report.transitions
            print(
                f"{report.name:20} {report.calls} calls {report.controls} controls"
                f" {report.states:9,} states {report.transitions:10,} transitions"
                f" {report.took:6.1f} s" + (f"  {report.unsure} unsure" if report.unsure else ""),
                flush=True,
            )
            for difference, code in report.mismatches:
                bad += 1
                if difference in known:
                    print(f"  like {known[difference]}: {difference}", flush=True)
                    continue
                known[difference] = report.name
                print(code, end="\n\n", flush=True)
    took = time.perf_counter() - began
    print(
        f"{len(tasks)} configurations: {states:,} states, {transitions:,} transitions,"
        f" {took:.0f} s with {arguments.jobs} at a time"
    )
    print(
        f"{len(tasks) - len(fewer)} of them with {bounds.calls} calls and {bounds.controls} control"
        f" actions; with fewer, as above, since there are too many states:"
        f" {', '.join(sorted(fewer)) or 'none'}"
    )
    print("no mismatch" if not bad else f"{bad} mismatches")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
