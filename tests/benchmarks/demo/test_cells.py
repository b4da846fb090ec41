"""Figures over time as rows of cells."""

from __future__ import annotations

import pytest

from benchmarks.demo.cells import Axis, bars, circuit_line, phase_names
from benchmarks.demo.script import PHASES, Script


def test_whole_cells_to_a_second():
    """Where there is room each second takes the same number of cells."""
    axis = Axis.over(24.0, 50)
    assert axis.width == 48
    assert bars([1, 0, 4], 4, axis, "").plain.rstrip() == "▃▃··██"


def test_several_seconds_to_a_cell():
    """Where there is no room a cell shows the mean of its seconds, and each second is in one."""
    axis = Axis.over(304.0, 48)
    slices = axis.stretches(304)
    covered = [second for part in slices for second in range(part.start, part.stop)]
    assert len(slices) == 48
    assert covered == list(range(304))


def test_a_second_that_has_not_ended_is_blank():
    """Only seconds that have ended are shown, and the row keeps its width."""
    text = bars([2, 2], 2, Axis.over(4.0, 8), "")
    assert text.plain == "████    "


def test_circuit():
    """A circuit that was open within a cell is shown as open."""
    axis = Axis.over(8.0, 4)
    states = ["closed", "closed", "closed", "open", "half_open", "closed", "closed", "closed"]
    assert circuit_line(states, axis).plain == "─█▒─"


@pytest.mark.parametrize("seconds,width", [(7.0, 24), (22.0, 48), (22.0, 88), (302.0, 48)])
def test_phase_names(seconds, width):
    """Each name is shown in full, not before its phase starts."""
    script = Script(seconds - 2.0)
    axis = Axis.over(seconds, width)
    rows = [row.plain for row in phase_names(script, 0.0, axis)]
    for index, (phase, start) in enumerate(zip(PHASES, script.starts, strict=True)):
        assert rows[index % 2].split().count(phase.name) == 1
        assert rows[index % 2].index(phase.name) >= axis.cell(start)
