"""The middleware of docs/recipes.md: what a caller sends bounds the work on its request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import seawall
from tests.pages import names_of
from tests.virtual_time import run

(Deadline,) = names_of("recipes.md", "Deadline")


async def left(request: Request) -> Response:
    return JSONResponse(seawall.deadline())


async def hang(request: Request) -> Response:
    await asyncio.sleep(3600)
    raise AssertionError


async def drip(request: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        yield b"begun"
        await asyncio.sleep(3600)

    return StreamingResponse(body())


ROUTES = [Route("/left", left), Route("/hang", hang), Route("/drip", drip)]


async def get(path: str, *sent: str, **options: Any) -> httpx2.Response:
    app = Deadline(Starlette(routes=ROUTES), **options)
    headers = [(options.get("header", "x-timeout-ms"), value) for value in sent]
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://app") as client:
        return await client.get(path, headers=headers)


@pytest.mark.parametrize(
    "sent, seconds",
    [
        (["1500"], 1.5),
        (["0"], 0.001),
        (["29999"], 29.999),
        (["30001"], 30.0),
        (["9" * 5000], 30.0),
        ([], 30.0),
        ([""], 30.0),
        (["-1"], 30.0),
        (["1e3"], 30.0),
        (["nan"], 30.0),
        ([" 12 34"], 30.0),
    ],
)
def test_a_request_has_as_long_as_was_sent_and_no_longer_than_allowed(
    sent: list[str], seconds: float
) -> None:
    """Milliseconds in digits count; nonsense, however it looks, is the usual time."""
    assert run(get("/left", *sent)).json() == pytest.approx(seconds)


def test_what_is_not_ready_in_time_is_a_504() -> None:
    """At the moment that the caller has said, and what hangs is cancelled."""

    async def main() -> None:
        began = asyncio.get_running_loop().time()
        response = await get("/hang", "1500")
        assert (response.status_code, response.text) == (504, "not in time")
        assert asyncio.get_running_loop().time() - began == pytest.approx(1.5)
        assert (await get("/hang", "200", header="Connect-Timeout-Ms")).status_code == 504
        assert asyncio.get_running_loop().time() - began == pytest.approx(1.7)

    run(main())


def test_a_response_that_has_begun_is_cut_off() -> None:
    """No second head can be sent: the error goes to the server, which closes the connection."""
    with pytest.raises(seawall.CallTimeoutError):
        run(get("/drip", "1500"))


def test_what_is_no_request_passes() -> None:
    """Start and end of the application, and websockets, have no such header and no limit."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["type"], seawall.deadline()))

    async def main() -> None:
        for kind in ("lifespan", "websocket"):
            await Deadline(app)({"type": kind, "headers": []}, None, None)

    run(main())
    assert seen == [("lifespan", None), ("websocket", None)]
