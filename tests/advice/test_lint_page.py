"""The page on ``lint()``, and every example of the documentation, linted."""

from __future__ import annotations

import ast
import builtins
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
CODE = re.compile(r"`([A-Z]\w+\(.*?\))`")
FACTS = {"keys": ["a"], "requests_per_second": 50, "restart_seconds": 5}
MARK = re.compile(r"# (wrong|right)(?:: (SW\d+))?$")

SECTIONS = dict(re.findall(r"^### (SW\d{3}): [^\n]+\n(.*?)(?=^##)", PAGE, re.DOTALL | re.MULTILINE))
NAMES = {name: getattr(seawall, name) for name in seawall.__all__}
NAMES |= {"seawall": seawall, "presets": presets, "inf": inf}

EXAMPLES = {
    f"{path.relative_to(ROOT)}-{number}": block
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for number, block in enumerate(BLOCK.findall(path.read_text(encoding="utf-8")))
    # The page's own examples are wrong on purpose, and say so.
    if path.name != "lint.md"
}


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


# ----------------------------------------------------------------- the other pages and the README


class Somebodys(dict):
    """The names of an example; what it does not define is a function of somebody's."""

    def __init__(self, names):
        super().__init__(names)
        self.missed = set()

    def __missing__(self, name):
        if hasattr(builtins, name):
            raise KeyError(name)

        async def somebodys(*args, **kwargs):
            return args, kwargs

        self.missed.add(name)
        return somebodys


def policies_of(source):
    """Yield what an example makes policies with, and these policies.

    Only the outermost calls that make a policy are made, and imports; nothing else is run.
    """
    names = Somebodys(NAMES)
    body = "".join(f"    {line}\n" for line in source.splitlines())
    yield from visit(ast.parse(f"async def example():\n{body}"), names)


def visit(node, names):
    """Go through an example in the order of its text."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        if "seawall" in ast.unparse(node):
            exec(compile(ast.Module([node], []), "example", "exec"), names)
        return
    if isinstance(node, ast.Lambda | ast.ClassDef):
        return
    if isinstance(node, ast.Call) and makes_policy(node, names):
        names.missed.clear()
        try:
            policy = eval(compile(ast.Expression(node), "example", "eval"), names)
        except TypeError:
            # A number that the example leaves open cannot be a function of somebody's.
            if not names.missed:
                raise
            return
        yield ast.unparse(node), policy
        return
    for child in ast.iter_child_nodes(node):
        for text, policy in visit(child, names):
            if isinstance(node, ast.Assign) and child is node.value:
                names[node.targets[0].id] = policy
            yield text, policy
    if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("presets.failure"):
        names[node.targets[0].id] = eval(ast.unparse(node.value), names)


def makes_policy(node, names):
    """Say whether a call makes a policy: a class, a preset, ``standard()``, or a view of one."""
    function = node.func
    if isinstance(function, ast.Name):
        made = names.get(function.id)
        return isinstance(made, type) and issubclass(made, Policy)
    if not isinstance(function, ast.Attribute):
        return False
    if function.attr == "bind":
        inner = function.value
        if isinstance(inner, ast.Name):
            return isinstance(names.get(inner.id), Policy)
        return isinstance(inner, ast.Call) and makes_policy(inner, names)
    text = ast.unparse(function)
    preset = text.startswith("presets.") and function.attr not in {"open_time", "failure_threshold"}
    return preset or text == "Pipeline.standard" or text.endswith("httpx.standard")


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_is_sound(name):
    """Nothing is found of any example, unless it says that it is wrong."""
    if re.search(r"#.*\bwrong\b", EXAMPLES[name]):
        return
    for text, policy in policies_of(EXAMPLES[name]):
        assert [str(finding) for finding in policy.lint(**FACTS)] == [], text


def test_the_examples_make_policies():
    """The test above looks at something: most pages make a pipeline or a policy."""
    made = {name.rpartition("-")[0] for name in EXAMPLES if list(policies_of(EXAMPLES[name]))}
    assert made >= {"README.md", "docs/circuit.md", "docs/presets.md", "docs/explain.md"}
    ((text, standard),) = policies_of(EXAMPLES["README.md-0"])
    assert text == "Pipeline.standard()"
    assert standard.find(seawall.Retry).attempts == 3


TABLES = {
    f"{path.name}-{number}": CODE.findall(right)
    for path in sorted((ROOT / "docs").glob("*.md"))
    for number, right in enumerate(
        re.findall(
            r"^\| .* \| (.*) \|$",
            path.read_text(encoding="utf-8").partition("| wrong | right |")[2],
            re.MULTILINE,
        )
    )
}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_what_a_page_calls_right_is_sound(name):
    """Nothing is found of what stands on the right side of a table of mistakes."""
    for source in TABLES[name]:
        for text, policy in policies_of(source):
            assert [str(finding) for finding in policy.lint(**FACTS)] == [], text


def test_there_are_tables_of_mistakes():
    """The test above looks at something."""
    assert any(TABLES.values())
