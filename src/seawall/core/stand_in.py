"""An answer of a policy in the place of a call that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seawall.core.errors import UsageError
from seawall.core.verdict import leaves_of

if TYPE_CHECKING:
    from seawall.core.call import Call


def can_stand_in(call: Call[Any], error: Exception) -> bool:
    """Say whether a policy may answer in the place of a call that raised this error.

    A ``UsageError`` is never answered for: what is written wrong would go unnoticed. Neither is a
    block whose body has not begun, because it cannot be skipped.
    """
    if call.is_block and not call.in_body:
        return False
    return not any(isinstance(leaf, UsageError) for leaf in leaves_of(error))


async def take_over(call: Call[Any], error: Exception | None, result: object = None) -> None:
    """Close what the failed attempt left open; from now on the answer is what is judged."""
    if call.open is not None:
        # Nobody else will close what it opened.
        verdict = call.judge_result(result) if error is None else call.judge_error(error)
        open_attempt, call.open = call.open, None
        await open_attempt.discard(verdict)
    call.forget_verdict()
    if call.is_block:
        call.unjudged = False
