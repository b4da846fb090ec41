"""The script: phases laid out over a run."""

from __future__ import annotations

import pytest

from benchmarks.demo.script import PHASES, Script


def test_shares():
    """The shares of all phases make up the whole run."""
    assert sum(phase.share for phase in PHASES) == pytest.approx(1.0)


@pytest.mark.parametrize("seconds", [5.0, 20.0, 300.0])
def test_phases_scale_with_the_run(seconds):
    """A phase starts at the same part of the run, however long it is, and the last has no end."""
    script = Script(seconds)
    assert script.at(0.0).name == "healthy"
    assert script.at(0.55 * seconds).name == "hanging"
    assert script.at(seconds).name == "recovery"
    assert script.at(10 * seconds).name == "recovery"


def test_spans_join():
    """Each phase starts where the one before it ends."""
    script = Script(20.0)
    spans = [script.span(index) for index in range(len(PHASES))]
    assert spans[0][0] == 0.0
    assert spans[-1][1] == 20.0
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
