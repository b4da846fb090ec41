"""Clients of model APIs over a protected ``httpx2`` client, against a server on loopback."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, nullcontext
from typing import Any

import pytest

import seawall
import seawall.httpx
import seawall.httpx2
from seawall import Bulkhead, CircuitBreaker, Pipeline, Retry, constant
from tests.http.scripted import Exchange, Server, close, hang
from tests.recipes.sdks import OPENAI, SDK, WORDS

pytestmark = pytest.mark.asyncio

RETRY = "x-stainless-retry-count"


def retry(attempts: int = 3) -> Retry:
    return Retry(attempts, backoff=constant(0), budget=None)


def asked(server: Server) -> list[str]:
    """Return for each request by which try of the SDK it was sent."""
    return [request.headers[RETRY] for request in server.received]


async def test_a_plain_answer(sdk: SDK, server: Server) -> None:
    """One question, one request, one answer."""
    server.play(sdk.answer())
    async with sdk.connect(server.url, max_retries=0) as client:
        assert await sdk.ask(client) == "".join(WORDS)
    assert [request.target for request in server.received] == [sdk.path]


async def test_a_streamed_answer(sdk: SDK, server: Server) -> None:
    """Each word arrives when it is sent, and not when the answer is complete."""
    read = asyncio.Event()

    async def until_it_was_read() -> None:
        await read.wait()
        read.clear()

    server.play(sdk.tell(pause=until_it_was_read))
    words = []
    async with sdk.connect(server.url, max_retries=0) as client:
        async for word in sdk.stream(client):
            words.append(word)
            read.set()
    assert words == list(WORDS)
    assert len(server.received) == 1


async def test_a_client_of_ours_is_one_that_an_sdk_takes(sdk: SDK, server: Server) -> None:
    """``seawall.httpx2.AsyncClient`` is an ``http_client`` too."""
    server.play(sdk.refuse(429), sdk.answer())
    http_client = seawall.httpx2.AsyncClient(policy=retry(), verify=False)
    async with sdk.client(server.url, http_client, max_retries=0) as client:
        assert await sdk.ask(client) == "".join(WORDS)
    assert asked(server) == ["0", "0"]


async def test_a_client_of_httpx_is_for_openai_alone(sdk: SDK, server: Server) -> None:
    """The one still takes what it was given before httpx2, the other refuses it."""
    server.play(sdk.refuse(429), sdk.answer())
    async with seawall.httpx.AsyncClient(policy=retry(), verify=False) as http_client:
        if sdk is OPENAI:
            client = sdk.client(server.url, http_client, max_retries=0)
            assert await sdk.ask(client) == "".join(WORDS)
            assert asked(server) == ["0", "0"]
        else:
            with pytest.raises(TypeError, match="httpx2"):
                sdk.client(server.url, http_client)


async def test_a_429_is_repeated_below_the_sdk(sdk: SDK, server: Server) -> None:
    """The SDK asks once, and does not see what was refused in between."""
    server.play(sdk.refuse(429, retry_after_ms="20"), sdk.answer())
    async with sdk.connect(server.url, max_retries=0) as client:
        assert await sdk.ask(client) == "".join(WORDS)
    assert asked(server) == ["0", "0"]


async def test_an_exhausted_quota_is_not_repeated(server: Server) -> None:
    """No waiting heals it: one request, and the SDK's own error with its code."""
    server.play(OPENAI.refuse(429, "insufficient_quota", retry_after_ms="20"))
    async with OPENAI.connect(server.url, retry(), max_retries=0) as client:
        with pytest.raises(OPENAI.module.RateLimitError) as caught:
            await OPENAI.ask(client)
    assert caught.value.code == "insufficient_quota"
    assert len(server.received) == 1


async def test_an_exhausted_quota_is_not_repeated_by_the_sdk_either(server: Server) -> None:
    """With its retries left on, the SDK is told not to repeat what no waiting heals."""
    server.play(OPENAI.refuse(429, "insufficient_quota"))
    async with OPENAI.connect(server.url, retry()) as client:
        with pytest.raises(OPENAI.module.RateLimitError):
            await OPENAI.ask(client)
    assert len(server.received) == 1


async def test_retries_do_not_multiply(sdk: SDK, server: Server) -> None:
    """With the SDK's retries left on, what was given up here is not begun again there."""
    server.play(sdk.refuse(429))
    async with sdk.connect(server.url, retry()) as client:
        assert client.max_retries == 2
        with pytest.raises(sdk.module.RateLimitError) as caught:
            await sdk.ask(client)
    assert asked(server) == ["0", "0", "0"]
    assert caught.value.response.headers["x-should-retry"] == "false"


async def test_a_question_is_repeated_where_it_is_said_to_be_harmless(
    sdk: SDK, server: Server
) -> None:
    """A POST that got a 503 is sent again with ``idempotent=True`` only, and only from here."""
    server.play(sdk.refuse(503))
    for idempotent, requests in ((None, 1), (True, 3)):
        server.received.clear()
        async with sdk.connect(server.url, retry(), idempotent=idempotent, max_retries=0) as client:
            with pytest.raises(sdk.module.InternalServerError):
                await sdk.ask(client)
        assert asked(server) == ["0"] * requests
    server.received.clear()
    async with sdk.connect(server.url, retry(), idempotent=True) as client:
        with pytest.raises(sdk.module.InternalServerError):
            await sdk.ask(client)
    assert asked(server) == ["0"] * 3


async def test_the_retries_of_an_sdk_cost_our_budget(sdk: SDK, server: Server) -> None:
    """What only the SDK repeats costs the budget each time, which is told once."""
    server.play(sdk.refuse(503, retry_after_ms="1"))
    policy = Retry(3, backoff=constant(0))
    assert policy.budget is not None
    async with sdk.connect(server.url, policy) as client:
        for told in (pytest.warns(RuntimeWarning, match="max_retries=0"), nullcontext()):
            with told, pytest.raises(sdk.module.InternalServerError):
                await sdk.ask(client)
    assert asked(server) == ["0", "1", "2"] * 2
    # Four of the ten tokens, and a thirtieth of one comes back each second.
    assert policy.budget.tokens == pytest.approx(6, abs=0.5)


async def test_without_max_retries_0_an_error_of_the_network_is_multiplied(
    sdk: SDK, server: Server
) -> None:
    """An exception carries no header: this is why the page says ``max_retries=0``."""
    server.play(close)
    for options, requests in (({"max_retries": 0}, 3), ({"max_retries": 1}, 6)):
        server.received.clear()
        async with sdk.connect(server.url, retry(), idempotent=True, **options) as client:
            client._calculate_retry_timeout = lambda *arguments: 0.0
            with pytest.raises(sdk.module.APIConnectionError):
                if options["max_retries"]:
                    with pytest.warns(RuntimeWarning, match="max_retries=0"):
                        await sdk.ask(client)
                else:
                    await sdk.ask(client)
        assert len(server.received) == requests


async def test_a_refusal_is_an_error_of_the_connection_to_an_sdk(sdk: SDK, server: Server) -> None:
    """Code around an SDK catches an open circuit as before; its cause says what it was."""
    server.play(sdk.refuse(500))
    async with sdk.connect(server.url, CircuitBreaker(trip=1), max_retries=0) as client:
        with pytest.raises(sdk.module.InternalServerError):
            await sdk.ask(client)
        with pytest.raises(sdk.module.APIConnectionError) as caught:
            await sdk.ask(client)
    assert isinstance(caught.value.__cause__, seawall.CircuitOpenError)
    assert caught.value.__cause__.retry_after > 0
    assert len(server.received) == 1


@pytest.mark.parametrize("how", ["cancelled", "left", "closed"])
async def test_a_stream_that_is_not_read_to_its_end_gives_its_slot_back(
    sdk: SDK, server: Server, how: str
) -> None:
    """Cancelled while it waits for a word, left by ``break``, or closed: the next one may begin."""
    bulkhead = Bulkhead(1)
    closed = asyncio.Event()

    async def until_the_client_has_gone() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            closed.set()

    server.play(sdk.tell(pause=until_the_client_has_gone), sdk.answer())
    begun = asyncio.Event()

    async def listen(client: Any) -> None:
        async with aclosing(sdk.stream(client)) as words:
            async for word in words:
                assert word == WORDS[0]
                begun.set()
                if how != "cancelled":
                    break

    async with sdk.connect(server.url, bulkhead, max_retries=0) as client:
        listener = asyncio.create_task(listen(client))
        await begun.wait()
        if how == "cancelled":
            assert bulkhead.snapshot().in_flight == 1
            # Until it waits for the second word, which never comes.
            await asyncio.sleep(0)
            listener.cancel()
            with pytest.raises(asyncio.CancelledError):
                await listener
        else:
            await listener
        assert bulkhead.snapshot().in_flight == 0
        assert await sdk.ask(client) == "".join(WORDS)


async def test_a_question_that_is_cancelled_gives_its_slot_back(sdk: SDK, server: Server) -> None:
    """Cancelled before the answer has begun."""
    arrived = asyncio.Event()

    async def hang_after_arrival(exchange: Exchange) -> None:
        arrived.set()
        await hang(exchange)

    server.play(hang_after_arrival, sdk.answer())
    bulkhead = Bulkhead(1)
    async with sdk.connect(server.url, Pipeline(retry(), bulkhead), max_retries=0) as client:
        question = asyncio.create_task(sdk.ask(client))
        await arrived.wait()
        assert bulkhead.snapshot().in_flight == 1
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
        assert bulkhead.snapshot().in_flight == 0
        assert await sdk.ask(client) == "".join(WORDS)
    assert len(server.received) == 2
