"""Figures over time as one row of cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.demo.script import Script

NOTHING = "·"
BARS = "▁▂▃▄▅▆▇█"
# The worst first: it is what a cell of several seconds shows.
CIRCUITS = {"open": ("█", "red"), "half_open": ("▒", "yellow"), "closed": ("─", "green")}


@dataclass(frozen=True, slots=True)
class Axis:
    """The time of a run laid out over at most `width` cells, `per_second` of them to a second."""

    width: int
    per_second: float

    @classmethod
    def over(cls, seconds: float, width: int) -> Axis:
        """Whole cells to a second where there is room for them, else several seconds to a cell."""
        length = math.ceil(seconds)
        per_second = width // length
        return cls(per_second * length, per_second) if per_second else cls(width, width / length)

    def cell(self, elapsed: float) -> int:
        """The cell in which a time falls."""
        return int(elapsed * self.per_second)

    def stretches(self, seconds: int) -> list[slice]:
        """Of the first `seconds`, those that each cell stands for."""
        slices = []
        for cell in range(self.width):
            first = int(cell / self.per_second + 1e-9)
            after = max(first + 1, int((cell + 1) / self.per_second + 1e-9))
            if after > seconds:
                break
            slices.append(slice(first, after))
        return slices


def bars(values: Sequence[float], top: float, axis: Axis, style: str) -> Text:
    """A bar for each cell; `top` is what a full bar stands for."""
    cells = []
    for stretch in axis.stretches(len(values)):
        within = values[stretch]
        mean = sum(within) / len(within)
        cells.append((BARS[min(7, int(mean / top * 8))], style) if mean else (NOTHING, "dim"))
    return _row(cells, axis)


def circuit_line(states: Sequence[str], axis: Axis) -> Text:
    """The state of a circuit in each cell."""
    cells = []
    for stretch in axis.stretches(len(states)):
        within = states[stretch]
        cells.append(next(cell for state, cell in CIRCUITS.items() if state in within))
    return _row(cells, axis)


def _row(cells: Sequence[tuple[str, str]], axis: Axis) -> Text:
    # Cells of one style are drawn together: a view that takes long would hold the servers up.
    text = Text()
    for style, run in groupby(cells, key=itemgetter(1)):
        text.append("".join(bar for bar, _ in run), style)
    text.pad_right(axis.width - len(text))
    return text


def phase_names(script: Script, elapsed: float, axis: Axis) -> tuple[Text, Text]:
    """The names of the phases above the cells where they start, in two rows that take turns."""
    rows = (Text(), Text())
    for index, (phase, start) in enumerate(zip(script.phases, script.starts, strict=True)):
        row = rows[index % 2]
        row.pad_right(max(0, axis.cell(start) - len(row)))
        if len(row) and not row.plain.endswith(" "):
            row.append(" ")
        row.append(phase.name, "bold reverse" if index == script.index_at(elapsed) else "dim")
    return rows
