"""The live view: both sides over the time of the run, a pair of rows for each figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.text import Text

from benchmarks.demo.cells import CIRCUITS, Axis, bars, circuit_line, phase_names
from benchmarks.demo.sides import ALONE, BEHIND_SEAWALL, SETTINGS
from benchmarks.demo.traffic import PATIENCE, RATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from benchmarks.demo.lane import Lane
    from benchmarks.demo.script import Script

LABEL = 12
SIDE = 8
NOW = 4
SO_FAR = 8
NARROWEST = LABEL + SIDE + NOW + SO_FAR + 24
LOWEST = 22
ROOMY = 32
STYLES = {ALONE: "yellow", BEHIND_SEAWALL: "cyan"}
# What a figure is called, its field in a `Second`, and whether it adds up (else its most is shown).
FIGURES = (
    ("answered/s", "answered", True),
    ("failed/s", "failed", True),
    ("refused/s", "refused", True),
    ("blocked", "blocked", False),
    ("requests/s", "requests", True),
    ("in progress", "in_progress", False),
)


def fits(console: Console) -> bool:
    """Whether the console can show the view."""
    return (
        console.is_terminal
        and not console.is_dumb_terminal
        and not console.options.ascii_only
        and console.width >= NARROWEST
        and console.height >= LOWEST
    )


class View:
    """Redraws one screen in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False)

    def begin(self, script: Script, lanes: Sequence[Lane]) -> None:
        """Take the screen."""
        self._script = script
        self._lanes = lanes
        self._live.start()
        self.show(0.0)

    def show(self, elapsed: float) -> None:
        """Redraw the screen."""
        self._live.update(self._draw(elapsed), refresh=True)

    def end(self) -> None:
        """Give the screen back, with the last picture left on it."""
        self._live.stop()

    def _draw(self, elapsed: float) -> Group:
        room = self._console.width - LABEL - SIDE - NOW - SO_FAR
        axis = Axis.over(self._script.seconds + PATIENCE, room)
        space = [Text()] if self._console.height >= ROOMY else []
        rows = self._head(elapsed, axis)
        for label, field, adds_up in FIGURES:
            rows += [*space, *self._pair(label, field, axis, adds_up=adds_up)]
        rows += [*space, self._circuit(axis), Text()]
        rows.extend(
            Text(f"{lane.name:{SIDE}}{SETTINGS[lane.name]}", STYLES[lane.name])
            for lane in self._lanes
        )
        return Group(*rows)

    def _head(self, elapsed: float, axis: Axis) -> list[Text]:
        seconds = self._script.seconds
        title = f"{RATE:g} calls/s to each of two servers; answers within {PATIENCE:g} s count"
        clock = f"{min(elapsed, seconds):.0f} of {seconds:g} s"
        phase = self._script.at(elapsed)
        name, story = phase.name, phase.story
        if elapsed >= seconds:
            name, story = "end", "no new calls; those in flight may end"
        first, second = phase_names(self._script, elapsed, axis)
        return [
            Text(title.ljust(LABEL + SIDE + axis.width + NOW + SO_FAR - len(clock)) + clock),
            Text.assemble((name, "bold"), ": ", story),
            Text(),
            _padded(first, axis),
            _padded(second, axis) + Text(f"{'now':>{NOW}}{'in all':>{SO_FAR}}", "dim"),
        ]

    def _pair(self, label: str, field: str, axis: Axis, *, adds_up: bool) -> list[Text]:
        values = [[getattr(second, field) for second in lane.seconds] for lane in self._lanes]
        # One scale for both sides, or the rows could not be compared.
        top = max((value for side in values for value in side), default=0) or 1
        rows = []
        for lane, side in zip(self._lanes, values, strict=True):
            if field == "refused" and lane.name == ALONE:
                continue
            style = STYLES[lane.name]
            row = Text(label.ljust(LABEL)) + Text(lane.name.ljust(SIDE), style)
            row += bars(side, top, axis, style)
            now = side[-1] if side else 0
            so_far = f"{sum(side):,}" if adds_up else f"max {max(side, default=0):,}"
            rows.append(row + Text(f"{now:{NOW},}{so_far:>{SO_FAR}}"))
            label = ""
        return rows

    def _circuit(self, axis: Axis) -> Text:
        lane = self._lanes[-1]
        states = [second.circuit for second in lane.seconds]
        state = states[-1] if states else "closed"
        row = Text("circuit".ljust(LABEL)) + Text(lane.name.ljust(SIDE), STYLES[lane.name])
        row += circuit_line(states, axis)
        return row + Text(f"{state.replace('_', '-'):>{NOW + SO_FAR}}", CIRCUITS[state][1])


def _padded(names: Text, axis: Axis) -> Text:
    text = Text(" " * (LABEL + SIDE)) + names
    text.pad_right(max(0, LABEL + SIDE + axis.width - len(text)))
    return text
