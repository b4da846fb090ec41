"""The event loops that calls are measured on."""

from __future__ import annotations

import asyncio


def runners_of_loops():
    """Each event loop that is installed, with what runs a coroutine on it."""
    loops = {"asyncio": asyncio.run}
    try:
        import uvloop
    except ImportError:
        return loops
    return {**loops, "uvloop": uvloop.run}
