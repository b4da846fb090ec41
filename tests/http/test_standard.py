"""The standard policies of a client, and defaults that give way to what the caller asked for."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import pytest

from seawall import (
    Bulkhead,
    Call,
    CircuitBreaker,
    Keyed,
    Pipeline,
    Policy,
    Proceed,
    RateLimiter,
    Retry,
)
from seawall.http import standard as module
from seawall.http.standard import DefaultTimeout, standard
from tests.http.conftest import Family
from tests.http.scripted import Exchange, Server, drip, respond


class Spy(Policy):
    """Writes down how long an attempt, and the whole call, may take."""

    def __init__(self) -> None:
        self.attempt = self.total = 0.0

    async def run(self, call: Call[Any], proceed: Proceed[Any]) -> Any:
        self.attempt = call.deadline - call.now()
        self.total = call.total_deadline() - call.now()
        return await proceed(call)


def test_the_standard_policies_in_their_order() -> None:
    """A total timeout, retries, per origin a limiter, circuit and limit, a timeout per attempt."""
    total, retry, keyed, attempt = standard(name="api").policies
    assert isinstance(total, DefaultTimeout)
    assert isinstance(attempt, DefaultTimeout)
    assert (total.seconds, attempt.seconds, total.name) == (30, 10, "api")
    assert isinstance(retry, Retry)
    assert (retry.attempts, retry.max_retry_after) == (3, 30)
    assert retry.budget is not None
    assert isinstance(keyed, Keyed)
    policy = keyed.factory("http://server:80")
    assert isinstance(policy, Pipeline)
    limiter, breaker, bulkhead = policy.policies
    assert isinstance(limiter, RateLimiter)
    assert (limiter.rate, limiter.max_pause, limiter.max_wait) == (None, 60, None)
    assert isinstance(breaker, CircuitBreaker)
    assert breaker.name == "api"
    assert isinstance(bulkhead, Bulkhead)
    assert (bulkhead.limit, bulkhead.queue, bulkhead.max_wait) == (100, inf, None)
    unlimited = standard(limit=None).find(Keyed).factory("http://server:80")
    assert isinstance(unlimited, Pipeline)
    assert len(unlimited.policies) == 2


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"timeout": 0}, ValueError),
        ({"attempts": 0}, ValueError),
        ({"attempt_timeout": "1"}, TypeError),
        ({"limit": 0}, ValueError),
        ({"name": 3}, TypeError),
    ],
)
def test_wrong_numbers_are_told_at_once(arguments: dict[str, Any], error: type[Exception]) -> None:
    """A wrong argument is not kept for the first request."""
    with pytest.raises(error):
        standard(**arguments)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "arguments, read, attempt, total",
    [
        ({}, 5.0, 10, 30),
        ({}, 10.0, 10, 30),
        ({}, 600.0, 600, 620),
        ({}, None, inf, inf),
        ({"timeout": 20.0}, 600.0, 20, 20),
        ({"timeout": 20.0, "attempt_timeout": 2.0}, None, 2, 20),
        ({"attempt_timeout": 2.0}, 600.0, 2, 620),
    ],
)
async def test_a_default_never_undercuts_what_the_caller_asked_for(
    family: Family, arguments: dict[str, Any], read: float | None, attempt: float, total: float
) -> None:
    """A longer read timeout stretches our defaults, and never what the user gave us."""
    spy = Spy()
    mock = family.client.MockTransport(lambda request: family.client.Response(200))
    policy = Pipeline(standard(**arguments), spy)
    transport = family.binding.ResilientTransport(policy, mock)
    timeout = family.client.Timeout(5, read=read)
    async with family.client.AsyncClient(transport=transport, timeout=timeout) as client:
        await client.get("http://server/")
    assert spy.attempt == pytest.approx(attempt, abs=0.5)
    assert spy.total == pytest.approx(total, abs=0.5)


@pytest.mark.asyncio
async def test_a_request_that_says_nothing_of_timeouts_gets_the_defaults(family: Family) -> None:
    """A transport that is used without a client has no timeouts but ours."""
    spy = Spy()
    mock = family.client.MockTransport(lambda request: family.client.Response(200))
    transport = family.binding.ResilientTransport(Pipeline(standard(), spy), mock)
    await transport.handle_async_request(family.client.Request("GET", "http://server/"))
    assert spy.attempt == pytest.approx(10, abs=0.5)
    assert spy.total == pytest.approx(30, abs=0.5)


@pytest.mark.asyncio
async def test_an_attempt_may_take_as_long_as_the_read_that_was_asked_for(
    family: Family, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a socket: the default would end it, the caller's own read timeout does not."""
    monkeypatch.setattr(module, "ATTEMPT_SECONDS", 0.05)
    monkeypatch.setattr(module, "TOTAL_SECONDS", 0.2)

    async def trickle(exchange: Exchange) -> None:
        # No single read takes long, so that only a timeout of ours can end it.
        await exchange.send_raw(b"HTTP/1.1 200 OK\r\n")
        for number in range(20):
            await asyncio.sleep(0.015)
            await exchange.send_raw(f"x-{number}: 1\r\n".encode())
        await exchange.send_raw(b"content-length: 0\r\n\r\n")

    server.play(trickle)
    async with family.binding.AsyncClient(verify=False, timeout=1) as client:
        assert (await client.get(server.url)).status_code == 200
        with pytest.raises(family.binding.CallTimeoutError):
            await client.get(server.url, timeout=family.client.Timeout(5, read=0.05))


@pytest.mark.asyncio
async def test_the_standard_client_does_no_harm_to_healthy_traffic(
    family: Family, server: Server
) -> None:
    """Many requests at once to a healthy server are all served, beyond the limit too."""
    server.play(respond(delay=0.01))
    async with family.binding.AsyncClient(verify=False) as client:
        answers = await asyncio.gather(*[client.get(server.url) for _ in range(250)])
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.asyncio
async def test_the_standard_client_opens_the_circuit_of_a_dead_origin(family: Family) -> None:
    """After eight failures in a row the origin is left alone, and the error is the family's."""

    def handler(request: Any) -> Any:
        raise family.client.ReadError("made up")

    transport = family.binding.ResilientTransport(
        standard(attempts=1), family.client.MockTransport(handler)
    )
    async with family.client.AsyncClient(transport=transport) as client:
        for _ in range(8):
            with pytest.raises(family.client.ReadError):
                await client.get("http://server/")
        with pytest.raises(family.binding.CircuitOpenError, match="'http://server:80' is open"):
            await client.get("http://server/")


@pytest.mark.asyncio
async def test_a_body_that_takes_long_is_read_to_its_end(family: Family, server: Server) -> None:
    """The timeout of an attempt does not end a body that keeps coming."""
    server.play(drip(10, every=0.06))
    policy = standard(timeout=20.0, attempt_timeout=0.4)
    async with family.binding.AsyncClient(policy=policy, verify=False) as client:
        assert len((await client.get(server.url)).content) == 10
