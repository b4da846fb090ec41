"""Whole clients: what is wrapped, what is refused, and under which key a request runs."""

from __future__ import annotations

import asyncio
import gc
import inspect
import weakref
from collections.abc import AsyncIterator
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import httpx2
import pytest

import seawall.httpx
import seawall.httpx2
from seawall import (
    Bulkhead,
    CircuitBreaker,
    Keyed,
    Pipeline,
    Policy,
    Retry,
    UsageError,
    constant,
)
from seawall.http.origin_pools import OriginPools
from seawall.http.settings import origin
from tests.http.conftest import Family
from tests.http.scripted import Ledger, Server, hang, respond


@pytest.mark.parametrize(
    "url, key",
    [
        ("http://server", "http://server:80"),
        ("http://SERVER:80/path?q", "http://server:80"),
        ("https://server/", "https://server:443"),
        ("https://server:8443/", "https://server:8443"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
        ("http://[2001:DB8::1]/", "http://[2001:db8::1]:80"),
        ("https://bücher.example/", "https://xn--bcher-kva.example:443"),
        ("http://user:secret@server/", "http://server:80"),
    ],
)
def test_a_request_runs_under_its_origin(client_module: ModuleType, url: str, key: str) -> None:
    """Requirement 17: scheme, host in lower case and the port that is meant."""
    assert origin(client_module.Request("GET", url)) == key
    # Where the private parts of a URL have other names, it is found by the public ones.
    found = client_module.URL(url)
    public = SimpleNamespace(scheme=found.scheme, raw_host=found.raw_host, port=found.port)
    assert origin(SimpleNamespace(url=public)) == key


def test_the_bindings_have_the_same_names() -> None:
    """Requirement 15: what is written for one family is right for the other."""
    assert seawall.httpx.__all__ == seawall.httpx2.__all__
    for module in (seawall.httpx, seawall.httpx2):
        for name in module.__all__:
            assert getattr(module, name).__doc__


def test_protecting_a_client_wraps_its_transport_and_all_its_mounts(family: Family) -> None:
    """Requirement 19: a proxy does not bypass the policies; an excluded host goes the usual way."""
    mounted = family.client.MockTransport(lambda request: family.client.Response(200))
    client = family.client.AsyncClient(
        proxy="http://127.0.0.1:1", mounts={"http://a": mounted, "http://b": None}, verify=False
    )
    before = dict(client._mounts)
    policy = Retry(3)
    assert family.binding.protect(client, policy) is client
    transports = [client._transport, *client._mounts.values()]
    wrapped = [found for found in transports if found is not None]
    assert len(transports) == 4
    assert len(wrapped) == 3
    assert all(isinstance(found, family.binding.ResilientTransport) for found in wrapped)
    assert all(found.policy is policy for found in wrapped)
    assert list(client._mounts) == list(before)
    assert client._transport_for_url(family.client.URL("http://a/")).inner is mounted
    assert client._transport_for_url(family.client.URL("http://b/")) is client._transport


def test_protecting_a_client_twice_is_once(family: Family) -> None:
    """Requirement 19: policies do not pile up, and a mount that came later joins them."""
    client = family.binding.protect(family.client.AsyncClient(verify=False))
    transport = client._transport
    client._mounts[family.client._utils.URLPattern("http://late")] = family.client.MockTransport(
        lambda request: family.client.Response(200)
    )
    assert family.binding.protect(client)._transport is transport
    assert family.binding.protect(client, transport.policy)._transport is transport
    late = client._transport_for_url(family.client.URL("http://late/"))
    assert late.policy is transport.policy
    with pytest.raises(UsageError, match="behind another policy already"):
        family.binding.protect(client, Retry(3))


def test_a_transport_that_is_protected_already_brings_its_policy(family: Family) -> None:
    """A client without a policy of its own has that one, on its other transports as well."""
    for policy, apart in ((Retry(2), False), (family.binding.standard(), True)):
        own = family.client.AsyncHTTPTransport(verify=False)
        given = family.binding.ResilientTransport(policy, own)
        assert family.binding.AsyncClient(transport=given)._transport is given
        client = family.binding.AsyncClient(mounts={"http://a": given}, verify=False)
        assert client._transport.policy is policy
        assert isinstance(client._transport.inner._pool, OriginPools) == apart
        with pytest.raises(UsageError, match="behind another policy already"):
            family.binding.AsyncClient(transport=given, policy=Retry(3))


@pytest.mark.asyncio
async def test_a_protected_client_of_an_sdk_is_still_that_client(
    family: Family, server: Server
) -> None:
    """Requirement 19: subclasses that SDKs bring work, and keep their type and state."""

    class DefaultClient(family.client.AsyncClient):
        def __init__(self, **options: Any) -> None:
            options.setdefault("timeout", family.client.Timeout(600, connect=5))
            super().__init__(**options)
            self.own = 1

    server.play(respond(503), respond())
    client = family.binding.protect(DefaultClient(base_url=server.url, verify=False))
    async with client:
        assert type(client) is DefaultClient
        assert client.own == 1
        assert (await client.get("/path")).status_code == 200
    assert [request.target for request in server.received] == ["/path"] * 2


@pytest.mark.asyncio
async def test_our_client_takes_all_that_the_familys_takes(family: Family, server: Server) -> None:
    """Requirement 19: options that a custom transport would silently ignore are in force."""
    limits = family.client.Limits(max_connections=7)
    async with family.binding.AsyncClient(
        base_url=server.url,
        headers={"x-mine": "1"},
        limits=limits,
        verify=False,
        http2=True,
        timeout=3,
        event_hooks={"request": [], "response": []},
    ) as client:
        assert isinstance(client, family.client.AsyncClient)
        pool = client._transport.inner._pool
        assert (pool._max_connections, pool._http2) == (7, True)
        assert (await client.get("/")).status_code == 200
    assert server.received[0].headers["x-mine"] == "1"
    assert isinstance(family.binding.AsyncClient(verify=False), family.client.AsyncClient)


@pytest.mark.asyncio
async def test_proxies_of_the_environment_are_used_and_protected(
    family: Family, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requirement 19: they are neither ignored nor a way around the policies."""
    monkeypatch.setenv("HTTP_PROXY", server.proxy_url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.play(respond(503), respond())
    policy = Retry(2, backoff=constant(0))
    async with family.binding.AsyncClient(policy=policy, verify=False) as client:
        assert (await client.get("http://elsewhere.example/path")).status_code == 200
    asked = [(request.host, request.target) for request in server.received]
    assert asked == [("elsewhere.example", "/path")] * 2


def test_only_standard_policies_take_the_limit_off_the_pool(family: Family) -> None:
    """Requirement 19: where nothing limits the requests of an origin, the pool still does."""
    client, standard = family.binding.AsyncClient, family.binding.standard
    transport = family.binding.ResilientTransport
    separate = [
        client(verify=False)._transport,
        client(verify=False, policy=standard(timeout=5, limit=7))._transport,
        transport(),
        transport(standard(name="api")),
    ]
    for each in separate:
        pools = each.inner._pool
        assert isinstance(pools, OriginPools)
        assert pools.template._max_connections > 10**6
        assert pools.template._max_keepalive_connections == 20
        assert len(each.policy.find(Keyed)) == 0
    limits = family.client.Limits(max_connections=100)
    common = [
        client(policy=Retry(3), verify=False)._transport,
        client(policy=Pipeline(Retry(3), Keyed(lambda key: Bulkhead(1))), verify=False)._transport,
        client(policy=standard(limit=None), verify=False)._transport,
        client(limits=limits, verify=False)._transport,
        transport(Retry(3)),
        transport(standard(limit=None)),
    ]
    for each in common:
        assert each.inner._pool._max_connections == 100


def test_every_transport_without_limits_of_its_own_gets_pools_for_its_origins(
    family: Family,
) -> None:
    """Given ones, mounts, proxies, those of a protected client; others are left alone."""
    client, binding = family.client, family.binding

    def transport(**limits: Any) -> Any:
        options = {"limits": client.Limits(**limits)} if limits else {}
        return client.AsyncHTTPTransport(verify=False, **options)

    given, mounted, own = transport(), transport(), transport(max_connections=50)
    mixed = binding.AsyncClient(
        transport=given, mounts={"http://a": mounted, "http://b": own, "http://c": None}
    )
    proxied = binding.AsyncClient(proxy="http://127.0.0.1:9", verify=False)
    protected = binding.protect(client.AsyncClient(verify=False))
    again = binding.protect(protected)
    made = [proxied._transport, *proxied._mounts.values(), again._transport]
    for each in (given, mounted, *[it.inner for it in made]):
        assert isinstance(each._pool, OriginPools)
        assert not isinstance(each._pool.template, OriginPools)
    assert mixed._transport.inner is given
    assert own._pool._max_connections == 50
    few = transport(max_connections=None, max_keepalive_connections=5)
    binding.ResilientTransport(None, few)
    assert not isinstance(few._pool, OriginPools)


@pytest.mark.asyncio
async def test_a_pool_that_has_connections_is_not_replaced(family: Family, server: Server) -> None:
    """A client that is protected while it is in use goes on with what it has."""
    async with family.client.AsyncClient(verify=False) as client:
        await client.get(server.url)
        pool = client._transport._pool
        family.binding.protect(client)
        assert client._transport.inner._pool is pool
        await client.get(server.url)
    assert len(server.received) == 2


@pytest.mark.asyncio
async def test_each_origin_has_a_circuit_and_a_limit_of_its_own(family: Family) -> None:
    """Requirement 17: a dead origin does not cut off its neighbor."""

    def handler(request: Any) -> Any:
        if request.url.host == "dead":
            raise family.client.ConnectError("made up")
        return family.client.Response(200)

    policy = Keyed(lambda key: CircuitBreaker(trip=2))
    transport = family.binding.ResilientTransport(policy, family.client.MockTransport(handler))
    async with family.client.AsyncClient(transport=transport) as client:
        for _ in range(2):
            with pytest.raises(family.client.ConnectError):
                await client.get("http://dead/")
        with pytest.raises(family.binding.CircuitOpenError):
            await client.get("http://DEAD:80/other")
        assert (await client.get("http://alive/")).status_code == 200
        assert (await client.get("https://dead.example/")).status_code == 200
        with pytest.raises(family.binding.CircuitOpenError):
            await client.get("http://alive/", extensions={"seawall": {"key": "http://dead:80"}})
    assert list(policy) == [
        "http://alive:80",
        "https://dead.example:443",
        "http://dead:80",
    ]


@pytest.mark.asyncio
async def test_a_key_of_the_users_own(family: Family) -> None:
    """Requirement 17: tenants, say, can have policies of their own."""
    policy = Keyed(lambda key: Bulkhead(1))
    mock = family.client.MockTransport(lambda request: family.client.Response(200))
    transport = family.binding.ResilientTransport(
        policy, mock, key=lambda request: request.headers["x-tenant"]
    )
    async with family.client.AsyncClient(transport=transport) as client:
        await client.get("http://server/", headers={"x-tenant": "a"})
    assert list(policy) == ["a"]


def test_a_client_that_is_not_async_is_refused(family: Family) -> None:
    """Requirement 19: in a sync client the transport raises and shows the right way."""
    transport = family.binding.ResilientTransport()
    client = family.client.Client(transport=transport)
    with pytest.raises(UsageError, match="AsyncClient\\(transport=ResilientTransport"):
        client.get("http://server/")
    client.close()
    with pytest.raises(UsageError, match="for async clients"):
        family.client.Client(transport=transport).__enter__()
    with pytest.raises(UsageError, match="protect\\(\\) needs an AsyncClient"):
        family.binding.protect(client)


def test_the_two_families_do_not_mix() -> None:
    """A transport, or a client, of the other family is refused before any request."""
    for binding, other in ((seawall.httpx, httpx2), (seawall.httpx2, httpx)):
        with pytest.raises(UsageError, match="do not mix"):
            binding.ResilientTransport(None, other.AsyncHTTPTransport())  # type: ignore[attr-defined]
        with pytest.raises(UsageError, match="needs an AsyncClient of"):
            binding.protect(other.AsyncClient())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"policy": 3}, TypeError),
        ({"policy": CircuitBreaker}, TypeError),
        ({"transport": object()}, UsageError),
        ({"key": "host"}, TypeError),
        ({"idempotent": "yes"}, TypeError),
        ({"classify": True}, TypeError),
        ({"release": "never"}, ValueError),
    ],
)
def test_wrong_arguments_are_told_at_once(
    family: Family, arguments: dict[str, Any], error: type[Exception]
) -> None:
    """A wrong argument names itself."""
    with pytest.raises(error, match=next(iter(arguments))):
        family.binding.ResilientTransport(**arguments)


def test_a_sync_transport_is_refused(family: Family) -> None:
    """What cannot send a request in an async client is not accepted."""
    with pytest.raises(UsageError, match="must be an async transport"):
        family.binding.ResilientTransport(None, family.client.WSGITransport(lambda: None))


@pytest.mark.parametrize(
    "option, value",
    [("verify", False), ("cert", None), ("http1", True), ("http2", True), ("limits", None)],
)
def test_what_a_client_would_ignore_is_refused(family: Family, option: str, value: Any) -> None:
    """Requirement 19: beside a transport of one's own these have no effect, and say nothing."""
    mock = family.client.MockTransport(lambda request: family.client.Response(200))
    if option == "limits":
        value = family.client.Limits()
    with pytest.raises(UsageError, match=f"{family.client.__name__} ignores {option}.\n.*wrong"):
        family.binding.AsyncClient(transport=mock, **{option: value})
    for policy in (None, Retry(3)):
        family.binding.AsyncClient(policy=policy, transport=mock)
        family.binding.AsyncClient(policy=policy, transport=None, **{option: value})


def test_a_proxy_beside_a_transport_is_refused(family: Family) -> None:
    """Requirement 19: every request would go through the proxy, and none through the transport."""
    mock = family.client.MockTransport(lambda request: family.client.Response(200))
    with pytest.raises(UsageError, match="past the transport that you gave it"):
        family.binding.AsyncClient(transport=mock, proxy="http://127.0.0.1:1")
    family.binding.AsyncClient(transport=mock, proxy=None)


def test_retries_of_the_transport_inside_are_warned_of(family: Family) -> None:
    """Requirement 20: they multiply ours, also beneath a transport that wraps them."""

    class Wrapper(family.client.AsyncBaseTransport):
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def handle_async_request(self, request: Any) -> Any:
            return await self.inner.handle_async_request(request)

    stubborn = family.client.AsyncHTTPTransport(retries=2, verify=False)
    for inner in (stubborn, Wrapper(stubborn)):
        for policy in (None, Retry(3), Pipeline(Retry(3))):
            with pytest.warns(RuntimeWarning, match="retries of its own, and they multiply"):
                family.binding.ResilientTransport(policy, inner)
    with pytest.warns(RuntimeWarning, match=r"AsyncHTTPTransport\(retries=0\)"):
        family.binding.protect(family.client.AsyncClient(transport=stubborn))
    # Where nothing is repeated here, nothing is multiplied.
    family.binding.ResilientTransport(CircuitBreaker(), stubborn)


@pytest.mark.asyncio
async def test_what_protect_takes_is_in_force(family: Family) -> None:
    """Requirement 19: each option of the transport can be given to ``protect`` too."""
    options = {
        "key": lambda request: "key",
        "idempotent": True,
        "classify": lambda outcome: None,
        "release": "headers",
        "deadline_header": "X-Timeout-Ms",
        "buffer_response": 10,
        "idle_timeout": 7.0,
    }
    client = family.binding.protect(family.client.AsyncClient(verify=False), Retry(3), **options)
    taken = set(inspect.signature(family.binding.ResilientTransport).parameters)
    assert taken == {"policy", "transport", *options}
    for name, value in options.items():
        assert getattr(client._transport, name) == value
    await client.aclose()


@pytest.mark.asyncio
async def test_closing_the_client_closes_the_transport_inside(family: Family) -> None:
    """The wrapped transport is entered and left with the client."""
    events: list[str] = []

    class Inner(family.client.MockTransport):
        async def __aenter__(self) -> Any:
            events.append("enter")
            return self

        async def __aexit__(self, *arguments: object) -> None:
            events.append("exit")

        async def aclose(self) -> None:
            events.append("close")

    inner = Inner(lambda request: family.client.Response(200))
    transport = family.binding.ResilientTransport(Retry(3), inner)
    assert "Retry(3" in repr(transport)
    async with family.client.AsyncClient(transport=transport):
        pass
    client = family.client.AsyncClient(transport=transport)
    await client.aclose()
    assert events == ["enter", "exit", "close"]


@pytest.mark.asyncio
async def test_what_is_on_its_way_when_the_client_is_closed_is_not_sent_again(
    family: Family, server: Server
) -> None:
    """It fails as it would without us; another connection would stay open for ever."""
    server.play(hang)
    transport = family.binding.ResilientTransport(
        transport=family.client.AsyncHTTPTransport(verify=False)
    )
    client = family.client.AsyncClient(transport=transport)
    request = asyncio.create_task(client.get(server.url))
    while not server.received:
        await asyncio.sleep(0.001)
    await client.aclose()
    with pytest.raises(family.client.ReadError):
        await request
    assert len(server.received) == 1
    # The transport as such can be used again, as that of the client can.
    server.play(hang, respond())
    async with family.client.AsyncClient(transport=transport) as another:
        timeout = family.client.Timeout(0.05)
        assert (await another.get(server.url, timeout=timeout)).status_code == 200
    assert len(server.received) == 2


@pytest.mark.asyncio
async def test_a_request_leaves_no_cycle_behind(family: Family) -> None:
    """What belongs to one call is gone with it, without the garbage collector."""
    seen: list[weakref.ref[Any]] = []

    class Watch(Policy):
        async def run(self, call: Any, proceed: Any) -> Any:
            seen.append(weakref.ref(call.args[0]))
            return await proceed(call)

    mock = family.client.MockTransport(lambda request: family.client.Response(200))
    transport = family.binding.ResilientTransport(Pipeline(Watch(), Retry(3)), mock)
    gc.collect()
    gc.disable()
    try:
        request = family.client.Request("GET", "http://server/")
        await transport.handle_async_request(request)
        assert seen[0]() is request
        del request
        assert seen[0]() is None
    finally:
        gc.enable()


def _collect(held: list[Any]) -> None:
    held.clear()
    gc.collect()


def test_a_response_dropped_after_its_loop_is_settled_too(family: Family) -> None:
    """Requirement 9: where there is no loop any more, what was held is given back at once."""
    ledger = Ledger()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x"

    async def fetch() -> Any:
        mock = family.client.MockTransport(
            lambda request: family.client.Response(200, content=endless())
        )
        transport = family.binding.ResilientTransport(ledger, mock)
        return await transport.handle_async_request(family.client.Request("GET", "http://server/"))

    held = [asyncio.run(fetch())]
    assert ledger.held == 1
    with pytest.warns(ResourceWarning, match="dropped before its body was read"):
        _collect(held)
    assert (ledger.kinds, ledger.given_back) == (["neutral"], 1)


@pytest.mark.asyncio
async def test_respx_mocks_what_is_behind_the_policies(respx_mock: Any) -> None:
    """With its default, respx answers below the transport: retries run, and slots come back."""
    route = respx_mock.get("https://server/").mock(
        side_effect=[
            httpx.Response(503),
            httpx.ReadError("made up"),
            httpx.Response(200, text="ok"),
        ]
    )
    ledger = Ledger()
    policy = Pipeline(Retry(3, backoff=constant(0)), ledger)
    async with seawall.httpx.AsyncClient(policy=policy) as client:
        assert (await client.get("https://server/")).text == "ok"
    assert route.call_count == 3
    assert (ledger.kinds, ledger.held) == (["failure", "failure", "success"], 0)
