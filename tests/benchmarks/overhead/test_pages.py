"""What is written down of a run: results, targets and figures, of all measured Pythons."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from benchmarks.overhead import figures, results, targets

CALLS = {
    "best peer": "somebody",
    "targets": {"limit": [1.99, 2.5], "by hand": [0.51]},
    "four": {"the limit, <fused>": 9.0, "**seawall** `execute`": 45.0, "slow": 812.0},
    "alone": {"`Timeout(10)`": 24.0},
    "ways": {"decorated": 47.0},
    "stacks": {"0": 11.0, "1": 25.0, "2": 28.0},
}
FLAT = {
    "targets": {"together": [1.3]},
    "in flight": {"1": 1.8, "100": 1.0, "1,000": 1.2},
    "windows": {"10": 1.0, "1,000": 1.01},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(results, "version", lambda: "3.11")
    return tmp_path


def test_a_run_replaces_only_its_part_of_its_python(folder, monkeypatch):
    """What other Pythons and other parts have found stays, in order of the versions."""
    results.store("calls", {"a": 1.23456, "b": {"c": [10, 20000.4]}})
    results.store("flat", {"d": 1})
    results.store("calls", {"a": 2.0})
    monkeypatch.setattr(results, "version", lambda: "3.9")
    results.store("calls", {"b": {"c": [1234.5, 7]}})
    assert results.load() == {
        "3.9": {"calls": {"b": {"c": [1230.0, 7]}}},
        "3.11": {"calls": {"a": 2.0}, "flat": {"d": 1}},
    }
    assert list(results.load()) == ["3.9", "3.11"]


def test_the_order_of_rows_is_kept(folder):
    """Sizes are drawn in their own order, not in that of their digits."""
    results.store("flat", FLAT)
    assert list(results.load()["3.11"]["flat"]["in flight"]) == ["1", "100", "1,000"]


def cells(page, label):
    (line,) = [line for line in page.splitlines() if label in line]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_a_target_is_reached_by_the_figure_of_asyncio():
    """A figure is judged where its Python has a target; what was not measured stays empty."""
    page = targets.page({"3.11": {"calls": CALLS}, "3.12": {"calls": CALLS}, "3.13": {}})
    assert cells(page, "the limit, fused by hand") == [
        "1.99 / 2.50 ✓",
        "2.00",
        "1.99 / 2.50",
        "",
        "2.00",
    ]
    assert cells(page, "four policies ÷ by hand")[:2] == ["0.51 ✗", "0.50"]
    assert cells(page, "bytes of a breaker") == ["", "2,048", "", "", "2,048"]
    assert "Python 3.12: the best peer with all four is somebody." in page


def test_every_target_has_a_place_in_the_results():
    """No two targets share one, and each is of a part that is measured."""
    places = [(target.part, target.key) for target in targets.TARGETS]
    assert len(set(places)) == len(places)
    assert {part for part, _ in places} == {"calls", "flat", "footprint"}


def test_the_same_results_draw_the_same_figures():
    """Figures are well-formed, escape what they show, and do not change without a reason."""
    known = {"3.11": {"calls": CALLS, "flat": FLAT}, "3.13": {"calls": CALLS}}
    drawn = figures.draw(known)
    assert set(drawn) == {"four", "alone", "ways", "stacks", "flight", "windows"}
    assert drawn == figures.draw(known)
    for figure in drawn.values():
        ET.fromstring(figure)
    assert "the limit, &lt;fused&gt;" in drawn["four"]


def places(figure):
    circles = ET.fromstring(figure).iter("{http://www.w3.org/2000/svg}circle")
    hints = {
        circle[0].text: (float(circle.get("cx")), float(circle.get("cy"))) for circle in circles
    }
    return {hint: place for hint, place in hints.items() if ":" in hint}


def test_a_logarithmic_axis_is_one():
    """From 1 to 10 it is as far as from 10 to 100."""
    drawn = places(figures.dots("title", "unit", {"it": {"a": 1.0, "b": 10.0, "c": 100.0}}))
    first, second, third = (x for x, _ in drawn.values())
    assert second - first == pytest.approx(third - second, abs=0.2)
    assert second > first


def test_lines_rise_with_their_values():
    """Twice the value is twice as far above the ground, and the highest is within the figure."""
    drawn = places(figures.lines("title", "x", "y", {"it": {"1": 10.0, "2": 20.0, "3": 40.0}}))
    heights = [350 - y for _, y in drawn.values()]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.2)
    assert heights[2] == pytest.approx(4 * heights[0], abs=0.2)
    assert heights[2] <= 280
