"""A connection pool for each origin: how many there are, and that none of them loses anything."""

from __future__ import annotations

import asyncio
from math import inf
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from seawall import Retry
from seawall.http import origin_pools
from seawall.http.inner import separate_origins
from seawall.http.origin_pools import OriginPools
from seawall.http.pool import repair
from seawall.http.pools import find_pools
from seawall.testing import FaultServer, Request
from tests.doubles import turns, virtual
from tests.http.conftest import Family
from tests.virtual_time import run

pytestmark = pytest.mark.anyio

EXPIRY = 5.0


class Connection:
    """An idle or busy connection that notes that it was closed."""

    def __init__(self) -> None:
        self.idle_since = inf
        self.closed = 0
        self.may_close = anyio.Event()
        self.may_close.set()

    async def aclose(self) -> None:
        await self.may_close.wait()
        self.closed += 1


class Pool:
    """A pool with as much of httpcore's behavior as matters, in the time of the loop.

    A request takes as many seconds as it says.
    """

    def __init__(self) -> None:
        self._requests: list[Any] = []
        self._connections: list[Connection] = []

    @property
    def connections(self) -> list[Connection]:
        return list(self._connections)

    async def handle_async_request(self, request: Any) -> Connection:
        self._requests.append(request)
        idle = [each for each in self._connections if each.idle_since < inf]
        connection = idle[0] if idle else Connection()
        if not idle:
            self._connections.append(connection)
        connection.idle_since = inf
        await anyio.sleep(request.seconds)
        connection.idle_since = anyio.current_time()
        self._requests.remove(request)
        return connection

    def _assign_requests_to_connections(self) -> list[Connection]:
        now = anyio.current_time()
        expired = [each for each in self._connections if now >= each.idle_since + EXPIRY]
        self._connections = [each for each in self._connections if each not in expired]
        return expired


def to(host: str, seconds: float = 0.0) -> Any:
    url = SimpleNamespace(scheme=b"http", host=host.encode(), port=None)
    return SimpleNamespace(url=url, seconds=seconds)


@pytest.fixture
def pools() -> OriginPools:
    return OriginPools(Pool())


class TestInVirtualTime:
    """With pools whose connections expire after five seconds, as httpx's do."""

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        return virtual(request.param)

    async def test_an_origin_keeps_its_pool(self, pools: OriginPools) -> None:
        """One connection serves all that follows, until it has not been used for long enough."""
        first = await pools.handle_async_request(to("a"))
        assert await pools.handle_async_request(to("a")) is first
        assert await pools.handle_async_request(to("b")) is not first
        await anyio.sleep(EXPIRY - 1)
        assert await pools.handle_async_request(to("a")) is first
        assert len(list(pools)) == 2
        assert len(pools.connections) == 2

    async def test_requests_to_others_close_what_has_expired(self, pools: OriginPools) -> None:
        """An origin that nobody asks any more leaves nothing behind."""
        gone = [await pools.handle_async_request(to(f"gone-{number}")) for number in range(3)]
        await anyio.sleep(EXPIRY + 1)
        await pools.handle_async_request(to("a"))
        assert [connection.closed for connection in gone] == [1, 1, 1]
        assert len(list(pools)) == 1

    async def test_a_pool_that_was_in_use_when_it_was_looked_at_is_looked_at_again(
        self, pools: OriginPools
    ) -> None:
        """After as long again, so that a connection is idle for ten seconds at most."""
        async with anyio.create_task_group() as group:
            group.start_soon(pools.handle_async_request, to("slow", EXPIRY + 0.1))
            await anyio.sleep(EXPIRY)
            mine = await pools.handle_async_request(to("a"))
            (slow,) = set(pools.connections) - {mine}
        for _ in range(10):
            await anyio.sleep(1)
            await pools.handle_async_request(to("a"))
        assert slow.closed == 1

    async def test_those_in_use_hide_no_others(self, pools: OriginPools) -> None:
        """What has expired is closed behind a pool that has to stay."""
        async with anyio.create_task_group() as group:
            group.start_soon(pools.handle_async_request, to("busy", 60))
            await turns()
            gone = await pools.handle_async_request(to("gone"))
            await anyio.sleep(EXPIRY + 1)
            await pools.handle_async_request(to("a"))
            assert gone.closed == 1
            assert len(list(pools)) == 2

    async def test_a_pool_is_looked_at_once_in_five_seconds(self) -> None:
        """A request costs the same beside many idle origins as beside one."""
        looks = 0

        class Counting(Pool):
            def _assign_requests_to_connections(self) -> list[Connection]:
                nonlocal looks
                looks += 1
                return super()._assign_requests_to_connections()

        pools = OriginPools(Counting())
        await pools.handle_async_request(to("slow", EXPIRY - 1))
        for _ in range(100):
            await anyio.sleep(0.02)
            await pools.handle_async_request(to("a"))
        assert looks == 1

    async def test_a_connection_that_became_idle_just_now_stays(self, pools: OriginPools) -> None:
        """The time since the last request began does not matter: it may have taken long."""
        late = await pools.handle_async_request(to("slow", EXPIRY + 2))
        await pools.handle_async_request(to("a"))
        assert not late.closed
        assert await pools.handle_async_request(to("slow")) is late

    async def test_a_pool_in_use_is_left_alone(
        self, pools: OriginPools, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither time nor number takes the connection from a request."""
        monkeypatch.setattr(origin_pools, "_MOST", 1)
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(pools.handle_async_request, to(f"busy-{number}", 60))
            await anyio.sleep(EXPIRY + 1)
            for _ in range(10):
                await pools.handle_async_request(to("a"))
            assert len(pools.connections) == 6
            assert not any(connection.closed for connection in pools.connections)

    async def test_the_number_of_unused_pools_is_bounded(self, pools: OriginPools) -> None:
        """A crawler of a thousand origins has a hundred of them open, the latest ones."""
        seen = [await pools.handle_async_request(to(f"host-{number}")) for number in range(1000)]
        assert len(list(pools)) == origin_pools._MOST
        assert sum(connection.closed for connection in seen) == 1000 - origin_pools._MOST
        assert not any(connection.closed for connection in seen[-origin_pools._MOST :])

    async def test_unused_pools_are_closed_when_those_in_use_have_ended(
        self, pools: OriginPools
    ) -> None:
        """Three hundred origins at once are more than the bound, and fewer again afterwards."""
        async with anyio.create_task_group() as group:
            for number in range(300):
                group.start_soon(pools.handle_async_request, to(f"host-{number}", 1))
        assert len(list(pools)) == 300
        for _ in range(300):
            await pools.handle_async_request(to("host-0"))
        assert len(list(pools)) == origin_pools._MOST

    async def test_a_pool_that_is_closed_for_its_own_request_is_not_used(
        self, pools: OriginPools, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While expired connections are closed, others may drop the pool that is still empty."""
        old = await pools.handle_async_request(to("old"))
        await anyio.sleep(EXPIRY + 1)
        old.may_close = anyio.Event()
        answers: list[Any] = []

        async def send() -> None:
            answers.append(await pools.handle_async_request(to("new")))

        async with anyio.create_task_group() as group:
            group.start_soon(send)
            await turns()
            monkeypatch.setattr(origin_pools, "_MOST", 1)
            await pools.handle_async_request(to("a"))
            old.may_close.set()
        assert answers[0] in pools.connections

    async def test_a_cancelled_request_closes_the_others_connections_all_the_same(
        self, pools: OriginPools
    ) -> None:
        """What was taken out of its pool is closed, though the request that did it is cancelled."""
        old = await pools.handle_async_request(to("old"))
        await anyio.sleep(EXPIRY + 1)
        old.may_close = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(pools.handle_async_request, to("new"))
            await turns()
            group.cancel_scope.cancel()
            old.may_close.set()
        assert old.closed == 1
        assert await pools.handle_async_request(to("new"))

    async def test_all_pools_are_closed(self, pools: OriginPools) -> None:
        """At the end of the client, whatever happens to one of them."""
        async with pools:
            seen = [await pools.handle_async_request(to(host)) for host in "abc"]
            failing = seen[0]

            async def fail() -> None:
                raise OSError("made up")

            failing.aclose = fail
        assert [connection.closed for connection in seen] == [0, 1, 1]
        assert list(pools) == pools.connections == []

    async def test_a_pool_that_is_closed_while_in_use_can_be_closed_again(
        self, pools: OriginPools
    ) -> None:
        """A request whose connection was just closed may get another one from its pool."""
        async with anyio.create_task_group() as group:
            for host, seconds in (("busy", 1), ("idle", 0)):
                group.start_soon(pools.handle_async_request, to(host, seconds))
            await turns()
            await pools.aclose()
            (kept,) = pools
            assert kept.connections == []
            another = Connection()
            kept._connections.append(another)
        await pools.aclose()
        assert another.closed == 1
        assert list(pools) == []


@pytest.mark.parametrize("start", [10.0, 1e6])
def test_a_later_loop_closes_what_an_earlier_one_has_left(start: float) -> None:
    """The times of two loops are not those of one clock."""
    pools = OriginPools(Pool())

    async def ask(host: str) -> Connection:
        connection: Connection = await pools.handle_async_request(to(host))
        return connection

    left = run(ask("left"))
    left.idle_since = -EXPIRY
    run(ask("a"), start=start)
    assert left.closed == 1
    assert len(list(pools)) == 1


def test_what_is_no_pool_of_httpcore_is_left_in_its_place() -> None:
    """Where the private names are missing, nothing is replaced."""
    for pool in (object(), None, SimpleNamespace(_requests=[], _connections=[])):
        transport = SimpleNamespace(_pool=pool)
        separate_origins(transport)
        assert transport._pool is pool
    separate_origins(object())


def test_a_twin_shares_nothing_that_changes(family: Family) -> None:
    """If the newest client keeps more state in its pool than lists and the like, this shows it."""
    direct = family.client.AsyncHTTPTransport(verify=False)._pool
    http = family.client.AsyncHTTPTransport(verify=False, proxy="http://127.0.0.1:9")._pool
    socks = family.client.AsyncHTTPTransport(verify=False, proxy="socks5://127.0.0.1:9")._pool
    for template in (direct, http, socks):
        twin = origin_pools._twin_of(template)
        assert type(twin) is type(template)
        assert set(vars(twin)) == set(vars(template))
        shared = {name for name, value in vars(twin).items() if value is vars(template)[name]}
        assert not {"_requests", "_connections"} & shared
        # Plain values, and objects that do not change.
        plain = (type(None), bool, int, float, str, bytes, tuple)
        objects = {name for name in shared if not isinstance(vars(twin)[name], plain)}
        assert objects <= {
            "_ssl_context",
            "_proxy_ssl_context",
            "_network_backend",
            "_proxy",
            "_proxy_url",
            "_optional_thread_lock",
        }


async def test_proxies_get_no_more_connections_than_without_us(family: Family) -> None:
    """Plain requests and tunnels to some origins, twice each, through one pool and through ours."""
    async with FaultServer() as server:
        port = server.tls_url.rpartition(":")[2]
        urls = ["http://one.example/", "http://two.example/", f"https://127.0.0.1:{port}/"] * 2
        counts: list[int] = []
        for separate in (False, True):
            before = server.connections
            transport = family.client.AsyncHTTPTransport(
                verify=server.ssl_context, proxy=server.proxy_url
            )
            if separate:
                separate_origins(transport)
            async with family.client.AsyncClient(transport=transport) as client:
                for url in urls:
                    assert (await client.get(url)).status_code == 200
            counts.append(server.connections - before)
        assert counts == [3, 3]


async def test_connections_of_many_origins_are_closed(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On real sockets: with more origins than are kept, the server sees the others go."""
    monkeypatch.setattr(origin_pools, "_MOST", 3)
    async with FaultServer() as server:
        transport = family.client.AsyncHTTPTransport(verify=False, proxy=server.socks_url)
        separate_origins(transport)
        async with family.client.AsyncClient(transport=transport) as client:
            for _ in range(2):
                for number in range(3):
                    await client.get(f"http://host-{number}.example/")
            assert server.connections == 3
            for number in range(10):
                await client.get(f"http://host-{number}.example/")
            assert len(transport._pool.connections) == 3
        assert transport._pool.connections == []
        assert server.connections == 10


async def test_the_repair_reaches_the_pool_of_each_origin(family: Family) -> None:
    """Pools that are made after the first repair are found by later ones."""
    client = family.client
    transport = client.AsyncHTTPTransport(verify=False)
    separate_origins(transport)
    resilient = family.binding.ResilientTransport(Retry(1), transport)
    assert find_pools(transport) == (transport._pool,)
    assert resilient.repair({}) == []
    async with (
        FaultServer() as one,
        FaultServer() as other,
        client.AsyncClient(transport=transport) as bare,
    ):
        for server in (one, other):
            assert (await bare.get(server.url)).status_code == 200
        pools = list(transport._pool)
        assert len(pools) == 2
        for pool in pools:
            extensions: dict[str, Any] = {}
            entry = SimpleNamespace(
                request=SimpleNamespace(extensions=extensions),
                connection=None,
                is_queued=lambda: False,
            )
            pool._requests.append(entry)
            assert resilient.repair(extensions) == []
            assert pool._requests == []
            assert repair(pool, extensions) == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_two_tasks_that_ask_a_new_origin_share_its_pool(
    family: Family, anyio_backend: str
) -> None:
    """Nothing is awaited between looking for a pool and having it."""
    del anyio_backend
    arrived = asyncio.Event()

    async def together(request: Request) -> int:
        del request
        if len(server.requests) == 20:
            arrived.set()
        await arrived.wait()
        return 200

    async with (
        FaultServer(choose=together) as server,
        family.binding.AsyncClient(verify=False) as client,
    ):
        await asyncio.gather(*[client.get(server.url) for _ in range(20)])
        (pool,) = client._transport.inner._pool
        assert len(pool.connections) == server.connections == 20
