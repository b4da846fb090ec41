"""Deadlines: how much time is left, and which timeouts enclose the code that runs now.

A running ``Timeout`` is a :class:`Scope`. Scopes form a chain, from the innermost outwards, which
nested calls and child tasks inherit through a context variable. A scope that has ended counts for
nothing, so a task that outlives the call which started it inherits no deadline from it.
"""

from __future__ import annotations

from contextvars import ContextVar, copy_context
from math import inf
from typing import TYPE_CHECKING, Any

from seawall.core.clock import current_loop

if TYPE_CHECKING:
    from contextvars import Token

    from seawall.core.clock import Loop


class Scope:
    """One running timeout, seen from inside.

    Attributes:
        when: the loop time at which it fires.
        outer: the scope that encloses it, in this or in a calling pipeline.
        loop: the loop whose time ``when`` is.
        fired: whether it has cancelled what runs inside.
        ended: whether it is over.
    """

    __slots__ = ("ended", "fired", "loop", "outer", "when")

    when: float
    outer: Scope | None
    loop: Loop
    fired: bool
    ended: bool

    def has_fired(self) -> bool:
        """Say whether this timeout has cancelled what runs inside it."""
        return self.fired

    def pause(self) -> Any:
        """Cancel nothing for now: the code that runs is not inside. Returns what resumes it."""

    def resume(self, paused: Any) -> None:
        """Go on; where the time has passed meanwhile, cancel soon."""


current_scope: ContextVar[Scope | None] = ContextVar("seawall.scope", default=None)


def live(scope: Scope | None, loop: Loop) -> Scope | None:
    """Return the innermost scope of a chain that has not ended and that belongs to the loop."""
    while scope is not None and (scope.ended or scope.loop is not loop):
        scope = scope.outer
    return scope


def earliest(scope: Scope | None, loop: Loop) -> float:
    """Return the earliest time at which a live scope of the chain fires; ``inf`` if none does."""
    when = inf
    while (scope := live(scope, loop)) is not None:
        when = min(when, scope.when)
        scope = scope.outer
    return when


def has_ended(scope: Scope | None, when: float) -> bool:
    """Say whether a deadline was set by a scope of the chain that is over by now."""
    while scope is not None:
        if scope.ended and scope.when == when:
            return True
        scope = scope.outer
    return False


def any_fired(scope: Scope | None, loop: Loop) -> bool:
    """Say whether a live scope of the chain has fired."""
    while (scope := live(scope, loop)) is not None:
        if scope.has_fired():
            return True
        scope = scope.outer
    return False


def leave(scope: Scope) -> None:
    """Take the scope of a block out of the context, if it is the innermost there.

    It may not be: generators that each hold a block open interleave, and a block may end in
    another context than it began in, where it was never set. There its end is all that counts.
    """
    if _innermost() is scope:
        current_scope.set(scope.outer)


def _innermost() -> Scope | None:
    """Return the innermost scope of the context, also where a finalizer asks."""
    # Not `current_scope.get()`, which remembers what it finds. On Python 3.11 the collector may
    # come here while a `reset` is about to free just that.
    return copy_context().get(current_scope)


def reset(scope: Scope, token: Token[Scope | None]) -> None:
    """Take a scope out of the context that it was set in with this token."""
    try:
        current_scope.reset(token)
    except ValueError:
        # Closed by the collector, in another context than it began in.
        leave(scope)


def deadline() -> float | None:
    """Return the seconds left for the current call, or ``None`` where no deadline applies.

    The deadline is the earliest of all seawall timeouts around the running code. It is never
    negative: 0.0 says that the time is up. Child tasks inherit it until the call ends that set it.

    Raises:
        UsageError: no event loop is running.
    """
    loop = current_loop()
    when = earliest(_innermost(), loop)
    return None if when == inf else max(0.0, when - loop.time())
