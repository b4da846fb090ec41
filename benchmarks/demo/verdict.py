"""What was gained, and what it cost, in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.demo.measure import Figures


def sentence(alone: Figures, seawall: Figures) -> str:
    """Say how the two sides differ, the gains first and what it cost after them."""
    calls, answered = f"{seawall.calls:,}", f"{seawall.answered:,}"
    seconds, seconds_alone = (f"{side.blocked_in_vain:,.0f} s" for side in (seawall, alone))
    blocked, blocked_alone = (f"{side.most_blocked:,}" for side in (seawall, alone))
    clauses = [
        (
            seawall.answered - alone.answered,
            f"{answered} of {calls} calls were answered instead of {alone.answered:,}",
        ),
        (
            alone.most_blocked - seawall.most_blocked,
            f"at most {blocked} callers were blocked at once instead of {blocked_alone}",
        ),
        (
            alone.blocked_in_vain - seawall.blocked_in_vain,
            f"callers lost {seconds} waiting for nothing instead of {seconds_alone}",
        ),
    ]
    gains = [text for gain, text in clauses if gain > 0]
    losses = [text for gain, text in clauses if gain <= 0]
    if not gains:
        return f"Behind seawall nothing was gained: {_join(losses)}."
    cost = f", but {_join(losses)}" if losses else ""
    return f"Behind seawall {_join(gains)}{cost}."


def _join(texts: list[str]) -> str:
    *first, last = texts
    return f"{', '.join(first)}, and {last}" if first else last
