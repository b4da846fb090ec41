"""``python -m tests.policies.circuit.exhaustive --calls 4``: the full run."""

from __future__ import annotations

import argparse
import sys
import time

from tests.policies.circuit.exhaustive.enumerate import (
    Bounds,
    as_code,
    enumerate_world,
    shorten,
)
from tests.policies.circuit.exhaustive.setups import WORLDS, named


def main() -> int:
    parser = argparse.ArgumentParser(prog="exhaustive", description=__doc__)
    parser.add_argument("--calls", type=int, default=4)
    parser.add_argument("--controls", type=int, default=2)
    parser.add_argument("--paths", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=None, help="beginnings of names of worlds")
    parser.add_argument("--mismatches", type=int, default=1, help="to look for in each world")
    arguments = parser.parse_args()
    bounds = Bounds(arguments.calls, arguments.controls, arguments.paths)
    worlds = WORLDS if arguments.only is None else named(*arguments.only)
    states = transitions = bad = 0
    known: dict[str, str] = {}
    began = time.perf_counter()
    for world in worlds:
        start = time.perf_counter()
        result = enumerate_world(world, bounds, at_most=arguments.mismatches)
        took = time.perf_counter() - start
        print(
            f"{world.name:24} {result.states:9,} states {result.transitions:10,} transitions"
            f" {took:7.1f} s" + (f"  {result.unsure} unsure" if result.unsure else ""),
            flush=True,
        )
        states += result.states
        transitions += result.transitions
        for mismatch in result.mismatches:
            bad += 1
            short = shorten(mismatch)
            if short.difference in known:
                print(f"  like {known[short.difference]}: {short.difference}")
                continue
            known[short.difference] = world.name
            print(as_code(short), end="\n\n", flush=True)
    took = time.perf_counter() - began
    print(f"{'all':24} {states:9,} states {transitions:10,} transitions {took:7.1f} s")
    print("no mismatch" if not bad else f"{bad} mismatches")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
