"""Rule 11 of the circuit: one breaker that stands for several."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from seawall import (
    Bulkhead,
    CircuitBreaker,
    CircuitOpenError,
    Keyed,
    Pipeline,
    State,
)
from seawall.core.call import Call
from seawall.core.open_attempt import OpenAttempt
from seawall.core.verdict import Kind, Verdict
from seawall.events import CallRefused
from seawall.policies.circuit.core import Circuit
from tests.doubles import HeardCircuit, Held, Script, believe, company, turns, virtual
from tests.virtual_time import run

SUCCESS, FAILURE, NEUTRAL = Kind.SUCCESS, Kind.FAILURE, Kind.NEUTRAL
FINE = Script("fine")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


def family(trip=100, child_trip=100, **settings):
    """Return a parent and its two children."""
    parent = CircuitBreaker(trip, **{"open_for": 5.0, "name": "parent", **settings})
    return parent, *(
        CircuitBreaker(child_trip, open_for=1.0, parent=parent, name=name) for name in ("a", "b")
    )


async def fail(breaker):
    with pytest.raises(OSError, match="made up"):
        await breaker.execute(Script(OSError("made up")))


async def refusal(policy):
    with pytest.raises(CircuitOpenError) as caught:
        await policy.execute(Script("never"))
    return caught.value


def circuits(**settings):
    parent = HeardCircuit(100, **{"open_for": 5.0, **settings})
    parent.owner = "parent"
    child = Circuit(100, open_for=1.0, parent=parent)
    child.owner = "child"
    return parent, child


def refused(circuit, now):
    with pytest.raises(CircuitOpenError) as caught:
        circuit.admit(now)
    return caught.value


# Who refuses


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["trip", "isolate"])
async def test_a_child_is_refused_while_its_parent_refuses(how):
    """The refusal names the parent, its state and its time, with the key of the call."""
    parent, one, _ = family()
    getattr(parent, how)()
    for policy in (one, Pipeline(one)):
        error = await refusal(policy.bind(key="k"))
        assert (error.policy, error.name, error.key) == (parent, "parent", "k")
        assert error.state == parent.state.value
        assert error.retry_after == (None if how == "isolate" else pytest.approx(5.0))
    assert one.state is State.CLOSED
    assert parent.snapshot().rejected == 2
    assert one.snapshot().rejected == 0


@pytest.mark.anyio
async def test_a_child_refuses_alone():
    """Its parent and its siblings hear nothing of a child that is open."""
    parent, one, two = family()
    one.trip()
    error = await refusal(one)
    assert (error.policy, error.retry_after) == (one, pytest.approx(1.0))
    assert await two.execute(FINE) == "fine"
    snapshot = parent.snapshot()
    assert (snapshot.state, snapshot.calls, snapshot.rejected) == (State.CLOSED, 1, 0)


@pytest.mark.anyio
@pytest.mark.parametrize("wrap", [lambda breaker: breaker, Pipeline], ids=["alone", "pipeline"])
async def test_where_only_the_parent_refuses_the_error_is_the_parents(wrap):
    """Also for a child that would let a probe pass: who comes back when told is not refused."""
    parent, one, _ = family()
    parent.trip()
    one.trip()
    assert (await refusal(wrap(one))).policy is one
    await anyio.sleep(2.0)
    error = await refusal(wrap(one))
    assert (error.policy, error.retry_after) == (parent, pytest.approx(3.0))
    await anyio.sleep(error.retry_after)
    assert await wrap(one).execute(FINE) == "fine"
    assert (one.state, parent.state) == (State.CLOSED, State.CLOSED)


def test_a_refusal_asked_for_names_the_one_that_refuses():
    """``Circuit.refusal`` tells of the parent where the circuit alone would admit."""
    parent, child = circuits()
    parent.trip(0.0)
    child.trip(0.0)
    assert child.refusal(0.5).policy == "child"
    error = child.refusal(2.0)
    assert (error.policy, error.retry_after) == ("parent", 3.0)


def test_the_wait_is_the_longer_one():
    """``retry_after`` is when both would admit; isolated parents do not know."""
    parent, child = circuits()
    child.trip(0.0)
    assert child.retry_after(0.5) == 0.5
    parent.trip(0.0)
    assert child.retry_after(0.5) == 4.5
    assert child.refuses(3.0)
    assert not child.refuses(5.0)
    parent.isolate(1.0)
    assert child.retry_after(1.5) is None


# Evidence


@pytest.mark.anyio
async def test_failures_of_several_children_open_the_parent():
    """Three failures, none of which opens a child, are the parent's evidence."""
    parent, one, two = family(trip=3)
    await fail(one)
    await fail(two)
    assert parent.state is State.CLOSED
    await fail(one)
    assert parent.state is State.OPEN
    assert (one.state, two.state) == (State.CLOSED, State.CLOSED)
    error = await refusal(two)
    assert (error.failures, error.calls, error.cause) == (3, 3, "OSError")


@pytest.mark.anyio
async def test_successes_of_a_child_count_for_the_parent():
    """A row of failures is ended by any child that is answered."""
    parent, one, two = family(trip=3)
    await fail(one)
    await fail(one)
    await two.execute(FINE)
    await fail(one)
    assert parent.state is State.CLOSED


@pytest.mark.anyio
@pytest.mark.parametrize("error", [TypeError(), CircuitOpenError()], ids=repr)
async def test_neutral_is_neutral_for_both(error):
    """What is no evidence for the child is none for its parent."""
    parent, one, _ = family(trip=1, child_trip=1)
    with pytest.raises(type(error)):
        await one.execute(Script(error))
    for breaker in (parent, one):
        snapshot = breaker.snapshot()
        assert (snapshot.state, snapshot.neutral) == (State.CLOSED, 1)


@pytest.mark.anyio
async def test_what_the_child_ignores_is_no_evidence_for_the_parent():
    """The verdict is the child's, narrowed as the child narrows it."""
    parent = CircuitBreaker(1)
    await fail(CircuitBreaker(1, parent=parent, ignore=OSError))
    assert parent.state is State.CLOSED
    assert parent.snapshot().neutral == 1


def test_a_ticket_of_both_is_settled_once():
    """Settling twice counts once, for the child and for the parent."""
    parent, child = circuits()
    ticket = child.admit(0.0)
    assert (parent.in_flight, child.in_flight) == (1, 1)
    for kind in (FAILURE, SUCCESS, FAILURE):
        child.settle(ticket, kind, 1.0)
    for circuit in (parent, child):
        assert (circuit.in_flight, circuit.failures, circuit.successes) == (0, 1, 0)
        assert circuit.evidence(1.0) == (1, 1)


@pytest.mark.anyio
async def test_a_body_left_open_is_settled_for_both_at_its_end():
    """The final verdict of a streamed call reaches the parent, once."""
    parent, one, _ = family(trip=1)

    async def opens():
        call.open = OpenAttempt(anyio.lowlevel.checkpoint)
        return "head"

    call = Call()
    call.begin(opens)
    await one.conduct(call)
    assert (parent.snapshot().in_flight, parent.state) == (1, State.CLOSED)
    call.open.end(Verdict(FAILURE))
    call.open.end(Verdict(FAILURE))
    snapshot = parent.snapshot()
    assert (snapshot.in_flight, snapshot.failures, snapshot.state) == (0, 1, State.OPEN)


def test_a_body_that_is_open_is_no_silence_of_the_parent():
    """What has begun, or waits, in a child is not in flight for its parent either."""
    parent, child = circuits()
    for start in (0.0, 0.1):
        child.settle(child.admit(start), SUCCESS, start + 0.01)
    stream, waiting = child.admit(1.0), child.admit(1.0)
    child.begin(stream, 1.1)
    waiting.waits(object())
    child.admit(100.0)
    assert parent.evidence(100.0)[0] == child.evidence(100.0)[0] == 0
    assert parent.in_flight == child.in_flight == 3


def test_silence_of_one_child_among_others_is_not_the_parents():
    """A child without answers opens; its parent hears the answers of the others."""
    parent = Circuit(3)
    dead, alive = Circuit(3, parent=parent), Circuit(3, parent=parent)
    for circuit in (dead, alive):
        for start in (0.0, 0.1):
            circuit.settle(circuit.admit(start), SUCCESS, start + 0.01)
    believe(dead)
    for number in range(3):
        dead.admit(1.0 + number * 0.01)
    for number in range(40):
        alive.settle(alive.admit(1.0 + number * 0.1), SUCCESS, 1.01 + number * 0.1)
    assert refused(dead, 5.0).cause == "stalled"
    assert parent.state is State.CLOSED
    assert parent.evidence(5.0)[0] == 0


def test_silence_of_all_children_opens_the_parent():
    """Stalled calls of several children are counted together, without a trip of any child."""
    parent = Circuit(4)
    children = [Circuit(100, parent=parent) for _ in range(4)]
    for child in children[:2]:
        child.settle(child.admit(0.0), SUCCESS, 0.01)
        child.settle(child.admit(0.1), SUCCESS, 0.11)
    for child in children:
        child.admit(1.0)
    believe(parent)
    error = refused(children[0], 2.5)
    assert (error.failures, error.cause) == (4, "stalled")
    assert [child.state for child in children] == [State.CLOSED] * 4


# The probe of the parent


@pytest.mark.anyio
async def test_the_parents_probe_is_one_childs_call():
    """Of many callers of all children one gets through, and its success frees them all."""
    parent, *children = family()
    parent.trip()
    await anyio.sleep(5.0)
    held, errors = Held(), []

    async def caller(breaker):
        try:
            await breaker.execute(held)
        except CircuitOpenError as error:
            errors.append((error.policy, error.state))

    async with company() as group:
        for number in range(20):
            group.start_soon(caller, children[number % 2])
        await turns()
        assert held.calls == 1
        held.let_go()
    assert errors == [(parent, "half_open")] * 19
    assert parent.state is State.CLOSED


@pytest.mark.anyio
async def test_a_failed_probe_of_a_child_opens_the_parent_again():
    """And the child only counts its own failure."""
    parent, one, two = family()
    parent.trip()
    await anyio.sleep(5.0)
    await fail(one)
    assert (parent.state, one.state) == (State.OPEN, State.CLOSED)
    assert (await refusal(two)).retry_after == pytest.approx(5.0)


@pytest.mark.anyio
async def test_a_childs_refusal_takes_no_place_of_the_parents_probe():
    """While a child refuses by itself, the parent's probe is left to another child."""
    parent, one, two = family()
    one.isolate()
    parent.trip()
    await anyio.sleep(5.0)
    for _ in range(3):
        assert (await refusal(one)).policy is one
    assert parent.state is State.OPEN
    assert await two.execute(FINE) == "fine"
    assert parent.state is State.CLOSED


def test_a_child_that_refuses_after_all_gives_the_place_back():
    """Where a listener of the parent changes the child meanwhile, no place is lost."""
    parent, child = circuits()
    parent.trip(0.0)
    parent.on_change = lambda told: child.isolate(told.time)
    assert refused(child, 5.0).policy == "child"
    assert parent.state is State.HALF_OPEN
    assert parent.in_flight == 0
    assert parent.admit(5.0).probe


@pytest.mark.anyio
async def test_a_cancelled_probe_gives_the_parents_place_back_at_once():
    """A neutral probe frees both places in the very tick."""
    parent, one, two = family()
    one.trip()
    parent.trip()
    await anyio.sleep(5.0)
    async with company() as group:
        group.start_soon(one.execute, Held())
        await turns()
        assert (await refusal(two)).policy is parent
        group.cancel_scope.cancel()
    assert (one.state, parent.state) == (State.HALF_OPEN, State.HALF_OPEN)
    assert await one.execute(FINE) == "fine"
    assert (one.state, parent.state) == (State.CLOSED, State.CLOSED)


@pytest.mark.anyio
async def test_a_grandparent_is_a_parent_too():
    """Refusals, evidence and probes go all the way up."""
    top = CircuitBreaker(2, open_for=5.0, name="top")
    middle = CircuitBreaker(100, parent=top, name="middle")
    one, two = CircuitBreaker(100, parent=middle), CircuitBreaker(100, parent=middle)
    await fail(one)
    await fail(two)
    assert [breaker.state.value for breaker in (top, middle, one)] == ["open", "closed", "closed"]
    assert (await refusal(one)).policy is top
    assert (await refusal(middle)).policy is top
    await anyio.sleep(5.0)
    assert await two.execute(FINE) == "fine"
    assert top.state is State.CLOSED


# Those who wait


@pytest.mark.anyio
async def test_a_trip_of_the_parent_refuses_who_waits_in_all_children():
    """They never reached the dependency; each refusal has the key and is told."""
    parent, one, two = family(trip=2)
    bulkhead, held, errors, heard = Bulkhead(2, queue=9), Held(), [], []

    async def caller(child):
        with pytest.raises(CircuitOpenError) as caught:
            await Pipeline(child, bulkhead).bind(key="k").execute(held)
        errors.append(caught.value)

    async def fails(child):
        async def function():
            await held()
            raise OSError("made up")

        with pytest.raises(OSError, match="made up"):
            await Pipeline(child, bulkhead).execute(function)

    with one.subscribe(heard.append), two.subscribe(heard.append):
        async with company() as group:
            group.start_soon(fails, one)
            group.start_soon(fails, two)
            await turns()
            for child in (one, two, one, two):
                group.start_soon(caller, child)
            await turns()
            assert bulkhead.waiting == 4
            held.let_go()
    assert held.calls == 2
    assert [(error.policy, error.key) for error in errors] == [(parent, "k")] * 4
    assert sorted(event.name for event in heard if type(event) is CallRefused) == [*"aabb"]
    assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)
    for breaker in (parent, one, two):
        assert breaker.snapshot().in_flight == 0
        assert breaker._circuit.waiting == {}


@pytest.mark.anyio
async def test_a_trip_of_a_child_leaves_the_siblings_alone():
    """Only its own calls that wait are refused."""
    _, one, two = family(child_trip=1)
    bulkhead, held, outcomes = Bulkhead(1, queue=9), Held(), {}

    async def caller(name, child):
        try:
            outcomes[name] = await Pipeline(child, bulkhead).execute(held)
        except CircuitOpenError as error:
            outcomes[name] = error.policy

    async with company() as group:
        group.start_soon(bulkhead.execute, held)
        await turns()
        group.start_soon(caller, "one", one)
        group.start_soon(caller, "two", two)
        await turns()
        one.trip()
        held.let_go()
        await turns()
        held.let_go()
    assert outcomes == {"one": one, "two": ()}


@pytest.mark.anyio
async def test_a_reset_of_the_parent_wakes_who_waits_at_a_child():
    """``wait_until_admitting`` of a child hears the transitions of all above it."""
    parent, one, _ = family()
    below = CircuitBreaker(parent=one)
    parent.isolate()
    times = []

    async def waits():
        assert await below.wait_until_admitting()
        times.append(anyio.current_time())

    async with company() as group:
        group.start_soon(waits)
        await anyio.sleep(7.0)
        parent.reset()
        expected = anyio.current_time()
    assert times == [expected]
    assert parent._awaiting == one._awaiting == below._awaiting == {}


@pytest.mark.anyio
async def test_a_child_waits_for_the_later_of_two_open_times():
    """It wakes when both would admit, and not before."""
    parent, one, _ = family()
    parent.trip()
    one.trip()
    began = anyio.current_time()
    assert await one.wait_until_admitting()
    assert anyio.current_time() - began == pytest.approx(5.0)


# Shadow


@pytest.mark.anyio
async def test_a_shadow_parent_refuses_nobody_and_counts():
    """Its state moves by the children's failures; their calls pass, and are counted and told."""
    parent, one, two = family(trip=1, shadow=True)
    heard = []
    await fail(one)
    assert parent.state is State.OPEN
    with parent.subscribe(heard.append):
        assert await one.execute(FINE) == "fine"
        await fail(two)
    snapshot = parent.snapshot()
    assert (snapshot.would_refuse, snapshot.would_refuse_succeeded) == (2, 1)
    assert [(event.name, event.shadow) for event in heard] == [("parent", True)] * 2
    assert one.snapshot().would_refuse == 0


def test_a_shadow_parent_makes_nobody_wait():
    """How long it would refuse is nothing to a child that it does not refuse."""
    parent, child = circuits(shadow=True)
    parent.isolate(0.0)
    assert child.retry_after(0.0) == 0.0
    child.trip(0.0)
    assert child.retry_after(0.0) == 1.0
    enforcing = Circuit(open_for=9.0)
    parent.parent = enforcing
    enforcing.trip(0.0)
    assert child.retry_after(0.0) == 9.0


@pytest.mark.anyio
async def test_a_child_of_an_isolated_shadow_parent_is_waited_for():
    """The time of the child's own opening ends the wait."""
    parent, one, _ = family(shadow=True)
    parent.isolate()
    one.trip()
    with anyio.fail_after(2.0):
        assert await one.wait_until_admitting()


@pytest.mark.anyio
async def test_a_shadow_child_is_still_refused_by_its_parent():
    """The mode is the child's own."""
    parent, one, _ = family()
    one.shadow()
    one.trip()
    assert await one.execute(FINE) == "fine"
    parent.trip()
    for policy in (one, Pipeline(one)):
        assert (await refusal(policy)).policy is parent


# Construction, and loops


@pytest.mark.parametrize(
    "parent",
    [Circuit(), "parent", CircuitBreaker, Pipeline()],
    ids=["circuit", "name", "class", "pipeline"],
)
def test_a_parent_is_a_breaker(parent):
    """Anything else is refused by name."""
    with pytest.raises(TypeError, match="parent"):
        CircuitBreaker(parent=parent)
    with pytest.raises(TypeError, match="parent"):
        Circuit(parent=CircuitBreaker() if isinstance(parent, Circuit) else parent)


@pytest.mark.anyio
async def test_the_children_of_a_keyed_may_share_a_parent():
    """One breaker for each key, and one for all keys."""
    parent = CircuitBreaker(3, open_for=5.0)
    keyed = Keyed(lambda key: CircuitBreaker(2, open_for=5.0, parent=parent), max_keys=2)
    for key in "abc":
        with pytest.raises(OSError, match="made up"):
            await keyed.bind(key=key).execute(Script(OSError("made up")))
    error = await refusal(keyed.bind(key="d"))
    assert (error.policy, error.key) == (parent, "d")


def test_no_time_passes_for_a_parent_between_two_loops():
    """Though it was only used by way of its children, one of them long before the end."""
    parent, one, two = family(trip=1)

    async def before():
        await two.execute(FINE)
        await asyncio.sleep(100.0)
        await fail(one)
        await asyncio.sleep(2.0)
        return (await refusal(one)).retry_after

    async def after():
        left = (await refusal(two)).retry_after
        assert (await refusal(one)).retry_after == left
        await asyncio.sleep(left)
        return left, await one.execute(FINE)

    assert run(before()) == pytest.approx(3.0)
    assert run(after(), start=7.0) == (pytest.approx(3.0), "fine")
    assert parent.state is State.CLOSED


def test_calls_of_a_closed_loop_hold_no_place_of_the_parent():
    """A probe that was left behind neither blocks the parent nor is heard."""
    parent, one, two = family()
    left = []

    async def leave_open():
        parent.trip()
        await asyncio.sleep(5.0)
        call = one.execute(asyncio.sleep, 100)
        call.send(None)
        left.append(call)
        assert (await refusal(two)).policy is parent

    async def later():
        assert await two.execute(FINE) == "fine"
        assert parent.state is State.CLOSED
        left.pop().close()
        assert await one.execute(FINE) == "fine"
        for breaker in (parent, one, two):
            assert breaker.snapshot().in_flight == 0

    run(leave_open())
    run(later(), start=3.0)


def test_without_a_loop_a_child_goes_by_the_clock_of_its_parent():
    """What a child tells of its parent is right, whichever of them was on the last loop."""
    parent, one, two = family()

    async def use(breaker):
        await breaker.execute(FINE)

    run(use(one), start=1000.0)
    run(use(two), start=50.0)
    parent.trip()
    assert one.snapshot().retry_after == pytest.approx(5.0)
    one.trip()
    assert one.snapshot().retry_after == pytest.approx(5.0)
    unused = CircuitBreaker(parent=parent, open_for=9.0)
    assert unused.snapshot().retry_after == pytest.approx(5.0)
    unused.trip()
    assert unused.snapshot().retry_after == pytest.approx(9.0)
    run(use_later(unused, 9.0), start=7.0)


async def use_later(breaker, seconds):
    error = await refusal(breaker)
    assert error.retry_after == pytest.approx(seconds)


def test_a_refusal_says_when_both_admit():
    """The child is open for a second and the parent for thirty: it is thirty that count."""
    parent = Circuit(open_for=30.0)
    child = Circuit(open_for=1.0, parent=parent)
    parent.trip(0.0)
    child.trip(0.0)
    with pytest.raises(CircuitOpenError) as refused:
        child.admit(0.5)
    assert refused.value.retry_after == child.retry_after(0.5) == 29.5
