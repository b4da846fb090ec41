"""Policies in a project's own tests: what a mocked server leaves of them."""

from __future__ import annotations

from typing import Any

import httpx
import httpx2
import pytest
import respx

import seawall.httpx
from seawall import Bulkhead, CircuitBreaker, Pipeline, Retry, UsageError, constant
from tests.http.conftest import Family

pytestmark = pytest.mark.asyncio

URL = "https://server.example/"


def policy(attempts: int = 3) -> Pipeline:
    return Pipeline(Retry(attempts, backoff=constant(0)), CircuitBreaker(trip=5), Bulkhead(1))


def holds_nothing(pipeline: Pipeline) -> bool:
    return pipeline.find(Bulkhead).snapshot().in_flight == 0


async def test_respx_on_httpcore_answers_below_the_policies() -> None:
    """By default respx stands in for the connection: retries and circuits act as they would."""
    pipeline = policy()
    async with (
        respx.mock(using="httpcore") as router,
        seawall.httpx.AsyncClient(policy=pipeline, verify=False) as client,
    ):
        route = router.get(URL).mock(
            side_effect=[httpx.Response(503), httpx.ConnectError, httpx.Response(200, text="ok")]
        )
        assert (await client.get(URL)).text == "ok"
    assert route.call_count == 3
    assert holds_nothing(pipeline)


async def test_respx_on_httpx_answers_in_place_of_the_policies() -> None:
    """With ``using="httpx"`` it takes the place of the whole transport: nothing of ours runs."""
    pipeline = policy()
    async with (
        respx.mock(using="httpx") as router,
        seawall.httpx.AsyncClient(policy=pipeline, verify=False) as client,
    ):
        route = router.get(URL).mock(return_value=httpx.Response(503))
        for _ in range(10):
            assert (await client.get(URL)).status_code == 503
    assert route.call_count == 10
    assert pipeline.find(CircuitBreaker).snapshot().calls == 0


async def test_respx_does_not_know_httpx2() -> None:
    """Its routes are not asked about requests of httpx2, which go out to the network."""
    with respx.mock(using="httpcore", assert_all_called=False) as router:
        route = router.get("http://127.0.0.1:1/")
        async with httpx2.AsyncClient(verify=False, trust_env=False) as client:
            with pytest.raises(httpx2.ConnectError):
                await client.get("http://127.0.0.1:1/")
    assert route.call_count == 0


async def test_a_mock_transport_goes_inside(family: Family) -> None:
    """``AsyncClient(transport=MockTransport(...))`` of ours: the policies are around the mock."""
    answers = iter([503, 429, 200])
    pipeline = policy()
    mock = family.client.MockTransport(
        lambda request: family.client.Response(next(answers), text="ok")
    )
    async with family.binding.AsyncClient(policy=pipeline, transport=mock) as client:
        response = await client.get(URL)
    assert (response.status_code, response.text) == (200, "ok")
    assert list(answers) == []
    assert holds_nothing(pipeline)


async def test_an_error_of_a_mock_is_one_of_the_network(family: Family) -> None:
    """What a handler raises is judged, repeated, and raised with the request that it is about."""
    asked: list[Any] = []

    def handler(request: Any) -> Any:
        asked.append(request)
        raise family.client.ConnectError("made up")

    client = family.binding.protect(
        family.client.AsyncClient(transport=family.client.MockTransport(handler)), policy()
    )
    async with client:
        with pytest.raises(family.client.ConnectError) as caught:
            await client.post(URL, json={})
    assert len(asked) == 3
    assert caught.value.request.url == URL
    assert {request.content for request in asked} == {b"{}"}


async def test_a_mock_of_the_other_family_is_refused(family: Family) -> None:
    """Told when the client is made, where the client itself would die of an ``AssertionError``."""
    other = httpx2 if family.client is httpx else httpx
    mock = other.MockTransport(lambda request: other.Response(200))
    with pytest.raises(UsageError, match="do not mix"):
        family.binding.AsyncClient(transport=mock)
