"""One attempt of a race, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from seawall.core.errors import RejectedError
from seawall.core.verdict import NEUTRAL, Kind, Verdict, leaves_of

if TYPE_CHECKING:
    from seawall.core.call import Call, Held
    from seawall.core.waiting import Waiter
    from seawall.policies.hedge.hedge import Hedge

T = TypeVar("T")

_SUCCESS, _FAILURE = Kind.SUCCESS, Kind.FAILURE


def is_good(verdict: Verdict) -> bool:
    """Say whether an answer is one that the caller asked for."""
    return verdict.kind is _SUCCESS and not verdict.retryable


class Runner(Generic[T]):
    """One attempt, and how it ended.

    Attributes:
        call: its own copy of the call.
        number: the number of its first try, among all of the call.
        cancelled: whether the race has cancelled it.
        value: what it returned.
        error: what it raised, unless the race had cancelled it.
        verdict: what its end meant.
        task: the task or the cancel scope that it runs in.
    """

    __slots__ = (
        "call",
        "cancelled",
        "error",
        "hedge",
        "number",
        "outer",
        "task",
        "value",
        "verdict",
    )

    def __init__(self, hedge: Hedge, call: Call[T], number: int) -> None:
        self.hedge = hedge
        self.call = call
        self.number = number
        self.cancelled = False
        self.value: T | None = None
        self.error: BaseException | None = None
        self.verdict = NEUTRAL
        self.task: Any = None
        # Circuits outside know of the first attempt only: they hear nothing of a hedge's waits.
        self.outer: Held | None = None

    def waits(self, waiter: Waiter) -> None:
        """Hear that this hedge would have to wait inside, and refuse that."""
        hedge = self.hedge
        waiter.refuse(RejectedError(policy=hedge, name=hedge.name, key=self.call.key))

    def goes_on(self, waiter: Waiter, now: float) -> None:
        """Hear that it has been refused."""

    def end(self) -> None:
        """Leave the tickets of its call, when nothing of it runs any more."""
        self.call.ticket = None

    @property
    def tries(self) -> int:
        """How often it has tried: a retry further inside may have done so several times."""
        return self.call.attempt - self.number + 1

    @property
    def was_refused(self) -> bool:
        """Whether it has ended without having reached the dependency."""
        error = self.error
        return error is not None and all(
            isinstance(leaf, RejectedError) for leaf in leaves_of(error)
        )

    @property
    def succeeded(self) -> bool:
        """Whether it has returned a good answer."""
        return self.error is None and is_good(self.verdict)

    @property
    def failed(self) -> bool:
        """Whether it ended by itself, and not well."""
        verdict = self.verdict
        return self.error is not None or verdict.kind is _FAILURE or verdict.retryable

    @property
    def last_word(self) -> Verdict:
        """The verdict on what it left open and nobody wants: its head may have been a failure."""
        return self.verdict if self.verdict.kind is _FAILURE else NEUTRAL

    @property
    def outcome(self) -> str:
        """How it ended, in a word, for the story of the call."""
        return "result" if self.error is None else type(self.error).__name__
