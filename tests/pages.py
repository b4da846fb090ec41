"""The pages of the documentation: their code, their tables, and what they say is printed."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.virtual_time import run

DOCS = Path(__file__).parents[1] / "docs"
# Their code talks to sockets, which keep no virtual time.
REAL_TIME = {"fault-server.md", "model-apis.md"}
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def read(page: str) -> str:
    """Return the text of a page."""
    return (DOCS / page).read_text(encoding="utf-8")


def examples(page: str) -> Iterator[tuple[str, str | None]]:
    """Yield each piece of code of a page, with what stands behind it as its output, if anything."""
    blocks = BLOCK.findall(read(page))
    for number, (language, code) in enumerate(blocks):
        if language == "python":
            follows = blocks[number + 1] if number + 1 < len(blocks) else ("", "")
            yield code, follows[1] if follows[0] == "text" and behind(page, code) else None


def behind(page: str, code: str) -> bool:
    """Say whether the output stands right behind this code, with no word between."""
    return f"{code}```\n\n```text\n" in read(page)


def execute(code: str, page: str, names: dict[str, Any]) -> None:
    """Run code that may await at its top level, on a loop of virtual time.

    Where it has a loop of its own, that one is virtual too. Pages in ``REAL_TIME`` get plain loops.
    """
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    compiled = compile(code, page, "exec", flags=flags, dont_inherit=True)
    original = asyncio.run
    run_loop = original if page in REAL_TIME else run
    if compiled.co_flags & inspect.CO_COROUTINE:
        run_loop(eval(compiled, names))
        return
    asyncio.run = run_loop
    try:
        exec(compiled, names)
    finally:
        asyncio.run = original


def names_of(page: str, *wanted: str) -> list[Any]:
    """Return what a page defines, by the first piece of code that does."""
    for code, _ in examples(page):
        if re.search(rf"^class {wanted[0]}\b", code, re.MULTILINE):
            names: dict[str, Any] = {"__name__": page}
            execute(code, page, names)
            return [names[name] for name in wanted]
    message = f"{page} defines no {wanted[0]}"
    raise LookupError(message)


def table(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the first table under a heading, without its head."""
    section = read(page).split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
