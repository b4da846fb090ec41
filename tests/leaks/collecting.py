"""The garbage collector as a witness: what must be freed without it."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine
from types import AsyncGeneratorType, CoroutineType
from typing import Any

from tests.virtual_time import VirtualLoop

_RUNNING = asyncio.Task | CoroutineType | AsyncGeneratorType


def alive(ours: Collection[str]) -> Counter[str]:
    """Count the objects of these types, and every task, coroutine and generator."""
    found: Counter[str] = Counter()
    for item in gc.get_objects():
        kind = type(item).__name__
        if kind in ours or isinstance(item, _RUNNING):
            found[kind] += 1
    return found


def made_by(*packages: str) -> Counter[str]:
    """Count the objects of all types that these packages define."""
    kinds = Counter(map(type, gc.get_objects()))
    return Counter(
        {
            f"{kind.__module__}.{kind.__qualname__}": number
            for kind, number in kinds.items()
            # A class may have something else of that name.
            if str(kind.__module__).partition(".")[0] in packages
        }
    )


def check_all_freed(
    ours: Collection[str],
    main: Callable[[], Coroutine[Any, Any, None]],
    rest: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Run ``main`` with the collector off: nothing that it made is left, also before ``rest``."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        gc.collect()
        gc.disable()
        try:
            before = alive(ours)
            runner.run(main())
            assert alive(ours) - before == Counter()
            if rest is not None:
                runner.run(rest())
        finally:
            gc.enable()


def check_no_cycle(call: Callable[[], Awaitable[object]]) -> None:
    """Make a call several times with the collector off, which then finds nothing to collect."""

    async def main() -> Counter[str]:
        await call()
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        for _ in range(5):
            await call()
        gc.collect()
        return Counter(type(item).__name__ for item in gc.garbage)

    gc.disable()
    try:
        assert asyncio.run(main()) == {}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
