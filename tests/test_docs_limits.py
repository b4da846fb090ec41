"""The pages on the bulkhead, the adaptive limit and the load shedder: their examples are run."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import seawall

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {
    "bulkhead": seawall.Bulkhead,
    "adaptive-limit": seawall.AdaptiveLimit,
    "load-shedder": seawall.LoadShedder,
}
EXAMPLE = re.compile(r"```python\n(.*?)```\n(?:\nprints\n\n((?:    [^\n]*\n)+))?", re.DOTALL)
EXAMPLES = {
    f"{page}-{number}": found.groups()
    for page in PAGES
    for number, found in enumerate(EXAMPLE.finditer((DOCS / f"{page}.md").read_text("utf-8")))
}
TEMPLATE = ["Usage", "Defaults", "Events and snapshot", "Anti-patterns", "See also"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_and_prints_what_the_page_says(name):
    """As a program of its own, with no warning."""
    code, printed = EXAMPLES[name]
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout == re.sub(r"^    ", "", printed or "", flags=re.MULTILINE)
    assert result.stderr == ""


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_all_that_a_page_has(page):
    """Usage, defaults, events, a diagram, mistakes beside what is right, and what else to read."""
    text = (DOCS / f"{page}.md").read_text("utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [each for each in headings if each in TEMPLATE] == TEMPLATE
    assert "```mermaid" in text
    assert "| wrong | right |" in text
    assert f"{page}-0" in EXAMPLES


@pytest.mark.parametrize("page", PAGES)
def test_the_table_of_defaults_is_that_of_the_constructor(page):
    """Each argument has a row, in order, with its default where that is a number."""
    text = (DOCS / f"{page}.md").read_text("utf-8").partition("## Defaults")[2]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text, re.MULTILINE)
    parameters = inspect.signature(PAGES[page]).parameters
    assert [name for name, _ in rows] == list(parameters)
    for name, shown in rows:
        default = parameters[name].default
        if default is not None and default is not inspect.Parameter.empty:
            assert shown == repr(default)


def test_the_links_between_the_pages_lead_somewhere():
    """Every page that is named is there."""
    for page in PAGES:
        text = (DOCS / f"{page}.md").read_text("utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert (DOCS / target).exists(), target
