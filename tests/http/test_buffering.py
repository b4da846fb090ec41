"""Small bodies that are read inside the attempt, so that one that is cut off is retried."""

from __future__ import annotations

from math import inf
from typing import Any

import anyio
import pytest

from seawall import Pipeline, Retry, Timeout, constant
from tests.doubles import virtual
from tests.http.conftest import Family
from tests.http.in_virtual_time import EVENTS, answering, fed
from tests.http.scripted import Ledger, Server, Step, close, head, raw, reset, respond

URL = "http://server/"
TRUNCATED = raw(head(200, {}, 100) + b"half", close)
IN_CHUNKS = raw(head(200, {}, None) + b"4\r\nhalf\r\n", close)
RESET = raw(head(200, {}, 100) + b"half", reset)


def policies() -> tuple[Pipeline, Ledger]:
    ledger = Ledger()
    return Pipeline(Timeout(30), Retry(2, backoff=constant(0), budget=None), ledger), ledger


@pytest.mark.parametrize("fault", [TRUNCATED, IN_CHUNKS, RESET], ids=["length", "chunked", "RST"])
@pytest.mark.asyncio
async def test_a_body_that_is_cut_off_is_fetched_again(
    family: Family, server: Server, fault: Step
) -> None:
    """Requirement 22: the attempt failed before anything of it was handed out."""
    server.play(fault, respond(200, b"whole"))
    policy, ledger = policies()
    inner = family.client.AsyncHTTPTransport(
        verify=False, limits=family.client.Limits(max_connections=1)
    )
    transport = family.binding.ResilientTransport(policy, inner, buffer_response=1000)
    async with family.client.AsyncClient(transport=transport, timeout=2) as client:
        async with client.stream("GET", server.url) as response:
            assert (ledger.kinds, ledger.held) == (["failure", "success"], 0)
            assert await response.aread() == b"whole"
    assert len(response.extensions["seawall"].outcomes) == 2
    assert ledger.given_back == 2


@pytest.mark.asyncio
async def test_it_is_off_by_default(family: Family, server: Server) -> None:
    """Requirement 22: once a response was handed out there is no retry."""
    server.play(TRUNCATED, respond())
    policy, ledger = policies()
    async with family.binding.AsyncClient(policy=policy, verify=False) as client:
        with pytest.raises(family.client.RemoteProtocolError):
            await client.get(server.url)
    assert (len(server.received), ledger.kinds) == (1, ["failure"])


@pytest.mark.asyncio
async def test_what_is_not_idempotent_is_not_fetched_again(family: Family, server: Server) -> None:
    """Requirement 22: the answer is lost, but the work was done."""
    server.play(TRUNCATED, respond())
    policy, ledger = policies()
    transport = family.binding.ResilientTransport(policy, buffer_response=1000)
    async with family.client.AsyncClient(transport=transport) as client:
        with pytest.raises(family.client.RemoteProtocolError):
            await client.post(server.url, content=b"order")
    assert (len(server.received), ledger.kinds, ledger.held) == (1, ["failure"], 0)


@pytest.mark.parametrize("length", [None, 100_000], ids=["unknown length", "known length"])
@pytest.mark.asyncio
async def test_a_longer_body_is_handed_out_and_whole(
    family: Family, server: Server, length: int | None
) -> None:
    """Requirement 22: beyond the bytes there is no buffer, and no retry; nothing is lost."""
    body = bytes(range(250)) * 400
    data = body if length else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    server.play(raw(head(200, {}, length) + data))
    policy, ledger = policies()
    transport = family.binding.ResilientTransport(policy, buffer_response=99_999)
    async with family.client.AsyncClient(transport=transport) as client:
        async with client.stream("GET", server.url) as response:
            assert ledger.held == 1
            assert await response.aread() == body
    assert (ledger.kinds, ledger.given_back, len(server.received)) == (["success"], 1, 1)


@pytest.mark.asyncio
async def test_a_body_of_just_so_many_bytes_is_buffered(family: Family, server: Server) -> None:
    """Requirement 22: the number is the last that fits."""
    policy, ledger = policies()
    for size, held in ((1000, 0), (1001, 1)):
        server.play(respond(200, b"x" * size))
        transport = family.binding.ResilientTransport(policy, buffer_response=1000)
        async with family.client.AsyncClient(transport=transport) as client:
            async with client.stream("GET", server.url) as response:
                assert ledger.held == held
                assert len(await response.aread()) == size


@pytest.mark.parametrize("value, error", [(0, ValueError), (True, TypeError), (1.5, TypeError)])
def test_wrong_numbers_of_bytes(family: Family, value: Any, error: type[Exception]) -> None:
    """A wrong number is told when the transport is made."""
    with pytest.raises(error, match="buffer_response must be"):
        family.binding.ResilientTransport(buffer_response=value)


# In virtual time, on both loops.


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both event loops, in virtual time."""
    return virtual(request.param)


@pytest.mark.anyio
async def test_the_timeout_of_an_attempt_covers_what_is_buffered(family: Family) -> None:
    """Requirement 22: a body that stalls is part of the attempt that took too long."""
    ledger = Ledger()
    policy = Pipeline(Timeout(100), Retry(2, backoff=constant(0)), ledger, Timeout(3))
    answers = (fed(family, b"half", inf), fed(family, b"whole"))
    transport = family.binding.ResilientTransport(
        policy, answering(family, *answers), buffer_response=1000
    )
    async with family.client.AsyncClient(transport=transport) as client:
        started = anyio.current_time()
        response = await client.get(URL)
        assert anyio.current_time() - started == pytest.approx(3)
    assert response.content == b"whole"
    assert response.extensions["seawall"].outcomes[-1] == "200"
    assert (ledger.kinds, ledger.held, ledger.given_back) == (["failure", "success"], 0, 2)


@pytest.mark.anyio
async def test_a_read_that_waits_too_long_is_retried_where_it_is_buffered(family: Family) -> None:
    """Requirement 22 and 23: ``idle_timeout`` is a failure of the attempt then."""
    policy, ledger = policies()
    answers = (fed(family, b"half", inf), fed(family, 1.0, b"whole"))
    transport = family.binding.ResilientTransport(
        policy, answering(family, *answers), buffer_response=1000
    )
    async with family.client.AsyncClient(transport=transport) as client:
        response = await client.get(URL, extensions={"seawall": {"idle_timeout": 2.0}})
    assert response.content == b"whole"
    assert (ledger.kinds, ledger.held, ledger.given_back) == (["failure", "success"], 0, 2)


@pytest.mark.anyio
async def test_an_event_stream_is_not_buffered(family: Family) -> None:
    """Requirement 22: its first event comes when the server sends it."""
    policy, _ = policies()
    transport = family.binding.ResilientTransport(
        policy,
        answering(family, fed(family, b"data: 1\n\n", 100.0, b"data: 2\n\n", headers=EVENTS)),
        buffer_response=10_000,
    )
    async with family.client.AsyncClient(transport=transport) as client:
        started = anyio.current_time()
        async with client.stream("GET", URL) as response:
            came = [anyio.current_time() - started async for _ in response.aiter_raw()]
    assert came == [pytest.approx(0), pytest.approx(100)]


@pytest.mark.anyio
async def test_a_caller_that_leaves_while_it_is_buffered_leaves_nothing(family: Family) -> None:
    """Requirement 22: a cancellation is neutral, closes the body, and gives everything back."""
    policy, ledger = policies()
    closed: list[int] = []

    async def answer(request: Any) -> Any:
        response = await fed(family, b"half", inf)(request)
        close_it = response.stream.aclose

        async def aclose() -> None:
            closed.append(1)
            await close_it()

        response.stream.aclose = aclose
        return response

    transport = family.binding.ResilientTransport(
        policy, answering(family, answer), buffer_response=1000
    )
    async with family.client.AsyncClient(transport=transport) as client:
        with anyio.move_on_after(2):
            await client.get(URL)
    assert (ledger.kinds, ledger.held, ledger.given_back) == (["neutral"], 0, 1)
    assert closed == [1]
