"""What is sent again, and what becomes of the responses in between."""

from __future__ import annotations

import asyncio
import gzip
import io
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from seawall import CircuitBreaker, Kind, Pipeline, Policy, Retry, Timeout, Verdict, constant
from tests.http.conftest import Family
from tests.http.scripted import Ledger, Server, close, drip, hang, head, raw, respond

pytestmark = pytest.mark.asyncio

AT_ONCE = constant(0)


def retry(attempts: int = 3, **options: Any) -> Retry:
    return Retry(attempts, backoff=AT_ONCE, budget=None, **options)


class Once:
    """A body that is no generator, so that the client does not notice a second iteration."""

    def __init__(self) -> None:
        self.chunks = [b"one", b"two"]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self.chunks:
            raise StopAsyncIteration
        return self.chunks.pop(0)


async def generate() -> AsyncIterator[bytes]:
    yield b"once"


@pytest.mark.parametrize("body", [Once, generate], ids=["iterator", "generator"])
async def test_a_body_that_can_be_sent_once_is_sent_once(
    family: Family, server: Server, body: Any
) -> None:
    """Requirements 1 and 3: no second, empty upload; the caller gets the 503 as it came."""
    server.play(respond(503, b"busy"))
    async with family.binding.AsyncClient(policy=retry(), verify=False) as client:
        response = await client.put(server.url, content=body())
    assert (response.status_code, response.content) == (503, b"busy")
    assert [request.body for request in server.received] in ([b"onetwo"], [b"once"])


async def test_a_refused_retry_leaves_the_original_error(family: Family, server: Server) -> None:
    """Requirement 3: the error is the transport's own, with a note that says why it ended."""
    server.play(close)
    async with family.binding.AsyncClient(policy=retry(), verify=False) as client:
        with pytest.raises(family.client.RemoteProtocolError) as caught:
            await client.put(server.url, content=generate())
    assert len(server.received) == 1
    assert caught.value.request.method == "PUT"


async def test_a_body_that_nobody_began_to_read_is_sent_again(
    family: Family, server: Server
) -> None:
    """Requirement 2: after a failed connection even a one-shot body is still whole."""

    class Flaky(family.client.AsyncHTTPTransport):
        failures = 2

        async def handle_async_request(self, request: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise family.client.ConnectError("made up")
            return await super().handle_async_request(request)

    transport = family.binding.ResilientTransport(retry(), Flaky(verify=False))
    async with family.client.AsyncClient(transport=transport) as client:
        response = await client.post(server.url, content=Once())
    assert response.status_code == 200
    assert [request.body for request in server.received] == [b"onetwo"]


async def test_a_timeout_does_not_send_a_one_shot_body_again(
    family: Family, server: Server
) -> None:
    """Requirement 1: an attempt that timed out has sent the body, even of an idempotent PUT."""
    server.play(hang)
    policy = Pipeline(retry(), Timeout(0.3))
    async with family.binding.AsyncClient(policy=policy, verify=False) as client:
        with pytest.raises(family.binding.CallTimeoutError) as caught:
            await client.put(server.url, content=Once())
    assert len(server.received) == 1
    assert "can be sent only once" in caught.value.__notes__[0]


async def test_replayable_bodies_arrive_whole_each_time(family: Family, server: Server) -> None:
    """Requirement 1: bytes and multipart with a seekable file are the same at each attempt."""
    server.play(respond(503), respond(503), respond())
    async with family.binding.AsyncClient(policy=retry(), verify=False) as client:
        await client.put(server.url, content=b"bytes")
        assert [request.body for request in server.received] == [b"bytes"] * 3
        server.play(respond(503), respond(503), respond())
        await client.put(server.url, files={"f": io.BytesIO(b"file")}, data={"a": "1"})
    bodies = [request.body for request in server.received]
    assert len(bodies) == 3
    assert b"file" in bodies[0]
    assert bodies[0] == bodies[1] == bodies[2]


async def test_the_caller_may_know_better_about_a_body(family: Family, server: Server) -> None:
    """Requirement 1: ``replayable`` in the request's settings outranks what is known of it."""

    class Again(Once):
        def __aiter__(self) -> AsyncIterator[bytes]:
            self.chunks = [b"one", b"two"]
            return self

    server.play(respond(503), respond())
    async with family.binding.AsyncClient(policy=retry(), verify=False) as client:
        response = await client.put(
            server.url, content=Again(), extensions={"seawall": {"replayable": True}}
        )
    assert response.status_code == 200
    assert [request.body for request in server.received] == [b"onetwo"] * 2


@pytest.mark.parametrize("release", ["body", "headers"])
async def test_discarded_responses_keep_their_connection(
    family: Family, server: Server, release: str
) -> None:
    """Requirement 4: drained and closed before the sleep, three attempts use one connection."""
    server.play(respond(503, b"x" * 10_000), respond(429, b""), respond(200))
    limits = family.client.Limits(max_connections=1)
    inner = family.client.AsyncHTTPTransport(verify=False, limits=limits)
    transport = family.binding.ResilientTransport(retry(), inner, release=release)
    async with family.client.AsyncClient(transport=transport, timeout=1) as client:
        response = await client.get(server.url)
    assert response.status_code == 200
    assert len(server.received) == 3
    assert server.connections == 1


async def test_a_huge_discarded_response_is_not_read_to_its_end(
    family: Family, server: Server
) -> None:
    """Requirement 4: beyond the cap the connection is closed, and the pool has its place back."""
    huge = raw(head(503, {}, 10**9) + b"x" * 300_000, hang)
    server.play(huge, respond())
    inner = family.client.AsyncHTTPTransport(
        verify=False, limits=family.client.Limits(max_connections=1)
    )
    transport = family.binding.ResilientTransport(retry(), inner)
    async with family.client.AsyncClient(transport=transport, timeout=1) as client:
        response = await client.get(server.url)
    assert response.status_code == 200
    assert server.connections == 2


async def test_a_dripping_discarded_response_costs_little_time(
    family: Family, server: Server
) -> None:
    """Requirement 4: draining is bounded by time as well as by bytes."""
    server.play(drip(1000, every=0.05, status=503), respond())
    started = time.perf_counter()
    async with family.binding.AsyncClient(policy=retry(), verify=False) as client:
        response = await client.get(server.url)
    assert response.status_code == 200
    # A quarter of a second for reading ahead, and another one for draining; the whole takes 50 s.
    assert time.perf_counter() - started < 10


def retry_404(outcome: Any) -> Verdict | None:
    """Ask for a retry of what the head alone does not call retryable, so nothing is read ahead."""
    if outcome.value is not None and outcome.value.status_code == 404:
        return Verdict(Kind.FAILURE, retryable=True)
    return None


@pytest.mark.parametrize(
    "answer, connections",
    [
        (respond(404, b"x" * 10_000), 1),
        (raw(head(404, {}, 10**9) + b"x" * 10**7, hang), 2),
        (raw(head(404, {}, 100) + b"half", close), 2),
    ],
    ids=["small", "huge", "cut off"],
)
async def test_what_was_not_read_ahead_is_drained_when_it_is_discarded(
    family: Family, server: Server, answer: Any, connections: int
) -> None:
    """Requirement 4: up to the cap, and no further however fast it comes."""
    server.play(answer, respond())
    ledger = Ledger()
    sizes: list[int] = []

    class Counted(family.client.AsyncByteStream):
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in self.stream:
                sizes.append(len(chunk))
                yield chunk

        async def aclose(self) -> None:
            await self.stream.aclose()

    class Counting(family.client.AsyncHTTPTransport):
        async def handle_async_request(self, request: Any) -> Any:
            response = await super().handle_async_request(request)
            response.stream = Counted(response.stream)
            return response

    transport = family.binding.ResilientTransport(
        Pipeline(retry(), ledger), Counting(verify=False), classify=retry_404
    )
    async with family.client.AsyncClient(transport=transport) as client:
        assert (await client.get(server.url)).status_code == 200
    assert sum(sizes) < 64 * 1024 + max(sizes, default=0) + 1
    assert server.connections == connections
    assert (ledger.kinds, ledger.held) == (["failure", "success"], 0)


async def test_the_callers_request_is_never_changed(family: Family, server: Server) -> None:
    """Requirement 5: what a transport does to a request reaches neither the caller nor a retry."""
    seen: list[Any] = []

    class Meddler(family.client.AsyncHTTPTransport):
        async def handle_async_request(self, request: Any) -> Any:
            seen.append((dict(request.extensions), dict(request.headers)))
            request.extensions["timeout"]["read"] = 77.0
            request.extensions["mark"] = True
            request.headers["x-mark"] = "1"
            return await super().handle_async_request(request)

    server.play(respond(503), respond(302, headers={"location": "/b"}), respond())
    transport = family.binding.ResilientTransport(retry(), Meddler(verify=False))
    async with family.client.AsyncClient(transport=transport, follow_redirects=True) as client:
        request = client.build_request("GET", server.url)
        response = await client.send(request)
    assert response.status_code == 200
    assert len(seen) == 3
    assert all("mark" not in extensions for extensions, _ in seen)
    assert all("x-mark" not in headers for _, headers in seen)
    assert request.extensions["timeout"]["read"] == 5.0
    assert "mark" not in request.extensions
    assert response.history[0].request is request


@pytest.mark.parametrize(
    "method, headers, attempts",
    [
        ("GET", {}, 2),
        ("HEAD", {}, 2),
        ("OPTIONS", {}, 2),
        ("PUT", {}, 2),
        ("DELETE", {}, 2),
        ("QUERY", {}, 2),
        ("POST", {}, 1),
        ("PATCH", {}, 1),
        ("POST", {"Idempotency-Key": "k1"}, 2),
    ],
)
async def test_what_may_have_been_processed_is_repeated_by_idempotent_methods_only(
    family: Family, server: Server, method: str, headers: dict[str, str], attempts: int
) -> None:
    """Requirement 10: the method decides, or an idempotency key, the same at each attempt."""
    for failure in (respond(503), close):
        server.play(failure, respond())
        async with family.binding.AsyncClient(policy=retry(), verify=False) as client:
            try:
                await client.request(method, server.url, headers=headers)
            except family.client.RemoteProtocolError:
                assert attempts == 1
        assert len(server.received) == attempts
        assert len({r.headers.get("idempotency-key") for r in server.received}) == 1


@pytest.mark.parametrize(
    "case, method, attempts",
    [
        ((True, None), "POST", 2),
        ((False, None), "GET", 1),
        ((True, False), "GET", 1),
        ((False, True), "POST", 2),
        ((lambda request: request.url.path == "/safe", None), "POST", 2),
        ((lambda request: None, None), "POST", 1),
        ((lambda request: None, None), "GET", 2),
        ((None, True), "POST", 2),
        ((None, False), "GET", 1),
    ],
)
async def test_the_user_may_say_what_is_idempotent(
    family: Family, server: Server, case: tuple[Any, bool | None], method: str, attempts: int
) -> None:
    """Requirement 10: the request's own setting outranks the transport's, and that the method."""
    server.play(respond(503), respond())
    setting, own = case
    transport = family.binding.ResilientTransport(retry(), idempotent=setting)
    extensions = {} if own is None else {"seawall": {"idempotent": own}}
    async with family.client.AsyncClient(transport=transport) as client:
        await client.request(method, f"{server.url}/safe", extensions=extensions)
    assert len(server.received) == attempts


@pytest.mark.parametrize("status", [429, 529])
async def test_a_throttled_request_is_repeated_whatever_its_method(
    family: Family, server: Server, status: int
) -> None:
    """Requirements 10 and 13: it was refused before it was processed."""
    server.play(respond(status), respond())
    async with family.binding.AsyncClient(policy=retry(), verify=False) as client:
        assert (await client.post(server.url, content=b"body")).status_code == 200
        assert [request.body for request in server.received] == [b"body"] * 2
        server.play(respond(status), respond())
        extensions = {"seawall": {"idempotent": False}}
        assert (await client.post(server.url, extensions=extensions)).status_code == 200
        server.play(respond(status), respond())
        assert (await client.post(server.url, content=generate())).status_code == status


@pytest.mark.parametrize(
    "status, attempts",
    [(500, 1), (501, 1), (404, 1), (408, 2), (425, 2), (502, 2), (504, 2), (520, 2), (524, 2)],
)
async def test_which_statuses_are_repeated(
    family: Family, server: Server, status: int, attempts: int
) -> None:
    """Requirement 13: those that say that a further try may help, and only those."""
    server.play(respond(status), respond())
    async with family.binding.AsyncClient(policy=retry(), verify=False) as client:
        response = await client.get(server.url)
    assert len(server.received) == attempts
    assert response.status_code == (200 if attempts == 2 else status)


async def test_retry_after_is_obeyed_and_the_jitter_only_adds(
    family: Family, server: Server
) -> None:
    """Requirement 14: the wait is at least what the server asks for."""
    server.play(respond(429, headers={"retry-after-ms": "80"}), respond())
    async with family.binding.AsyncClient(policy=retry(), verify=False) as client:
        started = asyncio.get_running_loop().time()
        await client.get(server.url)
    assert asyncio.get_running_loop().time() - started >= 0.08


@pytest.mark.parametrize(
    "policy",
    [retry(max_retry_after=30), Pipeline(Timeout(5), retry(max_retry_after=100))],
    ids=["more than max_retry_after", "more than what is left"],
)
async def test_a_wait_that_is_too_long_hands_the_response_back(
    family: Family, server: Server, policy: Any
) -> None:
    """Requirement 14: the caller learns of the wait instead of sitting it out."""
    server.play(respond(503, b"later", {"retry-after": "31"}))
    async with family.binding.AsyncClient(policy=policy, verify=False) as client:
        response = await asyncio.wait_for(client.get(server.url), 2)
    assert (response.status_code, response.content) == (503, b"later")
    assert response.headers["retry-after"] == "31"
    assert len(server.received) == 1


@pytest.mark.parametrize(
    "method, answer, attempts",
    [
        ("GET", respond(503, headers={"x-should-retry": "false"}), 1),
        ("GET", respond(500, headers={"x-should-retry": "true"}), 2),
        ("GET", respond(409, headers={"x-should-retry": "true"}), 2),
        ("POST", respond(500, headers={"x-should-retry": "true"}), 1),
        ("POST", respond(429, headers={"x-should-retry": "false"}), 1),
    ],
)
async def test_the_server_says_whether_to_retry(
    family: Family, server: Server, method: str, answer: Any, attempts: int
) -> None:
    """Requirement 14: ``x-should-retry`` stops, and asks within what is safe."""
    server.play(answer, respond())
    async with family.binding.AsyncClient(policy=retry(), verify=False) as client:
        await client.request(method, server.url)
    assert len(server.received) == attempts


QUOTA = b'{"error": {"message": "no credit", "type": "insufficient_quota"}}'


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_an_empty_account_is_not_asked_again(
    family: Family, server: Server, encoding: str
) -> None:
    """Requirement 14: a 429 that no waiting heals is handed out at once, and readable."""
    body = gzip.compress(QUOTA) if encoding == "gzip" else QUOTA
    headers = {"content-encoding": encoding, "content-type": "application/json"}
    server.play(respond(429, body, headers), respond())
    ledger = Ledger()
    async with family.binding.AsyncClient(policy=Pipeline(retry(), ledger), verify=False) as client:
        response = await client.post(server.url, json={})
    assert response.json()["error"]["type"] == "insufficient_quota"
    assert len(server.received) == 1
    assert ledger.verdicts == [Verdict(Kind.NEUTRAL)]


@pytest.mark.parametrize(
    "answer",
    [
        respond(503, b"line one\nline two"),
        drip(3, every=0.01, status=503),
        drip(8, every=0.05, status=503),
        raw(head(503, {}, 100_000) + b"x" * 100_000),
    ],
    ids=["at once", "in chunks", "slower than the cap", "longer than the cap"],
)
async def test_an_error_that_was_read_ahead_stays_readable(
    family: Family, server: Server, answer: Any
) -> None:
    """Requirement 14: however the caller reads the final error, all of it is there."""
    server.play(answer)

    async def fetch(how: str) -> tuple[int, int, list[str], int]:
        ledger = Ledger()
        policy = Pipeline(retry(2), ledger)
        async with family.binding.AsyncClient(policy=policy, verify=False) as client:
            async with client.stream("GET", server.url) as response:
                match how:
                    case "aread":
                        size = len(await response.aread())
                    case "raw":
                        size = sum([len(chunk) async for chunk in response.aiter_raw()])
                    case "bytes":
                        size = sum([len(chunk) async for chunk in response.aiter_bytes()])
                    case _:
                        size = len("\n".join([line async for line in response.aiter_lines()]))
        return response.status_code, size, ledger.kinds, ledger.held

    ways = ("aread", "raw", "bytes", "lines")
    (status, size, *told), *others = await asyncio.gather(*map(fetch, ways))
    assert status == 503
    assert size in {17, 3, 8, 100_000}
    assert told == [["failure", "failure"], 0]
    assert all(other == (status, size, *told) for other in others)
    assert len(server.received) == 2 * len(ways)


async def test_an_error_that_is_cut_off_is_handed_out_with_its_own_error(
    family: Family, server: Server
) -> None:
    """Requirement 3: a truncated 503 is still a 503, and reading it shows what is missing."""
    server.play(raw(head(503, {}, 100) + b"only this", close))
    ledger = Ledger()
    async with family.binding.AsyncClient(
        policy=Pipeline(retry(2), ledger), verify=False
    ) as client:
        async with client.stream("GET", server.url) as response:
            assert response.status_code == 503
            read = b""
            with pytest.raises(family.client.RemoteProtocolError):
                async for chunk in response.aiter_raw():
                    read += chunk
    assert read == b"only this"
    assert ledger.kinds == ["failure", "failure"]
    assert ledger.held == 0


async def test_a_slow_error_body_does_not_make_a_timeout_of_an_answer(
    family: Family, server: Server
) -> None:
    """Requirement 14: reading ahead leaves the attempt the time to hand its answer out."""
    server.play(drip(100, every=0.02, status=503))
    policy = Pipeline(Timeout(20), retry(2), Timeout(0.4))
    inner = family.client.AsyncHTTPTransport(
        verify=False, limits=family.client.Limits(max_connections=1)
    )
    transport = family.binding.ResilientTransport(policy, inner)
    async with family.client.AsyncClient(transport=transport, timeout=1) as client:
        async with client.stream("GET", server.url) as response:
            assert response.status_code == 503
        server.play(respond())
        assert (await client.get(server.url)).status_code == 200
    assert inner._pool._requests == []


async def test_a_cancellation_while_reading_ahead_leaves_nothing_open(
    family: Family, server: Server
) -> None:
    """Requirement 14: who gives up in the middle of an error gets the place of the pool back."""
    server.play(drip(100, every=0.02, status=503))
    ledger = Ledger()
    inner = family.client.AsyncHTTPTransport(
        verify=False, limits=family.client.Limits(max_connections=1)
    )
    transport = family.binding.ResilientTransport(Pipeline(retry(), ledger), inner)
    async with family.client.AsyncClient(transport=transport, timeout=1) as client:
        for pause in (0.05, 0.1, 0.2, 0.3):
            task = asyncio.create_task(client.get(server.url))
            await asyncio.sleep(pause)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert ledger.held == 0
        server.play(respond())
        assert (await client.get(server.url)).status_code == 200


async def test_a_users_verdict_is_taken_within_what_is_safe(family: Family, server: Server) -> None:
    """A ``classify`` may ask for a retry of a 404, but not for a second POST."""
    transport = family.binding.ResilientTransport(retry(), classify=retry_404)
    async with family.client.AsyncClient(transport=transport) as client:
        for method, attempts in (("GET", 2), ("POST", 1)):
            server.play(respond(404), respond())
            await client.request(method, server.url)
            assert len(server.received) == attempts
        server.play(respond(503), respond())
        assert (await client.get(server.url)).status_code == 200


@pytest.mark.parametrize("place", ["transport", "pipeline", "nested pipeline"])
@pytest.mark.parametrize("fused", [True, False])
async def test_a_users_verdict_on_a_healthy_response_holds_where_its_body_is_at_hand(
    family: Family, place: str, fused: bool
) -> None:
    """A response that is in memory is no success before the user has been asked."""
    judged: list[int] = []

    def classify(outcome: Any) -> Verdict:
        judged.append(outcome.value.status_code)
        return Verdict(Kind.FAILURE, retryable=True)

    class Between(Policy):
        async def run(self, call: Any, proceed: Any) -> Any:
            return await proceed(call)

    breaker = CircuitBreaker(trip=10)
    inside = Pipeline(breaker, classify=classify if place == "nested pipeline" else None)
    policy = Pipeline(
        retry(),
        *([] if fused else [Between()]),
        inside,
        classify=classify if place == "pipeline" else None,
    )
    transport = family.binding.ResilientTransport(
        policy,
        family.client.MockTransport(lambda request: family.client.Response(203, content=b"no")),
        classify=classify if place == "transport" else None,
    )
    async with family.client.AsyncClient(transport=transport) as client:
        response = await client.get("http://server/")
    assert (response.status_code, response.content) == (203, b"no")
    assert response.extensions["seawall"].attempts == 3
    assert judged == [203] * 3
    snapshot = breaker.snapshot()
    assert (snapshot.successes, snapshot.failures) == (0, 3)


async def test_what_a_policy_returns_in_place_of_a_healthy_response_is_judged(
    family: Family,
) -> None:
    """The verdict on a response that is in memory is that one's, and no other's."""
    respond_with = family.client.Response

    class Replacing(Policy):
        async def run(self, call: Any, proceed: Any) -> Any:
            await proceed(call)
            return respond_with(503)

    breaker = CircuitBreaker(trip=10)
    transport = family.binding.ResilientTransport(
        Pipeline(retry(), breaker, Replacing()),
        family.client.MockTransport(lambda request: respond_with(200)),
    )
    request = family.client.Request("GET", "http://server/")
    response = await transport.handle_async_request(request)
    assert response.extensions["seawall"].attempts == 3
    assert breaker.snapshot().failures == 3
