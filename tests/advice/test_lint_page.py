"""The page on ``lint()`` is true: its codes, its facts, and what it calls wrong and right."""

from __future__ import annotations

import ast
import re
from math import inf
from pathlib import Path

import pytest

import seawall
from seawall import Policy, presets

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "lint.md").read_text(encoding="utf-8")
SOURCE = Path(seawall.__file__).parent / "advice" / "lint"
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
MARK = re.compile(r"# (wrong|right)(?:: (SW\d+))?$")

SECTIONS = dict(re.findall(r"^### (SW\d{3}): [^\n]+\n(.*?)(?=^##)", PAGE, re.DOTALL | re.MULTILINE))
NAMES = {name: getattr(seawall, name) for name in seawall.__all__}
NAMES |= {"seawall": seawall, "presets": presets, "inf": inf}


def test_every_code_has_a_section():
    """The page explains the codes that there are, and no other."""
    code = re.compile(r'code="(SW\d{3})"')
    every = {each for path in SOURCE.glob("*.py") for each in code.findall(path.read_text())}
    assert set(SECTIONS) == every
    assert list(SECTIONS) == sorted(SECTIONS)


@pytest.mark.parametrize("code", sorted(SECTIONS))
def test_a_section_gives_the_reason_and_shows_both(code):
    """Each has a reason, something wrong and something right."""
    text, block = SECTIONS[code].split("```python\n")[0], BLOCK.findall(SECTIONS[code])[0]
    assert len(text.split()) > 10
    assert f"# wrong: {code}" in block
    assert "# right" in block


@pytest.mark.parametrize("code", sorted(SECTIONS))
def test_what_a_section_shows_is_so(code):
    """What is called wrong is found, by that code alone, and what is called right is not."""
    names = dict(NAMES)
    for block in BLOCK.findall(SECTIONS[code]):
        lines = block.splitlines()
        for statement in ast.parse(block).body:
            if not isinstance(statement, ast.Expr):
                exec(compile(ast.Module([statement], []), code, "exec"), names)
                continue
            mark = MARK.search(lines[statement.end_lineno - 1])
            findings = eval(compile(ast.Expression(statement.value), code, "eval"), names)
            found = [finding.code for finding in findings]
            assert found == ([mark[2]] if mark[1] == "wrong" else [])


def test_the_facts_of_the_page_are_the_arguments():
    """The table of facts names each argument, in their order, and codes that use it."""
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", PAGE, re.MULTILINE)
    names = [name for name, _ in rows]
    arguments = Policy.lint.__kwdefaults__
    assert names == list(arguments)
    for name, used in rows:
        for code in re.findall(r"SW\d{3}", used):
            assert f"{name}=" in SECTIONS[code], (name, code)


def test_the_first_example_prints_what_the_page_says(capsys):
    """The output below the first example is its output."""
    exec(compile(BLOCK.findall(PAGE)[0], "lint.md", "exec"), {})
    printed = capsys.readouterr().out
    assert f"    {printed}" in PAGE


def test_the_test_on_the_page_passes():
    """The test that the page advises to write is green."""
    names = {}
    exec(compile(BLOCK.findall(PAGE)[1], "lint.md", "exec"), names)
    names["test_the_pipeline_is_sound"]()
