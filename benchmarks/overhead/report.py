"""Tables, and what OVERHEAD.md says of how they came about."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from benchmarks.overhead import cases
from benchmarks.overhead.measure import Group, Variant, quartiles, ratio

if TYPE_CHECKING:
    from benchmarks.overhead.peers import Peer

INTRODUCTION = """\
# What a call through seawall costs

`make bench BENCH=calls` measures this and replaces the section of the Python that it runs on; for
another one, `make bench PYTHON=python3.13 VENV=.venv-3.13`. All figures of a section come from one
process. `make bench BENCH=--quick` prints a rough picture and writes nothing. What a change costs
is seen with `make bench-compare BASE=commit`: the working tree against that commit, both in one
process; with `BENCH="--only stream"`, only what has that in its name. Whether a call costs the same
with large windows, many keys and many calls in flight is on [FLAT.md](FLAT.md), what it takes of
memory and instructions on [FOOTPRINT.md](FOOTPRINT.md), and what all that is to come to on
[TARGETS.md](TARGETS.md).

![Four policies](figures/four.svg)
![Each policy alone](figures/alone.svg)
![Each way in](figures/ways.svg)
![Stacks of policies](figures/stacks.svg)

* **Only ratios mean something.** Nanoseconds are there to give an idea; they are the machine's.
  Each round runs a slice of about a millisecond, and of a hundred calls at least, of every variant,
  in an order of chance; a ratio is taken within a round, and what is shown is the median over all
  rounds. Time is the CPU time of the thread; garbage collection is off inside a round, and one turn
  of the event loop, where asyncio throws away cancelled timers, is part of each slice.
* Where a cell has two figures, the first is of asyncio and the second of uvloop: both run the same
  variants, one after the other, each built anew.
* The function is `async def answer(): return "answer"`: all that is measured is overhead. A call
  over a network takes some hundred thousand nanoseconds at least.
* **By hand** is `benchmarks/overhead/handwritten.py`: `asyncio.timeout` per attempt (and in total
  for five policies), `asyncio.Semaphore`, a retry loop with jittered backoff, and a breaker of
  consecutive failures with an open time and a single half-open probe. It is one function, knows
  one order, and can be neither configured nor observed.
* **The limit** is `benchmarks/overhead/limit.py`: the four policies fused by hand into one
  coroutine, with a budget for retries, a breaker with a window of time, a slot, and one timer for
  all calls. It is what could be reached without layers, and `tests/benchmarks/overhead` holds it to
  what the stack of four does.
* **Four policies** are `Retry(3)` → `CircuitBreaker()` → `Bulkhead(100)` → `Timeout(10)`; **five**
  have `Timeout(30)` around them. seawall runs with its defaults: the retry budget, the rule of a
  failure rate or failures in a row, and the learning of the traffic's rate are all on.
* Before it is measured, each stack proves that it retries, and each breaker opens by failures.
* A **refusal** has three bases, since an exception alone costs as much as many calls. All raise
  and catch a plain exception that carries a message: (0) in one frame, with no call at all;
  (a) raised by a plain function and caught by its caller; (b) raised by a coroutine function and
  caught after one `await`, which is the least that any async library can do.
* **Beside 100 that hang**: the same client has a hundred requests in flight to an origin that never
  answers. Nothing limits the connections of either client; httpx has one pool for all origins, of
  which httpcore closes each idle connection as soon as there are 20.
* **By hand, four context managers** is `benchmarks/overhead/handwritten_blocks.py`: a class each
  for the only attempt, the breaker and the slot, and `asyncio.timeout`, in one `async with`.

What each peer is, in `benchmarks/overhead/peers/`:

"""


def introduction(peers: list[Peer]) -> str:
    rows = [["peer", "has the four policies", "how it is composed"]]
    rows += [[peer.name, peer.policies, peer.composition] for peer in peers]
    return f"{INTRODUCTION}{aligned(rows, left=3)}\n"


def times(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def aligned(rows: list[list[str]], left: int = 1) -> str:
    """A Markdown table that is also easy to read as text; `left` columns are words."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(cells: list[str]) -> str:
        padded = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    ruler = [
        "-" * width if column < left else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    ]
    return "\n".join([line(rows[0]), line(ruler), *map(line, rows[1:])])


# What a table divides by, where it has it.
BASES = (
    cases.BARE,
    cases.BARE_STREAM,
    cases.BARE_CLIENT,
    cases.RAISE_IN_PLACE,
    cases.PLAIN_RAISE,
    cases.AWAITED_RAISE,
    cases.LIMIT,
    cases.BY_HAND,
    cases.FOUR_BLOCKS,
)


def table(groups: list[Group]) -> str:
    """Every variant of a group against each base of it, and seawall against every variant.

    Given is the same group on each event loop; the figures of a cell are in that order.
    """
    first = groups[0]
    own = next((it.name for it in first.variants if it.name.startswith("**seawall**")), None)
    bases = [name for name in BASES if first.find(name)]
    rows = [[first.name, "ns", *(f"÷ {name}" for name in bases), "seawall ÷ this"]]
    for name in [variant.name for variant in first.variants]:
        row = [name, " / ".join(f"{group[name].nanoseconds:.0f}" for group in groups)]
        row += [ratios(groups, name, base) for base in bases]
        row.append("" if own in {None, name} else ratios(groups, str(own), name))
        rows.append(row)
    if own is None:
        rows = [row[:-1] for row in rows]
    return aligned(rows)


def ratios(groups: list[Group], name: str, base: str) -> str:
    return " / ".join(times(ratio(group[name], group[base])) for group in groups)


def best_peer(group: Group, names: set[str]) -> Variant:
    return min(
        (variant for variant in group.variants if variant.name in names),
        key=lambda variant: variant.nanoseconds,
    )


def headline(groups: dict[str, Group], peers: list[Peer]) -> str:
    names = {peer.name for peer in peers}
    complete = {peer.name for peer in peers if peer.policies == "all four"}
    rows = [["what", "ratio", "quartiles"]]

    def add(label: str, own: Variant, base: Variant) -> None:
        lower, middle, upper = quartiles(own, base)
        rows.append([label, f"**{times(middle)}**", f"{times(lower)}–{times(upper)}"])

    for title, word in ((cases.FOUR, "four"), (cases.FIVE, "five")):
        group = groups[title]
        for form in (cases.EXECUTE, cases.DECORATED):
            own = group[form]
            if group.find(cases.LIMIT):
                add(f"{word} policies, {form} ÷ {cases.LIMIT}", own, group[cases.LIMIT])
            best = best_peer(group, complete)
            add(f"{word} policies, {form} ÷ best peer with all four ({best.name})", own, best)
            fastest = best_peer(group, names)
            if fastest is not best:
                add(
                    f"{word} policies, {form} ÷ fastest of any order ({fastest.name})", own, fastest
                )
            add(f"{word} policies, {form} ÷ by hand", own, group[cases.BY_HAND])
    for title, word in ((cases.REFUSAL, "alone"), (cases.STACK_REFUSAL, "in the four policies")):
        group = groups[title]
        own = group[cases.EXECUTE]
        for base in (cases.RAISE_IN_PLACE, cases.PLAIN_RAISE, cases.AWAITED_RAISE):
            add(f"refusal {word} ÷ {base}", own, group[base])
        best = best_peer(group, names)
        add(f"refusal {word} ÷ best peer ({best.name})", own, best)
    return aligned(rows)


def heading() -> str:
    return f"## {platform.python_implementation()} {'.'.join(platform.python_version_tuple()[:2])}"
