"""Each peer as its own documentation composes it, on the fastest path that it documents.

A peer is a module with the names below; what it has not is `None` (or absent), never imitated,
except in a stack, where a missing policy is written by hand and the peer's `HAS` says so.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.overhead.measure import Runner

    Function = Callable[[], Awaitable[Any]]

# Seconds for which an opened breaker stays open: longer than any run.
OPEN_FOR = 3600.0
# Seconds of backoff: only the proof of a variant ever waits.
BASE = 0.001
# What a retry repeats; a refusal is not among them.
TRANSIENT = (ConnectionError, TimeoutError)


class Peer(NamedTuple):
    """One library, or two that are used together."""

    name: str
    distributions: tuple[str, ...]
    policies: str  # which of the four policies it brings itself
    composition: str  # how the stack is written
    timeout: Callable[[Function], Function] | None = None
    retry: Callable[[Function], Function] | None = None
    breaker: Callable[[Function], Function] | None = None
    bulkhead: Callable[[Function], Function] | None = None
    fallback: Callable[[Function], Function] | None = None
    four: Callable[[Function], Function] | None = None
    five: Callable[[Function], Function] | None = None
    block: Callable[[Function], Runner] | None = None
    loop: Callable[[Function], Runner] | None = None

    @property
    def versions(self) -> str:
        return ", ".join(f"{name} {version(name)}" for name in self.distributions)


def all_peers() -> list[Peer]:
    from benchmarks.overhead.peers import (
        grit,
        hyx,
        interlock,
        nopanic,
        pyresilience,
        resilix,
        stamina,
    )

    return [
        nopanic.PEER,
        resilix.PEER,
        resilix.MERGED,
        interlock.PEER,
        hyx.PEER,
        grit.PEER,
        pyresilience.PEER,
        stamina.PEER,
    ]
