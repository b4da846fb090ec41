"""What the end of a response's body says of the dependency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from seawall.core.call import is_cancellation
from seawall.core.deadline import any_fired, current_scope
from seawall.core.verdict import NEUTRAL, Kind, Verdict, is_timeout

if TYPE_CHECKING:
    from seawall.core.clock import Loop

_FAILURE: Final = Verdict(Kind.FAILURE)
_TIMED_OUT: Final = Verdict(Kind.FAILURE, timed_out=True)


def verdict_on_end(
    head: Verdict, error: BaseException | None, loop: Loop, *, empty: bool
) -> Verdict:
    """Return the verdict on a body that ended before its end.

    Args:
        head: the verdict on the head of the response; one that is no SUCCESS stays.
        error: what a read has raised; ``None`` where the caller wanted no more.
        loop: the loop of the call.
        empty: whether the head says that no body follows.
    """
    if head.kind is not Kind.SUCCESS:
        return head
    if error is None:
        return head if empty else NEUTRAL
    if isinstance(error, Exception):
        return _TIMED_OUT if is_timeout(error) else _FAILURE
    # An enclosing timeout of ours fired while the dependency had the turn.
    hung = is_cancellation(error) and any_fired(current_scope.get(), loop)
    return _TIMED_OUT if hung else NEUTRAL
