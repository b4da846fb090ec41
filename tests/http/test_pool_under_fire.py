"""Requirement 7: whatever is cancelled and whenever, the client's pool loses no place.

On httpx 0.28.1 alone, timeouts around requests make the pool lose one place after another until
every request waits for ever (httpcore issue 1093). With ``SEAWALL_SOAK_SECONDS`` set, each fire
burns for so long.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import anyio
import httpx
import pytest
import pytest_asyncio

import seawall.httpx
from seawall import Bulkhead, Pipeline, Policy, Retry, Timeout, constant
from seawall.http.inner import separate_origins
from seawall.http.pools import find_pools
from seawall.testing import Answer, Fault, FaultServer, Request, steps
from tests.http.conftest import Family
from tests.http.ledger import Ledger

pytestmark = pytest.mark.asyncio

# Before 4.16, anyio loses the socket of a connection that is cancelled while it is being made.
OLD_ANYIO = tuple(map(int, version("anyio").split(".")[:2])) < (4, 16)
PLACES = 10
CALLERS = 60
# Seconds between two calls of one caller, and of a fire.
PAUSE = 0.1
SOAK = 20.0

BODY = b"x" * 2000
ANSWER = Answer(body=BODY, delay=0.02)
LAST_ANSWER = Fault("last_answer", ANSWER, steps.fin)


def every_other_connection_ends(request: Request) -> Any:
    """Answer after 20 ms, and on every other connection only once."""
    return LAST_ANSWER if request.connection % 2 else ANSWER


class Way(NamedTuple):
    """How requests get to the server.

    Attributes:
        tls: whether they go over TLS.
        proxy: the attribute of the server that has the proxy's address.
        limit: slots of a bulkhead around each attempt.
        wrapped: whether another transport is wrapped around the client's own.
        scopes: whether all callers are cancelled by scopes of anyio, not only some.
        apart: whether each origin has a pool of its own.
    """

    tls: bool = False
    proxy: str | None = None
    limit: int | None = None
    wrapped: bool = False
    scopes: bool = False
    apart: bool = False

    @property
    def loses_sockets(self) -> bool:
        """Whether there is a handshake outside of a connection that the pool can close."""
        return OLD_ANYIO or self.proxy == "socks_url" or (self.tls and self.proxy is None)


WAYS = {
    "no bulkhead": Way(),
    "as many slots": Way(limit=PLACES),
    "more slots": Way(limit=2 * PLACES),
    "wrapped": Way(wrapped=True),
    "scopes": Way(scopes=True),
    "TLS": Way(tls=True),
    "CONNECT": Way(tls=True, proxy="proxy_url"),
    "CONNECT, slots": Way(tls=True, proxy="proxy_url", limit=PLACES),
    "SOCKS": Way(proxy="socks_url"),
    "SOCKS, TLS, slots": Way(tls=True, proxy="socks_url", limit=PLACES),
    "a pool for each origin": Way(apart=True),
}


def around_the_answer() -> float:
    """Seconds from 5 to 100 ms, most of them close to when the server answers."""
    return random.choice((0.005, 0.01, 0.019, 0.02, 0.021, 0.025, 0.04, 0.1))


def evenly() -> float:
    """Seconds from 5 to 100 ms."""
    return random.uniform(0.005, 0.1)


class AnyTimeout(Timeout):
    """Another attempt timeout each time."""

    def __init__(self, pick: Callable[[], float] = around_the_answer) -> None:
        super().__init__(1)
        self.pick = pick

    def seconds_for(self, call: Any) -> float:
        return self.pick()


class Scene:
    """A client with a small pool, the policies around it, and the way to the server."""

    def __init__(
        self,
        family: Family,
        server: FaultServer | str,
        way: Way,
        pick: Callable[[], float] = around_the_answer,
    ) -> None:
        client = family.client
        self.scopes = way.scopes
        self.ledger = Ledger()
        options: dict[str, Any] = {"verify": False}
        if isinstance(server, str):
            self.url = server
        else:
            self.url = server.tls_url if way.tls else server.url
            if way.tls:
                options["verify"] = server.ssl_context
            if way.proxy:
                options["proxy"] = getattr(server, way.proxy)
        self.inner = client.AsyncHTTPTransport(
            limits=client.Limits(max_connections=PLACES), **options
        )
        if way.apart:
            separate_origins(self.inner)
        policies: list[Policy] = [Retry(2, backoff=constant(0), budget=None), self.ledger]
        if way.limit is not None:
            policies.append(Bulkhead(way.limit, queue=1000))
        policy = Pipeline(*policies, AnyTimeout(pick))
        inner = wrap(client, self.inner) if way.wrapped else self.inner
        transport = family.binding.ResilientTransport(policy, inner)
        self.client = client.AsyncClient(transport=transport, timeout=None)
        # The same pool, with nothing in between.
        self.bare = client.AsyncClient(transport=self.inner, timeout=10)

    async def warm_up(self) -> None:
        """Fill the pool: on a busy machine no handshake of TLS might ever end in 100 ms."""
        await asyncio.gather(*[self.bare.get(self.url) for _ in range(2 * PLACES)])

    async def assert_that_every_place_is_usable(self, server: FaultServer) -> None:
        """As many requests as there are places are all at the server at once."""
        ((pool,),) = find_pools(self.inner)
        async with asyncio.timeout(10):
            # What was cancelled last is still closing.
            while pool._requests or not all(
                each.is_idle() or each.is_closed() for each in pool._connections
            ):
                await asyncio.sleep(0.01)
        arrived = asyncio.Event()
        waiting = 0

        async def together(request: Request) -> int:
            nonlocal waiting
            waiting += 1
            if waiting == PLACES:
                arrived.set()
            await arrived.wait()
            return 200

        server.play(choose=together)
        answers = await asyncio.gather(*[self.bare.get(self.url) for _ in range(PLACES)])
        assert [answer.status_code for answer in answers] == [200] * PLACES


def wrap(client: Any, transport: Any) -> Any:
    class Wrapper(client.AsyncBaseTransport):
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def handle_async_request(self, request: Any) -> Any:
            return await self.inner.handle_async_request(request)

        async def aclose(self) -> None:
            await self.inner.aclose()

    return Wrapper(transport)


async def fire(fetch: Callable[[], Awaitable[Any]], seconds: float, *, scopes: bool) -> None:
    """Let callers come and go for so long, some of them cancelled, and some of these twice."""
    loop = asyncio.get_running_loop()
    until = loop.time() + float(os.environ.get("SEAWALL_SOAK_SECONDS", seconds))

    async def within_a_scope() -> None:
        with anyio.move_on_after(random.uniform(0, 0.06)):
            await fetch()

    ways = (within_a_scope,) if scopes else (fetch, fetch, within_a_scope)

    async def caller() -> None:
        while loop.time() < until:
            await asyncio.sleep(random.uniform(0, PAUSE))
            task = asyncio.ensure_future(random.choice(ways)())
            for chance in (0.4, 0.1):
                if random.random() < chance:
                    loop.call_later(random.uniform(0, 0.06), task.cancel)
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()

    await asyncio.gather(*[caller() for _ in range(CALLERS)])


def fetch_in_any_way(client: Any, url: str) -> Callable[[], Awaitable[Any]]:
    """Read the whole body, some of it, or none."""

    async def fetch() -> None:
        how = random.random()
        if how < 0.7:
            await client.get(url)
        elif how < 0.85:
            async with client.stream("GET", url) as response:
                async for _ in response.aiter_raw():
                    if random.random() < 0.3:
                        break
        else:
            async with client.stream("GET", url):
                pass

    return fetch


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer(choose=every_other_connection_ends) as running:
        yield running


@pytest.fixture
def lost_sockets() -> Iterator[None]:
    """What the client has lost is found within the test that filters the warning."""
    yield
    gc.collect()


# Cancelled in the handshake of TLS or of SOCKS, both clients lose the socket, if not the place.
LOST_SOCKET = "ignore:unclosed (<socket|transport|<ssl):ResourceWarning"
loses_sockets = pytest.mark.filterwarnings(LOST_SOCKET)


@pytest.mark.usefixtures("lost_sockets")
@pytest.mark.slow
@pytest.mark.parametrize(
    "seconds", [0.4, pytest.param(SOAK, marks=pytest.mark.soak)], ids=["short", "soak"]
)
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, id=name, marks=[loses_sockets] * way.loses_sockets)
        for name, way in WAYS.items()
    ],
)
async def test_no_place_is_lost(
    family: Family, server: FaultServer, way: Way, seconds: float
) -> None:
    """Timeouts, cancellations and early ends, 60 callers on 10 places: all 10 are there after."""
    scene = Scene(family, server, way)
    async with scene.client:
        await scene.warm_up()
        await fire(fetch_in_any_way(scene.client, scene.url), seconds, scopes=scene.scopes)
        assert server.connections > PLACES
        assert len(server.requests) > 2 * PLACES
        assert scene.ledger.held == 0
        assert len(scene.ledger.verdicts) == scene.ledger.given_back
        await scene.assert_that_every_place_is_usable(server)


async def goodput(fetch: Callable[[], Awaitable[Any]]) -> int:
    """How many requests of such callers are answered in full."""
    answered = 0

    async def count() -> None:
        nonlocal answered
        response = await fetch()
        answered += response.content == BODY

    await fire(count, SOAK, scopes=False)
    return answered


def serve_until_told(pipe: Connection) -> None:
    """Run the server in a process of its own, until something comes through the pipe."""

    async def serve() -> None:
        async with FaultServer(choose=every_other_connection_ends) as server:
            pipe.send(server.url)
            await asyncio.to_thread(pipe.recv)

    asyncio.run(serve())


@pytest.fixture
def url_elsewhere() -> Iterator[str]:
    """The address of a server that takes no time from its callers."""
    spawning = multiprocessing.get_context("spawn")
    pipe, its_end = spawning.Pipe()
    process = spawning.Process(target=serve_until_told, args=(its_end,), daemon=True)
    process.start()
    assert pipe.poll(60)
    yield pipe.recv()
    pipe.send("enough")
    process.join()


@pytest.mark.soak
async def test_goodput_is_ten_times_that_of_plain_timeouts(url_elsewhere: str) -> None:
    """The same callers, timeouts and cancellations; only what is between them and httpx differs."""
    answered: dict[str, int] = {}
    limits = httpx.Limits(max_connections=PLACES)
    async with httpx.AsyncClient(limits=limits, timeout=None) as plain:
        await asyncio.gather(*[plain.get(url_elsewhere) for _ in range(2 * PLACES)])

        async def fetch_plainly() -> httpx.Response:
            async with asyncio.timeout(evenly()):
                return await plain.get(url_elsewhere)

        answered["plain"] = await goodput(fetch_plainly)
    for way in ("no bulkhead", "as many slots"):
        scene = Scene(Family(httpx, seawall.httpx), url_elsewhere, WAYS[way], evenly)
        async with scene.client:
            await scene.warm_up()
            answered[way] = await goodput(partial(scene.client.get, url_elsewhere))
    # 13 to 36 times were measured, and more with slots.
    assert answered["no bulkhead"] >= 10 * answered["plain"], answered
    assert answered["as many slots"] >= 10 * answered["plain"], answered


@pytest.mark.filterwarnings(*([LOST_SOCKET] * OLD_ANYIO))
@pytest.mark.usefixtures("lost_sockets")
async def test_no_place_is_lost_by_bodies_that_end_at_the_deadline(
    family: Family, server: FaultServer
) -> None:
    """The alarm of a body, with and without a reader, leaves the pool whole."""
    server.play(then=Answer(chunks=[b"x"] * 10, every=0.01))
    scene = Scene(family, server, Way())
    transport = family.binding.ResilientTransport(AnyTimeout(), scene.inner)
    async with family.client.AsyncClient(transport=transport, timeout=None) as client:
        await fire(fetch_in_any_way(client, server.url), 0.4, scopes=False)
        await scene.assert_that_every_place_is_usable(server)
