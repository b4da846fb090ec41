"""Another attempt beside one that takes too long."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

from seawall.core import lazy_events as events
from seawall.core.budget import RetryBudget
from seawall.core.checks import check_count, check_number, check_type
from seawall.core.clock import check_move
from seawall.core.observe import is_heard, tell
from seawall.core.policy import Policy
from seawall.core.snapshot import Snapshot
from seawall.policies.hedge.on_asyncio import RaceOnAsyncio
from seawall.policies.hedge.on_trio import RaceOnTrio
from seawall.policies.hedge.percentile import LearnedDelay, Percentile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from seawall.core.call import Call, Proceed
    from seawall.core.clock import Loop
    from seawall.policies.hedge.race import Race
    from seawall.policies.hedge.runner import Runner

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeSnapshot(Snapshot):
    """The state of a :class:`Hedge`.

    Attributes:
        delay: seconds until a hedge begins; ``None`` while a percentile is not known yet.
        in_flight: hedges that run now.
        hedges: hedges that were begun.
        won: how many of those gave the answer.
        gave_way: how many of those were refused by a policy inside, or would have had to wait.
        unpaid: hedges that were not begun because the budget was empty.
        not_repeatable: calls that could not be hedged: blocks, loops, one-shot awaitables, and what
            is not idempotent.
        budget_left: tokens left in the budget; ``None`` without one.
        budget_capacity: tokens that the budget holds at most; ``None`` without one.
    """

    delay: float | None
    in_flight: int
    hedges: int
    won: int
    gave_way: int
    unpaid: int
    not_repeatable: int
    budget_left: float | None
    budget_capacity: float | None


_OWN_BUDGET: Final[Any] = object()


class Hedge(Policy):
    """Begins a second attempt where the first one takes long; the first good answer wins.

    The other attempt is then cancelled, and has ended when the answer is returned. Both count for
    the policies inside. A first attempt that fails before the delay is not hedged: repeating is for
    a ``Retry`` outside. If one of two attempts fails the other may still win; if all fail, the
    error of the first one is raised as it is, or, where a policy inside refused that, of the first
    hedge that reached the dependency. An error that is an answer (a 404) ends the call at once.

    A hedge is made only where it does no harm. It costs a token of the budget. While the first
    attempt waits inside for a slot or a turn, no time passes for the delay; a hedge that is refused
    inside, or that would have to wait, is dropped, and costs nothing. What cannot run twice at a
    time is never hedged: a one-shot awaitable, a block, a loop, a call with ``idempotent=False``.
    ``snapshot()`` and the event ``HedgeNotMade`` say so.

    After "The Tail at Scale" (Dean and Barroso, CACM 56:2, 2013); the budget as in "Handling
    overload" (Site Reliability Engineering, 2016).

    Args:
        delay: seconds until the next attempt begins, or a :class:`~seawall.Percentile` of how long
            answers take.
        max_hedges: attempts beside the first one, at most; each begins a delay after the last.
        budget: what hedges are paid from; by default a ``RetryBudget()`` of its own, ``None`` for
            any number of hedges.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        delay: float | Percentile,
        *,
        max_hedges: int = 1,
        budget: RetryBudget | None = _OWN_BUDGET,
    ) -> None:
        if isinstance(delay, bool) or not isinstance(delay, int | float | Percentile):
            message = f"delay must be a number of seconds or a Percentile, not {delay!r}"
            raise TypeError(message)
        learned: LearnedDelay | None = None
        if isinstance(delay, Percentile):
            learned = LearnedDelay(delay)
            seconds = learned.delay
        else:
            check_number("delay", delay, at_least=0)
            seconds = delay
        check_count("max_hedges", max_hedges, at_least=1)
        if budget is not _OWN_BUDGET:
            check_type("budget", budget, RetryBudget, "a RetryBudget or None", optional=True)
        self.delay = delay
        self.max_hedges = max_hedges
        self.budget = RetryBudget() if budget is _OWN_BUDGET else budget
        self.learned = learned
        self.seconds = seconds
        self.hedges = self.won = self.gave_way = self.unpaid = self.not_repeatable = 0
        # Those of this loop; the set keeps their tasks alive.
        self.running: set[Runner[Any]] = set()
        self._loop: Loop | None = None

    def snapshot(self) -> HedgeSnapshot:
        """Return how often it has hedged, and what came of it; it changes nothing."""
        budget, loop = self.budget, self._loop
        left = None if budget is None else budget.tokens
        if budget is not None and loop is not None and not loop.is_closed():
            left = budget.left(loop, loop.time())
        return HedgeSnapshot(
            policy=type(self).__name__,
            name=self.name,
            delay=None if self.seconds == inf else self.seconds,
            in_flight=len(self.running),
            hedges=self.hedges,
            won=self.won,
            gave_way=self.gave_way,
            unpaid=self.unpaid,
            not_repeatable=self.not_repeatable,
            budget_left=left,
            budget_capacity=None if budget is None else budget.capacity,
        )

    def __repr__(self) -> str:
        more = "" if self.max_hedges == 1 else f", max_hedges={self.max_hedges!r}"
        return f"Hedge({self.delay!r}{more}, budget={self.budget!r})"

    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        """Run the rest of the pipeline, and again beside it if that takes long."""
        return await self._begin(call, proceed)

    def link(self, proceed: Proceed[T]) -> Proceed[T]:
        """Put the hedge around the rest of a pipeline."""
        if type(self).run is not Hedge.run:
            return super().link(proceed)
        begin = self._begin

        def step(call: Call[T]) -> Awaitable[T]:
            # Without a coroutine of its own, which each call would pay for.
            return begin(call, proceed)

        return step

    def _begin(self, call: Call[T], proceed: Proceed[T]) -> Awaitable[T]:
        if call.loop is not self._loop:
            self._move(call.loop)
        alone = call.alone()
        if alone is not None:
            self._say_alone(call, alone)
            return proceed(call)
        race: Race[T] = (RaceOnAsyncio if call.on_asyncio else RaceOnTrio)(self, call, proceed)
        return race.run()

    def _say_alone(self, call: Call[Any], reason: str) -> None:
        self.not_repeatable += 1
        if is_heard(self):
            tell(self, call, events.HedgeNotMade, reason=reason)

    def _move(self, loop: Loop) -> None:
        check_move(self, self._loop, loop)
        self.running = set()
        if self.budget is not None:
            self.budget.follow(loop, loop.time())
        self._loop = loop

    # What a race asks and tells.

    def may_begin(self, call: Call[Any]) -> bool:
        """Say whether a hedge may begin now, and pay for it."""
        # Further inside, the call may have turned out to be one that cannot be repeated.
        alone = call.alone()
        if alone is not None:
            self._say_alone(call, alone)
            return False
        if self.budget is not None and not self.budget.spend(call.now()):
            self.unpaid += 1
            if is_heard(self):
                tell(self, call, events.HedgeNotMade, reason="the budget was empty")
            return False
        self.hedges += 1
        return True

    def give_way(self, runner: Runner[Any]) -> None:
        """Count a hedge that was refused inside; it has added no load."""
        self.gave_way += 1
        if self.budget is not None:
            self.budget.refund()
        if is_heard(self):
            self._tell_ended(runner, "gave_way")

    def tell_started(self, runner: Runner[Any]) -> None:
        """Tell that a hedge begins."""
        if is_heard(self):
            tell(self, runner.call, events.HedgeStarted, delay=self.seconds)

    def end(self, runners: Iterable[Runner[Any]], winner: Runner[Any] | None) -> None:
        """Count what came of the hedges of a call, and tell it."""
        for runner in runners:
            if runner is winner:
                self.won += 1
            if is_heard(self) and not runner.was_refused:
                behind = "failed" if runner.failed else "lost"
                self._tell_ended(runner, "won" if runner is winner else behind)

    def _tell_ended(self, runner: Runner[Any], outcome: str) -> None:
        name = None if runner.error is None else type(runner.error).__name__
        tell(self, runner.call, events.HedgeEnded, outcome=outcome, error=name)
