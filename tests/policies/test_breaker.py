"""The circuit breaker around real calls, on a loop of virtual time."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from seawall import (
    Bulkhead,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Classifier,
    Keyed,
    Kind,
    Pipeline,
    Retry,
    State,
    Timeout,
    UsageError,
    Verdict,
)
from seawall.core.call import Call
from seawall.core.open_attempt import OpenAttempt
from tests.doubles import Held, Script, turns, virtual
from tests.virtual_time import VirtualLoop


def run(main):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


async def answer():
    await asyncio.sleep(0.01)
    return "answer"


async def fail():
    await asyncio.sleep(0.01)
    raise OSError("made up")


async def half_open(**settings):
    breaker = CircuitBreaker(1, open_for=1.0, **settings)
    breaker.trip()
    await asyncio.sleep(1.0)
    return breaker


@pytest.mark.parametrize("probes", [1, 3])
def test_a_hundred_callers_in_half_open(probes):
    """Of 100 callers that arrive at once in half-open, exactly `probes` get through."""

    async def main():
        breaker = await half_open(probes=probes, close_after=probes)
        through = 0

        async def work():
            nonlocal through
            through += 1
            await asyncio.sleep(0.5)

        results = await asyncio.gather(
            *[breaker.execute(work) for _ in range(100)], return_exceptions=True
        )
        assert through == probes
        assert sum(isinstance(result, CircuitOpenError) for result in results) == 100 - probes
        assert breaker.state is State.CLOSED

    run(main())


def test_a_cancelled_probe_gives_its_place_to_the_next_at_once():
    """A probe whose caller leaves proves nothing, and the next caller may probe in that tick."""

    async def main():
        breaker = await half_open()
        probe = asyncio.create_task(breaker.execute(asyncio.sleep, 50))
        await asyncio.sleep(0)
        with pytest.raises(CircuitOpenError):
            await breaker.execute(answer)
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        assert await breaker.execute(answer) == "answer"
        assert breaker.state is State.CLOSED

    run(main())


def test_a_hung_probe_does_not_hold_the_circuit():
    """After its lease a hung probe loses its place, and the next caller closes the circuit."""

    async def main():
        breaker = await half_open(probe_lease=2.0)
        hung = asyncio.create_task(breaker.execute(asyncio.sleep, 3600))
        await asyncio.sleep(1.0)
        with pytest.raises(CircuitOpenError) as caught:
            await breaker.execute(answer)
        assert caught.value.state == "half_open"
        assert caught.value.retry_after == pytest.approx(1.0)
        await asyncio.sleep(caught.value.retry_after)
        assert await breaker.execute(answer) == "answer"
        assert breaker.state is State.CLOSED
        hung.cancel()

    run(main())


def test_a_slow_probe_still_closes_the_circuit():
    """A probe that answers after its lease keeps its voice."""

    async def main():
        breaker = await half_open(probe_lease=2.0)
        await breaker.execute(asyncio.sleep, 60)
        assert breaker.state is State.CLOSED

    run(main())


def test_a_late_result_of_an_earlier_generation_changes_nothing():
    """A call from before the trip neither closes nor re-opens the circuit when it ends."""

    async def main():
        breaker = CircuitBreaker(1, open_for=1.0)
        late = asyncio.create_task(breaker.execute(asyncio.sleep, 0.5))
        await asyncio.sleep(0)
        breaker.trip()
        await late
        assert breaker.state is State.OPEN

        async def fail_later():
            await asyncio.sleep(2.0)
            raise OSError("made up")

        breaker.reset()
        late = asyncio.create_task(breaker.execute(fail_later))
        await asyncio.sleep(0)
        breaker.reset()
        with pytest.raises(OSError, match="made up"):
            await late
        assert breaker.state is State.CLOSED

    run(main())


def test_who_waits_when_the_circuit_opens_is_refused():
    """Calls that wait for a slot inside are refused by the trip; the slot goes to nobody."""

    async def main():
        breaker, bulkhead = CircuitBreaker(1, open_for=1.0), Bulkhead(1, queue=10)
        pipeline = Pipeline(breaker, bulkhead)
        first = asyncio.create_task(pipeline.execute(fail))
        await asyncio.sleep(0)
        ran = []

        async def work():
            ran.append(1)

        rest = [asyncio.create_task(pipeline.execute(work)) for _ in range(5)]
        await asyncio.sleep(0)
        assert bulkhead.waiting == 5
        results = await asyncio.gather(first, *rest, return_exceptions=True)
        assert isinstance(results[0], OSError)
        # One was granted the slot in the tick of the trip: refused too, and it passed the slot on.
        assert all(isinstance(result, CircuitOpenError) for result in results[1:])
        assert all(result.policy is breaker for result in results[1:])
        assert ran == []
        assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)

    run(main())


def test_a_refusal_says_all():
    """A refusal names the policy, the key and the evidence, and when to come back."""

    async def main():
        breaker = CircuitBreaker(2, open_for=5.0, name="db")
        for _ in range(2):
            with pytest.raises(OSError, match="made up"):
                await breaker.execute(fail)
        await asyncio.sleep(1.0)
        with pytest.raises(CircuitOpenError) as caught:
            await breaker.bind(key="host").execute(answer)
        error = caught.value
        assert (error.policy, error.name, error.key) == (breaker, "db", "host")
        assert (error.state, error.failures, error.calls) == ("open", 2, 2)
        assert error.cause == "OSError"
        assert error.retry_after == pytest.approx(4.0)
        assert "retry after 4 s" in str(error)

    run(main())


def test_only_first_attempts_are_evidence():
    """Retries ask the same question again: three attempts of a call are one failure."""

    async def main():
        breaker = CircuitBreaker(2, open_for=5.0)
        pipeline = Pipeline(Retry(3, backoff=0), breaker)
        with pytest.raises(OSError, match="made up"):
            await pipeline.execute(fail)
        assert breaker.state is State.CLOSED
        counting = CircuitBreaker(2, open_for=5.0, count_retries=True)
        with pytest.raises(OSError, match="made up"):
            await Pipeline(Retry(3, backoff=0), counting).execute(fail)
        assert counting.state is State.OPEN

    run(main())


def test_a_timeout_outside_is_a_failure_inside():
    """A call that an enclosing Timeout ends has hung, for the breaker inside it."""

    async def main():
        breaker = CircuitBreaker(1, open_for=5.0)
        with pytest.raises(TimeoutError):
            await Pipeline(Timeout(1.0), breaker).execute(asyncio.sleep, 30)
        assert breaker.state is State.OPEN

    run(main())


def test_failures_and_ignore_narrow_the_verdict():
    """What is not listed in `failures` is a success here, and `ignore` counts for nothing."""

    async def main():
        narrow = CircuitBreaker(1, failures=KeyError)
        blind = CircuitBreaker(1, ignore=OSError)
        for breaker in (narrow, blind):
            with pytest.raises(OSError, match="made up"):
                await breaker.execute(fail)
            assert breaker.state is State.CLOSED

    run(main())


def test_control_without_a_loop():
    """Isolate, trip, reset and shadow need no running loop."""
    breaker = CircuitBreaker(1, open_for=5.0)
    breaker.trip()
    assert breaker.state is State.OPEN
    breaker.isolate()
    assert breaker.state is State.ISOLATED
    breaker.reset()
    assert breaker.state is State.CLOSED
    breaker.shadow()
    breaker.trip()
    assert asyncio.run(breaker.execute(answer)) == "answer"
    breaker.shadow(on=False)
    with pytest.raises(CircuitOpenError):
        asyncio.run(breaker.execute(answer))


def test_two_loops_in_a_row():
    """A circuit keeps its state from one loop to the next, and no time passes in between."""
    breaker = CircuitBreaker(1, open_for=5.0)

    async def trip():
        with pytest.raises(OSError, match="made up"):
            await breaker.execute(fail)
        await asyncio.sleep(2.0)
        with pytest.raises(CircuitOpenError) as caught:
            await breaker.execute(answer)
        return caught.value.retry_after

    async def later():
        with pytest.raises(CircuitOpenError) as caught:
            await breaker.execute(answer)
        left = caught.value.retry_after
        await asyncio.sleep(left)
        await breaker.execute(answer)
        return left

    before = run(trip())
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(start=5.0)) as runner:
        assert runner.run(later()) == pytest.approx(before)
    assert breaker.state is State.CLOSED


def test_holders_of_a_closed_loop_are_forgotten():
    """A slot that was held on a loop that is gone is free on the next one, once and for all."""
    bulkhead = Bulkhead(1)
    kept = []

    async def leave_open():
        call = bulkhead.execute(asyncio.sleep, 3600)
        kept.append(call)
        call.send(None)

    asyncio.run(leave_open())
    assert asyncio.run(bulkhead.execute(answer)) == "answer"
    kept.pop().close()
    assert bulkhead.in_flight == 0


@pytest.mark.parametrize("make", [CircuitBreaker, lambda: Bulkhead(1), lambda: Timeout(9.0)])
def test_two_running_loops_are_refused(make):
    """One instance serves one loop at a time."""
    policy = make()
    errors = []

    async def other():
        with pytest.raises(UsageError, match="another event loop"):
            await policy.execute(answer)
        errors.append(1)

    async def main():
        await policy.execute(answer)
        thread = threading.Thread(target=asyncio.run, args=(other(),))
        thread.start()
        await asyncio.to_thread(thread.join)

    asyncio.run(main())
    assert errors == [1]


def test_an_open_attempt_is_settled_at_its_end():
    """Where the function returns while its attempt goes on, slot and verdict wait for the end."""

    async def main():
        breaker, bulkhead = CircuitBreaker(1, open_for=5.0), Bulkhead(1)
        closed = []

        async def close():
            closed.append(1)

        call = Call()

        async def opens():
            call.open = OpenAttempt(close)
            return "head"

        call.begin(opens)
        assert await Pipeline(breaker, bulkhead).conduct(call) == "head"
        assert bulkhead.in_flight == 1
        assert breaker.state is State.CLOSED
        await call.open.discard(Verdict(Kind.FAILURE))
        call.open.end(Verdict(Kind.SUCCESS))
        assert closed == [1]
        assert bulkhead.in_flight == 0
        assert breaker.state is State.OPEN

    run(main())


def test_keyed_forgets_only_what_does_not_matter():
    """Beyond max_keys the longest unused is forgotten, but no open circuit, and no call inside."""

    async def main():
        keyed = Keyed(lambda key: CircuitBreaker(1, open_for=30.0, name=str(key)), max_keys=10)
        with pytest.raises(OSError, match="made up"):
            await keyed.bind(key="down").execute(fail)
        busy = asyncio.create_task(keyed.bind(key="busy").execute(asyncio.sleep, 50))
        await asyncio.sleep(0)
        for number in range(1000):
            await keyed.bind(key=number).execute(asyncio.sleep, 0)
        assert len(keyed) == 10
        assert keyed["down"].state is State.OPEN
        assert "busy" in list(keyed)
        await busy
        with pytest.raises(UsageError, match="no key"):
            await keyed.execute(answer)
        with pytest.raises(UsageError, match="lambda key"):
            Keyed(CircuitBreaker)

    run(main())


# What is promised on both event loops.


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


@pytest.mark.anyio
@pytest.mark.parametrize("probes", [1, 3])
async def test_a_hundred_callers_on_either_loop(probes):
    """Of 100 callers in half-open exactly `probes` get through, on asyncio and trio."""
    breaker, held, refused = await half_open_anywhere(probes=probes, close_after=probes), Held(), []

    async def caller():
        try:
            await breaker.execute(held)
        except CircuitOpenError as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(caller)
        await turns()
        assert held.calls == probes
        held.let_go()
    assert held.calls == probes
    assert len(refused) == 100 - probes
    assert {(error.state, error.retry_after > 0) for error in refused} == {("half_open", True)}
    assert breaker.state is State.CLOSED


async def half_open_anywhere(**settings):
    breaker = CircuitBreaker(1, open_for=1.0, **settings)
    breaker.trip()
    await anyio.sleep(1.0)
    return breaker


@pytest.mark.anyio
async def test_a_cancelled_probe_on_either_loop():
    """Its place is free in the very tick, on asyncio and trio."""
    breaker, held = await half_open_anywhere(), Held()
    async with anyio.create_task_group() as group:
        group.start_soon(breaker.execute, held)
        await turns()
        with pytest.raises(CircuitOpenError):
            await breaker.execute(Script("never"))
        group.cancel_scope.cancel()
    assert await breaker.execute(Script("fine")) == "fine"
    assert breaker.state is State.CLOSED


@pytest.mark.anyio
@pytest.mark.parametrize("error", [BulkheadFullError(), TypeError(), KeyboardInterrupt()], ids=repr)
async def test_a_neutral_probe_frees_its_place(error):
    """A local refusal, a bug or an interrupt proves nothing, and the next caller may probe."""
    breaker = await half_open_anywhere()
    with pytest.raises(type(error)):
        await breaker.execute(Script(error))
    assert breaker.state is State.HALF_OPEN
    await breaker.execute(Script("fine"))
    assert breaker.state is State.CLOSED


@pytest.mark.anyio
async def test_a_probe_whose_classifier_raises_frees_its_place():
    """Whatever goes wrong in judging, no probe is left behind."""

    def classify(outcome):
        raise ZeroDivisionError

    breaker = await half_open_anywhere()
    for outcome in ("value", OSError("made up")):
        with pytest.raises(ZeroDivisionError):
            await Pipeline(breaker, classify=classify).execute(Script(outcome))
    await breaker.execute(Script("fine"))
    assert breaker.state is State.CLOSED


@pytest.mark.anyio
async def test_a_failed_probe_opens_again():
    """One failure of a probe re-opens, for the whole open time."""
    breaker = await half_open_anywhere(probes=2, close_after=2)
    await breaker.execute(Script("fine"))
    with pytest.raises(OSError, match="made up"):
        await breaker.execute(Script(OSError("made up")))
    assert breaker.state is State.OPEN
    with pytest.raises(CircuitOpenError) as caught:
        await breaker.execute(Script("never"))
    assert caught.value.retry_after == pytest.approx(1.0)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "settings,error,state",
    [
        ({"failures": OSError}, OSError(), State.OPEN),
        ({"failures": OSError}, ConnectionError(), State.OPEN),
        ({"failures": OSError}, ValueError(), State.CLOSED),
        ({"failures": (OSError, ValueError)}, ValueError(), State.OPEN),
        ({"failures": OSError}, ExceptionGroup("", [OSError(), ValueError()]), State.OPEN),
        ({"failures": OSError}, ExceptionGroup("", [KeyError(), ValueError()]), State.CLOSED),
        ({"failures": TypeError}, TypeError(), State.CLOSED),
        ({"failures": OSError}, CallTimeoutError(1.0), State.OPEN),
        ({"failures": ValueError}, CallTimeoutError(1.0), State.CLOSED),
        ({"ignore": OSError}, ConnectionError(), State.CLOSED),
        ({"ignore": OSError}, ValueError(), State.OPEN),
        ({"ignore": OSError}, ExceptionGroup("", [OSError(), OSError()]), State.CLOSED),
        ({"ignore": OSError}, ExceptionGroup("", [OSError(), ValueError()]), State.OPEN),
        ({"failures": OSError, "ignore": ConnectionError}, ConnectionError(), State.CLOSED),
        ({"failures": OSError, "ignore": ConnectionError}, OSError(), State.OPEN),
    ],
)
async def test_failures_and_ignore_look_inside_groups(settings, error, state):
    """They narrow what the verdict calls a failure, and never widen it."""
    breaker = CircuitBreaker(1, **settings)
    with pytest.raises(type(error)):
        await breaker.execute(Script(error))
    assert breaker.state is state


@pytest.mark.anyio
async def test_what_is_no_failure_is_a_success_and_what_is_ignored_nothing():
    """An error outside of `failures` ends a streak; one in `ignore` does not."""
    narrow = CircuitBreaker(2, failures=OSError)
    blind = CircuitBreaker(2, ignore=ValueError)
    for breaker, state in [(narrow, State.CLOSED), (blind, State.OPEN)]:
        for error in (OSError(), ValueError(), OSError()):
            with pytest.raises(type(error)):
                await breaker.execute(Script(error))
        assert breaker.state is state


@pytest.mark.anyio
async def test_narrowing_is_for_one_policy_alone():
    """Another breaker, and a retry, read the verdict as it is."""
    blind, seeing = CircuitBreaker(1, ignore=OSError), CircuitBreaker(1)
    script = Script(OSError, "fine")
    assert await Pipeline(Retry(2, backoff=0), blind).execute(script) == "fine"
    with pytest.raises(OSError, match="made up"):
        await Pipeline(seeing, blind).execute(Script(OSError("made up")))
    assert (blind.state, seeing.state) == (State.CLOSED, State.OPEN)


@pytest.mark.anyio
async def test_a_hung_dependency_is_a_failure_whatever_the_failures():
    """What an enclosing timeout cancelled has no type that `failures` could name."""
    breaker = CircuitBreaker(1, failures=OSError)
    with pytest.raises(CallTimeoutError):
        await Pipeline(Timeout(1), breaker).execute(anyio.sleep, 5)
    assert breaker.state is State.OPEN


@pytest.mark.anyio
async def test_a_bad_result_trips_without_a_cause():
    """A result that is judged a FAILURE is evidence, and names no error."""
    breaker = CircuitBreaker(1)
    classify = Classifier(results=lambda value: value == "bad")
    pipeline = Pipeline(breaker, classify=classify)
    assert await pipeline.execute(Script("bad")) == "bad"
    with pytest.raises(CircuitOpenError) as caught:
        await pipeline.execute(Script("never"))
    assert (caught.value.failures, caught.value.calls, caught.value.cause) == (1, 1, None)


@pytest.mark.anyio
async def test_isolated_refuses_until_it_is_reset():
    """No time ends it, and a refusal does not know when to come back."""
    breaker = CircuitBreaker(1, name="db")
    breaker.isolate()
    await anyio.sleep(1e6)
    with pytest.raises(CircuitOpenError) as caught:
        await breaker.execute(Script("never"))
    assert (caught.value.state, caught.value.retry_after) == ("isolated", None)
    assert (caught.value.failures, caught.value.calls, caught.value.cause) == (0, 0, None)
    breaker.reset()
    assert await breaker.execute(Script("fine")) == "fine"


@pytest.mark.anyio
async def test_shadow_lets_all_pass_while_the_state_moves():
    """The state says what it would be; leaving the mode, and only that, enforces it."""
    breaker = CircuitBreaker(1, open_for=5, shadow=True)
    with pytest.raises(OSError, match="made up"):
        await breaker.execute(Script(OSError("made up")))
    assert breaker.state is State.OPEN
    assert await breaker.execute(Script("fine")) == "fine"
    breaker.shadow(on=False)
    with pytest.raises(CircuitOpenError):
        await breaker.execute(Script("never"))
    breaker.shadow()
    breaker.reset()
    breaker.trip()
    assert await breaker.execute(Script("fine")) == "fine"


@pytest.mark.anyio
async def test_trip_and_reset_are_by_hand():
    """A trip opens for the whole open time, a reset closes at once without a memory."""
    breaker = CircuitBreaker(2, open_for=5)
    breaker.trip()
    with pytest.raises(CircuitOpenError) as caught:
        await breaker.execute(Script("never"))
    assert caught.value.retry_after == pytest.approx(5)
    breaker.reset()
    with pytest.raises(OSError, match="made up"):
        await breaker.execute(Script(OSError("made up")))
    breaker.reset()
    with pytest.raises(OSError, match="made up"):
        await breaker.execute(Script(OSError("made up")))
    assert breaker.state is State.CLOSED


@pytest.mark.anyio
async def test_each_refusal_is_an_error_of_its_own():
    """No exception object is raised twice: its traceback would grow for ever."""
    breaker = CircuitBreaker(1)
    breaker.trip()
    seen = []
    for _ in range(50):
        with pytest.raises(CircuitOpenError) as caught:
            await breaker.execute(Script("never"))
        seen.append((id(caught.value), len(caught.traceback), caught.value))
    assert len({number for number, _, _ in seen}) == 50
    # The first call is made in a longer way.
    assert len({length for _, length, _ in seen[1:]}) == 1
    assert caught.value.__context__ is None


@pytest.mark.anyio
@pytest.mark.parametrize("pipe", [0, 1, 2])
async def test_every_refusal_has_its_key(pipe):
    """The key is on it whether the circuit refuses at once, at the door, or who waits."""
    breaker, held = CircuitBreaker(1, open_for=5), Held()
    pipeline = Pipeline(breaker, Bulkhead(1, queue=1)).bind(key="k")
    caught = []

    async def refused():
        with pytest.raises(CircuitOpenError) as raised:
            await pipeline.execute(held)
        caught.append(raised.value)

    async with anyio.create_task_group() as group:
        if pipe == 2:
            group.start_soon(pipeline.execute, held)
            await turns()
            group.start_soon(refused)
            await turns()
            breaker.trip()
            await turns()
            held.let_go()
        else:
            # Before its first call a breaker knows no loop.
            (breaker.trip if pipe == 1 else breaker.isolate)()
            await refused()
    assert [(error.key, error.policy) for error in caught] == [("k", breaker)]
