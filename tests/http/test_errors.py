"""Our errors are members of the client's family, and remain our own."""

from __future__ import annotations

import asyncio
import copy
import pickle
import warnings
from typing import Any

import pytest

import seawall
from seawall import (
    Bulkhead,
    Call,
    CircuitBreaker,
    Pipeline,
    Policy,
    Proceed,
    Retry,
    RetryBudget,
    Timeout,
    constant,
)
from seawall.core import errors
from tests.http.conftest import Family
from tests.http.scripted import Server, close, hang, respond

pytestmark = pytest.mark.asyncio

URL = "http://server/"


def mock(family: Family, policy: Any, handler: Any, **options: Any) -> Any:
    transport = family.client.MockTransport(handler)
    return family.client.AsyncClient(
        transport=family.binding.ResilientTransport(policy, transport, **options)
    )


def answer(family: Family, *statuses: int) -> Any:
    """A handler that answers with these statuses in turn, the last one for ever."""
    left = list(statuses)

    def handler(request: Any) -> Any:
        return family.client.Response(left.pop(0) if len(left) > 1 else left[0])

    return handler


async def test_a_circuit_that_refuses_is_an_error_of_the_client(
    family: Family, server: Server
) -> None:
    """Requirement 15: both seawall's and the family's, with the request and our fields."""
    server.play(close)
    breaker = CircuitBreaker(trip=1, name="payments")
    async with family.binding.AsyncClient(policy=breaker, verify=False) as client:
        with pytest.raises(family.client.RemoteProtocolError):
            await client.get(server.url)
        with pytest.raises(family.client.TransportError) as caught:
            await client.get(f"{server.url}/b")
    error = caught.value
    assert isinstance(error, family.binding.CircuitOpenError)
    assert isinstance(error, family.binding.RejectedError)
    assert isinstance(error, seawall.CircuitOpenError)
    assert not isinstance(error, family.client.TimeoutException)
    assert (error.name, error.state, error.failures) == ("payments", "open", 1)
    assert error.key == server.url
    assert error.cause == "RemoteProtocolError"
    assert error.retry_after is not None
    assert error.policy is breaker
    assert error.request.url.path == "/b"
    assert error.__context__ is None
    assert str(error).startswith("circuit 'payments' for key 'http://127.0.0.1")


async def test_our_timeouts_are_timeouts_of_the_client(family: Family, server: Server) -> None:
    """Requirement 15: whoever catches the family's timeouts, or ``TimeoutError``, gets ours."""
    server.play(hang)
    policy = Pipeline(Retry(2, backoff=constant(0)), Timeout(0.05, name="attempt"))
    async with family.binding.AsyncClient(policy=policy, verify=False) as client:
        with pytest.raises(family.client.TimeoutException) as caught:
            await client.get(server.url)
    error = caught.value
    assert isinstance(error, family.binding.CallTimeoutError)
    assert isinstance(error, seawall.CallTimeoutError)
    assert isinstance(error, TimeoutError)
    assert (error.seconds, error.name, error.phase) == (0.05, "attempt", "call")
    assert error.request.method == "GET"
    assert "gave up after 2 attempts" in error.__notes__[0]
    assert isinstance(error.__cause__, asyncio.CancelledError)


async def test_a_full_bulkhead_and_a_passed_deadline_are_errors_of_the_client(
    family: Family,
) -> None:
    """Requirement 15: every refusal is the family's; one for want of time is a timeout too."""

    async def slow(request: Any) -> Any:
        await asyncio.sleep(0.05)
        return family.client.Response(200)

    async with mock(family, Bulkhead(1), slow) as client:
        first = asyncio.create_task(client.get(URL))
        await asyncio.sleep(0)
        with pytest.raises(family.binding.BulkheadFullError) as caught:
            await client.get(URL)
        assert isinstance(caught.value, family.client.TransportError)
        await first

        async def too_late() -> None:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                await client.get(URL)

        with pytest.raises(family.client.TimeoutException) as passed:
            await Timeout(0.01).execute(too_late)
        assert isinstance(passed.value, family.binding.DeadlineError)
        assert passed.value.request.url == URL


@pytest.mark.parametrize(
    "name",
    [
        "RejectedError",
        "CircuitOpenError",
        "BulkheadFullError",
        "LoadShedError",
        "RateLimitedError",
        "DeadlineError",
        "CallTimeoutError",
    ],
)
async def test_errors_of_the_family_pickle_and_copy(family: Family, name: str) -> None:
    """Requirement 15: they cross processes as they are, without the policy."""
    ours = getattr(errors, name)
    arguments: dict[str, Any] = (
        {"seconds": 2.0} if name == "CallTimeoutError" else {"policy": object(), "retry_after": 2.0}
    )
    request = family.client.Request("GET", URL)
    original = ours(**arguments)
    original.add_note("seawall: a story")
    error = family.binding.ResilientTransport.family.adopt(original, request)
    assert type(error) is getattr(family.binding, name)
    assert error.request is request
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert twin.request.url == URL
        assert twin.__notes__ == ["seawall: a story"]
        assert str(twin) == str(error)
    error.__notes__.append("another")
    assert original.__notes__ == ["seawall: a story"]
    with pytest.raises(RuntimeError, match="request"):
        _ = getattr(family.binding, name)(**arguments).request


class QuietHours(seawall.RejectedError):
    """A refusal of the user's own."""


class Quiet(Policy):
    async def run(self, call: Call[Any], proceed: Proceed[Any]) -> Any:
        raise QuietHours(policy=self, name="night", retry_after=60.0)


async def test_a_refusal_of_the_users_own_becomes_one_of_the_family(family: Family) -> None:
    """Requirement 15: it is still caught by its own type, and travels as that."""
    async with mock(family, Quiet(), answer(family, 200)) as client:
        with pytest.raises(QuietHours) as caught:
            await client.get(URL)
    error = caught.value
    assert isinstance(error, family.client.TransportError)
    assert (error.name, error.retry_after, error.request.method) == ("night", 60.0, "GET")
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is QuietHours
    assert (there.name, there.retry_after, there.policy) == ("night", 60.0, None)


async def test_a_nested_transport_is_not_adopted_twice(family: Family) -> None:
    """An error that is in the family already passes as it is."""
    inner = family.binding.ResilientTransport(
        Quiet(), family.client.MockTransport(answer(family, 200))
    )
    transport = family.binding.ResilientTransport(Retry(3), inner)
    async with family.client.AsyncClient(transport=transport) as client:
        with pytest.raises(QuietHours) as caught:
            await client.get(URL)
    assert len([kind for kind in type(caught.value).__mro__ if kind.__name__ == "QuietHours"]) == 2


async def test_errors_of_usage_are_not_the_clients(family: Family) -> None:
    """A wrong setting is told as such, and shows what is known."""
    async with mock(family, Retry(3), answer(family, 200)) as client:
        for settings, message in (
            ({"idempotant": True}, "unknown setting.*idempotant; known are idempotent"),
            ({"idempotent": "yes"}, "'idempotent'.*must be a bool or None, not 'yes'"),
            (["idempotent"], "must be a mapping"),
        ):
            with pytest.raises(seawall.UsageError, match=message):
                await client.get(URL, extensions={"seawall": settings})


SDK = "x-stainless-retry-count"


async def test_what_was_given_up_here_is_not_repeated_by_an_sdk(
    family: Family, server: Server
) -> None:
    """Requirement 15: an SDK that would repeat the whole is told that it has been done."""
    policy = Retry(3, backoff=constant(0), budget=None)
    async with family.binding.AsyncClient(policy=policy, verify=False) as client:
        server.play(respond(503, headers={"x-should-retry": "true"}))
        response = await client.get(server.url, headers={SDK: "0"})
        assert response.headers["x-should-retry"] == "false"
        assert len(server.received) == 3
        # Nobody else is told, nor is an SDK of what was not given up.
        response = await client.get(server.url)
        assert response.headers["x-should-retry"] == "true"
        server.play(respond(503))
        response = await client.post(server.url, headers={SDK: "0"})
        assert "x-should-retry" not in response.headers
        server.play(respond(503), respond(200))
        response = await client.get(server.url, headers={SDK: "0"})
        assert "x-should-retry" not in response.headers
    server.play(respond(503))
    async with family.binding.AsyncClient(policy=Timeout(5), verify=False) as client:
        response = await client.get(server.url, headers={SDK: "0"})
        assert "x-should-retry" not in response.headers


async def test_retries_of_an_sdk_are_paid_from_the_budget_and_warned_about_once(
    family: Family,
) -> None:
    """Requirement 15: a retry is a retry, whoever makes it."""
    budget = RetryBudget(capacity=10, floor=0)
    policy = Pipeline(Timeout(5), Retry(3, budget=budget))
    async with mock(family, policy, answer(family, 200)) as client:
        await client.get(URL, headers={SDK: "0"})
        assert budget.tokens == 10
        with pytest.warns(RuntimeWarning, match="max_retries=0"):
            await client.get(URL, headers={SDK: "1"})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await client.get(URL, headers={SDK: "2"})
    assert budget.tokens == pytest.approx(8, abs=0.21)
