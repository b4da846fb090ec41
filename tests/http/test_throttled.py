"""An origin that asks for less traffic: who waits, for how long, and who does not."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from seawall.http.standard import standard
from tests.doubles import company, virtual
from tests.http.conftest import Family
from tests.http.in_virtual_time import answering

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both event loops, in virtual time."""
    return virtual(request.param)


async def test_an_origin_that_throttles_is_left_alone_by_all_callers(family: Family) -> None:
    """Its ``Retry-After`` holds for later requests to it too, and for no other origin."""
    arrivals: list[tuple[str, float]] = []
    started = anyio.current_time()

    async def answer(request: Any) -> Any:
        arrivals.append((request.url.host, round(anyio.current_time() - started, 3)))
        if len(arrivals) == 1:
            return family.client.Response(429, headers={"retry-after": "7"})
        return family.client.Response(200)

    transport = family.binding.ResilientTransport(standard(attempts=1), answering(family, answer))
    async with family.client.AsyncClient(transport=transport) as client:
        assert (await client.get("http://busy/")).status_code == 429
        async with company() as group:
            for host in ("busy", "busy", "other"):
                group.start_soon(client.get, f"http://{host}/")
            await anyio.sleep(5)
            group.start_soon(client.get, "http://busy/")
    assert arrivals == [("busy", 0), ("other", 0), ("busy", 7), ("busy", 7), ("busy", 7)]


async def test_a_pause_beyond_the_deadline_is_refused_with_when_to_come_back(
    family: Family,
) -> None:
    """A server that asks for an hour is obeyed for 60 s; a call that has less is told so."""
    transport = family.binding.ResilientTransport(
        None,
        answering(
            family,
            family.client.Response(503, headers={"retry-after": "3600"}),
            family.client.Response(200),
        ),
    )
    async with family.client.AsyncClient(transport=transport) as client:
        assert (await client.get("http://server/")).status_code == 503
        with pytest.raises(family.binding.RateLimitedError) as caught:
            await client.get("http://server/")
        assert caught.value.retry_after == pytest.approx(60)
        assert caught.value.key == "http://server:80"
        await anyio.sleep(60)
        assert (await client.get("http://server/")).status_code == 200


async def test_a_retry_waits_for_the_pause_and_then_goes(family: Family) -> None:
    """The caller of a throttled request waits once, not for its retry and its limiter in turn."""
    transport = family.binding.ResilientTransport(
        standard(),
        answering(
            family,
            family.client.Response(529, headers={"retry-after": "20"}),
            family.client.Response(200),
        ),
    )
    async with family.client.AsyncClient(transport=transport) as client:
        started = anyio.current_time()
        assert (await client.post("http://server/", content=b"body")).status_code == 200
        assert 20 <= anyio.current_time() - started <= 20.25
