"""The README keeps what it promises."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

import seawall

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
LINES = README.splitlines()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_first_example_is_short_and_near_the_top():
    """The first example begins by line 30 and has at most 15 lines of code."""
    assert LINES.index("```python") < 30
    assert len([line for line in EXAMPLES[0].splitlines() if line.strip()]) <= 15


def test_commands_come_first():
    """The first two commands of the README are the demo and the tests."""
    commands = re.findall(r"^ {4}(make \w+)", README, flags=re.MULTILINE)
    assert commands[:2] == ["make demo", "make test"]


def test_first_example_runs_as_written(capsys):
    """The first example prints an answer."""
    for _ in range(5):
        try:
            exec(compile(EXAMPLES[0], "README.md", "exec"), {})
        except ConnectionError:
            continue
        break
    assert capsys.readouterr().out == "an answer, if need be after a retry\n"


def test_own_policy_runs_as_written(capsys):
    """The policy of one's own in six lines works in a pipeline."""
    names: dict[str, type[seawall.Policy]] = {}
    source = next(text for text in EXAMPLES if "class Announce" in text)
    exec(compile(source, "README.md", "exec"), names)
    assert len([line for line in source.splitlines() if line.strip()]) <= 6

    async def fetch() -> str:
        return "done"

    assert asyncio.run(seawall.Pipeline(names["Announce"]()).execute(fetch)) == "done"
    assert capsys.readouterr().out == "attempt 1\n"


@pytest.mark.parametrize("position", range(len(EXAMPLES)))
def test_examples_compile(position):
    """Each example is valid Python, as the body of an async function at least."""
    body = "".join(f"    {line}\n" for line in EXAMPLES[position].splitlines())
    compile(f"async def example():\n{body}", "README.md", "exec")
