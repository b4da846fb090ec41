"""A fused row of policies does what its policies do one by one."""

from __future__ import annotations

import asyncio
import gc
import inspect
import random
import sys
import weakref
from asyncio import iscoroutinefunction
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import pytest

from seawall import (
    Bulkhead,
    CircuitBreaker,
    CircuitOpenError,
    Classifier,
    Cusum,
    FailureRate,
    Keyed,
    Kind,
    Pipeline,
    Policy,
    RateLimiter,
    Retry,
    RetryBudget,
    Tally,
    Timeout,
    TripRule,
    Verdict,
    deadline,
)
from seawall.core.deadline import current_scope
from seawall.policies.fused import link_all
from tests.listening import Heard
from tests.virtual_time import VirtualLoop, run

ENDS = ["answers", "fails", "is wrong", "hangs", "is bad", "swallows", "asks", "quits"]
WAYS = ["execute", "block", "loop", "stream"]


def apart(kind: type[Policy]) -> Any:
    """Return a class that does the same, with a `run` of its own: it is never fused."""

    async def run(self: Any, call: Any, proceed: Any) -> Any:
        return await kind.run(self, call, proceed)

    return type(kind.__name__, (kind,), {"run": run})


def about(rng: random.Random, seconds: list[float]) -> float:
    """Choose a time that no other has: a loop may run timers of one time in any order."""
    return rng.choice(seconds) + rng.random() / 100


class Uneven(Timeout):
    """A timeout that gives some calls longer than others."""

    def seconds_for(self, call: Any) -> float:
        return self.seconds * 2 if call.is_block else self.seconds


class Linked(Timeout):
    """A timeout that is put around the rest of a pipeline in a way of its own."""

    def link(self, proceed: Any) -> Any:
        return super().link(proceed)


def throttles(outcome: Any) -> Verdict:
    """Let a bad result and a wrong look-up be a server that asks for less."""
    if outcome.value == "bad":
        return Verdict(Kind.NEUTRAL, retryable=True, throttled=True, retry_after=0.5)
    if isinstance(outcome.exception, LookupError):
        return Verdict(Kind.FAILURE, retryable=True, throttled=True)
    return Verdict(Kind.SUCCESS if outcome.exception is None else Kind.FAILURE)


class Watch(Policy):
    """Notes what a call is like before and after the rest of the pipeline."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def run(self, call: Any, proceed: Any) -> Any:
        self.note(call)
        try:
            return await proceed(call)
        finally:
            self.note(call)

    def note(self, call: Any) -> None:
        scopes, tickets = [], []
        scope, ticket = call.scope, call.ticket
        while scope is not None:
            scopes.append((scope.when, scope.ended))
            scope = scope.outer
        while ticket is not None:
            tickets.append((ticket.start, ticket.first, ticket.probe))
            ticket = ticket.outer
        self.seen.append((call.attempt, call.deadline, scopes, tickets))


def row(rng: random.Random, *, fused: bool) -> Pipeline:
    """Make a pipeline of some of the six policies, with settings at which much happens."""
    total, retry, keyed, limiter, breaker, bulkhead, timeout = (
        kind if fused else apart(kind)
        for kind in (
            rng.choice([Timeout, Uneven]),
            Retry,
            Keyed,
            RateLimiter,
            CircuitBreaker,
            Bulkhead,
            rng.choice([Timeout, Uneven]),
        )
    )
    budget = RetryBudget(0.2, capacity=2, floor=0.1)
    outside = [
        total(rng.choice([1.5, 4.0])),
        retry(
            rng.choice([2, 3]),
            backoff=rng.choice([0.0, 0.3, 1.2]),
            budget=rng.choice([None, budget]),
            on=rng.choice([None, OSError]),
        ),
    ]
    of_each_key = [
        limiter(rng.choice([None, None, 3.0]), max_pause=rng.choice([0.3, 60.0])),
        breaker(
            rng.choice([2, 3, 0.5]),
            open_for=rng.choice([0.3, 1.0, None]),
            count_retries=rng.random() < 0.3,
            ignore=rng.choice([(), LookupError]),
        ),
        bulkhead(rng.choice([1, 2, 5]), queue=rng.choice([0, 2])),
    ]
    last = [timeout(rng.choice([0.4, 1.0]))]
    outside, of_each_key, last = (
        [policy for policy in policies if rng.random() < 0.75]
        for policies in (outside, of_each_key, last)
    )
    if rng.random() < 0.3:
        one = Pipeline(*of_each_key)
        of_each_key = [keyed(lambda _: one, key=rng.choice([None, lambda *_: "key"]))]
    chosen = [*outside, *of_each_key, *last]
    # Something inside that waits, and is not fused.
    inside = [apart(Bulkhead)(2, queue=5)] if rng.random() < 0.4 else []
    judge = rng.choice([Classifier(results=lambda value: value == "bad"), throttles, throttles])
    if rng.random() < 0.5:
        # Nothing else, so a call may need no object.
        return Pipeline(*chosen)
    return Pipeline(Watch(), *chosen, Watch(), *inside, classify=rng.choice([None, judge, judge]))


class Script:
    """What a function does in each of its attempts."""

    def __init__(self, rng: random.Random) -> None:
        self.children: list[Any] = []
        self.steps = [
            (rng.choice(["answers", "answers", "fails", *ENDS]), about(rng, [0, 0.2, 0.6]))
            for _ in range(6)
        ]
        self.seen: list[Any] = []

    async def __call__(self) -> str:
        end, seconds = self.steps[min(len(self.seen), 5)]
        self.seen.append((end, asyncio.get_running_loop().time(), deadline()))
        self.children.append(asyncio.create_task(self.outlives()))
        if end == "swallows":
            try:
                await asyncio.sleep(3.0)
            except asyncio.CancelledError:
                return "late"
        if end == "hangs":
            await asyncio.sleep(9.0)
        if seconds:
            await asyncio.sleep(seconds)
        self.seen.append(deadline())
        match end:
            case "fails":
                raise OSError("made up")
            case "is wrong":
                raise LookupError("made up")
            case "asks":
                raise ExceptionGroup("several", [OSError("made up"), LookupError("made up")])
            case "quits":
                raise asyncio.CancelledError
        return "bad" if end == "is bad" else "answer"

    async def outlives(self) -> None:
        """Look at the deadline that a child task has inherited, also when its call is over."""
        for _ in range(3):
            self.seen.append(("child", deadline()))
            await asyncio.sleep(0.7)

    async def items(self) -> Any:
        yield await self()
        yield await self()


async def call(pipeline: Pipeline, way: str, script: Script) -> Any:
    match way:
        case "execute":
            return await pipeline.execute(script)
        case "block":
            async with pipeline as attempt:
                attempt.result = await script()
            return attempt.result
        case "loop":
            async for attempt in pipeline:
                async with attempt:
                    attempt.result = await script()
            return attempt.result
    return [item async for item in pipeline.stream(script.items)]


def described(error: BaseException | None) -> Any:
    """Return all that is seen of an exception."""
    if error is None:
        return None
    own = {name: value for name, value in vars(error).items() if name != "policy"}
    notes, causes = own.pop("__notes__", []), [error.__cause__, error.__context__]
    group = getattr(error, "exceptions", ())
    return (type(error), str(error), repr(own), notes, [*map(described, [*causes, *group])])


async def scenario(seed: int, *, fused: bool) -> list[Any]:
    """Run some calls at once, and return all that can be seen of them."""
    rng = random.Random(seed)
    # The jitter of a circuit.
    random.seed(seed)
    pipeline = row(rng, fused=fused)
    heard = Heard()
    if rng.random() < 0.5:
        pipeline.subscribe(heard)
    trace: list[Any] = []
    loop = asyncio.get_running_loop()
    bound = any(isinstance(policy, Keyed) for policy in pipeline.policies)

    async def one(number: int, way: str, start: float, script: Script) -> None:
        await asyncio.sleep(start)
        error, result = None, None
        try:
            result = await call(pipeline.bind(key="key") if bound else pipeline, way, script)
        except BaseException as raised:
            error = raised
        task: Any = asyncio.current_task()
        trace.append((number, loop.time(), result, described(error), script.seen))
        trace.append((pipeline.snapshot().as_dict(), task.cancelling(), current_scope.get()))

    tasks = [
        asyncio.create_task(one(number, rng.choice(WAYS), about(rng, [0, 0.1, 1, 2, 3, 5]), script))
        for number, script in enumerate(Script(rng) for _ in range(12))
    ]
    for task in tasks:
        if rng.random() < 0.25:
            loop.call_later(about(rng, [0.1, 0.6, 1.0, 1.4, 2.2]), task.cancel)
    await asyncio.wait(tasks)
    await asyncio.sleep(20.0)
    happened = [(type(event).__name__, asdict(event)) for event in heard]
    watched = [policy.seen for policy in pipeline.policies if isinstance(policy, Watch)]
    return [*trace, watched, pipeline.snapshot().as_dict(), happened]


@pytest.mark.parametrize("seeds", [range(n, n + 50) for n in range(0, 400, 50)], ids=lambda r: r[0])
def test_a_row_does_what_its_policies_do_one_by_one(seeds):
    """Results, errors, times, deadlines, events and counts are the same, whatever happens."""
    for seed in seeds:
        fused = run(scenario(seed, fused=True))
        one_by_one = run(scenario(seed, fused=False))
        assert fused == one_by_one, f"seed {seed}"


def test_the_scenarios_come_to_all_ends():
    """What is compared holds enough of everything to mean something."""
    kinds: Counter[str] = Counter()
    for seed in range(240):
        *trace, _, _, events = run(scenario(seed, fused=True))
        kinds.update(name for name, _ in events)
        kinds.update(str(entry[2]) for entry in trace if isinstance(entry[0], int))
        kinds.update(
            entry[3][0].__name__ for entry in trace if isinstance(entry[0], int) and entry[3]
        )
    expected = {
        "answer",
        "bad",
        "late",
        "OSError",
        "LookupError",
        "ExceptionGroup",
        "CancelledError",
        "CallTimeoutError",
        "CircuitOpenError",
        "BulkheadFullError",
        "RetryScheduled",
        "CircuitOpened",
        "CircuitClosed",
        "RateLimitedError",
        "RateLimiterPaused",
    }
    assert {kind for kind in expected if kinds[kind] < 5} == set()


def over_time(*, fused: bool) -> list[Any]:
    """Run thousands of quick calls on two loops, then let everything fail; return what is seen."""
    random.seed(1)
    rng = random.Random(2)
    breaker, bulkhead, timeout = (
        kind if fused else apart(kind) for kind in (CircuitBreaker, Bulkhead, Timeout)
    )
    pipeline = Pipeline(breaker(FailureRate(0.5, 10.0) | Cusum()), bulkhead(9), timeout(5.0))
    trace: list[Any] = []

    async def work(seconds: float, error: Exception | None) -> None:
        await asyncio.sleep(seconds)
        if error is not None:
            raise error

    async def calls(number: int, error: Exception | None) -> None:
        for _ in range(number):
            await asyncio.sleep(rng.choice([0.0, 0.05, 2.0]))
            with suppress(OSError, CircuitOpenError):
                await pipeline.execute(work, rng.choice([0.0, 0.02, 0.3]), error)
            trace.append(pipeline.snapshot().as_dict())

    async def side_by_side() -> None:
        await asyncio.gather(*(calls(200, None) for _ in range(4)))

    run(side_by_side(), start=1000.0)
    trace.append(pipeline.snapshot().as_dict())
    run(side_by_side(), start=50.0)
    trace.append(pipeline.snapshot().as_dict())
    run(calls(60, OSError("made up")), start=700.0)
    trace.append(pipeline.snapshot().as_dict())
    return trace


def test_a_row_learns_what_its_policies_learn_one_by_one():
    """Windows, silence and the pace of the traffic are the same after thousands of calls."""
    assert over_time(fused=True) == over_time(fused=False)


def both(scenario: Callable[[Callable[[type[Policy]], Any]], Any]) -> Any:
    """Return what a scenario comes to, which is the same with a row and one by one."""
    # The jitter of a circuit.
    random.seed(1)
    fused = scenario(lambda kind: kind)
    random.seed(1)
    assert fused == scenario(apart)
    return fused


def chain(error: BaseException | None) -> list[str]:
    """Return what a traceback shows of an error: itself, and what it came from."""
    shown = []
    while error is not None:
        shown.append(type(error).__name__)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return shown


def ends_of(pipeline: Pipeline, *functions: Any) -> list[Any]:
    """Make calls one after another; return what they come to, and what is held then."""
    seen: list[Any] = []

    async def main() -> None:
        for function in functions:
            try:
                seen.append(await pipeline.execute(function))
            except BaseException as error:
                seen.append(chain(error))
        seen.append(current_scope.get())

    run(main())
    return [*seen, pipeline.snapshot().as_dict()]


async def fails() -> None:
    raise OSError("made up")


async def hangs() -> None:
    await asyncio.sleep(99.0)


async def answers() -> str:
    return "answer"


def test_seconds_that_cannot_be_told():
    """Where a timeout cannot say its seconds, what is held outside of it is given back."""

    def scenario(kind: Callable[[type[Policy]], Any]) -> list[Any]:
        class Vague(kind(Timeout)):
            asked = 0

            def seconds_for(self, call: Any) -> float:
                self.asked += 1
                if self.asked % 2 == 0:
                    raise LookupError("made up")
                return 1.0

        policies = [kind(Timeout)(9.0), kind(CircuitBreaker)(9), kind(Bulkhead)(1), Vague(1.0)]
        retried = [kind(Retry)(2, backoff=0.0), kind(CircuitBreaker)(9), Vague(1.0)]
        return [ends_of(Pipeline(*each), *[answers] * 4) for each in (policies, retried)]

    alone, retried = both(scenario)
    assert alone[:4] == ["answer", ["LookupError"], "answer", ["LookupError"]]
    assert retried[:4] == ["answer"] * 4


def test_outside_of_any_task():
    """Where no task runs, a timeout cannot be entered, and nothing stays held."""

    def scenario(kind: Callable[[type[Policy]], Any]) -> Any:
        pipeline = Pipeline(kind(CircuitBreaker)(), kind(Bulkhead)(1), kind(Timeout)(1.0))

        async def main() -> None:
            await pipeline.execute(answers)
            done = asyncio.get_running_loop().create_future()

            def step() -> None:
                with suppress(AttributeError):
                    pipeline.execute(answers).send(None)
                done.set_result(None)

            asyncio.get_running_loop().call_soon(step)
            await done
            await pipeline.execute(answers)

        run(main())
        return pipeline.snapshot().as_dict()

    both(scenario)


def test_what_a_classifier_raises_shows_what_it_came_from():
    """An error of a classifier, or of a listener that quits, hides nothing of the first error."""

    def scenario(kind: Callable[[type[Policy]], Any]) -> Any:
        def confused(outcome: Any) -> Any:
            raise ArithmeticError("made up")

        def quits(event: Any) -> None:
            if type(event).__name__ in {"TimedOut", "CircuitOpened"}:
                raise SystemExit

        breaker, timeout = kind(CircuitBreaker), kind(Timeout)
        outside = [timeout(9.0), kind(Retry)()]
        pipelines = [
            Pipeline(*around, breaker(1), kind(Bulkhead)(1), timeout(1.0), classify=confused)
            for around in ([], outside)
        ]
        for policies in ([breaker(1), timeout(1.0)], [timeout(1.0), kind(Retry)(), breaker(1)]):
            pipelines.append(Pipeline(*policies))
            pipelines[-1].subscribe(quits)
        return [ends_of(pipeline, fails, hangs, answers) for pipeline in pipelines]

    ends = both(scenario)
    assert [end[0][-1] for end in ends] == ["OSError"] * 4
    assert [end[1][-1] for end in ends[:2]] == ["CancelledError"] * 2


class Faulty(TripRule):
    """A rule that raises what is retried."""

    def start(self) -> Tally:
        return FaultyTally()


class FaultyTally(Tally):
    def record(self, kind: Any, duration: float, now: float) -> bool:
        raise OSError("made up")

    def reset(self) -> None:
        """Nothing is counted."""


def test_what_a_rule_raises_is_retried_before_the_deadline_only():
    """Where a success raises because of a trip rule, the call still knows what time is left."""

    def scenario(kind: Callable[[type[Policy]], Any]) -> Any:
        retry, limiter = kind(Retry)(5, backoff=1.5), kind(RateLimiter)(None)
        pipeline = Pipeline(kind(Timeout)(2.0), retry, limiter, kind(CircuitBreaker)(Faulty()))

        async def slow() -> None:
            await asyncio.sleep(0.6)

        return ends_of(pipeline, slow, slow)

    assert both(scenario)[:2] == [["OSError"]] * 2


class Outcome(Exception):
    """What an attempt returns or raises."""


@pytest.mark.parametrize("end", ["returns", "raises"])
def test_only_the_last_outcome_is_kept(end):
    """While an attempt runs, of the ones before it only the last outcome is kept."""

    def scenario(kind: Callable[[type[Policy]], Any]) -> Any:
        retry = kind(Retry)(4, backoff=0.0, budget=None)
        policies = [kind(Timeout)(9.0), retry, kind(CircuitBreaker)(9), kind(Timeout)(1.0)]
        outcomes: list[Any] = []
        kept: list[list[bool]] = []

        async def work() -> Any:
            kept.append([outcome() is not None for outcome in outcomes])
            outcome = Outcome()
            outcomes.append(weakref.ref(outcome))
            if end == "returns":
                return outcome
            try:
                raise outcome
            finally:
                # This frame is on its traceback.
                del outcome

        ends_of(Pipeline(*policies, classify=Classifier(results=bool)), work)
        return [*kept, [outcome() is not None for outcome in outcomes]]

    gc.disable()
    try:
        *_, last, after = both(scenario)
    finally:
        gc.enable()
    assert last == [False, False, True]
    assert not any(after)


async def cleans_up() -> None:
    try:
        await hangs()
    finally:
        raise OSError("made up")


@pytest.mark.parametrize("later", ["runs", "is closed"])
def test_a_call_that_its_loop_has_left(later):
    """A call that is closed once its retry has moved to another loop raises its own error."""
    retry = Retry(3, backoff=0.0)
    pipeline = Pipeline(retry, CircuitBreaker(), Timeout(5.0))
    loop = VirtualLoop()
    call = pipeline.execute(cleans_up)
    task = loop.create_task(call)
    task._log_destroy_pending = False
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    def close() -> None:
        with pytest.raises(OSError, match="made up") as caught:
            call.close()
        assert chain(caught.value) == ["OSError", "GeneratorExit"]

    async def main() -> Any:
        await pipeline.execute(answers)
        if later == "runs":
            close()
        return asyncio.get_running_loop()

    last = run(main())
    if later == "is closed":
        close()
    assert retry._loop is last
    assert retry.snapshot().retries == 0


async def nothing(call: Any) -> None:
    """The rest of a pipeline."""


@pytest.mark.parametrize(
    "policies, steps",
    [
        ([Timeout(9), Retry(), CircuitBreaker(), Bulkhead(1), Timeout(1)], 1),
        ([Retry(), Timeout(1)], 1),
        ([Retry(), RateLimiter(None), CircuitBreaker(), Timeout(1)], 1),
        ([RateLimiter(9), CircuitBreaker()], 2),
        ([Bulkhead(1), CircuitBreaker()], 2),
        ([Timeout(9), Timeout(1)], 1),
        ([Timeout(9), Timeout(5), Timeout(1)], 2),
        ([Retry(), apart(CircuitBreaker)(), Timeout(1)], 3),
        ([Uneven(9.0), Retry(), Uneven(1.0)], 1),
        ([Retry(), Linked(1.0)], 2),
        ([], 0),
    ],
    ids=[
        "the advised five",
        "two of them",
        "a limiter that only obeys",
        "a limiter with a rate",
        "not in this order",
        "two timeouts",
        "three timeouts",
        "one of the user's own",
        "uneven timeouts",
        "one that is linked in a way of its own",
        "none",
    ],
)
def test_what_is_fused(policies, steps, monkeypatch):
    """Neighbours in the advised order are one step; a subclass is none of them."""
    made: list[Any] = []
    own = [policy for policy in policies if type(policy) not in {Timeout, Uneven}]
    monkeypatch.setattr(
        "seawall.policies.fused.row.FusedRow.__init__", lambda row, *_, **__: made.append(row)
    )
    for kind in {type(policy) for policy in own}:
        monkeypatch.setattr(kind, "link", lambda self, proceed: made.append(self) or proceed)
    link_all(policies, nothing)
    assert len(made) == steps


def test_execute_is_taken_for_an_async_function():
    """What is given ``execute`` to call knows that what it returns is to be awaited."""
    asks = inspect.iscoroutinefunction if sys.version_info >= (3, 12) else iscoroutinefunction
    assert asks(Timeout(1.0).execute)
    assert asks(Pipeline().execute)


def test_a_call_is_named_by_what_was_called():
    """A warning that a call was never awaited, or a task that runs one, says ``Policy.execute``."""
    pipeline = Pipeline.standard()
    names: list[Any] = []

    async def main() -> None:
        for target in (answers, answers, answers()):
            call = pipeline.execute(target)
            names.append((call.__name__, call.__qualname__))
            await call

    run(main())
    assert names == [("execute", "Policy.execute")] * 3


def test_a_call_begins_when_it_is_awaited():
    """A coroutine that is made and not awaited does nothing: nothing is refused, held or run."""

    def scenario(kind: Callable[[type[Policy]], Any]) -> Any:
        breaker = kind(CircuitBreaker)(1)
        pipeline = Pipeline(breaker, kind(Bulkhead)(1), kind(Timeout)(1.0))

        async def main() -> None:
            await pipeline.execute(answers)
            pipeline.execute(answers).close()
            waiting = pipeline.execute(answers)
            breaker.trip()
            refused = pipeline.execute(answers)
            with pytest.raises(CircuitOpenError):
                await waiting
            breaker.reset()
            await refused

        run(main())
        return pipeline.snapshot().as_dict()

    both(scenario)
