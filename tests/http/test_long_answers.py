"""Answers that take long and are healthy, and those that hang, in virtual time."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import anyio
import pytest
import sniffio

from seawall import Pipeline, Timeout
from seawall.http.standard import standard
from tests.doubles import turns, virtual
from tests.http.conftest import Family
from tests.http.in_virtual_time import EVENTS, answering, fed
from tests.http.scripted import Ledger

pytestmark = pytest.mark.anyio

URL = "http://server/"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both event loops, in virtual time."""
    return virtual(request.param)


def client(family: Family, *answers: Any, read: float | None = 5.0, **options: Any) -> Any:
    """Return a client with the standard policies, and what they hold."""
    ledger = Ledger()
    policy = options.pop("policy", None) or standard()
    transport = family.binding.ResilientTransport(
        Pipeline(policy, ledger), answering(family, *answers), **options
    )
    timeout = family.client.Timeout(5.0, read=read)
    return family.client.AsyncClient(transport=transport, timeout=timeout), ledger


async def test_the_completion_of_a_language_model_is_left_alone(family: Family) -> None:
    """40 s without a byte, under a read timeout of 600 s: the defaults wait, and send it once."""
    seen: list[Any] = []

    async def complete(request: Any) -> Any:
        seen.append(request)
        await anyio.sleep(40)
        return family.client.Response(200, json={"text": "hello"})

    http, ledger = client(family, complete, read=600.0)
    async with http:
        started = anyio.current_time()
        response = await http.post(URL, json={"prompt": "hi"})
        assert response.json() == {"text": "hello"}
        assert anyio.current_time() - started == pytest.approx(40)
    assert (len(seen), ledger.kinds, ledger.held) == (1, ["success"], 0)


@pytest.mark.parametrize("kind", ["text/event-stream", " Text/Event-Stream; charset=utf-8"])
async def test_a_streamed_completion_may_pause(family: Family, kind: str) -> None:
    """Events with 60 s between them, longer than an attempt and the call may take, all come."""
    steps = [item for number in range(5) for item in (60.0, b"data: %d\n\n" % number)]
    http, ledger = client(family, fed(family, *steps, headers={"content-type": kind}))
    async with http:
        async with http.stream("POST", URL, json={"stream": True}) as response:
            lines = [line async for line in response.aiter_lines() if line]
    assert lines == [f"data: {number}" for number in range(5)]
    assert (ledger.kinds, ledger.held) == (["success"], 0)


@pytest.mark.parametrize(
    "read, waited",
    [(5.0, 300), (None, 300), (600.0, 600)],
    ids=["a usual read timeout", "none", "a longer one"],
)
async def test_a_stream_that_hangs_for_good_is_ended(
    family: Family, read: float | None, waited: float
) -> None:
    """It ends after 300 s of silence, or after as long as the caller lets a read wait."""
    http, ledger = client(
        family, fed(family, 100.0, b"data: 1\n\n", inf, headers=EVENTS), read=read
    )
    async with http:
        async with http.stream("GET", URL) as response:
            chunks = response.aiter_raw()
            assert await anext(chunks) == b"data: 1\n\n"
            # The time that the caller takes is not the stream's.
            await anyio.sleep(1000)
            assert ledger.held == 1
            started = anyio.current_time()
            with pytest.raises(family.binding.CallTimeoutError) as caught:
                await anext(chunks)
            assert anyio.current_time() - started == pytest.approx(waited)
            assert (caught.value.seconds, caught.value.phase) == (waited, "idle")
            assert isinstance(caught.value, family.client.TimeoutException)
            assert (ledger.kinds, ledger.held, ledger.given_back) == (["failure"], 0, 1)


async def test_a_transport_may_have_another_idle_timeout(family: Family) -> None:
    """It is an argument of the transport, and the request's own outranks it."""
    http, _ = client(family, fed(family, b"x", inf, headers=EVENTS), idle_timeout=10.0)
    async with http:
        for settings, waited in (({}, 10), ({"idle_timeout": 3.0}, 3)):
            started = anyio.current_time()
            with pytest.raises(family.binding.CallTimeoutError):
                await http.get(URL, extensions={"seawall": settings})
            assert anyio.current_time() - started == pytest.approx(waited)


async def test_what_is_no_event_stream_has_no_idle_timeout_by_default(family: Family) -> None:
    """A slow body is bounded by the deadline, as ever."""
    http, ledger = client(
        family, fed(family, b"x", 400.0, b"y"), policy=Timeout(500), idle_timeout=10.0
    )
    async with http:
        assert (await http.get(URL)).content == b"xy"
    assert ledger.kinds == ["success"]


async def test_a_stream_that_is_cancelled_while_it_waits_is_not_timed_out(family: Family) -> None:
    """A caller that leaves is neutral, and no alarm goes off afterwards."""
    http, ledger = client(family, fed(family, b"x", inf, headers=EVENTS))
    async with http:
        with anyio.move_on_after(299):
            await http.get(URL)
        assert (ledger.kinds, ledger.held, ledger.given_back) == (["neutral"], 0, 1)
        await anyio.sleep(1000)
        await turns()
    assert ledger.given_back == 1


async def test_the_alarm_of_an_event_stream_is_armed_once(family: Family) -> None:
    """A stream of 10,000 events leaves no timer for each of them."""
    steps = [item for _ in range(10_000) for item in (b"data: x\n\n", 0.001)]
    http, _ = client(family, fed(family, *steps, headers=EVENTS))
    most = 0
    async with http:
        async with http.stream("GET", URL) as response:
            async for _ in response.aiter_raw():
                most = max(most, _timers())
    assert most < 10
    assert _timers() < 10


def _timers() -> int:
    if sniffio.current_async_library() == "trio":
        return 0
    loop: Any = asyncio.get_running_loop()
    return len(loop.timers())
