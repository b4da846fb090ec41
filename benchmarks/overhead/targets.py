"""TARGETS.md: what the library is to reach, beside what was measured on each Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.overhead.report import aligned, times

PATH = Path(__file__).parents[1] / "TARGETS.md"
# The versions that have a target.
AIMED = ("3.11", "3.13")

INTRODUCTION = """\
# Targets

What the overhead is to come to, beside what `make bench` has measured; a run replaces the figures
of its Python. ✓ is reached and ✗ is not, by the figure of asyncio; where there are two figures, the
second is of uvloop. Targets are set for 3.11 and 3.13. Ratios are medians over interleaved rounds
in one process; what each means is said in [OVERHEAD.md](OVERHEAD.md), [FLAT.md](FLAT.md) and
[FOOTPRINT.md](FOOTPRINT.md).

"""


class Target(NamedTuple):
    part: str
    key: str
    label: str
    on_311: float
    on_313: float
    digits: int | None = None  # of a figure that is no ratio

    def at_most(self, version: str) -> float:
        return dict(zip(AIMED, (self.on_311, self.on_313), strict=True))[version]


TARGETS = (
    Target("calls", "limit", "four policies ÷ the limit, fused by hand", 2.0, 2.0),
    Target("calls", "peer", "four policies ÷ the best peer with all four", 0.28, 0.40),
    Target("calls", "by hand", "four policies ÷ by hand", 0.50, 0.55),
    Target("calls", "five by hand", "five policies (two timeouts) ÷ by hand", 0.40, 0.45),
    Target("calls", "breaker", "breaker alone, closed, rate window ÷ bare `await`", 14, 14),
    Target("calls", "refusal 0", "refusal ÷ (0) bare `raise`/`except`, no call", 4.5, 4.5),
    Target("calls", "refusal a", "refusal ÷ (a) raised by a plain function", 4.5, 4.5),
    Target("calls", "refusal b", "refusal ÷ (b) raised through one `await`", 4.5, 4.5),
    Target("calls", "block", "`async with`, four policies ÷ four context managers", 1.0, 1.2),
    Target("flat", "together", "100,000 calls in flight together ÷ 100, each", 1.3, 1.3),
    Target("flat", "beside", "a call beside 100,000 in flight ÷ beside 100", 1.3, 1.3),
    Target("flat", "calls", "a breaker, window of 1,000,000 calls ÷ of 10", 1.2, 1.2),
    Target("flat", "tally", "its tally alone, 1,000,000 calls ÷ 10", 1.2, 1.2),
    Target("flat", "seconds", "a breaker, window of 10,000 s ÷ of 0.1 s", 1.2, 1.2),
    Target("flat", "hits", "hits of ten keys, 100,000 keys seen ÷ 10", 1.2, 1.2),
    Target("flat", "misses", "misses, 100,000 keys seen ÷ 1,000", 1.2, 1.2),
    Target("calls", "mock", "`GET` on `MockTransport` ÷ bare httpx, CPU time", 1.25, 1.25),
    Target("calls", "loopback", "`GET` on loopback ÷ bare httpx, CPU time", 1.08, 1.08),
    Target("calls", "neighbors", "`GET` beside 100 that hang ÷ without, CPU time", 1.1, 1.1),
    Target("footprint", "breaker", "bytes of a breaker", 2048, 2048, 0),
    Target("footprint", "call", "bytes of a call in flight, above the bare call", 1024, 1024, 0),
    Target("footprint", "import", "`import seawall`, milliseconds", 60, 60, 0),
    Target("footprint", "httpx", "`import seawall` brings in httpx, times", 0, 0, 0),
)


def written(value: float, digits: int | None) -> str:
    return times(value) if digits is None else f"{value:,.{digits}f}"


def cell(target: Target, version: str, results: dict[str, Any]) -> str:
    """Return the figures of one Python, and whether they reach its target."""
    found = results.get(target.part, {}).get("targets", {}).get(target.key)
    if found is None:
        return ""
    figures = " / ".join(written(value, target.digits) for value in found)
    if version not in AIMED:
        return figures
    return f"{figures} {'✓' if found[0] <= target.at_most(version) else '✗'}"


def page(known: dict[str, dict[str, Any]]) -> str:
    """Return the page for the results of each Python."""
    rows = [["what"], *([target.label] for target in TARGETS)]
    for version, results in known.items():
        columns = [[version, *(cell(target, version, results) for target in TARGETS)]]
        if version in AIMED:
            aims = [written(target.at_most(version), target.digits) for target in TARGETS]
            columns.append(["at most", *aims])
        for column in columns:
            for row, figure in zip(rows, column, strict=True):
                row.append(figure)
    peers = [
        f"* Python {version}: the best peer with all four is {results['calls']['best peer']}."
        for version, results in known.items()
        if "calls" in results
    ]
    return f"{INTRODUCTION}{aligned(rows)}\n\n" + "\n".join(peers) + "\n"


def write(known: dict[str, dict[str, Any]]) -> None:
    PATH.write_text(page(known), encoding="utf-8")
