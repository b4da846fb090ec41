"""The attempts of one call that run side by side.

The rules:

1. The first attempt runs in the task of the caller, on the caller's own ``Call``. Only when the
   delay has passed does another one begin, in a task of its own, on a copy of the ``Call`` as it
   came in. A call that is answered in time costs one timer.
2. The first good answer wins. The others are cancelled, once each, and the race is over only when
   all of them have ended. What they raise or return then is dropped, and what they opened is
   closed.
3. An error of the first attempt that says nothing about the dependency's health (it answered, or
   the code is wrong) ends the race too; one of a hedge does only if the dependency answered. Any
   other failure waits for the attempts that still run. If all fail, the outcome is the first one's,
   or, if that was refused inside, that of the first hedge which reached the dependency.
4. What is no ``Exception`` (a cancellation that is not ours, ``KeyboardInterrupt``) ends the race,
   whoever raises it, and outranks every answer.
5. While the first attempt waits for a slot or a turn inside, no time passes for the delay. A hedge
   never waits there: it gives way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from seawall.core.call import is_cancellation
from seawall.core.story import record_attempt
from seawall.core.verdict import Kind
from seawall.policies.hedge.runner import Runner, is_good

if TYPE_CHECKING:
    from seawall.core.call import Call, Proceed
    from seawall.core.waiting import Waiter
    from seawall.policies.hedge.hedge import Hedge

T = TypeVar("T")

_FAILURE = Kind.FAILURE


class Race(ABC, Generic[T]):
    """One call, with all its attempts; how they run is for each kind of event loop to say.

    It stands among the tickets of the call, to hear when the first attempt waits.

    Attributes:
        hedge: the policy.
        call: the caller's call, on which the first attempt runs.
        proceed: the rest of the pipeline.
        delay: seconds until a hedge begins.
        first: the first attempt.
        hedges: those that began beside it.
        winner: the attempt that decided the race.
        over: whether the call was closed meanwhile: nobody will ask for an answer.
        interruption: what outranks every answer.
    """

    __slots__ = (
        "_came_in",
        "_waiting",
        "call",
        "delay",
        "first",
        "hedge",
        "hedges",
        "interruption",
        "outer",
        "over",
        "proceed",
        "running",
        "started",
        "winner",
    )

    def __init__(self, hedge: Hedge, call: Call[T], proceed: Proceed[T]) -> None:
        self.hedge = hedge
        self.call = call
        self.proceed = proceed
        self.delay = hedge.seconds
        self.hedges: list[Runner[T]] = []
        self.first: Runner[T] | None = None
        self.winner: Runner[T] | None = None
        self.interruption: BaseException | None = None
        self.over = False
        self.running = hedge.running
        self.outer = call.ticket
        self.started = 0.0 if hedge.learned is None else call.loop.time()
        self._waiting = 0
        # What policies further inside change on the call while they run.
        self._came_in = (call.attempt, call.deadline, call.scope, call.key, call.tags)

    # What the tickets of a call hear.

    def waits(self, waiter: Waiter) -> None:  # noqa: ARG002
        """Hear that the first attempt waits inside: a limit says that it is enough."""
        self._waiting += 1
        self.disarm()

    def goes_on(self, waiter: Waiter, now: float) -> None:  # noqa: ARG002
        """Hear that the first attempt goes on: only now does its time begin."""
        self._waiting -= 1
        if self._waiting == 0:
            self.started = now
            self.arm()

    # What each kind of loop does in its own way.

    @abstractmethod
    async def run(self) -> T:
        """Run the first attempt, and others beside it if it takes too long."""

    @abstractmethod
    def arm(self) -> None:
        """See to it that a hedge is tried when the delay has passed."""

    @abstractmethod
    def disarm(self) -> None:
        """Undo :meth:`arm`."""

    @abstractmethod
    def cancel_first(self) -> None:
        """Cancel the first attempt, if it still runs and nobody else has."""

    @abstractmethod
    def cancel(self, runner: Runner[T]) -> None:
        """Cancel a hedge, if it still runs."""

    # How a hedge begins.

    @property
    def may_have_more(self) -> bool:
        """Whether another attempt may begin when it is due."""
        more = len(self.hedges) < self.hedge.max_hedges
        # The first attempt may go on for a while when the race is over.
        return more and self.winner is None and self.interruption is None

    def make_hedge(self) -> Runner[T] | None:
        """Return another attempt, if there may be one now."""
        call = self.call
        if call.remaining() <= 0 or not self.hedge.may_begin(call):
            return None
        twin = copy(call)
        tries = call.attempt + sum(runner.tries for runner in self.hedges)
        _, twin.deadline, twin.scope, twin.key, twin.tags = self._came_in
        twin.attempt = tries + 1
        twin.open = twin.story = None
        twin.forget_verdict()
        runner = Runner(self.hedge, twin, twin.attempt)
        twin.ticket = runner
        self.hedge.tell_started(runner)
        self.hedges.append(runner)
        self.running.add(runner)
        return runner

    # How attempts end.

    def leave(self) -> None:
        """Leave the tickets of the call: the first attempt has ended, however it did."""
        self.call.ticket = self.outer
        self.disarm()

    def make_first(self) -> Runner[T]:
        """Return the first attempt, once it has ended, as one among the others."""
        self.first = Runner(self.hedge, self.call, self._came_in[0])
        return self.first

    @property
    def is_alone(self) -> bool:
        """Whether nothing has happened beside the first attempt."""
        return not self.hedges and self.interruption is None

    def learn(self, *, good: bool) -> None:
        """Take in how the first attempt ended, and how long it took."""
        hedge, budget = self.hedge, self.hedge.budget
        may_earn = good and self._came_in[0] == 1
        if may_earn and budget is not None and budget.tokens < budget.capacity:
            budget.earn()
        if hedge.learned is not None:
            hedge.learned.learn(self.call.loop.time() - self.started, answered=good)
            self.hedge.seconds = hedge.learned.delay

    def returned(self, runner: Runner[T], value: T) -> None:
        """Hear what an attempt returned."""
        runner.value = value
        if self.winner is not None or self.interruption is not None:
            return
        try:
            runner.verdict = runner.call.judge_result(value)
        except Exception as raised:
            # Of a classifier; it propagates like an error of the function.
            runner.error = raised
        if self._is_answer(runner):
            self.decide(runner)

    def raised(self, runner: Runner[T], error: BaseException) -> None:
        """Hear what an attempt raised."""
        if runner.cancelled and (isinstance(error, Exception) or is_cancellation(error)):
            return
        runner.error = error
        if not isinstance(error, Exception):
            self.interrupt(error)
            return
        if runner.was_refused:
            if runner is not self.first:
                self._give_way(runner)
            return
        try:
            runner.verdict = runner.call.judge_error(error)
        except Exception as raised:
            runner.error = raised
        if self._is_answer(runner):
            self.decide(runner)

    def _give_way(self, runner: Runner[T]) -> None:
        try:
            self.hedge.give_way(runner)
        except BaseException as error:
            # Of a listener.
            self.interrupt(error)

    def interrupt(self, error: BaseException) -> None:
        """End the race with an exception that outranks every answer."""
        last = self.interruption
        if last is None or (is_cancellation(last) and not is_cancellation(error)):
            self.interruption = error
        self._stop_all(None)

    def _is_answer(self, runner: Runner[T]) -> bool:
        verdict = runner.verdict
        if runner is self.first:
            return verdict.kind is not _FAILURE and not verdict.retryable
        return is_good(verdict)

    def decide(self, winner: Runner[T]) -> None:
        """End the race with the outcome of this attempt, if it is not over."""
        if self.winner is None and self.interruption is None:
            self.winner = winner
            self._stop_all(winner)

    def _stop_all(self, winner: Runner[T] | None) -> None:
        self.disarm()
        if self.first is None:
            self.cancel_first()
        for runner in self.hedges:
            if runner is not winner:
                self.cancel(runner)

    # How the race ends.

    async def conclude(self) -> T:
        """Return or raise the outcome, when all attempts have ended."""
        first = cast("Runner[T]", self.first)
        chosen = None if self.interruption is not None else self.winner or self._least_bad(first)
        error: BaseException | None = None
        context: BaseException | None = None
        try:
            try:
                self.tell_end()
            finally:
                await self.drop_all_but(chosen)
            if self.hedges and chosen is not None and chosen is not self.winner:
                self._record()
            error = self.interruption if chosen is None else chosen.error
            if error is None:
                return cast("T", cast("Runner[T]", chosen).value)
            context = error.__context__
            raise error
        finally:
            if error is not None:
                # Raised out here, it would take on what the caller is handling.
                object.__setattr__(error, "__context__", context)
            self.forget()
            # On the traceback of what is raised is this frame.
            del first, chosen, error, context

    def tell_end(self) -> None:
        """Count the tries of the hedges as the call's, and tell what came of them."""
        self.call.attempt += sum(runner.tries for runner in self.hedges)
        self.hedge.end(self.hedges, self.winner)

    async def drop_all_but(self, chosen: Runner[T] | None) -> None:
        """Close what the attempts left open, but leave open for the caller what the chosen did."""
        call = self.call
        left_open = [
            (runner.call.open, runner.last_word)
            for runner in (self.first, *self.hedges)
            if runner is not None and runner is not chosen and runner.call.open is not None
        ]
        if chosen is None:
            call.open = None
        elif chosen is not self.first:
            call.adopt(chosen.call)
        try:
            for opened, verdict in left_open:
                await opened.discard(verdict)
        finally:
            # Whatever happens while one of them is closed.
            for opened, verdict in left_open:
                opened.end(verdict)

    def _least_bad(self, first: Runner[T]) -> Runner[T]:
        """Return the outcome where no attempt won: the first that reached the dependency."""
        for runner in (first, *self.hedges):
            if not runner.was_refused:
                return runner
        return first

    def _record(self) -> None:
        """Tell in the story of the call what became of its hedges."""
        call = self.call
        record_attempt(call, cast("Runner[T]", self.first).outcome)
        if call.story is not None:
            call.story[-1] += f" (hedged: {', '.join(hedge.outcome for hedge in self.hedges)})"

    def forget(self) -> None:
        """Let go of the outcomes: the traceback of each error leads back to this race."""
        for runner in (self.first, *self.hedges):
            if runner is not None:
                runner.error = runner.value = None
        for hedge in self.hedges:
            hedge.call.forget_verdict()
        self.interruption = None
