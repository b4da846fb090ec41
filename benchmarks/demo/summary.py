"""The end of a run: two small tables of both sides, and the sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from benchmarks.demo.measure import Figures, answering_after, figures_of
from benchmarks.demo.script import REPAIRED
from benchmarks.demo.verdict import sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from benchmarks.demo.lane import Lane
    from benchmarks.demo.script import Script

ENOUGH = 20.0
TOO_SHORT = (
    "In {0.seconds:g} s some phases are over before a circuit that has opened, for a second at "
    "least, lets the next call through. 20 s show more."
)
PHASE_COLUMNS = (
    "answered\nalone",
    "\nseawall",
    "blocked, most\nalone",
    "\nseawall",
    "requests\nalone",
    "\nseawall",
)
IN_ALL: dict[str, Callable[[Figures], str]] = {
    "calls that failed (answered too late)": lambda side: f"{side.failed:,} ({side.late:,})",
    "calls refused at once": lambda side: f"{side.refused:,}",
    "callers blocked for nothing": lambda side: f"{side.blocked_in_vain:,.0f} s",
    "99 % of the answers within": lambda side: f"{side.slowest_answers:.2f} s",
    "client's event loop late, at most": lambda side: f"{side.latest:.2f} s",
}


def sum_up(console: Console, script: Script, lanes: Sequence[Lane]) -> None:
    """Print the tables and the sentence."""
    (alone_phases, alone), (seawall_phases, seawall) = (figures_of(lane, script) for lane in lanes)
    console.print(_by_phase(script, (*alone_phases, alone), (*seawall_phases, seawall)))
    console.print(_in_all(script, lanes, (alone, seawall)))
    console.print()
    if script.seconds < ENOUGH:
        console.print(TOO_SHORT.format(script), style="dim", highlight=False)
        console.print()
    console.print(sentence(alone, seawall), highlight=False, style="bold")


def _by_phase(script: Script, alone: Sequence[Figures], seawall: Sequence[Figures]) -> Table:
    table = _table("phase\n", "\ncalls", *PHASE_COLUMNS)
    names = [phase.name for phase in script.phases]
    for name, one, other in zip([*names, "in all"], alone, seawall, strict=True):
        cells = (
            *(one.calls, one.answered, other.answered, one.most_blocked, other.most_blocked),
            *(one.requests, other.requests),
        )
        style = "bold" if name == "in all" else None
        table.add_row(name, *(f"{cell:,}" for cell in cells), style=style)
    return table


def _in_all(script: Script, lanes: Sequence[Lane], figures: Sequence[Figures]) -> Table:
    table = _table("in all", "alone", "seawall")
    for label, cell in IN_ALL.items():
        table.add_row(label, *(cell(side) for side in figures))
    repaired = script.starts[script.phases.index(REPAIRED)]
    times = (answering_after(lane.calls, repaired) for lane in lanes)
    table.add_row("answering again once repaired, after", *map(_seconds, times))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first)
    for head in others:
        table.add_column(head, justify="right")
    return table


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"
