"""What an outcome means: one verdict per attempt, read by every policy."""
from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What a circuit counts."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


class Verdict(NamedTuple):
    """(interim)"""

    kind: Kind
    retryable: bool = False
    throttled: bool = False
    retry_after: float | None = None
    unprocessed: bool = False
