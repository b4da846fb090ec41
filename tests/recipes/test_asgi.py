"""Applications without a server: ``ASGITransport``, and the ``TestClient`` of Starlette."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

import seawall.httpx2
from seawall import Bulkhead, CircuitBreaker, Pipeline, Retry, State, Timeout, UsageError, constant
from tests.http.conftest import Family
from tests.http.scripted import Ledger
from tests.virtual_time import run


class Application:
    """An application that is asked, and counts how often.

    Attributes:
        slow: how many of the first requests take an hour.
        broken: how many of the first requests get a 503.
    """

    def __init__(self, *, slow: int = 0, broken: int = 0) -> None:
        self.slow = slow
        self.broken = broken
        self.asked = 0
        self.ended = 0
        routes = [Route("/", self.answer), Route("/fails", self.fail)]
        self.asgi = Starlette(routes=routes)

    async def answer(self, request: Request) -> Response:
        self.asked += 1
        try:
            if self.asked <= self.slow:
                await anyio.sleep(3600)
        finally:
            self.ended += 1
        return PlainTextResponse("ok", 503 if self.asked <= self.broken else 200)

    async def fail(self, request: Request) -> Response:
        self.asked += 1
        raise RuntimeError("made up")


async def get(family: Family, application: Application, policy: Any, path: str = "/") -> Any:
    transport = family.client.ASGITransport(application.asgi)
    async with family.binding.AsyncClient(
        policy=policy, transport=transport, base_url="http://app", timeout=1.0
    ) as client:
        return await client.get(path)


def test_an_application_is_asked_again(family: Family) -> None:
    """A 503 of an application is one of a server."""
    application, ledger = Application(broken=2), Ledger()
    policy = Pipeline(Retry(3, backoff=constant(0)), ledger)
    response = run(get(family, application, policy))
    assert (response.status_code, response.text, application.asked) == (200, "ok", 3)
    assert (ledger.kinds, ledger.held) == (["failure", "failure", "success"], 0)


def test_the_timeout_of_an_attempt_acts_though_the_client_s_does_not(family: Family) -> None:
    """``ASGITransport`` ignores the client's timeout of 1 s; ours of 5 s ends the attempt."""

    async def main() -> None:
        began = asyncio.get_running_loop().time()
        application = Application(slow=1)
        policy = Pipeline(Retry(3, backoff=constant(0)), Timeout(5.0))
        response = await get(family, application, policy)
        assert (response.text, application.asked, application.ended) == ("ok", 2, 2)
        assert asyncio.get_running_loop().time() - began == pytest.approx(5)

        application = Application(slow=9)
        with pytest.raises(family.client.TimeoutException) as caught:
            await get(family, application, policy)
        assert isinstance(caught.value, seawall.CallTimeoutError)
        assert (application.asked, application.ended) == (3, 3)
        assert asyncio.get_running_loop().time() - began == pytest.approx(20)

    run(main())


def test_the_standard_policies_end_an_application_that_hangs(family: Family) -> None:
    """With no policy given: after 10 s each attempt, and after 30 s all of it."""

    async def main() -> None:
        began = asyncio.get_running_loop().time()
        application = Application(slow=9)
        with pytest.raises(family.binding.CallTimeoutError):
            await get(family, application, None)
        assert application.asked == application.ended == 3
        assert asyncio.get_running_loop().time() - began == pytest.approx(30)

    run(main())


def test_what_an_application_raises_comes_through(family: Family) -> None:
    """Its own exception, not one of the client's; it is a failure, and gives everything back."""
    application, ledger = Application(), Ledger()
    policy = Pipeline(Retry(3, backoff=constant(0)), ledger)
    with pytest.raises(RuntimeError, match="made up"):
        run(get(family, application, policy, "/fails"))
    assert (application.asked, ledger.held) == (3, 0)
    assert ledger.kinds == ["failure"] * 3


def test_a_test_client_is_not_protected() -> None:
    """It is a sync client: ``protect`` says so at once, and shows the right way."""
    client = TestClient(Application().asgi)
    with pytest.raises(UsageError, match="protect\\(\\) needs an AsyncClient of httpx2"):
        seawall.httpx2.protect(client)  # type: ignore[type-var]
    with pytest.raises(UsageError, match="is for async clients"):
        client._transport = seawall.httpx2.ResilientTransport(Retry(3))  # type: ignore[assignment]
        client.get("/")


class Gateway:
    """An application that asks another one, through policies that live as long as itself."""

    def __init__(self, upstream: Application, policy: Pipeline) -> None:
        self.upstream = upstream
        self.policy = policy
        self.asgi = Starlette(routes=[Route("/", self.answer)])

    async def answer(self, request: Request) -> Response:
        transport = httpx2.ASGITransport(self.upstream.asgi)
        async with seawall.httpx2.AsyncClient(
            policy=self.policy, transport=transport, base_url="http://upstream"
        ) as client:
            try:
                found = await client.get("/")
            except seawall.CircuitOpenError as error:
                return JSONResponse({"retry_after": error.retry_after}, 503)
        return Response(found.content, found.status_code)


@pytest.mark.parametrize("entered", [True, False], ids=["one-loop", "a-loop-per-request"])
def test_an_application_with_policies_inside_runs_under_a_test_client(entered: bool) -> None:
    """Each request on a loop of its own, or all on one: the circuit remembers, slots come back."""
    policy = Pipeline(CircuitBreaker(trip=2, open_for=60), Bulkhead(1))
    gateway = Gateway(Application(broken=2), policy)
    client = TestClient(gateway.asgi)
    if entered:
        with client:
            statuses = [client.get("/").status_code for _ in range(4)]
    else:
        statuses = [client.get("/").status_code for _ in range(4)]
    assert statuses == [503] * 4
    assert gateway.upstream.asked == 2
    assert policy.find(CircuitBreaker).state is State.OPEN
    assert policy.find(Bulkhead).snapshot().in_flight == 0


def test_two_test_clients_at_a_time_are_two_loops() -> None:
    """Policies that both use would belong to two running loops: that is refused, and told."""
    policy = Pipeline(CircuitBreaker(), Bulkhead(1))
    gateway = Gateway(Application(), policy)
    with TestClient(gateway.asgi) as first, TestClient(gateway.asgi) as second:
        assert first.get("/").text == "ok"
        with pytest.raises(UsageError, match="loop"):
            second.get("/")
        assert first.get("/").text == "ok"
