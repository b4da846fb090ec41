"""What one origin, or one transport, does to the others: nothing."""

from __future__ import annotations

import ssl
from typing import Any

import anyio
import h11
import pytest

from seawall import Bulkhead, CircuitBreaker, Keyed, Pipeline, RateLimiter, Timeout
from seawall.testing import FaultServer
from tests.doubles import company
from tests.http.conftest import Family
from tests.http.in_virtual_time import answering
from tests.http.scripted import Ledger

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("made", ["by us", "protected"])
async def test_an_origin_that_hangs_does_not_hold_up_a_healthy_one(
    family: Family, made: str
) -> None:
    """Its requests take its own slots and no place in a pool that others wait for."""
    if made == "by us":
        client = family.binding.AsyncClient(verify=False, timeout=60)
    else:
        client = family.binding.protect(family.client.AsyncClient(verify=False, timeout=60))
    async with FaultServer(then="silence") as hung, FaultServer() as healthy, client:
        async with company() as group:
            for _ in range(150):
                group.start_soon(client.get, hung.url)
            # One for each slot; the others wait for one.
            await hung.until(lambda: len(hung.requests) == 100)
            with anyio.fail_after(30):
                for _ in range(20):
                    assert (await client.get(healthy.url)).status_code == 200
            assert len(hung.requests) == 100
            # In a common pool, httpcore 1.0 closes each idle connection beside 20 that are busy.
            assert healthy.connections == 1
            group.cancel_scope.cancel()


@pytest.mark.parametrize(
    "error",
    [
        h11.RemoteProtocolError("made up"),
        anyio.ClosedResourceError(),
        anyio.BrokenResourceError(),
        ssl.SSLError(1, "made up"),
        OSError(5, "made up"),
        ExceptionGroup("made up", [ValueError("made up")]),
        AssertionError("made up"),
        KeyError("made up"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_foreign_exception_gives_everything_back(family: Family, error: Any) -> None:
    """Requirement 16: what h11, anyio, ssl or an application raises passes, and nothing is kept."""
    ledger, bulkhead = Ledger(), Bulkhead(1)
    breaker = CircuitBreaker()
    policy = Pipeline(Timeout(5), RateLimiter(None), breaker, bulkhead, ledger, Timeout(4))
    transport = family.binding.ResilientTransport(policy, answering(family, error))
    async with family.client.AsyncClient(transport=transport) as client:
        for number in (1, 2, 3):
            with pytest.raises(type(error)) as caught:
                await client.get("http://server/")
            assert caught.value is error
            assert (bulkhead.in_flight, ledger.held, ledger.given_back) == (0, 0, number)
    assert breaker.snapshot().in_flight == 0


async def test_a_circuit_that_is_open_is_not_forgotten(family: Family) -> None:
    """Requirement 17: however many origins come, a dead one stays cut off."""

    def handle(request: Any) -> Any:
        if request.url.host == "dead":
            raise family.client.ConnectError("made up")
        return family.client.Response(200)

    policy = Keyed(lambda key: CircuitBreaker(trip=1, open_for=600), max_keys=10)
    transport = family.binding.ResilientTransport(policy, family.client.MockTransport(handle))
    async with family.client.AsyncClient(transport=transport) as client:
        with pytest.raises(family.client.ConnectError):
            await client.get("http://dead/")
        for number in range(100):
            await client.get(f"http://host-{number}/")
        assert len(policy) == 10
        with pytest.raises(family.binding.CircuitOpenError):
            await client.get("http://dead/")
