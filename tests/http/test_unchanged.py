"""What a healthy server and its client see is the same with and without the transport.

Each scenario is played twice, by a client of httpx or httpx2 alone and by one behind the standard
policies, and what it saw is compared, and what the server saw. On asyncio and trio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from seawall.testing import Answer, FaultServer, Request
from tests.doubles import company
from tests.http.conftest import Family

pytestmark = pytest.mark.anyio

Scenario = Callable[[Any, FaultServer, Any], Awaitable[Any]]
SCENARIOS: dict[str, Scenario] = {}
OPTIONS: dict[str, dict[str, Any]] = {}


def scenario(**options: Any) -> Callable[[Scenario], Scenario]:
    """Keep a scenario, with what its client is made with."""

    def keep(play: Scenario) -> Scenario:
        SCENARIOS[play.__name__] = play
        OPTIONS[play.__name__] = options
        return play

    return keep


def seen(response: Any) -> tuple[Any, ...]:
    """Return what a response shows to its reader, without the time and the ports."""
    names = set(response.extensions) - {"seawall", "network_stream", "stream_id"}
    headers = sorted((name, value) for name, value in response.headers.items() if name != "date")
    return (
        response.status_code,
        response.reason_phrase,
        response.http_version,
        response.is_closed,
        headers,
        sorted(names),
        str(response.request.method),
        response.request.url.path,
        [seen(earlier) for earlier in response.history],
    )


@scenario(follow_redirects=True)
async def redirects(client: Any, server: FaultServer, lib: Any) -> Any:
    server.play(
        Answer(301, headers={"location": "/b"}),
        Answer(307, headers={"location": "/c"}),
        Answer(303, headers={"location": "/d"}),
    )
    response = await client.post(f"{server.url}/a", content=b"body", headers={"x-mine": "1"})
    return seen(response), response.text


@scenario(follow_redirects=True, max_redirects=3)
async def too_many_redirects(client: Any, server: FaultServer, lib: Any) -> Any:
    server.play(then=Answer(302, headers={"location": "/again"}))
    with pytest.raises(lib.TooManyRedirects) as caught:
        await client.get(server.url)
    return str(caught.value)


@scenario()
async def a_digest_challenge(client: Any, server: FaultServer, lib: Any) -> Any:
    challenge = 'Digest realm="r", nonce="n", algorithm=MD5'
    server.play(Answer(401, headers={"www-authenticate": challenge}))
    response = await client.get(f"{server.url}/secret", auth=lib.DigestAuth("user", "pass"))
    return seen(response), [request.headers.get("authorization") for request in server.requests]


@scenario()
async def an_auth_flow_that_reads_bodies(client: Any, server: FaultServer, lib: Any) -> Any:
    class Token(lib.Auth):
        requires_request_body = requires_response_body = True

        def auth_flow(self, request: Any) -> Any:
            response = yield lib.Request("POST", f"{server.url}/token", content=b"user")
            request.headers["authorization"] = f"Bearer {response.json()['token']}"
            request.headers["x-length"] = str(len(request.content))
            yield request

    server.play(Answer(200, {"token": "t"}))
    response = await client.post(f"{server.url}/a", content=b"body", auth=Token())
    return seen(response), [sorted(request.headers.items())[:1] for request in server.requests]


@scenario()
async def cookies(client: Any, server: FaultServer, lib: Any) -> Any:
    server.play(Answer(headers=[("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2; Path=/x")]))
    first = await client.get(server.url)
    await client.get(f"{server.url}/x")
    kept = sorted((cookie.name, cookie.value, cookie.path) for cookie in client.cookies.jar)
    return kept, seen(first), [request.headers.get("cookie") for request in server.requests]


@scenario(follow_redirects=True)
async def event_hooks(client: Any, server: FaultServer, lib: Any) -> Any:
    heard: list[Any] = []

    async def on_request(request: Any) -> None:
        request.headers["x-hook"] = "1"
        heard.append(("request", request.method, request.url.path))

    async def on_response(response: Any) -> None:
        await response.aread()
        heard.append(("response", response.status_code, response.content))

    client.event_hooks = {"request": [on_request], "response": [on_response]}
    server.play(Answer(302, headers={"location": "/b"}))
    response = await client.get(f"{server.url}/a")
    return heard, seen(response), [request.headers["x-hook"] for request in server.requests]


@scenario()
async def streaming_up(client: Any, server: FaultServer, lib: Any) -> Any:
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(100):
            yield b"%d," % number

    response = await client.post(server.url, content=chunks())
    (request,) = server.requests
    return seen(response), request.body, request.headers.get("transfer-encoding")


@scenario()
async def streaming_down(client: Any, server: FaultServer, lib: Any) -> Any:
    server.play(Answer(chunks=[b"one\n", b"two\n", b"three"]), Answer(chunks=[b"x" * 50_000] * 4))
    async with client.stream("GET", server.url) as response:
        lines = [line async for line in response.aiter_lines()]
    async with client.stream("GET", server.url) as other:
        size = sum([len(chunk) async for chunk in other.aiter_bytes(1000)])
        counted = other.num_bytes_downloaded
    with pytest.raises(lib.StreamConsumed):
        [chunk async for chunk in response.aiter_raw()]
    return seen(response), lines, size, counted


@scenario()
async def trailers(client: Any, server: FaultServer, lib: Any) -> Any:
    server.play(Answer(chunks=[b"one", b"two"], trailers={"x-checksum": "1"}), 200)
    first = await client.get(server.url)
    return seen(first), first.content, seen(await client.get(server.url)), server.connections


@scenario()
async def errors_that_are_answers(client: Any, server: FaultServer, lib: Any) -> Any:
    server.play(404, 500, Answer(409, {"error": "taken"}))
    told: list[Any] = []
    for _ in range(3):
        response = await client.post(server.url, json={"a": 1})
        with pytest.raises(lib.HTTPStatusError) as caught:
            response.raise_for_status()
        told.append((seen(response), response.content, str(caught.value).split(" for ")[0]))
    return told


@scenario()
async def methods_and_bodies(client: Any, server: FaultServer, lib: Any) -> Any:
    server.play(204, Answer(304), 200, 200)
    told = [seen(await client.delete(server.url)), seen(await client.get(server.url))]
    told.append(seen(await client.head(server.url)))
    told.append(seen(await client.options(server.url)))
    return told, [(request.method, request.target) for request in server.requests]


@scenario()
async def a_compressed_body(client: Any, server: FaultServer, lib: Any) -> Any:
    import gzip

    packed = gzip.compress(b"text" * 1000)
    server.play(then=Answer(body=packed, headers={"content-encoding": "gzip"}))
    async with client.stream("GET", server.url) as response:
        raw = b"".join([chunk async for chunk in response.aiter_raw()])
    whole = await client.get(server.url)
    return raw == packed, whole.content, whole.num_bytes_downloaded == len(packed)


@scenario()
async def kept_connections(client: Any, server: FaultServer, lib: Any) -> Any:
    for _ in range(5):
        await client.get(server.url)
    async with client.stream("GET", server.url):
        pass
    await client.get(server.url)
    return server.connections


@scenario(base_url="http://unused", params={"p": "1"}, headers={"x-default": "1"})
async def defaults_of_the_client(client: Any, server: FaultServer, lib: Any) -> Any:
    client.base_url = server.url
    response = await client.get("/path", params={"q": "2"})
    (request,) = server.requests
    return seen(response), request.target, request.headers["x-default"]


@pytest.mark.parametrize("name", SCENARIOS)
async def test_healthy_traffic_is_the_same(family: Family, name: str) -> None:
    """Redirects, auth, cookies, hooks, streams, trailers: neither side can tell the difference."""
    told: list[Any] = []
    for make in (family.client.AsyncClient, family.binding.AsyncClient):
        async with (
            FaultServer() as server,
            make(verify=False, timeout=30, **OPTIONS[name]) as client,
        ):
            result = await SCENARIOS[name](client, server, family.client)
            requests = [
                (request.method, request.target, _own(request), request.body, request.connection)
                for request in server.requests
            ]
            told.append((result, requests, server.connections))
    assert told[0] == told[1]
    assert told[0][1]


def _own(request: Request) -> list[tuple[str, str]]:
    return sorted((name, text) for name, text in request.headers.items() if name != "host")


async def test_the_time_that_a_response_took_spans_its_attempts(family: Family) -> None:
    """``elapsed`` is set when the response is closed, and covers attempts and sleeps."""
    async with (
        FaultServer([Answer(503, headers={"retry-after-ms": "300"})]) as server,
        family.binding.AsyncClient(verify=False) as client,
    ):
        response = await client.get(server.url)
        assert response.status_code == 200
        assert response.elapsed >= timedelta(seconds=0.3)
        async with client.stream("GET", server.url) as other:
            with pytest.raises(RuntimeError, match="elapsed"):
                _ = other.elapsed
        assert other.elapsed > timedelta(0)


@pytest.mark.parametrize("protected", [False, True], ids=["bare", "protected"])
async def test_fifty_streams_share_one_connection(family: Family, *, protected: bool) -> None:
    """HTTP/2: all fifty are at the server at the same time, over a single connection."""
    together = anyio.Event()
    server = FaultServer()

    async def choose(request: Request) -> Answer:
        if len(server.requests) == 50:
            together.set()
        await together.wait()
        return Answer(body=request.path, chunks=[request.path, "!"])

    make = (family.binding if protected else family.client).AsyncClient
    answers: dict[int, tuple[str, str]] = {}
    async with server, make(http1=False, http2=True, verify=False, timeout=30) as client:
        await client.get(server.url)
        server.forget()
        server.play(choose=choose)

        async def ask(number: int) -> None:
            response = await client.get(f"{server.url}/{number}")
            answers[number] = (response.text, response.http_version)

        async with company() as group:
            for number in range(50):
                group.start_soon(ask, number)
        assert server.connections == 0
        assert server.open_connections == 1
    assert answers == {number: (f"/{number}!", "HTTP/2") for number in range(50)}


@pytest.mark.parametrize("content", [b"body", None], ids=["bytes", "a stream"])
@pytest.mark.parametrize("own", [{}, {"trace_id": 7}], ids=["as it is", "with a field of its own"])
async def test_an_attempt_has_all_that_the_request_has(
    family: Family, content: bytes | None, own: dict[str, Any]
) -> None:
    """Whatever a hook has put on the request is there for the transport inside."""

    async def stream() -> AsyncIterator[bytes]:
        yield b"body"

    seen: list[Any] = []

    async def handle(request: Any) -> Any:
        seen.append(request)
        request.url = request.url.copy_with(path="/changed")
        return family.client.Response(200, content=await request.aread())

    transport = family.binding.ResilientTransport(None, family.client.MockTransport(handle))
    request = family.client.Request("PUT", "http://server/path", content=content or stream())
    vars(request).update(own)
    before = dict(vars(request))
    response = await transport.handle_async_request(request)
    assert response.content == b"body"
    (attempt,) = seen
    assert attempt is not request
    assert {name: getattr(attempt, name) for name in own} == own
    assert (attempt.method, attempt.headers) == (request.method, request.headers)
    assert dict(vars(request)) == before
    assert set(vars(attempt)) - {"_content"} == set(before) - {"_content"}
