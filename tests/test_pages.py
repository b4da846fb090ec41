"""Each page does what it says: its code runs, prints what stands there, and its tables are true."""

from __future__ import annotations

import inspect
import math
import random
import re
from urllib.parse import urlsplit

import pytest

import seawall
import seawall.events
from tests.pages import DOCS, examples, execute, read, table

POLICIES = {
    "timeout.md": seawall.Timeout,
    "retry.md": seawall.Retry,
    "rate-limiter.md": seawall.RateLimiter,
    "hedge.md": seawall.Hedge,
    "fallback.md": seawall.Fallback,
    "last-good.md": seawall.LastGood,
    "keyed.md": seawall.Keyed,
}
PAGES = [
    *POLICIES,
    "deadlines.md",
    "fault-server.md",
    "http.md",
    "model-apis.md",
    "recipes.md",
    "write-your-own-policy.md",
]
TABLES_OF_MISTAKES = [*POLICIES, "deadlines.md"]


@pytest.mark.parametrize("page", PAGES)
def test_its_code_runs(page, capsys, monkeypatch):
    """All code of a page runs in its order, as one program, and prints what is behind it."""
    names = {"__name__": page}
    random.seed(7)
    for code, output in examples(page):
        execute(code, page, names)
        printed = capsys.readouterr().out
        if output is not None:
            assert printed == output, code
        else:
            assert printed == "", f"what this prints is not on the page: {code}"


@pytest.mark.parametrize("page", PAGES)
def test_it_has_the_parts_of_a_page(page):
    """A title, something to run, mistakes beside what is right, and where to go on."""
    text = read(page)
    assert text.startswith("# ")
    assert "```python" in text
    assert "```mermaid" in text
    assert "\n## Anti-patterns\n" in text
    assert "\n## See also\n" in text


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page):
    """Each page that is linked to exists."""
    for target in re.findall(r"\]\(([\w./-]+\.md)", read(page)):
        assert (DOCS / target).exists(), target


@pytest.mark.parametrize("page", POLICIES)
def test_its_table_of_defaults_is_true(page):
    """Each argument is there, in order, with the default that it has."""
    rows = table(page, "Defaults")
    parameters = inspect.signature(POLICIES[page]).parameters
    assert [row[0].strip("`") for row in rows] == list(parameters)
    for row, parameter in zip(rows, parameters.values(), strict=True):
        if parameter.default is inspect.Parameter.empty:
            assert row[1] == "required"
        elif row[1].startswith("`"):
            assert eval(row[1].strip("`"), dict(vars(seawall))) == parameter.default, row
        else:
            # In words, where no value says it.
            assert parameter.default is None or type(parameter.default) is object, row


@pytest.mark.parametrize("page", POLICIES)
def test_its_events_exist(page):
    """What the page says is told, can be listened to, with these fields."""
    rows = table(page, "Events")
    for row in rows:
        event = getattr(seawall.events, row[0].strip("`"))
        own = set(re.findall(r"`(\w+)`", row[2]))
        assert own <= set(event.__dataclass_fields__), row


@pytest.mark.parametrize("page", TABLES_OF_MISTAKES)
def test_what_it_calls_right_and_wrong_can_be_written(page, capsys):
    """The code in the table of mistakes is Python, and what makes a policy does."""
    names = {name: getattr(seawall, name) for name in seawall.__all__}
    names |= {"math": math, "urlsplit": urlsplit, "from_cache": print, "fetch": print, "shared": 1}
    rows = table(page, "Anti-patterns")
    made = 0
    for row in rows:
        for code in re.findall(r"`([^`]+)`", " ".join(row)):
            written = f"try: pass\n{code}" if code.startswith("except") else code
            lines = "".join(f"    {line}\n" for line in written.splitlines())
            compile(f"async def example():\n{lines}", page, "exec")
            if re.match(r"[A-Z]\w+\(", code):
                assert isinstance(eval(code, names), seawall.Policy), code
                made += 1
    assert made >= len(rows)


def test_the_index_has_every_page():
    """Whoever opens the folder finds each page, with a word on what it is for."""
    index = read("README.md")
    for page in DOCS.glob("*.md"):
        if page.name != "README.md":
            assert f"({page.name})" in index, page.name
