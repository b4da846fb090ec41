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
    states: int
    transitions: int
    unsure: int
    took: float
    mismatches: list[tuple[str, str]]


def explore(task: tuple[World, Bounds, int]) -> Report:
    world, bounds, at_most = task
    start = time.perf_counter()
    result = enumerate_world(world, bounds, at_most=at_most)
    shortest = map(shorten, result.mismatches)
    mismatches = [(short.difference, as_code(short)) for short in shortest]
    took = time.perf_counter() - start
    return Report(world.name, result.states, result.transitions, result.unsure, took, mismatches)


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
    known: dict[str, str] = {}
    began = time.perf_counter()
    with multiprocessing.Pool(arguments.jobs) as pool:
        for report in pool.imap(explore, tasks):
            states += report.states
            transitions += report.transitions
            print(
                f"{report.name:24} {report.states:9,} states {report.transitions:10,} transitions"
                f" {report.took:7.1f} s" + (f"  {report.unsure} unsure" if report.unsure else ""),
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
    print(f"{'all':24} {states:9,} states {transitions:10,} transitions {took:7.1f} s")
    print("no mismatch" if not bad else f"{bad} mismatches")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
