"""What it took to get a response, as the caller can read it."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence


Tried: TypeAlias = "tuple[float, float, int | str]"
"""One attempt: when it began and ended (loop time), and its status or the name of its error."""


class Report(NamedTuple):
    """What it took to get a response: ``response.extensions["seawall"]``.

    No URL, header or argument of the request is in it.

    Attributes:
        attempts: how often it was tried to send the request.
        waited: seconds in which no attempt ran: in queues, in pauses, between two attempts.
        outcomes: how each attempt ended: ``"200"``, the status of its response, or
            ``"ReadError"``, the name of its error.
        not_retried: why nothing further was tried though the response might get better; ``None``
            where that is not so.
    """

    attempts: int
    waited: float
    outcomes: tuple[str, ...]
    not_retried: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, in values that ``json.dumps`` takes."""
        return {"type": "Report", **self._asdict(), "outcomes": list(self.outcomes)}


def report(started: float, tried: Sequence[Tried], not_retried: str | None) -> Report:
    """Return the report on a call.

    Args:
        started: loop time at which the call began.
        tried: its attempts, in the order in which they ended.
        not_retried: why nothing further was tried.
    """
    if len(tried) == 1:
        ((began, _, outcome),) = tried
        fields = (1, began - started, (str(outcome),), not_retried)
        # What a named tuple's own `__new__` does, without a call of Python more.
        return tuple.__new__(Report, fields)  # pyright: ignore[reportUnknownMemberType]
    waited, free = 0.0, started
    # Of hedged attempts, some run at the same time.
    for began, ended, _ in sorted(tried, key=itemgetter(0)):
        waited += max(0.0, began - free)
        free = max(free, ended)
    outcomes = tuple([str(outcome) for _, _, outcome in tried])
    return Report(len(tried), waited, outcomes, not_retried)
