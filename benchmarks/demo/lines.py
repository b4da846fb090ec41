"""A run as plain lines, one a second, for where there is no terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.demo.sides import ALONE, SETTINGS, TITLES
from benchmarks.demo.traffic import PATIENCE, RATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.demo.lane import Lane
    from benchmarks.demo.script import Script

# The fields of a `Second` and the heads of their columns.
COLUMNS = {
    "answered": "answered",
    "failed": "failed",
    "refused": "refused",
    "blocked": "blocked",
    "requests": "requests",
    "in_progress": "in progress",
    "circuit": "circuit",
}
# The bare client has neither.
ONLY_BEHIND_SEAWALL = ("refused", "circuit")


class Lines:
    """Prints a line for each second."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def begin(self, script: Script, lanes: Sequence[Lane]) -> None:
        """Print the settings and the heads of the columns."""
        self._script = script
        self._lanes = lanes
        self._printed = 0
        print(
            f"{RATE:g} calls/s to each of two servers for {script.seconds:g} s, "
            f"seed {self._seed}; answers within {PATIENCE:g} s count"
        )
        for lane in lanes:
            print(f"{lane.name}: {SETTINGS[lane.name]}")
        print()
        heads = [" ".join(COLUMNS[field] for field in _fields(lane)) for lane in lanes]
        titles = [
            TITLES[lane.name].center(len(head)) for lane, head in zip(lanes, heads, strict=True)
        ]
        _print_row(" " * 14, titles)
        _print_row("second phase  ", heads)

    def show(self, elapsed: float) -> None:
        """Print the seconds that have ended since the last time."""
        while self._printed < len(self._lanes[0].seconds):
            second = self._printed
            ended = second >= self._script.seconds
            phase = "(end)" if ended else self._script.at(second).name
            cells = [
                " ".join(
                    f"{getattr(lane.seconds[second], field):>{len(COLUMNS[field])}}"
                    for field in _fields(lane)
                )
                for lane in self._lanes
            ]
            _print_row(f"{second + 1:5} {phase:8}", cells)
            self._printed += 1

    def end(self) -> None:
        """Leave room for what follows."""
        print(flush=True)


def _fields(lane: Lane) -> list[str]:
    return [field for field in COLUMNS if lane.name != ALONE or field not in ONLY_BEHIND_SEAWALL]


def _print_row(head: str, sides: Sequence[str]) -> None:
    print(head, *sides, sep=" | ", flush=True)
