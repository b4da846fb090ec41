"""However a response ends, what its attempt holds is given back once, with one verdict.

In virtual time, on asyncio and trio: each way is played, then the time runs on, the garbage is
collected, and nothing may have been settled a second time.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Awaitable, Callable
from math import inf
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from seawall import Bulkhead, CircuitBreaker, Pipeline, Policy, RateLimiter, Timeout
from seawall.events import CircuitClosed
from tests.doubles import turns, virtual
from tests.http.conftest import Family
from tests.http.in_virtual_time import EVENTS, Feed, answering
from tests.http.scripted import Ledger

pytestmark = [
    pytest.mark.anyio,
    # The client's own, and that of the double, where a loop over the body is left.
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
]

URL = "http://server/"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both event loops, in virtual time."""
    return virtual(request.param)


Use = Callable[[Any, Family], Awaitable[None]]


async def read_to_the_end(client: Any, family: Family) -> None:
    assert (await client.get(URL)).content == b"onetwo"


async def close_early(client: Any, family: Family) -> None:
    async with client.stream("GET", URL) as response:
        async for chunk in response.aiter_raw():
            assert chunk == b"one"
            await response.aclose()
            break


async def close_twice(client: Any, family: Family) -> None:
    async with client.stream("GET", URL) as response:
        await response.aclose()
        await response.aclose()


async def meet_an_error(client: Any, family: Family) -> None:
    with pytest.raises(family.client.ReadError):
        await client.get(URL)


async def meet_an_error_and_close(client: Any, family: Family) -> None:
    async with client.stream("GET", URL) as response:
        for _ in range(2):
            with pytest.raises((family.client.ReadError, family.client.StreamConsumed)):
                await response.aread()
        await response.aclose()


async def be_cancelled(client: Any, family: Family) -> None:
    with anyio.move_on_after(1):
        await client.get(URL)


async def be_late(client: Any, family: Family) -> None:
    with pytest.raises(family.binding.CallTimeoutError):
        await client.get(URL)


async def be_late_outside(client: Any, family: Family) -> None:
    with pytest.raises(TimeoutError):
        await Timeout(1).execute(client.get, URL)


async def be_idle(client: Any, family: Family) -> None:
    with pytest.raises(family.binding.CallTimeoutError):
        await client.get(URL, extensions={"seawall": {"idle_timeout": 2.0}})


async def never_iterate(client: Any, family: Family) -> None:
    async with client.stream("GET", URL):
        pass


async def keep_and_never_read(client: Any, family: Family) -> None:
    response = await client.send(client.build_request("GET", URL), stream=True)
    await anyio.sleep(100)
    await response.aclose()


async def drop(client: Any, family: Family) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        await client.send(client.build_request("GET", URL), stream=True)
        gc.collect()
        await turns()


WHOLE = (b"one", b"two")
HUNG = (b"one", inf)
WAYS: dict[str, tuple[Use, tuple[Any, ...], dict[str, str], str]] = {
    "end of the body": (read_to_the_end, WHOLE, {}, "success"),
    "end of an event stream": (read_to_the_end, WHOLE, EVENTS, "success"),
    "aclose": (close_early, WHOLE, {}, "neutral"),
    "aclose twice": (close_twice, WHOLE, {}, "neutral"),
    "error in the body": (meet_an_error, (b"one", "error"), {}, "failure"),
    "error, then aclose": (meet_an_error_and_close, (b"one", "error"), {}, "failure"),
    "cancellation": (be_cancelled, HUNG, {}, "neutral"),
    "cancellation of an event stream": (be_cancelled, HUNG, EVENTS, "neutral"),
    "deadline": (be_late, HUNG, {}, "failure"),
    "deadline of the caller": (be_late_outside, HUNG, {}, "failure"),
    "idle timeout": (be_idle, HUNG, {}, "failure"),
    "never iterated": (never_iterate, WHOLE, {}, "neutral"),
    "kept and never read": (keep_and_never_read, HUNG, {}, "neutral"),
    "garbage collection": (drop, HUNG, {}, "neutral"),
}


@pytest.mark.parametrize("release", ["body", "headers"])
@pytest.mark.parametrize("way", WAYS)
async def test_each_end_settles_once(family: Family, way: str, release: str) -> None:
    """One verdict, one slot given back, one stream closed, whatever comes first."""
    use, steps, headers, kind = WAYS[way]
    closed: list[int] = []

    class Body(Feed, family.client.AsyncByteStream):
        async def __aiter__(self) -> Any:
            for step in self.steps:
                if step == "error":
                    raise family.client.ReadError("made up")
                if step == inf:
                    await anyio.sleep_forever()
                yield step

        async def aclose(self) -> None:
            closed.append(1)

    async def answer(request: Any) -> Any:
        return family.client.Response(200, headers=headers, stream=Body(*steps))

    ledger, bulkhead, breaker = Ledger(), Bulkhead(1), CircuitBreaker()
    policy = Pipeline(Timeout(20), RateLimiter(None), breaker, bulkhead, ledger)
    transport = family.binding.ResilientTransport(
        policy, answering(family, answer), release=release
    )
    async with family.client.AsyncClient(transport=transport) as client:
        for number in (1, 2, 3):
            await use(client, family)
            if way == "garbage collection":
                gc.collect()
                await turns()
            assert (bulkhead.in_flight, ledger.held, ledger.given_back) == (0, 0, number)
        await anyio.sleep(1000)
        gc.collect()
        await turns()
    expected = "success" if release == "headers" else kind
    assert ledger.kinds == [expected] * 3
    assert (bulkhead.in_flight, ledger.held, ledger.given_back) == (0, 0, 3)
    # On trio nothing can be awaited for what was dropped: its connection is dropped as well.
    assert len(closed) >= 3 or way == "garbage collection"
    assert breaker.snapshot().in_flight == 0


class FailsAfterwards(Policy):
    """A policy around all others that fails when the response is there."""

    async def run(self, call: Any, proceed: Any) -> Any:
        await proceed(call)
        raise OSError("made up")


class HangsAfterwards(Policy):
    """A policy around all others that waits for ever when the response is there."""

    async def run(self, call: Any, proceed: Any) -> Any:
        await proceed(call)
        await anyio.sleep_forever()


class Pool:
    """As much of a connection pool as is repaired."""

    def __init__(self) -> None:
        self._requests: list[Any] = []
        self._connections: list[Any] = []

    def _assign_requests_to_connections(self) -> list[Any]:
        return []

    async def handle_async_request(self, request: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    "outside", [FailsAfterwards(), HangsAfterwards()], ids=lambda it: type(it).__name__
)
async def test_bodies_are_closed_where_a_listener_ends_the_program(
    family: Family, outside: Policy
) -> None:
    """A request fails, its probe closes the circuit, and who hears of it quits: nothing stays."""
    pool = Pool()
    feeds: list[Feed] = []

    class Body(Feed, family.client.AsyncByteStream):
        pass

    async def answer(request: Any) -> Any:
        entry = SimpleNamespace(extensions=request.extensions)
        pool._requests.append(SimpleNamespace(request=entry, connection=None))
        feeds.append(Body(b"one", inf))
        return family.client.Response(200, stream=feeds[0])

    def leave(event: Any) -> None:
        if isinstance(event, CircuitClosed):
            raise SystemExit

    breaker, ledger = CircuitBreaker(open_for=1), Ledger()
    breaker.trip()
    await anyio.sleep(2)
    inner = answering(family, answer)
    inner._pool = pool
    transport = family.binding.ResilientTransport(Pipeline(outside, breaker, ledger), inner)
    sending = transport.handle_async_request(family.client.Request("GET", URL))
    with breaker.subscribe(leave):
        if isinstance(outside, FailsAfterwards):
            with pytest.raises(SystemExit):
                await sending
            assert feeds[0].closed == 1
        else:
            sending.send(None)
            with pytest.raises(SystemExit):
                sending.close()
    assert (ledger.held, ledger.given_back) == (0, 1)
    assert breaker.snapshot().in_flight == 0
    assert pool._requests == []
