"""What the events cost while nobody listens: seawall against itself without the event calls.

A second copy of the library is made from its own source, with every event call and every question
whether somebody listens taken out. Both copies run in one process, in interleaved rounds.

    python -m benchmarks.overhead.events
"""

from __future__ import annotations

import ast
import asyncio
import tempfile
from pathlib import Path

from benchmarks.overhead import copies
from benchmarks.overhead.library import Library, executed
from benchmarks.overhead.measure import Group, Variant, measure, quartiles, with_own_code
from benchmarks.overhead.runners import answer

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
        test = node.test
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
            # The other reasons stay.
            others = [each for each in test.values if not ASKS & set(names_in(each))]
            if 0 < len(others) < len(test.values):
                self.removed += 1
                node.test = ast.BoolOp(ast.Or(), others) if len(others) > 1 else others[0]
        return self._without(node, ASKS & set(names_in(node.test)) and not node.orelse)

    def visit_Expr(self, node):
        called = node.value.func if isinstance(node.value, ast.Call) else None
        name = getattr(called, "id", getattr(called, "attr", None))
        return self._without(node, name in TELLS)

    def visit_Assign(self, node):
        target = node.targets[0]
        attribute = isinstance(target, ast.Attribute) and target.attr == "pipeline"
        return self._without(node, attribute and isinstance(node.value, ast.Name))


def take_out_events(source: Path) -> int:
    """Take the events out of a copy of the library; return how many places were taken out."""
    removed = 0
    for path in [*(source / "core").glob("*.py"), *source.rglob("policies/**/*.py")]:
        transformer = WithoutEvents()
        if path.name not in {"observe.py", "listeners.py"}:
            tree = transformer.visit(ast.parse(path.read_text()))
            path.write_text(ast.unparse(ast.fix_missing_locations(tree)))
        removed += transformer.removed
    return removed


def executed_five(library):
    return with_own_code(executed(Library(library).five(), answer))


def main():
    with tempfile.TemporaryDirectory() as folder:
        real = copies.load(copies.copy_of_tree(Path(folder, "real")), "seawall_real")
        source = copies.copy_of_tree(Path(folder, "silent"))
        removed = take_out_events(source)
        silent = copies.load(source, "seawall_silent")
        group = Group(
            "five policies",
            [
                Variant("with event calls", executed_five(real)),
                Variant("without", executed_five(silent)),
                Variant("without, again", executed_five(silent)),
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
