"""Attempts that go on after their function has returned."""

from __future__ import annotations

import anyio
import pytest

from seawall import (
    Bulkhead,
    CircuitBreaker,
    Classifier,
    Fallback,
    Keyed,
    Kind,
    Pipeline,
    Policy,
    State,
    Timeout,
    Verdict,
)
from seawall.core.open_attempt import OpenAttempt
from tests.doubles import Script, virtual

SUCCESS, FAILURE, NEUTRAL = (Verdict(kind) for kind in Kind)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


async def close_nothing() -> None:
    """What there is to close where nothing is open."""


class Transport(Policy):
    """Leaves each attempt open, as a streamed response does.

    Attributes:
        opened: the open attempts, in order.
        closed: how many of them were closed.
    """

    def __init__(self) -> None:
        self.opened: list[OpenAttempt] = []
        self.closed = 0

    async def run(self, call, proceed):
        result = await proceed(call)
        call.open = OpenAttempt(self.close)
        self.opened.append(call.open)
        return result

    async def close(self) -> None:
        self.closed += 1


# The object itself.


def test_it_ends_once():
    """All steps run at the first end, with the first verdict; a second end changes nothing."""
    events = []
    attempt = OpenAttempt(close_nothing)
    attempt.on_settle(lambda verdict: events.append(("settle", verdict)))
    attempt.on_release(lambda: events.append("release"))
    attempt.end(FAILURE)
    attempt.end(SUCCESS)
    assert attempt.ended
    assert events == [("settle", FAILURE), "release"]


def test_the_innermost_steps_come_first():
    """Verdicts are given innermost first, then what is held is given back, innermost first."""
    events = []
    attempt = OpenAttempt(close_nothing)
    for name in ("inner", "middle", "outer"):
        attempt.on_release(lambda name=name: events.append(f"release {name}"))
        attempt.on_settle(lambda verdict, name=name: events.append(f"settle {name}"))
    attempt.end(SUCCESS)
    expected = [f"{step} {name}" for step in ("settle", "release") for name in ("inner", "middle")]
    assert [event for event in events if "outer" not in event] == expected
    assert events[2::3] == ["settle outer", "release outer"]


def test_a_verdict_may_come_before_the_end():
    """An endless response gives its verdict at its head; what is held is given back at the end."""
    events = []
    attempt = OpenAttempt(close_nothing)
    attempt.on_settle(events.append)
    attempt.on_release(lambda: events.append("release"))
    attempt.settle(SUCCESS)
    assert events == [SUCCESS]
    assert not attempt.ended
    attempt.settle(FAILURE)
    attempt.end(FAILURE)
    assert events == [SUCCESS, "release"]
    attempt.on_settle(events.append)
    assert events[2:] == [SUCCESS]


def test_a_step_that_comes_late_runs_at_once():
    """A policy that hands in a step after the end finds the verdict, and keeps nothing."""
    events = []
    attempt = OpenAttempt(close_nothing)
    attempt.end(NEUTRAL)
    attempt.on_settle(events.append)
    attempt.on_release(lambda: events.append("release"))
    assert events == [NEUTRAL, "release"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_what_a_step_raises_keeps_no_other_from_running(error):
    """Whatever goes wrong in one policy, no slot and no ticket of another one is lost."""
    events = []

    def broken(*verdict: Verdict) -> None:
        raise error

    attempt = OpenAttempt(close_nothing)
    for number in range(2):
        attempt.on_settle(broken)
        attempt.on_settle(lambda verdict, number=number: events.append(f"settle {number}"))
        attempt.on_release(broken)
        attempt.on_release(lambda number=number: events.append(f"release {number}"))
    with pytest.raises(error):
        attempt.end(SUCCESS)
    assert events == ["settle 0", "settle 1", "release 0", "release 1"]


@pytest.mark.anyio
async def test_a_discarded_attempt_is_closed_first():
    """The connection goes back before the slot that admits the next call."""
    events = []

    async def close() -> None:
        events.append("close")

    attempt = OpenAttempt(close)
    attempt.on_release(lambda: events.append("release"))
    await attempt.discard(FAILURE)
    assert events == ["close", "release"]


@pytest.mark.anyio
async def test_an_attempt_ends_though_closing_fails_or_is_cancelled():
    """A body that fails to close is no error of the next attempt, and holds nothing."""
    events = []

    async def broken() -> None:
        raise OSError("made up")

    attempt = OpenAttempt(broken)
    attempt.on_settle(events.append)
    await attempt.discard(FAILURE)
    hanging = OpenAttempt(anyio.sleep_forever)
    hanging.on_release(lambda: events.append("release"))
    with anyio.move_on_after(1):
        await hanging.discard(NEUTRAL)
    assert events == [FAILURE, "release"]


# Policies around an open attempt.


@pytest.mark.anyio
@pytest.mark.parametrize(
    "verdict,state", [(SUCCESS, State.CLOSED), (FAILURE, State.OPEN), (NEUTRAL, State.CLOSED)]
)
async def test_slot_and_verdict_belong_to_the_end(verdict, state):
    """A breaker hears the final verdict, and a bulkhead gets its slot back, when the body ends."""
    transport, breaker, bulkhead = Transport(), CircuitBreaker(1), Bulkhead(1)
    assert await Pipeline(breaker, bulkhead, transport).execute(Script("head")) == "head"
    assert (bulkhead.in_flight, breaker.state) == (1, State.CLOSED)
    transport.opened[0].end(verdict)
    assert (bulkhead.in_flight, breaker.state) == (0, state)
    transport.opened[0].end(FAILURE)
    assert (bulkhead.in_flight, breaker.state) == (0, state)


@pytest.mark.anyio
async def test_a_probe_is_in_flight_until_its_body_ends():
    """A half-open circuit waits for the end of the body, and closes on its verdict."""
    transport, breaker = Transport(), CircuitBreaker(1, open_for=1)
    breaker.trip()
    await anyio.sleep(1)
    await Pipeline(breaker, transport).execute(Script("head"))
    assert breaker.state is State.HALF_OPEN
    await anyio.sleep(5)
    transport.opened[0].end(SUCCESS)
    assert breaker.state is State.CLOSED


@pytest.mark.anyio
async def test_a_probe_whose_body_is_left_early_frees_its_place():
    """A NEUTRAL end proves nothing, and the next caller may probe at once."""
    transport, breaker = Transport(), CircuitBreaker(1, open_for=1)
    breaker.trip()
    await anyio.sleep(1)
    await Pipeline(breaker, transport).execute(Script("head"))
    transport.opened[0].end(NEUTRAL)
    assert breaker.state is State.HALF_OPEN
    await breaker.execute(Script("fine"))
    assert breaker.state is State.CLOSED


@pytest.mark.anyio
async def test_a_bad_head_is_a_failure_at_once():
    """However its body ends, a head that is judged a FAILURE is counted when it comes."""
    transport, breaker = Transport(), CircuitBreaker(1)
    classify = Classifier(results=lambda value: value == "bad")
    assert await Pipeline(breaker, transport, classify=classify).execute(Script("bad")) == "bad"
    assert breaker.state is State.OPEN
    transport.opened[0].end(SUCCESS)
    assert breaker.state is State.OPEN


@pytest.mark.anyio
async def test_an_exception_ends_an_open_attempt():
    """Only a return defers: what raises after the attempt was opened gives back at once."""

    class Fail(Policy):
        async def run(self, call, proceed):
            await proceed(call)
            raise OSError("made up")

    transport, inner, outer = Transport(), Bulkhead(1), Bulkhead(1)
    with pytest.raises(OSError, match="made up"):
        await Pipeline(outer, Fail(), inner, transport).execute(Script("head"))
    assert transport.opened[0].ended
    assert (outer.in_flight, inner.in_flight) == (0, 0)


@pytest.mark.anyio
async def test_a_fallback_closes_what_it_answers_instead_of():
    """An answer of a fallback is not the open attempt's, so nobody else would close that."""

    class Fail(Policy):
        async def run(self, call, proceed):
            await proceed(call)
            raise OSError("made up")

    transport, bulkhead = Transport(), Bulkhead(1)
    pipeline = Pipeline(Fallback(value="spare"), Fail(), bulkhead, transport)
    assert await pipeline.execute(Script("head")) == "spare"
    assert transport.closed == 1
    assert bulkhead.in_flight == 0


@pytest.mark.anyio
async def test_a_timeout_covers_the_time_until_the_head():
    """The body may take longer than the timeout that its head had to meet."""
    transport, bulkhead = Transport(), Bulkhead(1)
    await Pipeline(Timeout(1), bulkhead, transport).execute(Script("head"))
    await anyio.sleep(5)
    assert bulkhead.in_flight == 1
    transport.opened[0].end(SUCCESS)
    assert bulkhead.in_flight == 0


@pytest.mark.anyio
async def test_a_key_with_an_open_body_is_not_forgotten():
    """A policy of a key matters as long as a body of one of its calls is open."""
    transport = Transport()
    keyed = Keyed(lambda key: Bulkhead(1), max_keys=1)
    pipeline = Pipeline(keyed, transport)
    await pipeline.bind(key="a").execute(Script("head"))
    await pipeline.bind(key="b").execute(Script("head"))
    transport.opened[1].end(SUCCESS)
    await pipeline.bind(key="c").execute(Script("head"))
    assert "a" in list(keyed)
    assert "b" not in list(keyed)
    transport.opened[0].end(SUCCESS)
    await pipeline.bind(key="d").execute(Script("head"))
    assert "a" not in list(keyed)
