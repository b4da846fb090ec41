from __future__ import annotations

import argparse
import warnings

from benchmarks.overhead import report
from benchmarks.overhead.cases import own_groups, peer_groups
from benchmarks.overhead.loops import runners_of_loops
from benchmarks.overhead.measure import Group, measure


async def run(rounds: int) -> list[Group]:
    groups = [*await peer_groups(), *await own_groups()]
    await measure(groups, rounds)
    return groups


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overhead", description=report.__doc__
    )
    parser.add_argument("--rounds", type=int, default=200, help="rounds to run (default: 200)")
    parser.add_argument(
        "--quick", action="store_true", help="20 rounds, printed only: OVERHEAD.md is left alone"
    )
    options = parser.parse_args()
    rounds = 20 if options.quick else options.rounds
    if rounds < 2:
        parser.error(f"--rounds must be at least 2, not {rounds}")
    # hyx asks datetime for what Python 3.12 deprecates; that is its own affair.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="hyx")
    measured = {name: on_loop(run(rounds)) for name, on_loop in runners_of_loops().items()}
    section = report.section(measured, rounds, [])
    print(section)
    if not options.quick:
        report.write(section)


if __name__ == "__main__":
    main()
