"""Controlling a breaker by hand, and waiting until it admits calls."""

from __future__ import annotations

import asyncio
import copy
import pickle
from math import nan

import anyio
import pytest

from seawall import (
    Bulkhead,
    CircuitBreaker,
    CircuitOpenError,
    ConsecutiveFailures,
    DeadlineError,
    FailureRate,
    Pipeline,
    State,
    Timeout,
    UsageError,
)
from seawall.core.verdict import Kind
from seawall.policies.circuit.core import Circuit
from seawall.policies.circuit.rules import TripRule
from seawall.policies.circuit.tallies import Tally
from tests.doubles import HeardCircuit, Held, Script, believe, company, turns, virtual
from tests.virtual_time import VirtualLoop, run

SUCCESS, FAILURE = Kind.SUCCESS, Kind.FAILURE
FINE = Script("fine")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


async def fail(breaker):
    with pytest.raises(OSError, match="made up"):
        await breaker.execute(Script(OSError("made up")))


async def retry_after(policy):
    with pytest.raises(CircuitOpenError) as caught:
        await policy.execute(Script("never"))
    return caught.value.retry_after


def breaker_of(trip=1, **settings):
    return CircuitBreaker(trip, **{"open_for": 5.0, **settings})


# Without a loop


def test_no_control_function_needs_a_loop():
    """All but the wait can be called where no event loop has ever run, and work from then on."""
    breaker = breaker_of()
    breaker.trip()
    assert breaker.snapshot().retry_after == 5.0
    breaker.reconfigure(open_for=3.0, probes=2)
    breaker.isolate()
    assert breaker.snapshot().retry_after is None
    breaker.reset()
    breaker.shadow()
    breaker.trip()
    assert breaker.snapshot().shadow
    breaker.shadow(on=False)
    assert run(retry_after(breaker)) == pytest.approx(3.0)


def test_control_functions_work_after_the_loop_has_ended():
    """Between two loops they act at the last moment that was seen, and lose nothing."""
    breaker = breaker_of()
    run(fail(breaker))
    breaker.reset()
    assert run(breaker.execute(FINE), start=5.0) == "fine"
    breaker.trip()
    assert breaker.snapshot().retry_after == pytest.approx(5.0)
    assert run(retry_after(breaker), start=99.0) == pytest.approx(5.0)


def test_the_wait_needs_a_loop():
    """Without one it says so, and how it is done."""
    waiting = breaker_of().wait_until_admitting()
    with pytest.raises(UsageError, match="no event loop"):
        waiting.send(None)


def test_controlling_a_breaker_of_another_running_loop_is_refused():
    """One breaker serves one loop at a time, but anybody may look at it."""
    breaker = breaker_of()
    first = VirtualLoop()
    try:
        first.run_until_complete(fail(breaker))

        async def other():
            for control in (breaker.trip, breaker.isolate, breaker.reset):
                with pytest.raises(UsageError, match="another event loop"):
                    control()
            with pytest.raises(UsageError, match="another event loop"):
                await breaker.wait_until_admitting()
            assert breaker.snapshot().state is State.OPEN

        run(other())
        assert breaker.state is State.OPEN
    finally:
        first.close()


@pytest.mark.parametrize("on", [None, 0, 1, "yes"])
def test_shadow_is_true_or_false(on):
    """Anything else is refused by name, and changes nothing."""
    breaker = breaker_of()
    with pytest.raises(TypeError, match="on"):
        breaker.shadow(on)
    assert breaker.snapshot().shadow is False


# Shadow


@pytest.mark.anyio
async def test_shadow_counts_what_it_would_refuse():
    """It tells how many calls would have been refused, and how many of those were answered."""
    breaker = breaker_of(shadow=True)
    await fail(breaker)
    for outcome in ("fine", OSError("made up"), "fine", TypeError()):
        try:
            await breaker.execute(Script(outcome))
        except (OSError, TypeError):
            pass
    snapshot = breaker.snapshot()
    assert (snapshot.would_refuse, snapshot.would_refuse_succeeded) == (4, 2)
    assert (snapshot.rejected, snapshot.calls, snapshot.successes) == (0, 5, 2)
    breaker.reset()
    await breaker.execute(FINE)
    assert breaker.snapshot().would_refuse == 4


@pytest.mark.anyio
async def test_shadow_counts_who_would_be_refused_while_waiting():
    """A call that waits when the circuit trips goes on, and is one of those that succeeded."""
    breaker, held = breaker_of(shadow=True), Held()
    pipeline = Pipeline(breaker, Bulkhead(1, queue=1))
    async with company() as group:
        group.start_soon(pipeline.execute, held)
        await turns()
        group.start_soon(pipeline.execute, FINE)
        await turns()
        breaker.trip()
        assert breaker.snapshot().would_refuse == 1
        held.let_go()
    assert breaker.snapshot().would_refuse_succeeded == 1


def test_shadow_counts_the_late_success_of_a_stalled_call():
    """Also of one that answers only after the circuit has closed again."""
    circuit = Circuit(1, open_for=5.0, shadow=True)
    for start in (0.0, 0.1, 0.2):
        circuit.settle(circuit.admit(start), SUCCESS, start + 0.01)
    circuit.trip(1.0)
    slow = circuit.admit(1.5)
    circuit.admit(4.0)
    circuit.reset(4.5)
    circuit.settle(slow, SUCCESS, 5.0)
    assert (circuit.would_refuse, circuit.would_refuse_succeeded) == (2, 1)


@pytest.mark.anyio
async def test_leaving_the_shadow_mode_enforces_at_once():
    """And entering it lets all pass at once, in a pipeline as by itself."""
    breaker = breaker_of()
    pipeline = Pipeline(breaker)
    breaker.trip()
    for _ in range(2):
        for policy in (breaker, pipeline):
            await retry_after(policy)
        breaker.shadow()
        for policy in (breaker, pipeline):
            assert await policy.execute(FINE) == "fine"
        breaker.shadow(on=False)


# Reconfigure

WRONG = [
    ("trip", 0, ValueError),
    ("trip", 1.5, ValueError),
    ("trip", "5", TypeError),
    ("open_for", 0, ValueError),
    ("open_for", nan, ValueError),
    ("open_for", "5", TypeError),
    ("max_open_for", -1, ValueError),
    ("max_open_for", 1.0, ValueError),
    ("probes", 0, ValueError),
    ("probes", 1.0, TypeError),
    ("probes", None, TypeError),
    ("close_after", 0, ValueError),
    ("close_after", True, TypeError),
    ("probe_lease", 0, ValueError),
    ("probe_lease", [], TypeError),
    ("failures", ValueError(), TypeError),
    ("failures", "OSError", TypeError),
    ("ignore", int, TypeError),
    ("ignore", None, TypeError),
    ("count_retries", 1, TypeError),
    ("stalls", None, TypeError),
    ("end_stalled", "yes", TypeError),
]

RIGHT = {
    "open_for": 7.0,
    "max_open_for": 70.0,
    "probes": 3,
    "close_after": 4,
    "probe_lease": 9.0,
    "failures": OSError,
    "ignore": KeyError,
    "count_retries": True,
    "stalls": True,
    "end_stalled": True,
}


def settings_of(breaker):
    circuit = breaker._circuit
    return {
        "rule": circuit.rule,
        "open_for": circuit.open_for,
        "max_open_for": circuit.max_open_for,
        "probes": circuit.probes,
        "close_after": circuit.close_after,
        "probe_lease": circuit.probe_lease,
        "count_retries": circuit.count_retries,
        "stalls": circuit.stalls,
        "end_stalled": circuit.end_stalled,
        "failures": breaker.failures,
        "ignore": breaker.ignore,
        "traffic": circuit._traffic,
        "evidence": circuit.evidence(0.0),
        "patience": circuit.patience,
        "extras": breaker._has_extras,
    }


@pytest.mark.parametrize("name,value,error", WRONG)
def test_a_wrong_argument_changes_nothing(name, value, error):
    """All that are given are taken, or none; the error names the one that is wrong."""
    breaker = CircuitBreaker(9)
    before = settings_of(breaker)
    with pytest.raises(error, match=name):
        breaker.reconfigure(**{**RIGHT, name: value})
    assert settings_of(breaker) == before


def test_a_wrong_combination_changes_nothing():
    """What is checked together is checked with what stays, too."""
    breaker = CircuitBreaker(9, open_for=5.0, max_open_for=50.0)
    before = settings_of(breaker)
    for changes in ({"open_for": 60.0}, {"max_open_for": 4.0, "probes": 2}):
        with pytest.raises(ValueError, match="max_open_for"):
            breaker.reconfigure(**changes)
        assert settings_of(breaker) == before
    with pytest.raises(ValueError, match="stalls"):
        breaker.reconfigure(stalls=False, end_stalled=True, probes=2)
    assert settings_of(breaker) == before


class Broken(TripRule):
    """A rule of a user's own that raises."""

    def __init__(self, where):
        self.where = where

    def start(self):
        if self.where == "start":
            raise ZeroDivisionError
        return BrokenTally()


class BrokenTally(Tally):
    def record(self, kind, duration, now):
        return False

    def reset(self):
        pass

    def take_over(self, previous):
        raise ZeroDivisionError


@pytest.mark.parametrize("where", ["start", "take_over"])
def test_a_rule_that_raises_changes_nothing(where):
    """What a user's own rule raises passes, and the circuit is as it was."""
    breaker = CircuitBreaker(9)
    before = settings_of(breaker)
    with pytest.raises(ZeroDivisionError):
        breaker.reconfigure(trip=Broken(where), **RIGHT)
    assert settings_of(breaker) == before


def test_an_unknown_argument_is_refused():
    """``parent``, ``shadow`` and ``name`` stay as they were made."""
    for name in ("parent", "shadow", "name", "random"):
        with pytest.raises(TypeError, match=name):
            CircuitBreaker().reconfigure(**{name: None})
    with pytest.raises(TypeError, match=r"takes .*probes.*, not shadow"):
        Circuit().reconfigure(shadow=True)


def test_all_that_is_given_is_taken_and_the_rest_stays():
    """Each argument alone, and all together; what is not given is as before."""
    one = CircuitBreaker(9)
    for name, value in RIGHT.items():
        one.reconfigure(**{name: value})
    other = CircuitBreaker(9)
    other.reconfigure(**RIGHT)
    other.reconfigure()
    expected = {**settings_of(CircuitBreaker(9, **RIGHT)), "traffic": None}
    assert settings_of(one) == settings_of(other) == expected


def test_none_is_a_value_too():
    """``None`` goes back to the default where the constructor takes it."""
    breaker = CircuitBreaker(9, open_for=5.0, probe_lease=3.0, failures=OSError)
    breaker.reconfigure(open_for=None, max_open_for=None, probe_lease=None, failures=None)
    settings = settings_of(breaker)
    assert settings.pop("traffic") is not None
    expected = settings_of(CircuitBreaker(9))
    del expected["traffic"]
    assert settings == expected


def test_without_stalls_nothing_can_be_ended():
    """``stalls=False`` alone switches off what needs it."""
    breaker = CircuitBreaker(end_stalled=True)
    breaker.reconfigure(stalls=False)
    settings = settings_of(breaker)
    assert (settings["end_stalled"], settings["extras"]) == (False, False)


@pytest.mark.anyio
async def test_an_open_circuit_stays_open_for_as_long_as_it_was_going_to():
    """The state is kept, and the new open time is that of the next opening."""
    breaker = breaker_of()
    breaker.trip()
    await anyio.sleep(2.0)
    breaker.reconfigure(open_for=50.0)
    assert breaker.state is State.OPEN
    assert await retry_after(breaker) == pytest.approx(3.0)
    await anyio.sleep(3.0)
    await fail(breaker)
    assert await retry_after(breaker) == pytest.approx(50.0)


def test_the_doubling_goes_on_where_it_was():
    """New open times begin anew only where the circuit has been closed for long enough."""
    circuit = Circuit(1, open_for=2.0, max_open_for=100.0, random=lambda: 0.5)
    circuit.trip(0.0)
    circuit.settle(circuit.admit(2.0), FAILURE, 2.0)
    assert circuit.retry_after(2.0) == pytest.approx(4.0)
    circuit.reconfigure(max_open_for=200.0)
    circuit.settle(circuit.admit(6.0), FAILURE, 6.0)
    assert circuit.retry_after(6.0) == pytest.approx(8.0)


@pytest.mark.anyio
async def test_the_evidence_is_kept():
    """Failures before count together with those after."""
    breaker = breaker_of(3)
    await fail(breaker)
    await fail(breaker)
    breaker.reconfigure(open_for=9.0, trip=3, stalls=True)
    await fail(breaker)
    assert breaker.state is State.OPEN


@pytest.mark.anyio
async def test_a_new_rule_takes_over_what_the_old_one_counted():
    """Two failures in a row, and then one more, are three."""
    breaker = breaker_of(9)
    await fail(breaker)
    await fail(breaker)
    breaker.reconfigure(trip=3)
    assert breaker.state is State.CLOSED
    await fail(breaker)
    assert breaker.state is State.OPEN


@pytest.mark.anyio
async def test_a_rule_of_another_kind_begins_anew_where_it_cannot_take_over():
    """Whatever it takes over, changing the rule neither trips nor raises."""
    breaker = breaker_of(FailureRate(0.5, window=30.0, minimum_calls=4))
    for _ in range(3):
        await fail(breaker)
    breaker.reconfigure(trip=ConsecutiveFailures(2))
    assert breaker.state is State.CLOSED
    await fail(breaker)
    await fail(breaker)
    assert breaker.state is State.OPEN


@pytest.mark.anyio
async def test_more_probes_are_admitted_at_once():
    """In half-open, a larger number makes room in that very moment."""
    breaker, held = breaker_of(), Held()
    breaker.trip()
    await anyio.sleep(5.0)
    async with company() as group:
        group.start_soon(breaker.execute, held)
        await turns()
        await retry_after(breaker)
        breaker.reconfigure(probes=2, close_after=2)
        assert await breaker.execute(FINE) == "fine"
        assert breaker.state is State.HALF_OPEN
        held.let_go()
    assert breaker.state is State.CLOSED


def test_fewer_probes_than_places_taken_are_still_a_limit():
    """Until enough leases have ended all are refused, and are told for how long."""
    circuit = Circuit(1, open_for=1.0, probes=3, probe_lease=10.0, close_after=9)
    circuit.trip(0.0)
    for now in (1.0, 2.0, 3.0):
        circuit.admit(now)
    circuit.reconfigure(probes=1)
    for now in (5.0, 11.5, 12.5):
        assert circuit.refuses(now)
        assert circuit.retry_after(now) == pytest.approx(13.0 - now)
    assert circuit.admit(13.0).probe


@pytest.mark.anyio
async def test_narrowing_can_be_changed():
    """From now on other exceptions are failures, in calls that run already too."""
    breaker = breaker_of()
    breaker.reconfigure(ignore=OSError)
    await fail(breaker)
    assert breaker.state is State.CLOSED
    breaker.reconfigure(ignore=())
    await fail(breaker)
    assert breaker.state is State.OPEN


def test_silence_that_is_switched_off_learns_nothing_more():
    """A stalled call that answers afterwards teaches nothing, and switching on begins anew."""
    circuit = Circuit(100)
    for start in (0.0, 0.1, 0.2):
        circuit.settle(circuit.admit(start), SUCCESS, start + 0.01)
    slow = circuit.admit(1.0)
    circuit.admit(5.0)
    circuit.reconfigure(stalls=False)
    assert circuit.patience is None
    circuit.settle(slow, SUCCESS, 6.0)
    assert circuit.patience is None
    circuit.reconfigure(stalls=True)
    circuit.settle(circuit.admit(7.0), SUCCESS, 7.1)
    assert circuit.patience is None
    circuit.settle(circuit.admit(8.0), SUCCESS, 8.1)
    assert circuit.patience == pytest.approx(9 * 1.1)


def test_a_listener_that_closes_what_half_opens_refuses_nobody():
    """A call that arrives in the moment of such a reset is admitted, as by a closed circuit."""
    circuit = HeardCircuit(1, open_for=5.0)
    circuit.trip(0.0)
    circuit.on_change = lambda told: (
        circuit.reset(told.time) if told.after is State.HALF_OPEN else None
    )
    ticket = circuit.admit(6.0)
    assert (ticket.probe, circuit.state) == (False, State.CLOSED)


@pytest.mark.anyio
@pytest.mark.parametrize("do", ["reset", "isolate", "shadow", "trip"])
async def test_a_listener_may_control_the_breaker(do):
    """Whatever it does on hearing of an opening, every call is answered or refused."""
    breaker, heard = breaker_of(), []

    def listen(event):
        heard.append(event)
        if len(heard) == 1:
            getattr(breaker, do)()

    with breaker.subscribe(listen):
        await fail(breaker)
        expected = {"reset": State.CLOSED, "isolate": State.ISOLATED}.get(do, State.OPEN)
        assert breaker.state is expected
        if do in ("reset", "shadow"):
            assert await breaker.execute(FINE) == "fine"
        else:
            await retry_after(breaker)
    assert breaker.snapshot().in_flight == 0


# Waiting until calls are admitted


@pytest.mark.anyio
async def test_a_closed_circuit_makes_nobody_wait():
    """No time passes where a call would be let through now."""
    breaker, began = breaker_of(), anyio.current_time()
    assert await breaker.wait_until_admitting() is True
    assert await breaker.wait_until_admitting(0) is True
    breaker.trip()
    breaker.shadow()
    assert await breaker.wait_until_admitting(0) is True
    assert anyio.current_time() == began


@pytest.mark.anyio
async def test_it_waits_until_the_open_time_has_passed():
    """Time alone ends the wait, to the moment; the state then is open still."""
    breaker = breaker_of()
    breaker.trip()
    began = anyio.current_time()
    assert await breaker.wait_until_admitting()
    assert anyio.current_time() - began == pytest.approx(5.0)
    assert breaker.state is State.OPEN
    assert await breaker.execute(FINE) == "fine"


@pytest.mark.anyio
@pytest.mark.parametrize("wake", ["reset", "shadow", "recovered", "neutral", "late", "probes"])
async def test_it_is_woken_by_what_admits_calls(wake):
    """In the very moment in which a call would be let through, all who wait go on."""
    breaker, held = breaker_of(open_for=50.0, probe_lease=900.0), Held()
    for _ in range(2):
        await breaker.execute(anyio.sleep, 0.01)
    times = []

    async def waits():
        assert await breaker.wait_until_admitting()
        times.append(anyio.current_time())

    async with company() as group:
        probe = anyio.CancelScope()

        async def probes():
            with probe:
                await breaker.execute(held)

        if wake == "late":
            group.start_soon(probes)
            believe(breaker._circuit)
            await anyio.sleep(2.0)
            with pytest.raises(CircuitOpenError):
                await breaker.execute(FINE)
        else:
            breaker.trip()
            if wake in ("recovered", "neutral", "probes"):
                await anyio.sleep(50.0)
                group.start_soon(probes)
                await turns()
        for _ in range(3):
            group.start_soon(waits)
        await anyio.sleep(10.0)
        assert times == []
        now = anyio.current_time()
        if wake in ("recovered", "late"):
            held.let_go()
        elif wake == "neutral":
            probe.cancel()
        elif wake == "probes":
            breaker.reconfigure(probes=2)
        else:
            getattr(breaker, wake)()
        await turns()
        assert times == [now] * 3
        probe.cancel()
    assert breaker._awaiting == {}


@pytest.mark.anyio
async def test_a_lease_that_ends_ends_the_wait():
    """A hung probe makes room for the next, and for who waits for it."""
    breaker, held = breaker_of(probe_lease=3.0), Held()
    breaker.trip()
    await anyio.sleep(5.0)
    async with company() as group:
        group.start_soon(breaker.execute, held)
        await turns()
        began = anyio.current_time()
        assert await breaker.wait_until_admitting()
        assert anyio.current_time() - began == pytest.approx(3.0)
        held.let_go()


@pytest.mark.anyio
async def test_it_goes_on_waiting_where_a_change_admits_nobody():
    """An opening for longer, and isolation, are changes that it only looks at."""
    breaker = breaker_of()
    breaker.trip()
    times = []

    async def waits():
        assert await breaker.wait_until_admitting()
        times.append(anyio.current_time())

    began = anyio.current_time()
    async with company() as group:
        group.start_soon(waits)
        await anyio.sleep(4.0)
        breaker.trip()
        await anyio.sleep(4.0)
        breaker.isolate()
        await anyio.sleep(1000.0)
        assert times == []
        breaker.reset()
    assert times == [pytest.approx(began + 1008.0)]


@pytest.mark.anyio
@pytest.mark.parametrize("max_wait,admits", [(0, False), (4.9, False), (5.0, True), (9, True)])
async def test_it_waits_for_max_wait_at_most(max_wait, admits):
    """Then it says that no call would be let through yet, and leaves nothing behind."""
    breaker = breaker_of()
    breaker.trip()
    began = anyio.current_time()
    assert await breaker.wait_until_admitting(max_wait) is admits
    assert anyio.current_time() - began == pytest.approx(min(max_wait, 5.0))
    assert breaker._awaiting == {}


@pytest.mark.parametrize(
    "max_wait,error", [(-1, ValueError), (nan, ValueError), ("1", TypeError), (True, TypeError)]
)
def test_a_wrong_max_wait_is_refused(max_wait, error):
    """It is refused by name, whether there is anything to wait for or not."""
    with pytest.raises(error, match="max_wait"):
        run(breaker_of().wait_until_admitting(max_wait))


@pytest.mark.anyio
async def test_the_deadline_ends_the_wait():
    """An enclosing Timeout ends it, and a deadline that has passed is a DeadlineError."""
    breaker = breaker_of(name="db")
    breaker.isolate()
    began = anyio.current_time()
    with pytest.raises(TimeoutError):
        await Timeout(2.0).execute(breaker.wait_until_admitting)
    assert anyio.current_time() - began == pytest.approx(2.0)
    assert breaker._awaiting == {}


def test_no_time_left_is_a_deadline_error():
    """Who asks after the deadline of the calling code has passed is told so, and not made wait."""
    breaker = breaker_of(name="db")
    seen = []

    async def late():
        asyncio.get_running_loop().now += 3.0
        for max_wait in (None, 0, 9.0):
            with pytest.raises(DeadlineError) as caught:
                await breaker.wait_until_admitting(max_wait)
            seen.append((caught.value.policy, caught.value.name))
        assert await breaker_of().wait_until_admitting()

    async def main():
        breaker.isolate()
        await Timeout(2.0).execute(late)

    run(main())
    assert seen == [(breaker, "db")] * 3


@pytest.mark.anyio
async def test_max_wait_within_a_deadline():
    """The earlier of the two ends the wait, each in its own way."""
    breaker = breaker_of()
    breaker.isolate()
    assert await Timeout(2.0).execute(breaker.wait_until_admitting, 1.5) is False
    with pytest.raises(TimeoutError):
        await Timeout(2.0).execute(breaker.wait_until_admitting, 2.5)


@pytest.mark.anyio
async def test_a_cancelled_wait_leaves_no_waiter():
    """Neither at the breaker nor at those above it."""
    parent = CircuitBreaker()
    breaker = breaker_of(parent=parent)
    breaker.isolate()
    async with company() as group:
        for _ in range(3):
            group.start_soon(breaker.wait_until_admitting)
        await turns()
        assert len(breaker._awaiting) == len(parent._awaiting) == 3
        group.cancel_scope.cancel()
    assert breaker._awaiting == parent._awaiting == {}


def test_it_does_not_poll():
    """One timer at most, and no turn of the loop, while nothing happens."""
    breaker = breaker_of(open_for=1000.0)
    steps = 0

    def on_step():
        nonlocal steps
        steps += 1

    async def main():
        loop = asyncio.get_running_loop()
        breaker.trip()
        task = asyncio.create_task(breaker.wait_until_admitting())
        await asyncio.sleep(1.0)
        armed = loop.timers()
        assert [timer.when() for timer in armed] == [pytest.approx(1000.0 + loop.time() - 1.0)]
        loop.on_step = on_step
        await task
        loop.on_step = None
        # The timer, the task that waits, and the one that waits for it.
        assert steps <= 4
        breaker.isolate()
        task = asyncio.create_task(breaker.wait_until_admitting())
        await asyncio.sleep(1.0)
        assert loop.timers() == []
        breaker.reset()
        assert await task
        assert loop.timers() == []

    run(main())


def test_it_can_be_cancelled_at_every_tick():
    """The cancellation always passes, and no waiter stays, whatever wakes it in that tick."""

    async def main(loop, step):
        breaker = breaker_of()
        breaker.trip()
        task = asyncio.create_task(breaker.wait_until_admitting())
        steps, cancelled = 0, False

        def on_step():
            nonlocal steps, cancelled
            if steps == step and not task.done():
                cancelled = True
                task.cancel()
            steps += 1

        loop.on_step = on_step
        await asyncio.sleep(4.0)
        breaker.isolate()
        await asyncio.sleep(1.0)
        breaker.reset()
        await asyncio.wait([task])
        loop.on_step = None
        assert task.cancelled() is cancelled
        assert breaker._awaiting == {}
        return cancelled

    loop = VirtualLoop()
    try:
        step = 0
        while loop.run_until_complete(main(loop, step)):
            step += 1
        assert step >= 5
    finally:
        loop.close()


def test_a_wait_of_a_closed_loop_is_forgotten():
    """It can be dropped on a later loop, where nothing of it is left."""
    breaker = breaker_of()
    left = []

    async def leave_open():
        breaker.isolate()
        left.append(breaker.wait_until_admitting())
        left[0].send(None)

    async def later():
        assert await breaker.wait_until_admitting(1.0) is False
        assert breaker._awaiting == {}
        left[0].close()
        breaker.reset()
        assert await breaker.wait_until_admitting()

    run(leave_open())
    breaker.trip()
    run(later(), start=3.0)


@pytest.mark.anyio
async def test_a_thousand_who_wait_for_a_probe_come_one_after_the_other():
    """Those who are refused after all wait again, and all of them get their answer."""
    breaker, answers = breaker_of(), []
    breaker.trip()

    async def caller():
        while True:
            await breaker.wait_until_admitting()
            try:
                answers.append(await breaker.execute(FINE))
            except CircuitOpenError:
                continue
            return

    async with company() as group:
        for _ in range(1000):
            group.start_soon(caller)
    assert answers == ["fine"] * 1000


def test_a_copy_of_a_breaker_goes_its_own_way():
    """Neither a deep copy nor a pickled one shares anything with the first that changes."""
    breaker = CircuitBreaker(1, end_stalled=True, name="first")
    for copied in (copy.deepcopy(breaker), pickle.loads(pickle.dumps(breaker))):
        copied.trip()
        assert (copied.state, breaker.state) == (State.OPEN, State.CLOSED)
        assert copied._circuit.owner is copied
