"""Hedging: when another attempt begins, which answer counts, and what becomes of the rest."""

from __future__ import annotations

import asyncio
import sys
from contextvars import ContextVar

import anyio
import pytest

import seawall
from seawall import (
    Bulkhead,
    BulkheadFullError,
    Call,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Classifier,
    Hedge,
    Keyed,
    Kind,
    Percentile,
    Pipeline,
    Policy,
    RateLimiter,
    RejectedError,
    Retry,
    RetryBudget,
    Timeout,
    Verdict,
)
from seawall.core.open_attempt import OpenAttempt
from seawall.core.waiting import Waiter
from seawall.events import CallFinished, HedgeEnded
from tests.doubles import Held, Witness, company, turns, virtual
from tests.listening import Heard
from tests.virtual_time import VirtualLoop, run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


class Attempts:
    """An async function whose attempts take these seconds, and then end like this.

    Attributes:
        times: when each of them began, in seconds after the first.
        inside: how many have not ended.
        cancelled: those that were cancelled, by number.
    """

    def __init__(self, *plan):
        self.plan = plan
        self.times = []
        self.inside = 0
        self.cancelled = []

    @property
    def begun(self):
        return len(self.times)

    @property
    def after(self):
        return [round(time - self.times[0], 6) for time in self.times]

    async def __call__(self, *args):
        number = len(self.times)
        self.times.append(anyio.current_time())
        seconds, outcome = self.plan[min(number, len(self.plan) - 1)]
        self.inside += 1
        try:
            await anyio.sleep(seconds)
        except BaseException:
            self.cancelled.append(number)
            raise
        finally:
            self.inside -= 1
        if isinstance(outcome, type) and issubclass(outcome, BaseException):
            raise outcome
        return outcome


def counts(hedge):
    snapshot = hedge.snapshot()
    return snapshot.hedges, snapshot.won, snapshot.gave_way, snapshot.unpaid


# When another attempt begins, and which one wins.


async def test_an_answer_in_time_is_not_hedged():
    """Within the delay there is one attempt, whatever it comes to."""
    hedge = Hedge(1.0)
    for outcome in ("fine", OSError):
        work = Attempts((0.9, outcome))
        try:
            assert await hedge.execute(work) == "fine"
        except OSError:
            pass
        assert work.begun == 1
    assert counts(hedge) == (0, 0, 0, 0)


async def test_the_hedge_wins():
    """After the delay a second attempt begins; its answer counts, and the first one is ended."""
    work = Attempts((60.0, "first"), (0.5, "second"))
    hedge = Hedge(1.0)
    began = anyio.current_time()
    assert await hedge.execute(work) == "second"
    assert anyio.current_time() - began == pytest.approx(1.5)
    assert work.after == [0.0, 1.0]
    assert (work.cancelled, work.inside) == ([0], 0)
    assert counts(hedge) == (1, 1, 0, 0)


async def test_the_first_attempt_wins():
    """An answer of the first attempt counts also when a hedge has begun, which is ended."""
    work = Attempts((1.2, "first"), (60.0, "second"))
    hedge = Hedge(1.0)
    assert await hedge.execute(work) == "first"
    assert (work.cancelled, work.inside) == ([1], 0)
    assert counts(hedge) == (1, 0, 0, 0)


async def test_several_hedges():
    """Each begins a delay after the last, up to the number given."""
    work = Attempts((60.0, 0), (60.0, 1), (60.0, 2), (0.5, 3))
    assert await Hedge(1.0, max_hedges=3).execute(work) == 3
    assert work.after == [0.0, 1.0, 2.0, 3.0]
    assert sorted(work.cancelled) == [0, 1, 2]


async def test_a_failure_in_time_is_the_outcome():
    """What fails before the delay is for a Retry outside, and a failure later starts no hedge."""
    work = Attempts((0.5, OSError), (0.1, "second"))
    with pytest.raises(OSError):
        await Hedge(1.0).execute(work)
    assert work.begun == 1
    work = Attempts((1.5, OSError), (3.0, "second"), (0.1, "third"))
    assert await Hedge(1.0, max_hedges=2).execute(work) == "second"
    assert work.begun == 2


async def test_the_other_one_may_still_win():
    """If one of two attempts fails, whichever it is, the answer of the other one counts."""
    work = Attempts((1.2, OSError), (2.0, "second"))
    assert await Hedge(1.0).execute(work) == "second"
    work = Attempts((4.0, "first"), (0.1, OSError))
    assert await Hedge(1.0).execute(work) == "first"
    assert work.cancelled == []


@pytest.mark.parametrize("plan", [(1.2, 2.0), (4.0, 0.1)], ids=["first fails first", "hedge does"])
async def test_if_all_fail_the_first_error_is_raised(plan):
    """It is the very error of the first attempt, in no group, with the context it had."""
    cause = KeyError("cause")

    async def function():
        nonlocal number
        number += 1
        mine = number
        await anyio.sleep(plan[mine - 1])
        try:
            raise cause
        except KeyError:
            raise OSError(mine) from None

    number = 0
    with pytest.raises(OSError) as caught:
        try:
            raise ValueError("handled by the caller")
        except ValueError:
            await Hedge(1.0).execute(function)
    assert caught.value.args == (1,)
    assert isinstance(caught.value.__context__, KeyError)


async def test_an_answer_that_is_an_error_ends_the_call():
    """A 404 is an answer, also of a hedge; a programming error is one of the first attempt only."""

    class NotFound(Exception):
        status_code = 404

    work = Attempts((60.0, "first"), (0.1, NotFound))
    with pytest.raises(NotFound):
        await Hedge(1.0).execute(work)
    work = Attempts((1.1, NotFound), (60.0, "second"))
    with pytest.raises(NotFound):
        await Hedge(1.0).execute(work)
    work = Attempts((1.1, TypeError), (60.0, "second"))
    with pytest.raises(TypeError):
        await Hedge(1.0).execute(work)
    assert work.cancelled == [1]
    work = Attempts((3.0, "first"), (0.1, TypeError))
    assert await Hedge(1.0).execute(work) == "first"


async def test_a_result_that_is_a_failure_does_not_win():
    """A failed result waits for the other attempt; if all fail, the first one is returned."""
    pipeline = Pipeline(
        Hedge(1.0), classify=Classifier(results=lambda value: value.startswith("bad"))
    )
    assert await pipeline.execute(Attempts((1.2, "bad 1"), (1.0, "good"))) == "good"
    assert await pipeline.execute(Attempts((1.2, "bad 1"), (1.0, "bad 2"))) == "bad 1"
    assert await pipeline.execute(Attempts((3.0, "bad 1"), (1.0, "bad 2"))) == "bad 1"
    assert await pipeline.execute(Attempts((3.0, "bad 1"), (1.0, OSError))) == "bad 1"
    with pytest.raises(OSError):
        await pipeline.execute(Attempts((3.0, OSError), (1.0, "bad 2")))


@pytest.mark.parametrize("who", [0, 1], ids=["the first", "the hedge"])
async def test_a_classifier_that_raises(who):
    """What it raises propagates like an error of that attempt, and nothing stays behind."""

    def classify(outcome):
        if outcome.value == "strange":
            raise LookupError("made up")
        return Verdict(Kind.SUCCESS)

    plan = [(1.5, "strange"), (60.0, "fine")] if who == 0 else [(3.0, "fine"), (0.1, "strange")]
    work = Attempts(*plan)
    hedge = Hedge(1.0)
    call = Pipeline(hedge, classify=classify).execute(work)
    if who == 0:
        with pytest.raises(LookupError):
            await call
    else:
        # It is no answer, so the other one may still win.
        assert await call == "fine"
    assert (work.inside, hedge.snapshot().in_flight) == (0, 0)


# What the rest of the pipeline sees.


async def test_each_attempt_has_its_own_verdict():
    """Policies inside judge each attempt, and those outside the one that counts, by its number."""
    outside, inside = Witness(), Witness()
    pipeline = Pipeline(outside, Hedge(1.0), inside)
    assert await pipeline.execute(Attempts((1.5, OSError), (2.0, "second"))) == "second"
    assert [verdict.kind for verdict in inside.verdicts] == [Kind.FAILURE, Kind.SUCCESS]
    assert inside.attempts == [1, 2]
    assert outside.verdict.kind is Kind.SUCCESS
    inside.verdicts.clear()
    outside.verdicts.clear()
    assert await pipeline.execute(Attempts((60.0, "first"), (1.0, "second"))) == "second"
    assert [verdict.kind for verdict in inside.verdicts] == [Kind.SUCCESS, Kind.NEUTRAL]


async def test_an_error_is_judged_once():
    """A classifier is asked once for each attempt, however many policies ask."""
    asked = []

    def classify(outcome):
        asked.append(outcome.exception)
        return Verdict(Kind.FAILURE)

    pipeline = Pipeline(
        Witness(), Retry(1), Hedge(1.0), Witness(), CircuitBreaker(), classify=classify
    )
    with pytest.raises(OSError):
        await pipeline.execute(Attempts((1.5, OSError), (2.0, OSError)))
    assert len(asked) == len(set(map(id, asked))) == 2


async def test_a_hedge_is_no_evidence_for_a_circuit():
    """It is not a first attempt; the first attempt that it beats is neutral."""
    breaker = CircuitBreaker(2)
    pipeline = Pipeline(Hedge(1.0, budget=None), breaker)
    for _ in range(3):
        work = Attempts((3.0, "first"), (0.5, OSError))
        assert await pipeline.execute(work) == "first"
    assert breaker.snapshot().state.value == "closed"
    assert await pipeline.execute(Attempts((3.0, "first"), (0.5, "second"))) == "second"
    snapshot = breaker.snapshot()
    assert (snapshot.successes, snapshot.failures, snapshot.neutral) == (4, 3, 1)
    assert snapshot.in_flight == 0


async def test_attempts_are_counted_over_the_whole_call():
    """A Retry outside goes on counting after the hedges, and tells their story in its note."""
    seen = Witness()
    pipeline = Pipeline(Retry(2, backoff=1.0, budget=None), Hedge(1.0, max_hedges=2), seen)
    with pytest.raises(KeyError) as caught:
        await pipeline.execute(Attempts((3.0, OSError), (3.0, KeyError)))
    assert seen.attempts == [1, 2, 3, 4, 5, 6]
    (note,) = caught.value.__notes__
    assert note == (
        "seawall: gave up after 6 attempts: OSError (hedged: KeyError, KeyError), slept 1 s, "
        "KeyError (hedged: KeyError, KeyError)"
    )


async def test_retries_inside_are_counted_too():
    """Each attempt that runs side by side may repeat; all tries together are the call's."""
    finished = []
    pipeline = Pipeline(Hedge(1.0), Retry(2, backoff=0.1, budget=None))
    with seawall.subscribe(finished.append), pytest.raises(OSError):
        await pipeline.execute(Attempts((2.0, OSError)))
    assert finished[-1].attempts == 4


async def test_a_hedge_inherits_what_was_set_outside():
    """Context variables, deadline and key are those of the call as it came to the hedge."""
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    seen = []

    async def function():
        seen.append((variable.get(), seawall.deadline()))
        variable.set("by an attempt")
        await anyio.sleep(10.0 if len(seen) == 1 else 0.1)
        return len(seen)

    class Sets(seawall.Policy):
        async def run(self, call, proceed):
            keys.append((call.key, call.remaining()))
            call.key = "by a policy inside"
            return await proceed(call)

    keys = []
    pipeline = Pipeline(Timeout(30.0), Hedge(1.0), Sets(), Timeout(20.0))
    variable.set("by the caller")
    assert await pipeline.bind(key="key").execute(function) == 2
    assert seen == [("by the caller", 20.0), ("by the caller", 20.0)]
    assert keys == [("key", 30.0), ("key", 29.0)]
    assert seawall.deadline() is None


@pytest.mark.parametrize("winner", [0, 1], ids=["the first", "the hedge"])
async def test_what_is_left_open(winner):
    """The winner's body stays open for the caller; the loser's is closed when it returns late."""
    closed, ended = [], []

    class Opens(seawall.Policy):
        async def run(self, call, proceed):
            value = await proceed(call)

            async def close():
                closed.append(value)

            call.open = OpenAttempt(close)
            call.open.on_settle(lambda verdict: ended.append((value, verdict.kind)))
            return value

    async def function():
        nonlocal begun
        begun += 1
        mine = begun - 1
        if mine == winner:
            await anyio.sleep(2.0 if mine == 0 else 1.0)
        else:
            try:
                await anyio.sleep(60.0)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(1.0)
        return mine

    begun = 0
    bulkhead = Bulkhead(2)
    pipeline = Pipeline(Hedge(1.0), bulkhead, Opens())
    call = Call()
    call.begin(function)
    assert await pipeline.conduct(call) == winner
    assert closed == [1 - winner]
    assert ended == [(1 - winner, Kind.NEUTRAL)]
    assert bulkhead.in_flight == 1
    call.open.end(Verdict(Kind.SUCCESS))
    assert bulkhead.in_flight == 0
    assert ended[1:] == [(winner, Kind.SUCCESS)]


# What it costs, and where it is off.


async def test_a_hedge_costs_a_token():
    """Without one there is none, which is counted; a first attempt's success earns."""
    budget = RetryBudget(0.5, capacity=1, floor=0)
    hedge = Hedge(1.0, budget=budget)
    assert await hedge.execute(Attempts((60.0, "first"), (0.5, "second"))) == "second"
    assert budget.tokens == 0.0
    assert await hedge.execute(Attempts((5.0, "first"), (0.5, "second"))) == "first"
    assert counts(hedge) == (1, 1, 0, 1)
    assert budget.tokens == 0.5
    assert await hedge.execute(Attempts((0.1, "first"))) == "first"
    assert hedge.snapshot().budget_left == 1.0
    with pytest.raises(OSError):
        await hedge.execute(Attempts((0.1, OSError)))
    assert budget.tokens == 1.0


async def test_a_first_attempt_that_wins_beside_a_hedge_earns():
    """The hedge has cost a token, and the success of the first attempt earns its share."""
    budget = RetryBudget(0.5, capacity=2, floor=0)
    assert await Hedge(1.0, budget=budget).execute(Attempts((1.5, "first"), (9.0, 2))) == "first"
    assert budget.tokens == 1.5


async def test_a_budget_is_its_own_or_shared():
    """By default each hedge has one; None is for any number; one can be shared with a Retry."""
    first, second = Hedge(1), Hedge(1)
    assert first.budget is not second.budget
    assert Hedge(1, budget=None).snapshot().budget_left is None
    budget = RetryBudget(capacity=1, floor=0)
    pipeline = Pipeline(Retry(2, backoff=0, budget=budget), Hedge(1.0, budget=budget))
    with pytest.raises(OSError) as caught:
        await pipeline.execute(Attempts((1.5, OSError)))
    assert caught.value.__notes__[0].endswith("the retry budget was empty")


async def test_a_circuit_inside_that_is_open_refuses_the_hedge():
    """The first attempt decides then; the refusal costs nothing, and is not raised."""
    breaker = CircuitBreaker(1, open_for=60.0)
    hedge = Hedge(1.0)
    pipeline = Pipeline(hedge, breaker)

    async def function():
        breaker.trip()
        await anyio.sleep(2.0)
        return "first"

    assert await pipeline.execute(function) == "first"
    assert counts(hedge) == (1, 0, 1, 0)
    assert hedge.snapshot().budget_left == 10


async def test_a_refusal_does_not_hide_an_error():
    """If the first attempt fails and the hedge was refused, or the other way round: the failure."""
    hedge = Hedge(1.0)
    work = Attempts((2.0, OSError))
    with pytest.raises(OSError):
        await Pipeline(hedge, Bulkhead(1)).execute(work)
    assert work.begun == 1

    class Refuses(seawall.Policy):
        async def run(self, call, proceed):
            if call.attempt == 1:
                await anyio.sleep(3.0)
                raise RejectedError(policy=self)
            return await proceed(call)

    with pytest.raises(OSError):
        await Pipeline(hedge, Refuses()).execute(work)
    work = Attempts((0.1, "second"))
    assert await Pipeline(hedge, Refuses()).execute(work) == "second"
    with pytest.raises(RejectedError) as caught:
        await Pipeline(Refuses(), hedge).execute(work)
    assert isinstance(caught.value.policy, Refuses)


async def test_if_all_are_refused_it_is_a_refusal():
    """Nothing has reached the dependency, so the first refusal is raised."""

    class Refuses(seawall.Policy):
        async def run(self, call, proceed):
            await anyio.sleep(3.0)
            raise RejectedError(policy=self, key=call.attempt)

    with pytest.raises(RejectedError) as caught:
        await Pipeline(Hedge(1.0), Refuses()).execute(Attempts((0, 0)))
    assert caught.value.key == 1


async def test_a_full_bulkhead_inside_refuses_the_hedge():
    """Also one with a queue: a hedge takes no place in it, and never waits."""
    for bulkhead in (Bulkhead(1), Bulkhead(1, queue=9)):
        hedge = Hedge(1.0)
        work = Attempts((2.0, "first"), (0.1, "second"))
        assert await Pipeline(hedge, bulkhead).execute(work) == "first"
        assert work.begun == 1
        assert counts(hedge) == (1, 0, 1, 0)
        assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)


async def test_no_time_passes_while_the_first_attempt_waits():
    """A call that waits for a slot is not hedged; its delay begins when it has one."""
    bulkhead = Bulkhead(2, queue=9)
    hedge = Hedge(1.0)
    pipeline = Pipeline(hedge, bulkhead)
    work = Attempts((60.0, "first"), (0.5, "second"))

    async def hold(seconds):
        await bulkhead.execute(anyio.sleep, seconds)

    async with anyio.create_task_group() as group:
        group.start_soon(hold, 5.0)
        group.start_soon(hold, 5.0)
        await anyio.sleep(0.1)
        began = anyio.current_time()
        assert await pipeline.execute(work) == "second"
    assert anyio.current_time() - began == pytest.approx(4.9 + 1.5)
    assert counts(hedge) == (1, 1, 0, 0)


async def test_policies_outside_know_of_a_wait_that_was_cancelled():
    """The dependency did not hang, and a turn that was taken for nothing is given back."""
    held, limiter = Held(), RateLimiter(0.001, burst=2)
    bulkhead, witness = Bulkhead(1, queue=1), Witness()
    async with company() as group:
        group.start_soon(bulkhead.execute, held)
        await turns()
        pipeline = Pipeline(Timeout(0.5), limiter, witness, Hedge(1.0), bulkhead)
        with pytest.raises(CallTimeoutError):
            await pipeline.execute(held)
        held.let_go()
    assert witness.verdict.kind is Kind.NEUTRAL
    assert limiter.snapshot().available == 2


async def test_a_waiting_call_is_refused_when_the_circuit_opens():
    """The circuit outside still hears that the first attempt waits, and ends its wait."""
    breaker = CircuitBreaker(1, open_for=5.0)
    pipeline = Pipeline(breaker, Hedge(1.0), Bulkhead(1, queue=9))
    caught = []

    async def waits():
        try:
            await pipeline.execute(Attempts((1, 1)))
        except (CircuitOpenError, BulkheadFullError) as error:
            caught.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(pipeline.execute, anyio.sleep, 0.5)
        await anyio.sleep(0.1)
        group.start_soon(waits)
        await anyio.sleep(0.1)
        breaker.trip()
    assert isinstance(caught[0], CircuitOpenError)


async def test_no_hedge_begins_past_the_deadline():
    """Where no time is left nothing is begun; the timeout ends the call."""
    work = Attempts((60.0, "first"))
    hedge = Hedge(1.0)
    with pytest.raises(CallTimeoutError):
        await Pipeline(Timeout(1.0), hedge).execute(work)
    assert counts(hedge) == (0, 0, 0, 0)


async def test_a_timeout_outside_ends_all_attempts():
    """Both are cancelled and awaited, and both hung for the policies inside."""
    work = Attempts((60.0, "first"))
    seen = Witness()
    hedge = Hedge(1.0)
    with pytest.raises(CallTimeoutError):
        await Pipeline(Timeout(3.0), hedge, seen).execute(work)
    assert sorted(work.cancelled) == [0, 1]
    assert [verdict.kind for verdict in seen.verdicts] == [Kind.FAILURE, Kind.FAILURE]
    assert hedge.snapshot().in_flight == 0


async def test_a_timeout_inside_is_for_each_attempt():
    """Each attempt has the whole time; one that times out has failed, and the other may win."""
    work = Attempts((60.0, "first"), (1.5, "second"))
    assert await Pipeline(Hedge(1.0), Timeout(2.0)).execute(work) == "second"
    work = Attempts((60.0, "first"))
    began = anyio.current_time()
    with pytest.raises(CallTimeoutError):
        await Pipeline(Hedge(1.0), Timeout(2.0)).execute(work)
    assert anyio.current_time() - began == pytest.approx(3.0)


@pytest.mark.parametrize("way", ["coroutine", "block", "loop", "idempotent", "stream"])
async def test_what_cannot_run_twice_is_never_hedged(way):
    """A one-shot awaitable, a block, a loop, a stream, and what is not idempotent; it is said."""
    hedge = Hedge(0.1, budget=None)
    work = Attempts((5.0, "first"), (0.1, "second"))
    heard = []

    async def items():
        yield await work()

    with hedge.subscribe(heard.append):
        if way == "coroutine":
            assert await hedge.execute(work()) == "first"
        elif way == "block":
            async with hedge:
                assert await work() == "first"
        elif way == "loop":
            async for attempt in hedge:
                async with attempt:
                    assert await work() == "first"
        elif way == "idempotent":
            assert await hedge.bind(idempotent=False).execute(work) == "first"
        else:
            assert [item async for item in hedge.stream(items)] == ["first"]
    assert work.begun == 1
    assert hedge.snapshot().not_repeatable == 1
    assert counts(hedge) == (0, 0, 0, 0)
    expected = {
        "coroutine": "a coroutine object or other awaitable can run only once",
        "block": "a block runs once",
        "loop": "a loop runs its body again, but never twice at a time",
        "idempotent": "the call is not idempotent",
        "stream": "a stream is read on in the task in which it began",
    }
    assert heard[0].reason.startswith(expected[way])
    assert [type(event).__name__ for event in heard] == ["HedgeNotMade", "CallFinished"]


async def test_what_turns_out_not_to_be_idempotent_is_not_hedged():
    """A view further inside may say so; it is asked again when the hedge is due."""
    hedge = Hedge(1.0)
    work = Attempts((5.0, "first"), (0.1, "second"))
    inner = Pipeline(Timeout(60.0)).bind(idempotent=False)
    assert await Pipeline(hedge, inner).execute(work) == "first"
    assert hedge.snapshot().not_repeatable == 1


async def test_hedges_may_be_nested_and_keyed():
    """Each hedge sees its own attempts, and each key has its own policy."""
    work = Attempts((60.0, 1), (60.0, 2), (0.1, 3), (0.1, 4))
    pipeline = Pipeline(Hedge(1.0), Keyed(lambda key: Hedge(0.4), key=lambda: "key"))
    assert await pipeline.execute(work) == 3
    assert work.inside == 0
    assert work.after == [0.0, 0.4, 1.0]


# A learned delay.


async def test_a_percentile_is_learned_first():
    """Until enough answers are known there is no hedge, then the percentile is the delay."""
    hedge = Hedge(Percentile(0.9, minimum_calls=10), budget=None)
    assert hedge.snapshot().delay is None
    for _ in range(10):
        assert await hedge.execute(Attempts((1.0, "first"))) == "first"
    assert 1.0 <= hedge.snapshot().delay <= 1.05
    work = Attempts((60.0, "first"), (0.5, "second"))
    assert await hedge.execute(work) == "second"
    assert work.after == [0.0, pytest.approx(hedge.snapshot().delay)]
    # An answer that takes as long as the others is not hedged.
    assert await hedge.execute(Attempts((1.0, "first"))) == "first"
    assert counts(hedge) == (1, 1, 0, 0)


async def test_what_is_learned():
    """Good answers are; failures and cancellations only where they took longer than the delay."""
    hedge = Hedge(Percentile(0.9, minimum_calls=1), budget=None)
    learned = hedge.learned
    await hedge.execute(Attempts((1.0, "first")))
    assert learned.known == 1
    with pytest.raises(OSError):
        await hedge.execute(Attempts((0.1, OSError)))
    with anyio.move_on_after(0.5):
        await hedge.execute(Attempts((1.0, "first")))
    assert learned.known == 1
    with pytest.raises(OSError):
        await hedge.execute(Attempts((1.5, OSError)))
    await hedge.execute(Attempts((60.0, "first"), (0.1, "second")))
    assert learned.known == 3


async def test_waiting_for_a_slot_is_not_learned():
    """The time in a queue says nothing about how long answers take."""
    hedge = Hedge(Percentile(0.9, minimum_calls=2), budget=None)
    pipeline = Pipeline(hedge, Bulkhead(1, queue=9))
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(pipeline.execute, anyio.sleep, 1.0)
    assert hedge.snapshot().delay < 1.06


# When nobody asks for an answer any more.


async def test_no_hedge_begins_for_a_caller_that_is_gone():
    """The delay of a cancelled call may pass while its first attempt cleans up."""
    begun = []

    async def work():
        begun.append(1)
        try:
            await anyio.sleep(60.0)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5.0)

    hedge = Hedge(1.0)
    with anyio.move_on_after(0.5):
        await hedge.execute(work)
    assert len(begun) == 1
    assert counts(hedge) == (0, 0, 0, 0)


async def test_no_hedge_begins_after_an_interruption():
    """Also where that ends a wait of the first attempt, which then cleans up for a while."""

    class Waits(Policy):
        async def run(self, call, proceed):
            if call.attempt > 1:
                return await proceed(call)
            await anyio.sleep(1.5)
            try:
                return await call.turn(Waiter())
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(5.0)

    work = Attempts((2.0, KeyboardInterrupt), (60.0, "too late"))
    with pytest.raises(KeyboardInterrupt):
        await Pipeline(Hedge(1.0, max_hedges=3), Waits()).execute(work)
    assert work.begun == 1


async def test_what_became_of_the_hedges_of_a_cancelled_call_is_told():
    """Each that has begun has an end, and the attempts of the call are all counted."""
    heard = Heard()
    hedge = Hedge(1.0, max_hedges=2)
    hedge.subscribe(heard)
    with anyio.move_on_after(2.5):
        await hedge.execute(Attempts((60.0, "first"), (0.5, OSError), (60.0, "third")))
    assert [event.outcome for event in heard.of(HedgeEnded)] == ["failed", "lost"]
    finished = heard.the(CallFinished)
    assert (finished.outcome, finished.attempts) == ("cancelled", 3)


async def test_an_error_in_answer_to_a_cancellation():
    """What an attempt that is alone makes of it is the outcome, as it would be without a hedge."""

    async def work():
        try:
            await anyio.sleep(60.0)
        finally:
            raise OSError("the rollback failed")

    with pytest.raises(OSError, match="the rollback failed"), anyio.move_on_after(2.0):
        await Hedge(3.0).execute(work)


def test_a_failed_result_in_answer_to_a_cancellation():
    """It is what the function made of it, as an error would be: nobody waits for the hedge."""

    async def work():
        begun.append(1)
        try:
            await asyncio.sleep(60.0)
        except asyncio.CancelledError:
            if len(begun) == 2:
                return "failed"
            raise
        return "fine"

    async def main():
        classify = Classifier(results=lambda result: result == "failed")
        call = asyncio.create_task(Pipeline(Hedge(1.0), classify=classify).execute(work))
        await asyncio.sleep(2.0)
        call.cancel()
        return await call

    begun = []
    assert run(main()) == "failed"


def test_a_hedge_that_gets_no_task():
    """What a task factory raises is for the caller to hear, who would wait for ever otherwise."""

    def refuse(loop, coroutine, **options):
        raise MemoryError

    async def main():
        loop = asyncio.get_running_loop()
        call = asyncio.create_task(hedge.execute(Attempts((60.0, "first"))))
        await asyncio.sleep(0.5)
        loop.set_task_factory(refuse)
        with pytest.raises(MemoryError):
            await call
        loop.set_task_factory(None)

    hedge = Hedge(1.0)
    run(main())
    assert hedge.snapshot().in_flight == 0


def test_an_interrupt_in_a_hedge_whose_caller_is_gone():
    """It ends the program by way of the loop, as in any task that nobody awaits."""

    async def work():
        tasks.append(asyncio.current_task())
        try:
            await asyncio.sleep(60.0)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    class Closed:
        def __await__(self):
            call = Hedge(1.0).execute(work).__await__()
            next(call)
            yield from asyncio.sleep(1.5).__await__()
            call.close()

    async def main():
        await Closed()
        await asyncio.sleep(60.0)

    tasks = []
    loop = VirtualLoop()
    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    loop.run_until_complete(task)
    assert isinstance(tasks[1].exception(), KeyboardInterrupt)
    loop.close()


# The rest of what a policy is.


def test_it_works_on_a_later_loop():
    """What a closed loop left behind is forgotten, and no time passes for the budget."""
    budget = RetryBudget(capacity=2, floor=1.0)
    hedge = Hedge(1.0, budget=budget)

    async def main():
        return await hedge.execute(Attempts((60.0, "first"), (0.5, "second")))

    async def left_behind():
        task = asyncio.create_task(hedge.execute(Attempts((60.0, "first"))))
        task._log_destroy_pending = False
        await asyncio.sleep(1.5)
        for runner in hedge.running:
            runner.task._log_destroy_pending = False
        return task

    loop = VirtualLoop()
    task = loop.run_until_complete(left_behind())
    loop.close()
    assert hedge.snapshot().in_flight == 1
    for start in (1.0, 10.0**6):
        assert run(main(), start=start) == "second"
        assert hedge.snapshot().in_flight == 0
    task.get_coro().close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks():
    """Also where a task runs at once when it is made, to its end or not."""
    loop = VirtualLoop()
    loop.set_task_factory(asyncio.eager_task_factory)

    async def main():
        assert await Hedge(1.0).execute(Attempts((60.0, "first"), (0, "second"))) == "second"
        assert await Hedge(1.0).execute(Attempts((60.0, "first"), (1, "second"))) == "second"
        assert await Hedge(1.0).execute(Attempts((2.0, "first"), (5, "second"))) == "first"

        async def at_once():
            times.append(1)
            if len(times) == 1:
                await asyncio.sleep(60.0)
            return len(times)

        times = []
        hedge = Hedge(1.0)
        assert await hedge.execute(at_once) == 2
        assert hedge.snapshot().in_flight == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    loop.run_until_complete(main())
    assert loop.timers() == []
    loop.close()


def test_its_repr():
    """It reads as it is made."""
    assert repr(Hedge(0.05, budget=None)) == "Hedge(0.05, budget=None)"
    assert repr(Hedge(Percentile(0.95), max_hedges=2, budget=None)) == (
        "Hedge(Percentile(ratio=0.95, minimum_calls=None, at_least=0.0, at_most=inf), "
        "max_hedges=2, budget=None)"
    )
