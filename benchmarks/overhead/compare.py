"""What a change costs: the library of this working tree against that of another commit.

Both run in one process in interleaved rounds, every case of `own.py`. Both are imported and built
anew several times, since the cost also depends on where in memory things lie: the lowest and the
highest median of one build tell how far a ratio can be trusted, and so does the old one against
itself, of the same import. A case that one of the two cannot build (it lacks a policy, say) is
named below the table.

    python -m benchmarks.overhead.compare main
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks.overhead import copies, own
from benchmarks.overhead.flat_page import joined
from benchmarks.overhead.library import Library
from benchmarks.overhead.loops import runners_of_loops
from benchmarks.overhead.measure import Group, Variant, measure, ratio, with_own_code
from benchmarks.overhead.report import aligned

NEW, OLD, AGAIN = "new", "old", "old, again"


async def built(case, libraries):
    """Return the case with each of the libraries, or why it cannot be built."""
    variants = []
    for name, library in libraries.items():
        try:
            run = await case.build(library)
            await run(1)
        except Exception as error:
            # Without the words: they name the copy, and that is another one in each build.
            return f"{case.group}: {case.name} ({name}: {type(error).__name__})"
        variants.append(Variant(name, with_own_code(run)))
    return Group(f"{case.group}|{case.name}", variants)


async def build_and_measure(cases, libraries, rounds):
    results = [await built(case, libraries) for case in cases]
    groups = [result for result in results if isinstance(result, Group)]
    await measure(groups, rounds)
    return groups, [result for result in results if isinstance(result, str)]


def row(name, builds):
    new, old, again = (joined([group[which] for group in builds]) for which in (NEW, OLD, AGAIN))
    medians = [ratio(group[NEW], group[OLD]) for group in builds]
    return [
        name,
        f"{old.nanoseconds:.0f}",
        f"{new.nanoseconds:.0f}",
        f"**{ratio(new, old):.3f}**",
        f"{min(medians):.3f}–{max(medians):.3f}",
        f"{ratio(again, old):.3f}",
    ]


def tables(builds):
    """One table for each group of cases, of what was built every time."""
    found = {}
    for groups in builds:
        for group in groups:
            found.setdefault(group.name, []).append(group)
    rows = {}
    for full_name, groups in found.items():
        title, name = full_name.split("|")
        heads = [title, "old, ns", "new, ns", "new ÷ old", "lowest–highest build", "old ÷ old"]
        rows.setdefault(title, [heads]).append(row(name, groups))
    return [aligned(table) for table in rows.values()]


def commit_of(base):
    command = ["git", "rev-parse", "--short", "--verify", f"{base}^{{commit}}"]
    found = subprocess.run(command, cwd=copies.ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(f"BASE must be a commit of this repository, not {base!r}: {found.stderr.strip()}")
    return found.stdout.strip()


def both(folder, commit, build):
    """Load both once more; now the one comes first, now the other."""
    copy = {NEW: copies.copy_of_tree, OLD: lambda at: copies.copy_of_commit(at, commit)}
    libraries = {}
    for name in (NEW, OLD) if build % 2 else (OLD, NEW):
        source = copy[name](folder / name)
        libraries[name] = Library(copies.load(source, f"seawall_{name}_{build}"))
    return {NEW: libraries[NEW], OLD: libraries[OLD], AGAIN: libraries[OLD]}


def chosen(words):
    cases = [
        case
        for case in own.all_cases()
        if all(word.lower() in f"{case.group} {case.name}".lower() for word in words)
    ]
    if not cases:
        sys.exit(f"no case has all of {words} in its name")
    return cases


def main():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overhead.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("--only", nargs="+", default=[], help="words that a case's name must have")
    parser.add_argument("--builds", type=int, default=5, help="default: 5")
    parser.add_argument("--rounds", type=int, default=60, help="rounds per build (default: 60)")
    parser.add_argument("--loop", choices=runners_of_loops(), default="asyncio")
    parser.add_argument("--quick", action="store_true", help="2 builds of 20 rounds")
    options = parser.parse_args()
    number, rounds = (2, 20) if options.quick else (options.builds, options.rounds)
    if number < 1 or rounds < 2:
        parser.error(f"--builds must be at least 1 and --rounds 2, not {number} and {rounds}")
    commit = commit_of(options.base)
    cases = chosen(options.only)
    on_loop = runners_of_loops()[options.loop]
    with tempfile.TemporaryDirectory() as folder:
        builds, lacking = [], set()
        for build in range(number):
            libraries = both(Path(folder, str(build)), commit, build)
            groups, failed = on_loop(build_and_measure(cases, libraries, rounds))
            builds.append(groups)
            lacking.update(failed)
    loop = options.loop if options.loop == "asyncio" else f"{options.loop} {version('uvloop')}"
    print(f"# The working tree against {commit}\n")
    print(f"Python {sys.version.split()[0]}, {loop}, {number} builds of {rounds} rounds each.\n")
    print("\n\n".join(tables(builds)))
    if lacking:
        print("\nNot built:\n\n" + "\n".join(f"* {line}" for line in sorted(lacking)))


if __name__ == "__main__":
    main()
