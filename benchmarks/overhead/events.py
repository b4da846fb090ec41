"""What the events cost while nobody listens: seawall against itself without the event calls.

A second copy of the library is made from its own source, with every event call and every question
whether somebody listens taken out. Both copies run in one process, in interleaved rounds.

    python -m benchmarks.overhead.events
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import shutil
import sys
import tempfile
from pathlib import Path

import seawall
from benchmarks.overhead.measure import Group, Variant, measure, quartiles, with_own_code

ROUNDS = 400
ASKS = {"is_heard", "SUBSCRIPTIONS"}
TELLS = {"tell", "_tell_failure"}


def names_in(node):
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Attribute):
            yield inner.attr


class WithoutEvents(ast.NodeTransformer):
    """Takes out what there is for events alone, and counts it."""

    def __init__(self):
        self.removed = 0

    def _without(self, node, gone):
        if not gone:
            return self.generic_visit(node)
        self.removed += 1
        return ast.copy_location(ast.Pass(), node)

    def visit_If(self, node):
        return self._without(node, ASKS & set(names_in(node.test)) and not node.orelse)

    def visit_Expr(self, node):
        called = node.value.func if isinstance(node.value, ast.Call) else None
        name = getattr(called, "id", getattr(called, "attr", None))
        return self._without(node, name in TELLS)

    def visit_Assign(self, node):
        target = node.targets[0]
        attribute = isinstance(target, ast.Attribute) and target.attr == "pipeline"
        return self._without(node, attribute and isinstance(node.value, ast.Name))


def copy_without_events(root: Path) -> int:
    """Write the library without events below a folder; return how many places were taken out."""
    source = Path(seawall.__file__).parent
    shutil.copytree(source, root / "seawall", ignore=shutil.ignore_patterns("__pycache__"))
    removed = 0
    for path in [
        *(root / "seawall" / "core").glob("*.py"),
        *(root / "seawall").rglob("policies/**/*.py"),
    ]:
        transformer = WithoutEvents()
        if path.name not in {"observe.py", "listeners.py"}:
            tree = transformer.visit(ast.parse(path.read_text()))
            path.write_text(ast.unparse(ast.fix_missing_locations(tree)))
        removed += transformer.removed
    return removed


def load(root: Path | None):
    """Import the library anew, from this folder or from where it is."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "seawall"]:
        del sys.modules[name]
    if root is None:
        return importlib.import_module("seawall")
    sys.path.insert(0, str(root))
    try:
        return importlib.import_module("seawall")
    finally:
        sys.path.remove(str(root))


def stack(library):
    return library.Pipeline(
        library.Timeout(30.0),
        library.Retry(3),
        library.CircuitBreaker(),
        library.Bulkhead(100),
        library.Timeout(10.0),
    )


async def answer():
    return "answer"


def executed(pipeline):
    async def run(count):
        for _ in range(count):
            await pipeline.execute(answer)

    return with_own_code(run)


def main():
    with tempfile.TemporaryDirectory() as folder:
        removed = copy_without_events(Path(folder))
        silent = load(Path(folder))
        assert folder in silent.__file__
        real = load(None)
        assert folder not in real.__file__
        group = Group(
            "five policies",
            [
                Variant("with event calls", executed(stack(real))),
                Variant("without", executed(stack(silent))),
                Variant("without, again", executed(stack(silent))),
            ],
        )
        asyncio.run(measure([group], ROUNDS))
    with_events, without, again = group.variants
    print(f"five policies, nobody listens; {removed} places taken out, {ROUNDS} rounds")
    for variant in (with_events, again):
        lower, middle, upper = quartiles(variant, without)
        print(f"{variant.name} ÷ without: {middle:.3f} (quartiles {lower:.3f} to {upper:.3f})")


if __name__ == "__main__":
    main()
