"""No data loss: whatever is sent again reaches the server byte for byte, or it is not sent again.

On asyncio and trio, over HTTP/1.1 and HTTP/2.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from itertools import product
from typing import Any

import anyio
import pytest

from seawall import Pipeline, Policy, Retry, Timeout, constant
from seawall.testing import Answer, FaultServer
from tests.http.bodies import BODIES
from tests.http.conftest import Family

pytestmark = [
    pytest.mark.anyio,
    # On trio the client's own generators are left where sending fails, with or without us.
    pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning"),
]

PROTOCOLS = {"HTTP/1.1": {}, "HTTP/2": {"http1": False, "http2": True}}
# What may have been processed when it shows: an answer, or a lost connection.
PROCESSED = ["no_response", "reset_after_request", "503", "early_413"]


def policy() -> Policy:
    return Pipeline(Timeout(60), Retry(3, backoff=constant(0), budget=None))


def client(family: Family, protocol: str, policy: Policy) -> Any:
    timeout = family.client.Timeout(20, read=1)
    return family.binding.AsyncClient(
        policy=policy, timeout=timeout, verify=False, **PROTOCOLS[protocol]
    )


def script(fault: str) -> list[Any]:
    return [503 if fault == "503" else fault] * 2


async def send(http: Any, family: Family, method: str, url: str, kind: str) -> Any:
    with ExitStack() as opened:
        body = BODIES[kind].make(family.client, opened)
        try:
            return await http.request(method, url, **body)
        except family.client.TransportError as error:
            return error


async def all_at_once(check: Any, family: Family, cases: Iterable[tuple[str, ...]]) -> None:
    """Wait for what never comes once, and not once in each case."""
    async with anyio.create_task_group() as group:
        for case in cases:
            group.start_soon(check, family, *case)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", BODIES)
async def test_an_answer_that_asks_for_a_retry(family: Family, kind: str, protocol: str) -> None:
    """A 503 is retried with the same bytes, or it is handed out; never with fewer bytes."""
    async with FaultServer([503, 503]) as server, client(family, protocol, policy()) as http:
        response = await send(http, family, "PUT", server.url, kind)
        bodies = server.bodies()
    again = BODIES[kind].again
    assert response.status_code == (200 if again else 503)
    assert len(bodies) == (3 if again else 1)
    assert BODIES[kind].contains in bodies[0]
    assert set(bodies) == {bodies[0]}
    assert all(request.complete for request in server.requests)


@pytest.mark.parametrize("kind", BODIES)
async def test_a_connection_that_is_lost(family: Family, kind: str) -> None:
    """What was sent without an answer is sent again whole, or not at all."""
    await lose(family, kind, "no_response")


async def test_a_connection_that_is_lost_in_an_upload_or_falls_silent(family: Family) -> None:
    """However far an upload came, the next one is whole, or there is none."""
    silent = [(kind, "silence") for kind in BODIES]
    lost = [(kind, "reset_in_upload") for kind in BODIES if kind != "none"]
    await all_at_once(lose, family, silent + lost)


async def lose(family: Family, kind: str, fault: str) -> None:
    async with FaultServer([fault, fault]) as server, client(family, "HTTP/1.1", policy()) as http:
        outcome = await send(http, family, "PUT", server.url, kind)
        requests = list(server.requests)
    if BODIES[kind].again:
        assert outcome.status_code == 200, (kind, fault)
        assert len(requests) == 3, (kind, fault)
        whole = requests[-1].body
        assert requests[-1].complete, (kind, fault)
        assert BODIES[kind].contains in whole
        assert all(whole.startswith(request.body) for request in requests), (kind, fault)
    else:
        assert isinstance(outcome, family.client.TransportError), (kind, fault)
        assert len(requests) == 1, (kind, fault)


# Neither is idempotent.
METHODS = ["POST", "PATCH"]
SOME = ["bytes", "json", "a generator", "files in memory", "large bytes"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fault", PROCESSED)
async def test_what_may_have_been_processed_is_sent_once(
    family: Family, fault: str, method: str, protocol: str
) -> None:
    """A request that is not idempotent reaches the server once, whatever comes back."""
    for kind in SOME:
        await send_once(family, fault, method, protocol, kind)


async def test_what_nobody_answers_is_sent_once(family: Family) -> None:
    """A request that is not idempotent is not sent again either if nothing comes back."""
    await all_at_once(send_once, family, product(["silence"], METHODS, PROTOCOLS, SOME))


async def send_once(family: Family, fault: str, method: str, protocol: str, kind: str) -> None:
    async with FaultServer(script(fault)) as server:
        async with client(family, protocol, policy()) as http:
            outcome = await send(http, family, method, server.url, kind)
        assert len(server.requests) == 1, (kind, method, protocol)
        if fault == "503":
            assert outcome.status_code == 503
        elif fault == "early_413":
            # A small body is gone before the connection is: then the answer is read.
            assert getattr(outcome, "status_code", 413) == 413
        else:
            assert isinstance(outcome, family.client.TransportError), (kind, method, protocol)


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("kind", BODIES)
async def test_what_never_reached_a_server_is_sent_with_every_body(
    family: Family, kind: str, method: str
) -> None:
    """Nothing was read of the body while there was no connection: it is sent, whole, and once."""

    class Flaky(family.client.AsyncHTTPTransport):
        failures = 2

        async def handle_async_request(self, request: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise family.client.ConnectError("made up")
            return await super().handle_async_request(request)

    transport = family.binding.ResilientTransport(policy(), Flaky(verify=False))
    async with (
        FaultServer() as server,
        family.client.AsyncClient(transport=transport) as http,
    ):
        response = await send(http, family, method, server.url, kind)
        assert response.status_code == 200
        (body,) = server.bodies()
    assert BODIES[kind].contains in body


async def test_the_timeout_of_an_attempt_in_the_middle_of_an_upload(family: Family) -> None:
    """What was being sent when its time was up is sent again from its beginning, or not at all."""
    await all_at_once(run_out_of_time, family, product(BODIES))


async def run_out_of_time(family: Family, kind: str) -> None:
    attempts = Pipeline(Timeout(60), Retry(2, backoff=constant(0), budget=None), Timeout(1))
    async with FaultServer(["silence"]) as server:
        async with family.binding.AsyncClient(policy=attempts, verify=False, timeout=20) as http:
            outcome = await send(http, family, "PUT", server.url, kind)
        bodies = server.bodies()
    if BODIES[kind].again:
        assert outcome.status_code == 200, kind
        assert len(bodies) == 2, kind
        assert bodies[0] == bodies[1]
    else:
        assert isinstance(outcome, family.binding.CallTimeoutError), kind
        assert len(bodies) == 1, kind


async def test_a_timeout_of_ours_does_not_allow_a_second_order(family: Family) -> None:
    """A ``POST`` that was on its way when its attempt was ended may have been processed."""
    attempts = Pipeline(Timeout(60), Retry(3, backoff=constant(0), budget=None), Timeout(0.3))
    async with FaultServer(then="silence") as server:
        async with family.binding.AsyncClient(policy=attempts, verify=False, timeout=20) as http:
            with pytest.raises(family.binding.CallTimeoutError):
                await http.post(server.url, content=b"order")
            with pytest.raises(family.binding.CallTimeoutError):
                extensions = {"seawall": {"timeout": 0.3}}
                await http.post(server.url, content=b"order", extensions=extensions)
        assert server.bodies() == [b"order"] * 2


@pytest.mark.parametrize("kind", ["bytes", "json", "form", "files in memory"])
async def test_a_redirect_carries_the_body_on(family: Family, kind: str) -> None:
    """After a 307 the hop is a request of its own: sent again if it can be, or not."""
    async with FaultServer() as server, client(family, "HTTP/1.1", policy()) as http:
        server.play(Answer(307, headers={"location": "/b"}), 503, 503)
        with ExitStack() as opened:
            body = BODIES[kind].make(family.client, opened)
            response = await http.put(server.url, follow_redirects=True, **body)
        assert response.status_code == 200
        assert len(server.requests) == 4
        assert len(set(server.bodies())) == 1
