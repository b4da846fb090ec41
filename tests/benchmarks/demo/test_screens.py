"""What a run looks like, on a terminal and without one."""

from __future__ import annotations

import io
from collections import Counter
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.text import Text

from benchmarks.demo.calls import Call, Outcome
from benchmarks.demo.lane import Second
from benchmarks.demo.lines import Lines
from benchmarks.demo.script import PHASES, Script
from benchmarks.demo.summary import sum_up
from benchmarks.demo.view import View, fits


def lane(name, circuit):
    calls = [Call(0.1 * number, 0.0, Outcome.ANSWERED, 0.02) for number in range(200)]
    calls += [Call(12.0 + 0.1 * number, 0.0, Outcome.REFUSED, 0.0) for number in range(20)]
    return SimpleNamespace(
        name=name,
        seconds=[Second(10, 1, 3, 250, 40, 100, circuit) for _ in range(20)],
        calls=calls,
        server=SimpleNamespace(requests=Counter(dict.fromkeys(range(len(PHASES)), 1_000))),
    )


@pytest.fixture
def lanes():
    return [lane("alone", "none"), lane("seawall", "half_open")]


def terminal(width, height):
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height)


@pytest.mark.parametrize("width,height", [(80, 24), (120, 40)])
def test_view_fits(width, height, lanes):
    """The view fits on a terminal of the usual sizes and shows both sides and the circuit."""
    console = terminal(width, height)
    assert fits(console)
    view = View(console)
    view._script, view._lanes = Script(20.0), lanes
    with console.capture() as capture:
        console.print(view._draw(13.0), no_wrap=True)
    lines = Text.from_ansi(capture.get()).plain.splitlines()
    assert len(lines) <= height - 2
    assert sum("alone" in line for line in lines) == 6
    assert any("hanging:" in line for line in lines)
    assert any("half-open" in line for line in lines)


@pytest.mark.parametrize("width,height", [(40, 24), (80, 12)])
def test_terminal_too_small(width, height):
    """A terminal that is too small for the view gets plain lines."""
    assert not fits(terminal(width, height))


def test_no_terminal():
    """What is no terminal gets plain lines."""
    assert not fits(Console(file=io.StringIO(), width=120, height=40))


def test_plain_lines(lanes, capsys):
    """There is one line for each second, with both sides on it, in ASCII and in columns."""
    lines = Lines(seed=7)
    lines.begin(Script(20.0), lanes)
    lines.show(20.0)
    lines.end()
    output = capsys.readouterr().out
    assert output.isascii()
    rows = [line for line in output.splitlines() if line.count("|") == 2]
    assert len(rows) == 2 + 20
    assert len({line.index("|") for line in rows}) == 1
    assert rows[2].split()[:2] == ["1", "healthy"]
    assert rows[-1].split()[:2] == ["20", "recovery"]
    assert rows[-1].endswith("half_open")


def test_summary_fits(lanes):
    """The tables and the sentence fit on a terminal of 80 by 24, above the next prompt."""
    file = io.StringIO()
    sum_up(Console(file=file, width=80), Script(20.0), lanes)
    lines = file.getvalue().splitlines()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert lines[-1].endswith(".")


def test_short_runs_are_said_to_be_short(lanes):
    """A run whose phases are too short for a circuit says so."""
    file = io.StringIO()
    sum_up(Console(file=file, width=80), Script(5.0), lanes)
    assert "20 s show more" in file.getvalue()
