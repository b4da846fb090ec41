"""What `make mutate` found: mutants killed in each file, and those that survived, as diffs.

It fails below the share of killed mutants that the circuit is held to. A survivor is not always a
gap in the tests: where a mutant does the same as the original, no test can tell.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOLDER = Path("mutants/src")
AT_LEAST = 0.95
# A mutant is killed by a failing test, by one that pytest cannot run, and by one that never ends.
KILLED = {1, 3, 24, -24, 36, 152, 255}


class Mutant(NamedTuple):
    """One change of the code; ``None`` for one that was not asked for."""

    file: str
    name: str
    exit_code: int | None


def mutants() -> Iterator[Mutant]:
    for path in sorted(FOLDER.rglob("*.py.meta")):
        file = path.name.removesuffix(".meta")
        for name, code in json.loads(path.read_text("utf-8"))["exit_code_by_key"].items():
            yield Mutant(file, name, code)


def difference(name: str) -> str:
    command = ["mutmut", "show", name]
    beside = Path(sys.executable).with_name("mutmut")
    if beside.exists():
        command[0] = str(beside)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> int:
    tried = [mutant for mutant in mutants() if mutant.exit_code is not None]
    if not tried:
        print("no mutants were tried: `make mutate` makes them")
        return 1
    survivors = [mutant for mutant in tried if mutant.exit_code not in KILLED]
    for mutant in survivors:
        print(difference(mutant.name))
    lived = Counter(mutant.file for mutant in survivors)
    for file, number in sorted(Counter(mutant.file for mutant in tried).items()):
        print(f"{file:20} {number:5} mutants {lived[file]:4} survived")
    share = 1.0 - len(survivors) / len(tried)
    print(f"{'all':20} {len(tried):5} mutants {len(survivors):4} survived: {share:.1%} killed")
    return 0 if share >= AT_LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
