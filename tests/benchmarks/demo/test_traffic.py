"""The traffic: when calls arrive, and what becomes of them."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from benchmarks.demo import traffic
from benchmarks.demo.calls import Call, Outcome
from benchmarks.demo.traffic import arrivals, send
from seawall import RejectedError


def test_arrivals_are_those_of_the_seed():
    """The same seed gives the same arrivals, and another seed gives others."""
    assert arrivals(1, 20.0) == arrivals(1, 20.0)
    assert arrivals(1, 20.0) != arrivals(2, 20.0)


def test_arrivals_are_a_poisson_process():
    """Arrivals are in order, within the run and as many as the rate says."""
    times = arrivals(3, 200.0, rate=50.0)
    assert times == sorted(times)
    assert 0.0 < times[0] < times[-1] < 200.0
    assert 9_600 < len(times) < 10_400


def test_a_longer_run_begins_alike():
    """The length of a run does not change when its first calls arrive."""
    assert arrivals(1, 300.0)[: len(arrivals(1, 5.0))] == arrivals(1, 5.0)


def test_record():
    """A call's record is read back from its line."""
    call = Call(1.25, 0.01, Outcome.FAILED, 0.5)
    assert Call.read(call.line()) == call


async def traffic_through(handler, times):
    calls = []
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        await send(client, "http://server.test/", times, calls.append)
    return calls


@pytest.mark.asyncio
async def test_outcomes():
    """Statuses, errors of the transport and refusals each have their outcome."""

    async def handler(request):
        happened = outcomes.pop(0)
        if isinstance(happened, Exception):
            raise happened
        return httpx.Response(happened)

    outcomes = [200, 503, 404, httpx.ReadError("reset"), RejectedError()]
    calls = await traffic_through(handler, [0.001 * number for number in range(5)])
    assert [call.outcome for call in calls] == ["answered", "failed", "failed", "failed", "refused"]


@pytest.mark.asyncio
async def test_open_loop(monkeypatch):
    """Calls arrive when they are due though none of those before them has ended."""
    monkeypatch.setattr(traffic, "PATIENCE", 0.05)
    in_flight = 0

    async def handler(request):
        nonlocal in_flight
        in_flight += 1
        await asyncio.Event().wait()

    before = asyncio.all_tasks()
    calls = await traffic_through(handler, [0.0, 0.01, 0.02])
    assert in_flight == 3
    assert [call.outcome for call in calls] == [Outcome.UNFINISHED] * 3
    assert all(call.blocked >= 0.05 for call in calls)
    assert asyncio.all_tasks() == before
