"""What the README, the pages and the chapter show, linted: examples, and tables of mistakes."""

from __future__ import annotations

import ast
import builtins
import gc
import inspect
import math
import re
from pathlib import Path
from textwrap import dedent
from urllib.parse import urlsplit

import pytest

from seawall import CircuitBreaker, Policy, Retry
from tests.advice.test_lint_page import BLOCK
from tests.advice.test_lint_page import NAMES as PUBLIC
from tests.chapter import test_chapter
from tests.pages import examples, execute

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
CODE = re.compile(r"`([A-Z]\w+\(.*?\))`")
FACTS = {"keys": ["a"], "requests_per_second": 50, "restart_seconds": 5}
NAMES = PUBLIC | {"math": math, "urlsplit": urlsplit, "shared": CircuitBreaker()}

EXAMPLES = {
    f"{path.relative_to(ROOT)}-{number}": block
    for path in [ROOT / "README.md", *PAGES]
    for number, block in enumerate(BLOCK.findall(path.read_text(encoding="utf-8")))
    # The page's own examples are wrong on purpose, and say so.
    if path.name != "lint.md"
}


class Somebodys(dict):
    """The names of an example; what it does not define is a function of somebody's."""

    def __init__(self, names):
        super().__init__(names)
        self.missed = set()

    def __missing__(self, name):
        if hasattr(builtins, name):
            raise KeyError(name)

        def somebodys(*args, **kwargs):
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
            if (
                isinstance(node, ast.Assign)
                and child is node.value
                and isinstance(node.targets[0], ast.Name)
            ):
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
    made = list(policies_of(EXAMPLES[name]))
    for policy in outermost(policy for _, policy in made):
        assert [str(finding) for finding in policy.lint(**FACTS)] == [], policy


def outermost(policies):
    """Return those that are not part of another one."""
    policies = list(policies)
    parts = {id(part) for each in policies for part in each.speakers() if part is not each}
    return [each for each in policies if id(each) not in parts]


def test_the_examples_make_policies():
    """The test above looks at something: most pages make a pipeline or a policy."""
    made = {name.rpartition("-")[0] for name in EXAMPLES if list(policies_of(EXAMPLES[name]))}
    assert made >= {"README.md", "docs/circuit.md", "docs/presets.md", "docs/explain.md"}
    ((text, standard),) = policies_of(EXAMPLES["README.md-0"])
    assert text == "Pipeline.standard()"
    assert standard.find(Retry).attempts == 3


CHAPTER = {
    name: dedent(inspect.getsource(test))
    for name, test in vars(test_chapter).items()
    if name.startswith("test_")
}


@pytest.mark.parametrize("name", sorted(CHAPTER))
def test_what_the_chapter_shows_is_sound(name):
    """Nothing is found of its examples but that its retry has no budget."""
    made = [policy for _, policy in policies_of(CHAPTER[name])]
    found = [finding for policy in made for finding in policy.lint()]
    expected = ["SW302"] if name == "test_the_trinity" else []
    assert [finding.code for finding in found] == expected


# ------------------------------------------------------------------------ what its programs make

# Their code is run; others have names that only a reader knows, or are wrong on purpose.
RUN = [path.name for path in PAGES if path.name not in {"README.md", "lint.md", "streams.md"}]


@pytest.mark.parametrize("page", RUN)
def test_what_a_page_makes_is_sound(page):
    """Nothing is found of any policy that is there when the code of a page has run."""
    names, linted = {**NAMES, "__name__": page, "from_cache": print}, 0
    known = alive()
    for code, _ in examples(page):
        execute(code, page, names)
        wrong = re.search(r"#.*\bwrong\b", code)
        made = [each for each in alive() if not any(each is other for other in known)]
        known += made
        for policy in () if wrong else outermost(made):
            assert [str(finding) for finding in policy.lint(**FACTS)] == [], policy
            linted += 1
    assert linted


def alive():
    """Return the policies that there are."""
    found = gc.get_objects()
    # An abstract class is asked once for each type, as it is slow to answer.
    kinds = {kind for kind in set(map(type, found)) if issubclass(kind, Policy)}
    return [each for each in found if type(each) in kinds]


# --------------------------------------------------------------------------- tables of mistakes

ROWS = {
    f"{path.name}-{number}": row
    for path in PAGES
    for number, row in enumerate(
        re.findall(
            r"^\| (.*) \| (.*) \|$",
            path.read_text(encoding="utf-8").partition("| wrong | right |")[2],
            re.MULTILINE,
        )
    )
}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_what_a_page_calls_right_is_sound(name):
    """Nothing is found of what stands on the right side of a table of mistakes."""
    for source in CODE.findall(ROWS[name][1]):
        for text, policy in policies_of(source):
            assert [str(finding) for finding in policy.lint(**FACTS)] == [], text


FLEET = {"clients": 20, "capacity": 1000}
# What is found of each, beside which facts; nothing where only its author can know.
MISTAKES = {
    "Pipeline(AdaptiveLimit(500), Timeout(1))": (["SW402"], FLEET),
    "Pipeline(AdaptiveLimit(), Retry(3), Timeout(10))": (["SW403"], {}),
    "Pipeline(Retry(3), AdaptiveLimit())": ([], {}),
    "AdaptiveLimit(max_wait=None)": (["SW401"], {}),
    "Bulkhead(50, queue=math.inf)": (["SW401"], {}),
    "Pipeline(Bulkhead(50), Retry(3), Timeout(10))": (["SW403"], {}),
    "CircuitBreaker(1, open_for=300)": (["SW101"], {}),
    "CircuitBreaker(open_for=2)": (["SW102"], {"restart_seconds": 15}),
    "Pipeline(CircuitBreaker(), Retry(3))": (["SW107"], {}),
    "Pipeline(Retry(3), Timeout(10))": ([], {}),
    "Pipeline(Timeout(5), Retry(3, backoff=constant(4)))": (["SW203"], {}),
    "Bulkhead(10, queue=math.inf)": (["SW401"], {}),
    "Pipeline(Retry(3), Fallback(value='plain'))": (["SW502"], {}),
    "Pipeline(CircuitBreaker(), Fallback(value='plain'))": (["SW502"], {}),
    "Pipeline(Timeout(2), Fallback(value='plain'))": (["SW503"], {}),
    "Fallback(value=[])": ([], {}),
    "Fallback(value=0)": ([], {}),
    "Fallback(value=None)": ([], {}),
    "Fallback(from_cache)": ([], {}),
    "Hedge(0)": (["SW314"], {}),
    "Hedge(0.05, budget=None)": (["SW311"], {}),
    "Pipeline(Hedge(0.05), Retry(3))": (["SW312"], {}),
    "Pipeline(Bulkhead(10), Hedge(0.05))": (["SW404"], {}),
    "Pipeline(Timeout(1), Hedge(2))": (["SW313"], {}),
    "CircuitBreaker()": (["SW105"], {"keys": ["a", "b"]}),
    "Keyed(lambda url: CircuitBreaker(), key=lambda url: url)": ([], {}),
    "Keyed(lambda host: Retry(3))": ([], {}),
    "Keyed(lambda host: shared)": (["SW105"], {"keys": ["a", "b"]}),
    "Keyed(lambda user: LastGood(300), key=lambda user: user)": ([], {}),
    "Pipeline(Timeout(2), LastGood(300))": (["SW503"], {}),
    "Pipeline(Retry(3), LastGood(300))": (["SW502"], {}),
    "LastGood(300, key=lambda number: number)": ([], {}),
    "LastGood(86400)": ([], {}),
    "Pipeline(LoadShedder(), CircuitBreaker())": (["SW106"], {}),
    "LoadShedder(k=1.0)": (["SW408"], {}),
    "LoadShedder(window=120)": (["SW409"], {}),
    "Pipeline(Timeout(30), RateLimiter(50), Retry(3), Timeout(10))": (["SW404"], {}),
    "RateLimiter(50)": (["SW401"], {}),
    "Pipeline(Timeout(30), Bulkhead(20), RateLimiter(50))": (["SW403"], {}),
    "Pipeline(Timeout(30), Retry(3), Timeout(10), RateLimiter(50))": (["SW205"], {}),
    "RateLimiter(1000, max_wait=1)": (["SW407"], {}),
    "RateLimiter(60, 60, burst=60, max_wait=5)": ([], {}),
    "RateLimiter(None)": (["SW105"], {"keys": ["a", "b"]}),
    "RateLimiter(50, max_wait=1)": (["SW402"], {"clients": 10, "capacity": 50}),
    "Retry(3, budget=None)": (["SW302"], {}),
    "Retry(3, backoff=0)": (["SW303"], {}),
    "Retry(3, backoff=exponential(1, jitter=None))": (["SW304"], {"clients": 100}),
    "Pipeline(Retry(3), Retry(3))": (["SW301"], {}),
    "Pipeline(Retry(3))": ([], {}),
    "Pipeline(Timeout(10), Retry(3), Timeout(10))": (["SW201"], {}),
    "Timeout(3600)": ([], {}),
    "Timeout(0.2)": (["SW204"], {"latency": 0.3}),
}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_what_a_page_calls_wrong_is_found(name):
    """On what stands on the left side exactly that is found, unless only its author can know."""
    for source in CODE.findall(ROWS[name][0]):
        for text, policy in policies_of(source):
            expected, facts = MISTAKES[text]
            assert [finding.code for finding in policy.lint(**facts)] == expected, text


def test_every_mistake_is_on_a_page():
    """The list of mistakes has no other."""
    left = [source for wrong, _ in ROWS.values() for source in CODE.findall(wrong)]
    assert {text for source in left for text, _ in policies_of(source)} == set(MISTAKES)
