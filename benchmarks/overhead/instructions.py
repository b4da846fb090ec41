"""Instructions per call, counted by valgrind's callgrind: the same on a busy machine.

The counted program runs each variant for two numbers of calls, between marks that callgrind sees;
the difference of the two is free of what each run costs but for its calls.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.overhead import cases, handwritten, handwritten_blocks, library, limit, runners
from benchmarks.overhead.peers import all_peers
from benchmarks.overhead.report import aligned, times
from benchmarks.overhead.runners import answer

WARM_UP, FEW, MANY = 200, 200, 600
# Nothing in a run calls it but the marks.
MARK = "getpgrp"


async def variants():
    """Return the four policies and what they are compared with, by name."""
    own = cases.OWN
    opened, error = await runners.open_circuit(own.refusing_breaker())
    return {
        cases.BARE: runners.awaited(answer),
        cases.LIMIT: runners.awaited(limit.four(answer)),
        cases.BY_HAND: runners.awaited(handwritten.four(answer, handwritten.Breaker())),
        cases.FOUR_BLOCKS: handwritten_blocks.four(answer, handwritten.Breaker()),
        cases.EXECUTE: library.executed(own.four(), answer),
        cases.DECORATED: runners.awaited(own.four()(answer)),
        cases.BLOCK: library.block(own.four(), answer),
        "**seawall** `execute`, no policy": library.executed(own.seawall.Pipeline(), answer),
        "**seawall** `execute`, breaker alone": library.executed(own.breaker(), answer),
        "**seawall** decorated, breaker alone, refused": runners.refused(opened, error),
        **{peer.name: runners.awaited(peer.four(answer)) for peer in all_peers() if peer.four},
    }


async def run_between_marks():
    for run in (await variants()).values():
        await run(WARM_UP)
        for count in (FEW, MANY):
            os.getpgrp()
            await run(count)
            os.getpgrp()


def totals(folder):
    """Return what was counted up to each mark, in their order."""
    files = folder.glob("out.*")
    numbered = sorted((int(path.suffix[1:]), path) for path in files)
    found = [re.search(r"(?m)^totals: (\d+)", path.read_text()) for _, path in numbered]
    return [int(total[1]) for total in found if total]


def count(names):
    """Return the instructions per call of each variant."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--dump-before={MARK}",
            f"--callgrind-out-file={folder}/out",
            sys.executable,
            "-m",
            "benchmarks.overhead.instructions",
        ]
        # The order of a set may differ from run to run, and the number of instructions with it.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        subprocess.run(command, check=True, capture_output=True, env=environment)
        counted = totals(Path(folder))
    # Each variant has four marks, and what is counted at a mark lies before it.
    assert len(counted) == 4 * len(names), counted
    few, many = counted[1::4], counted[3::4]
    per_call = [(more - less) / (MANY - FEW) for less, more in zip(few, many, strict=True)]
    return dict(zip(names, per_call, strict=True))


def table():
    """Return the table, or a sentence that says why there is none."""
    if shutil.which("valgrind") is None:
        return "Instructions per call: valgrind is not installed."

    async def named():
        return list(await variants())

    counted = count(asyncio.run(named()))
    bases = (cases.BARE, cases.LIMIT, cases.BY_HAND)
    rows = [["Four policies", "instructions", *(f"÷ {name}" for name in bases)]]
    for name, number in counted.items():
        rows.append([name, f"{number:,.0f}", *(times(number / counted[base]) for base in bases)])
    return aligned(rows)


if __name__ == "__main__":
    asyncio.run(run_between_marks())
