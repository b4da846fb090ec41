"""Plain functions that return a coroutine, marked as what they are to a caller: async functions."""

from __future__ import annotations

import sys
from asyncio import coroutines
from typing import Any

# Frameworks ask whether what they are given is to be awaited.
if sys.version_info >= (3, 12):
    from inspect import markcoroutinefunction as mark_async
else:
    _coroutines: Any = coroutines

    def mark_async(function: Any) -> Any:
        """Have ``asyncio.iscoroutinefunction`` say yes of a function; ``inspect`` asks no mark."""
        function._is_coroutine = _coroutines._is_coroutine
        return function


__all__ = ["mark_async"]
