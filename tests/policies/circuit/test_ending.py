"""`end_stalled`: calls that get no answer are ended when that opens the circuit."""

from __future__ import annotations

import asyncio
import gc
import weakref

import anyio
import pytest

from seawall import (
    Bulkhead,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Kind,
    Pipeline,
    Retry,
    State,
    Timeout,
    constant,
)
from seawall.core.call import Call
from seawall.core.open_attempt import OpenAttempt
from seawall.core.verdict import Verdict
from tests.doubles import Held, Script, Witness, believe, company, turns, virtual
from tests.virtual_time import VirtualLoop, run


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


async def answer():
    await anyio.sleep(0.01)
    return "answer"


async def hang(*args):
    await anyio.sleep(10_000)


async def quick(trip=2, **settings):
    """Return a breaker that has had two quick answers: q is a second."""
    breaker = CircuitBreaker(
        trip, **{"open_for": 60.0, "end_stalled": True, "name": "db", **settings}
    )
    for _ in range(2):
        await breaker.execute(answer)
    assert breaker.snapshot().patience == 1.0
    believe(breaker._circuit)
    return breaker


async def arrive(policy):
    """Let a call arrive, which ends the stalled ones; it may be refused."""
    try:
        await policy.execute(answer)
    except CircuitOpenError:
        return False
    return True


def check_idle(*breakers):
    for breaker in breakers:
        assert breaker._endings == {}
        assert breaker.snapshot().in_flight == 0


class Calls:
    """Calls that hang, and how each of them ended."""

    def __init__(self, group, policy, function=hang):
        self.group = group
        self.policy = policy
        self.function = function
        self.scopes = []
        self.outcomes = []

    async def start(self, count=1):
        for _ in range(count):
            self.scopes.append(anyio.CancelScope())
            self.outcomes.append(None)
            self.group.start_soon(self._run, len(self.outcomes) - 1)
            # Trio begins tasks in any order.
            await turns()

    async def _run(self, number):
        with self.scopes[number]:
            try:
                self.outcomes[number] = await self.policy.execute(self.function)
            except Exception as error:
                self.outcomes[number] = error
            # Whatever happened, the task goes on as if nothing had.
            await anyio.sleep(0.001)
            return
        self.outcomes[number] = "cancelled"

    def leave(self):
        for scope in self.scopes:
            scope.cancel()

    @property
    def kinds(self):
        return [
            outcome.phase if isinstance(outcome, CallTimeoutError) else outcome
            for outcome in self.outcomes
        ]


# On both event loops


@pytest.mark.anyio
async def test_stalled_calls_are_ended_when_silence_opens_the_circuit():
    """All but the oldest raise CallTimeoutError, which tells the phase, the name and the time."""
    breaker = await quick(3)
    async with company() as group:
        calls = Calls(group, breaker)
        await calls.start()
        await anyio.sleep(0.5)
        await calls.start(3)
        await anyio.sleep(1.1)
        assert not await arrive(breaker)
        await anyio.sleep(0.01)
        assert calls.kinds == [None, "stalled", "stalled", "stalled"]
        error = calls.outcomes[1]
        assert error.seconds == pytest.approx(1.1)
        assert error.name == "db"
        assert isinstance(error, TimeoutError)
        snapshot = breaker.snapshot()
        assert (snapshot.state, snapshot.cause) == (State.OPEN, "stalled")
        assert (snapshot.failures, snapshot.in_flight) == (3, 1)
        assert len(breaker._endings) == 1
        calls.leave()
    check_idle(breaker)


@pytest.mark.anyio
async def test_the_oldest_stays_and_its_answer_is_the_sign_of_life():
    """When the sentinel answers, the next arrival is the probe, long before the open time."""
    breaker, held = await quick(open_for=3600.0), Held()
    async with company() as group:
        calls = Calls(group, breaker, held)
        await calls.start(2)
        await anyio.sleep(1.1)
        assert not await arrive(breaker)
        await anyio.sleep(5)
        assert calls.kinds == [None, "stalled"]
        held.let_go()
        await turns()
        assert await arrive(breaker)
        assert breaker.state is State.CLOSED
    check_idle(breaker)


@pytest.mark.anyio
@pytest.mark.parametrize("wrap", [lambda breaker: breaker, Pipeline], ids=["alone", "pipeline"])
async def test_each_refused_arrival_ends_what_has_stalled_since(wrap):
    """A refusal costs little, but it still ends the calls from before the trip as they stall."""
    breaker = await quick()
    async with company() as group:
        calls = Calls(group, breaker)
        await calls.start(2)
        await anyio.sleep(0.8)
        await calls.start(2)
        await anyio.sleep(0.3)
        assert not await arrive(wrap(breaker))
        await anyio.sleep(0.1)
        assert calls.kinds == [None, "stalled", None, None]
        await anyio.sleep(0.7)
        assert not await arrive(wrap(breaker))
        await anyio.sleep(0.1)
        assert calls.kinds == [None, "stalled", "stalled", "stalled"]
        calls.leave()
    check_idle(breaker)


@pytest.mark.anyio
async def test_a_probe_is_never_ended():
    """Who was admitted after the trip is judged by its own result, however long that takes."""
    breaker = await quick(open_for=5.0)
    async with company() as group:
        calls = Calls(group, breaker)
        await calls.start(2)
        await anyio.sleep(1.1)
        await arrive(breaker)
        await anyio.sleep(5.0)
        await calls.start()
        for _ in range(20):
            await anyio.sleep(0.3)
            # Each time a lease has ended, another probe hangs.
            await calls.start()
        assert breaker.state is State.HALF_OPEN
        assert calls.kinds.count("stalled") == 1
        calls.leave()
    check_idle(breaker)


@pytest.mark.anyio
async def test_an_ended_call_is_not_retried():
    """It is a FAILURE, and asking a dependency that is silent once more would not help."""
    breaker = await quick()
    witness, held = Witness(), Held()
    pipeline = Pipeline(Retry(3, backoff=constant(0), budget=None), witness, breaker)
    async with company() as group:
        calls = Calls(group, pipeline, held)
        await calls.start(3)
        await anyio.sleep(1.1)
        await arrive(breaker)
        await anyio.sleep(0.1)
        assert calls.kinds == [None, "stalled", "stalled"]
        assert held.calls == 3
        assert [(verdict.kind, verdict.retryable) for verdict in witness.verdicts] == [
            (Kind.FAILURE, False)
        ] * 2
        calls.leave()


@pytest.mark.anyio
async def test_policies_inside_judge_it_as_a_failure():
    """Also those of a pipeline that the function uses: the dependency has hung."""
    breaker, inside, nested = await quick(), Witness(), Witness()
    inner = CircuitBreaker(1, failures=KeyError)

    async def function():
        await Pipeline(nested, inner).execute(hang)

    async with company() as group:
        calls = Calls(group, Pipeline(breaker, inside), function)
        await calls.start(2)
        await anyio.sleep(1.1)
        await arrive(breaker)
        await anyio.sleep(0.1)
        assert calls.kinds == [None, "stalled"]
        assert inside.verdict.kind is Kind.FAILURE
        assert nested.verdict.kind is Kind.FAILURE
        assert inner.state is State.OPEN
        calls.leave()


@pytest.mark.anyio
@pytest.mark.parametrize("settings", [{"failures": KeyError}, {"ignore": TimeoutError}], ids=str)
async def test_it_is_a_failure_whatever_the_failures(settings):
    """No narrowing makes an answer out of none: the circuit stays open for its whole time."""
    breaker = await quick(**settings)
    async with company() as group:
        calls = Calls(group, breaker)
        await calls.start(3)
        await anyio.sleep(1.1)
        await arrive(breaker)
        await anyio.sleep(0.1)
        assert calls.kinds == [None, "stalled", "stalled"]
        assert breaker.snapshot().failures == 2
        assert breaker.snapshot().retry_after == pytest.approx(59.9)
        assert breaker.snapshot().patience == 1.0
        calls.leave()


@pytest.mark.anyio
async def test_the_task_that_runs_is_never_ended():
    """A stalled call that itself makes the next call is refused there, and goes on."""
    breaker = await quick()
    seen = []

    async def nests():
        await anyio.sleep(1.1)
        seen.append(await arrive(breaker))
        # Were it cancelled, it would be here.
        await anyio.sleep(0.5)
        return "went on"

    async with company() as group:
        older = Calls(group, breaker)
        await older.start()
        calls = Calls(group, breaker, nests)
        await calls.start()
        await anyio.sleep(2)
        assert seen == [False]
        assert calls.outcomes == ["went on"]
        older.leave()
    check_idle(breaker)


@pytest.mark.anyio
async def test_a_waiting_call_is_refused_and_not_ended():
    """Who waits for a slot inside never reached the dependency."""
    breaker = await quick()
    pipeline = Pipeline(breaker, Bulkhead(2, queue=9))
    async with company() as group:
        calls = Calls(group, pipeline)
        await calls.start(4)
        await anyio.sleep(1.1)
        assert not await arrive(pipeline)
        await anyio.sleep(0.1)
        assert calls.kinds[:2] == [None, "stalled"]
        assert [type(outcome) for outcome in calls.outcomes[2:]] == [CircuitOpenError] * 2
        calls.leave()
    check_idle(breaker)


@pytest.mark.anyio
async def test_a_body_that_is_open_is_not_ended():
    """A response that has begun is no stalled call."""
    breaker, closed = await quick(), []

    async def close():
        closed.append(1)

    async def opens():
        call.open = OpenAttempt(close)
        return "head"

    call = Call()
    call.begin(opens)
    assert await breaker.conduct(call) == "head"
    believe(breaker._circuit)
    async with company() as group:
        calls = Calls(group, breaker)
        await calls.start(2)
        await anyio.sleep(1.1)
        await arrive(breaker)
        await anyio.sleep(0.1)
        assert calls.kinds == [None, "stalled"]
        assert closed == []
        call.open.end(Verdict(Kind.SUCCESS))
        calls.leave()
    check_idle(breaker)


@pytest.mark.anyio
@pytest.mark.parametrize("outer", [True, False], ids=["outside", "inside"])
@pytest.mark.parametrize("early", [True, False], ids=["timeout_first", "arrival_first"])
async def test_a_timeout_that_fires_in_the_same_moment(outer, early):
    """Whichever of the two is first, the outer one of them is what the caller hears of."""
    breaker = await quick()
    timeout = Timeout(1.1)
    pipeline = Pipeline(timeout, breaker) if outer else Pipeline(breaker, timeout)
    async with company() as group:
        older = Calls(group, breaker)
        await older.start()
        calls = Calls(group, pipeline)

        async def arrives():
            await anyio.sleep(1.1)
            await arrive(breaker)

        if early:
            await calls.start()
        group.start_soon(arrives)
        await turns()
        if not early:
            await calls.start()
        await anyio.sleep(2)
        (error,) = calls.outcomes
        assert isinstance(error, CallTimeoutError)
        # Where the timeout had cancelled the call already, nothing was left to end.
        assert error.phase in (("call",) if outer else ("call", "stalled"))
        assert older.kinds == [None]
        older.leave()
    check_idle(breaker)


@pytest.mark.anyio
@pytest.mark.parametrize("first", ["caller", "arrival"])
async def test_a_callers_cancellation_in_the_same_moment_passes(first):
    """A call that its caller cancels is cancelled, whichever was first."""
    breaker = await quick()
    async with company() as group:
        calls = Calls(group, breaker)
        await calls.start(3)
        await anyio.sleep(1.1)
        if first == "caller":
            calls.scopes[1].cancel()
        assert not await arrive(breaker)
        if first == "arrival":
            calls.scopes[1].cancel()
        await anyio.sleep(0.1)
        assert calls.kinds == [None, "cancelled", "stalled"]
        calls.leave()
    check_idle(breaker)


@pytest.mark.anyio
@pytest.mark.parametrize("settings", [{}, {"parent_only": True}, {"grandparent": True}], ids=str)
async def test_a_parent_ends_the_calls_of_its_children(settings):
    """Silence of all children is the parent's, and it ends their calls, however far below."""
    top = await quick(name="top")
    parent = CircuitBreaker(100, parent=top) if "grandparent" in settings else top
    one = CircuitBreaker(100, parent=parent, end_stalled=not settings, name="one")
    two = CircuitBreaker(100, parent=parent, end_stalled=not settings, name="two")
    async with company() as group:
        first, second = Calls(group, one), Calls(group, two)
        await first.start(2)
        await second.start(2)
        await anyio.sleep(1.1)
        assert not await arrive(two)
        await anyio.sleep(0.1)
        assert first.kinds == [None, "stalled"]
        assert second.kinds == ["stalled", "stalled"]
        assert top.state is State.OPEN
        assert len(top._endings) == 1
        first.leave()
    check_idle(top, parent, one, two)


@pytest.mark.anyio
async def test_it_can_be_switched_on_later():
    """After ``reconfigure`` the calls that come can be ended; those before cannot."""
    breaker = await quick(end_stalled=False)
    async with company() as group:
        calls = Calls(group, breaker)
        await calls.start(2)
        breaker.reconfigure(end_stalled=True)
        await calls.start(2)
        await anyio.sleep(1.1)
        await arrive(breaker)
        await anyio.sleep(0.1)
        assert calls.kinds == [None, None, "stalled", "stalled"]
        calls.leave()
    check_idle(breaker)


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["block", "loop"])
async def test_the_body_of_a_block_is_ended_too(way):
    """Whatever the way in, the body is cancelled, and the error leaves it."""
    breaker, caught = await quick(), []

    async def body():
        try:
            if way == "block":
                async with breaker:
                    await hang()
            else:
                async for attempt in Pipeline(breaker, Retry(3, backoff=0)):
                    async with attempt:
                        await hang()
        except CallTimeoutError as error:
            caught.append(error.phase)
            await anyio.sleep(0.01)
            caught.append("went on")

    async with company() as group:
        older = Calls(group, breaker)
        await older.start()
        group.start_soon(body)
        await anyio.sleep(1.1)
        await arrive(breaker)
        await anyio.sleep(0.1)
        assert caught == ["stalled", "went on"]
        older.leave()
    check_idle(breaker)


@pytest.mark.anyio
async def test_between_two_attempts_of_a_loop_nothing_is_ended():
    """What runs between two attempts is the user's own code, outside of the call."""
    breaker, seen = await quick(), []

    async def loop():
        async for attempt in Pipeline(breaker, Retry(2, backoff=0, budget=None)):
            if attempt.number == 2:
                await anyio.sleep(3)
                seen.append("between")
            async with attempt:
                if attempt.number == 1:
                    raise OSError("made up")
                seen.append("second")

    async with company() as group:
        calls = Calls(group, breaker)
        await calls.start(2)
        group.start_soon(loop)
        await anyio.sleep(1.1)
        await arrive(breaker)
        await anyio.sleep(3)
        assert calls.kinds == [None, "stalled"]
        assert seen == ["between", "second"]
        calls.leave()
    check_idle(breaker)


@pytest.mark.anyio
async def test_the_deadline_of_what_is_inside_is_that_of_the_timeouts():
    """The ending is no timeout: it has no time, and hides none."""
    breaker, seen = await quick(), []

    class Look(Witness):
        async def run(self, call, proceed):
            seen.append((call.remaining(), call.total_deadline() - call.now()))
            return await proceed(call)

    for policies in ([Timeout(9.0), breaker], [breaker, Timeout(9.0)]):
        await Pipeline(*policies, Look()).execute(answer)
    assert seen == [(pytest.approx(9.0), pytest.approx(9.0))] * 2


# On asyncio, where a task counts how often it was asked to cancel


def breaker_of(loop, **settings):
    return loop.run_until_complete(quick(**settings))


def test_the_count_of_cancellations_stays_as_it_was():
    """``Task.cancelling()`` is as before, so that `asyncio.timeout` and groups go on to work."""

    async def main():
        breaker, counts = await quick(), []

        async def call(before):
            task = asyncio.current_task()
            for _ in range(before):
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.sleep(0)
            with pytest.raises(CallTimeoutError):
                await breaker.execute(hang)
            counts.append((before, task.cancelling()))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await hang()
            counts.append((before, task.cancelling()))

        sentinel = asyncio.create_task(breaker.execute(hang))
        await asyncio.sleep(0)
        tasks = [asyncio.create_task(call(before)) for before in (0, 1, 2)]
        await asyncio.sleep(1.1)
        await arrive(breaker)
        await asyncio.gather(*tasks)
        assert sorted(counts) == [(0, 0), (0, 0), (1, 1), (1, 1), (2, 2), (2, 2)]
        sentinel.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sentinel
        check_idle(breaker)

    run(main())


@pytest.mark.parametrize("policies", [[], [Retry(2, backoff=0)], [Timeout(50.0)]], ids=len)
def test_a_caller_can_cancel_at_every_tick_of_an_ending(policies):
    """Before each callback of the loop while a call is ended: the cancellation always passes."""

    async def cleans_up():
        try:
            await hang()
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0.01)

    async def main(loop, step):
        breaker = await quick()
        pipeline = Pipeline(*policies, breaker, *policies)
        sentinel = asyncio.create_task(breaker.execute(hang))
        await asyncio.sleep(0)
        task = asyncio.create_task(pipeline.execute(cleans_up))
        await asyncio.sleep(1.1)
        steps = 0
        cancelled = False

        def on_step():
            nonlocal steps, cancelled
            if steps == step and not task.done():
                cancelled = True
                task.cancel()
            steps += 1

        loop.on_step = on_step
        assert not await arrive(breaker)
        with pytest.raises((asyncio.CancelledError, CallTimeoutError)) as caught:
            await task
        loop.on_step = None
        if cancelled:
            assert type(caught.value) is asyncio.CancelledError
            assert task.cancelling() == 1
        else:
            assert caught.value.phase == "stalled"
            assert task.cancelling() == 0
        sentinel.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sentinel
        check_idle(breaker)
        return cancelled

    step = 0
    loop = VirtualLoop()
    try:
        while loop.run_until_complete(main(loop, step)):
            step += 1
    finally:
        loop.close()
    assert step >= 3


def test_a_call_that_was_cancelled_is_not_cancelled_again():
    """Who cleans up after a cancellation is left to it, though its call has stalled."""

    async def main():
        breaker, cleaned = await quick(), []

        async def cleans_up():
            try:
                await hang()
            finally:
                await asyncio.sleep(5)
                cleaned.append(1)

        sentinel = asyncio.create_task(breaker.execute(hang))
        await asyncio.sleep(0)
        task = asyncio.create_task(breaker.execute(cleans_up))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.sleep(0.6)
        assert not await arrive(breaker)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cleaned == [1]
        assert task.cancelling() == 1
        sentinel.cancel()

    run(main())


def test_a_function_that_swallows_it_returns_its_value():
    """As with any timeout; the count is as it was, and the answer is a late success."""

    async def main():
        breaker, counts = await quick(), []

        async def swallows():
            try:
                await hang()
            except asyncio.CancelledError:
                return "swallowed"

        async def call():
            value = await breaker.execute(swallows)
            counts.append(asyncio.current_task().cancelling())
            return value

        sentinel = asyncio.create_task(breaker.execute(hang))
        await asyncio.sleep(0)
        task = asyncio.create_task(call())
        await asyncio.sleep(1.1)
        assert not await arrive(breaker)
        assert await task == "swallowed"
        assert counts == [0]
        sentinel.cancel()

    run(main())


@pytest.mark.parametrize("what", [Script("fine"), Script(OSError("made up")), Script(TypeError())])
def test_nothing_is_kept_of_a_call_that_has_ended(what):
    """However a call ends, nothing that could end it stays."""

    async def main():
        breaker = await quick(9)
        for _ in range(3):
            try:
                await breaker.execute(what)
            except (OSError, TypeError):
                pass
        check_idle(breaker)

    run(main())


def test_a_call_of_a_closed_loop_can_be_dropped():
    """What a later loop has forgotten is closed without a complaint, and ends nothing there."""
    breaker = run(quick())
    left = []

    async def leave_open():
        for _ in range(2):
            call = breaker.execute(hang)
            call.send(None)
            left.append(call)

    async def later():
        await asyncio.sleep(5)
        assert await breaker.execute(answer) == "answer"
        for call in left:
            call.close()
        check_idle(breaker)

    run(leave_open())
    assert len(breaker._endings) == 2
    run(later(), start=5000.0)


def test_an_ended_call_is_freed_without_the_collector():
    """Error, task and frames of an ended call make no reference cycle."""

    async def main():
        breaker = await quick()
        sentinel = asyncio.create_task(breaker.execute(hang))
        await asyncio.sleep(0)
        task = asyncio.create_task(breaker.execute(hang))
        await asyncio.sleep(1.1)
        await arrive(breaker)
        gc.collect()
        gc.disable()
        try:
            await asyncio.wait([task])
            kept = weakref.ref(task.exception())
            assert isinstance(kept(), CallTimeoutError)
            kept_task = weakref.ref(task)
            del task
            await asyncio.sleep(0)
            assert kept() is None
            assert kept_task() is None
        finally:
            gc.enable()
        sentinel.cancel()

    run(main())
