"""One run: callers, the real policies, a dependency, and what became of each call.

Traffic and dependency draw from the same seeds whatever the policies are, so two policies with one
seed meet the same callers. The jitter of the library is seeded too: a run is the same each time.
"""

from __future__ import annotations

import logging
import random as chance
from array import array
from asyncio import Future, get_running_loop
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from seawall import CallTimeoutError, CircuitBreaker, Pipeline, Policy, RejectedError, State
from tests.effectiveness.loop import run
from tests.effectiveness.traffic import Arrivals, Behavior, Dependency, DependencyError

SERVED, FAILED, REFUSED, ENDED = "served", "failed", "refused", "ended"


class Record:
    """What became of one call."""

    __slots__ = ("arrival", "end", "outcome")

    def __init__(self, arrival: float) -> None:
        self.arrival = arrival
        self.end = arrival
        self.outcome = ""


class Run:
    """What happened in one run.

    Attributes:
        calls: one record for each call, the first to arrive first.
        skipped: when calls came that were left out, for they would have been refused.
        sent: the times of all attempts that reached the dependency.
        abandoned: attempts that were ended before they were answered.
        states: the states of the breaker, each with the time when it was first seen.
        peak: the most callers that waited at one time.
        policy: the policies under test.
        dependency: what they protect.
    """

    def __init__(self, policy: Policy, breaker: CircuitBreaker | None, dependency: Any) -> None:
        self.calls: list[Record] = []
        self.skipped = array("d")
        self.states: list[tuple[float, State]] = [(0.0, State.CLOSED)]
        self.peak = 0
        self.sent = dependency.sent
        self._blocked = 0
        self.policy = policy
        self.dependency = dependency
        self._breaker = breaker

    @property
    def abandoned(self) -> int:
        return self.dependency.abandoned

    @property
    def trips(self) -> int:
        """How often the circuit opened from closed."""
        pairs = zip(self.states, self.states[1:], strict=False)
        return sum(old is State.CLOSED and new is State.OPEN for (_, old), (_, new) in pairs)

    def count(self, outcome: str, start: float = 0.0) -> int:
        """How many of the calls that arrived from ``start`` on ended so."""
        skipped = len(self.skipped) - bisect_left(self.skipped, start) if outcome == REFUSED else 0
        return sum(call.outcome == outcome for call in self.since(start)) + skipped

    def since(self, start: float) -> Sequence[Record]:
        """The calls that arrived from ``start`` on, without those left out."""
        return self.calls[bisect_left(self.calls, start, key=lambda call: call.arrival) :]

    def arrived(self, start: float, end: float) -> int:
        """How many calls arrived in this time."""
        assert not self.skipped
        return len(self.since(start)) - len(self.since(end))

    def attempts(self, start: float, end: float) -> int:
        """How many attempts reached the dependency in this time."""
        return bisect_left(self.sent, end) - bisect_left(self.sent, start)

    def recovery(self, end_of_fault: float) -> float:
        """Seconds from the end of a fault until an answer after which every new call is served."""
        assert not self.skipped
        after = self.since(end_of_fault)
        bad = [call.arrival for call in after if call.outcome != SERVED]
        healthy = after if not bad else [call for call in after if call.arrival > bad[-1]]
        assert healthy, "it has not recovered before the run ended"
        return min(call.end for call in healthy) - end_of_fault

    async def one_call(self, execute: Callable[..., Any], record: Record) -> None:
        self._blocked += 1
        self.peak = max(self.peak, self._blocked)
        try:
            await execute(self.dependency)
        except RejectedError:
            record.outcome = REFUSED
        except CallTimeoutError:
            record.outcome = ENDED
        except DependencyError:
            record.outcome = FAILED
        else:
            record.outcome = SERVED
        record.end = get_running_loop().time()
        self._blocked -= 1
        self.watch()

    def watch(self) -> None:
        """Note the state, if it is another one. Each open time is long enough to be seen."""
        if self._breaker is not None:
            state = self._breaker.state
            if state is not self.states[-1][1]:
                self.states.append((get_running_loop().time(), state))


def simulate(
    make: Callable[[], Policy],
    arrivals: Arrivals,
    behavior: Behavior,
    *,
    seed: int,
    skip_refusals: bool = False,
    turns: int = 0,
) -> Run:
    """Run all calls to their end.

    Args:
        make: makes the policies under test.
        arrivals: when the calls come.
        behavior: what the dependency does.
        seed: of everything that is random.
        skip_refusals: leave out the calls that would be refused by an open circuit. They change
            nothing (a test shows it), and in a long outage they are nearly all.
        turns: how often the loop turns between an answer and the caller who reads it.
    """

    def serve(random: Random) -> Dependency:
        return Dependency(behavior, random, turns)

    return simulate_server(make, arrivals, serve, seed=seed, skip_refusals=skip_refusals)


def simulate_server(
    make: Callable[[], Policy],
    arrivals: Arrivals,
    serve: Callable[[Random], Any],
    *,
    seed: int,
    skip_refusals: bool = False,
) -> Run:
    """Run all calls to their end, as :func:`simulate`, against what ``serve(random)`` returns."""
    chance.seed(seed)
    policy = make()
    policies = policy.policies if isinstance(policy, Pipeline) else (policy,)
    breaker = next((each for each in policies if isinstance(each, CircuitBreaker)), None)
    this = Run(policy, breaker, serve(Random(f"dependency {seed}")))

    async def main() -> None:
        times = arrivals(Random(f"traffic {seed}"))
        await _Callers(this, policy, times, breaker if skip_refusals else None).done

    logger = logging.getLogger("seawall")
    disabled, logger.disabled = logger.disabled, True
    try:
        run(main())
    finally:
        logger.disabled = disabled
    return this


class _Callers:
    def __init__(
        self, this: Run, policy: Policy, times: Iterator[float], skips: CircuitBreaker | None
    ) -> None:
        self._loop = get_running_loop()
        self._run = this
        self._policy = policy
        self._times = times
        self._skips = skips
        self._running: set[Any] = set()
        self._over = False
        self.done: Future[None] = self._loop.create_future()
        self._await_next()

    def _await_next(self) -> None:
        # Looks at the circuit only: a rule without timers cannot change before the next call.
        refused_until = self._refused_until()
        when = next(self._times, None)
        while when is not None and when < refused_until:
            self._run.skipped.append(when)
            when = next(self._times, None)
        if when is None:
            self._over = True
            self._end(None)
        else:
            self._loop.call_at(when, self._arrive)

    def _refused_until(self) -> float:
        skips = self._skips
        if skips is None or skips.state is not State.OPEN:
            return 0.0
        return self._loop.time() + (skips._circuit.retry_after(self._loop.time()) or 0.0)

    def _arrive(self) -> None:
        record = Record(self._loop.time())
        self._run.calls.append(record)
        task = self._loop.create_task(self._run.one_call(self._policy.execute, record))
        self._running.add(task)
        task.add_done_callback(self._end)
        self._await_next()

    def _end(self, task: Any) -> None:
        self._running.discard(task)
        if task is not None and task.exception() is not None and not self.done.done():
            self.done.set_exception(task.exception())
        if self._over and not self._running and not self.done.done():
            self.done.set_result(None)
