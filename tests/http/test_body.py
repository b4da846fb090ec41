"""When an attempt whose response was returned open is settled: once, at the end of its body."""

from __future__ import annotations

import asyncio
import gc
import weakref
from importlib import import_module
from typing import Any

import pytest

from seawall import (
    Bulkhead,
    CallTimeoutError,
    CircuitBreaker,
    Kind,
    Pipeline,
    Policy,
    Retry,
    State,
    Timeout,
    Verdict,
    constant,
)
from tests.http.conftest import Family
from tests.http.scripted import (
    Ledger,
    Server,
    Step,
    close,
    drip,
    hang,
    head,
    raw,
    reset,
    respond,
)

pytestmark = pytest.mark.asyncio

OPEN = raw(head(200, {}, 100) + b"the first half", hang)


async def read_all(client: Any, url: str) -> None:
    async with client.stream("GET", url) as response:
        assert [chunk async for chunk in response.aiter_raw()]


async def get(client: Any, url: str) -> None:
    await client.get(url)


async def leave_early(client: Any, url: str) -> None:
    async with client.stream("GET", url):
        pass


async def break_out(client: Any, url: str) -> None:
    async with client.stream("GET", url) as response:
        async for _ in response.aiter_bytes():
            break


async def read_until_the_error(client: Any, url: str) -> None:
    family = import_module(type(client).__mro__[1].__module__)
    with pytest.raises((family.ReadError, family.RemoteProtocolError)):
        await client.get(url)


async def be_cancelled(client: Any, url: str) -> None:
    task = asyncio.create_task(client.get(url))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def time_out_outside(client: Any, url: str) -> None:
    with pytest.raises(CallTimeoutError):
        await Timeout(0.1).execute(client.get, url)


@pytest.mark.parametrize(
    "answer, use, kind",
    [
        (respond(), get, "success"),
        (respond(), read_all, "success"),
        (respond(404), get, "success"),
        (respond(429), get, "neutral"),
        (respond(500), get, "failure"),
        (respond(), leave_early, "neutral"),
        (respond(204, b""), leave_early, "success"),
        (respond(500), leave_early, "failure"),
        (drip(3, every=0.01), break_out, "neutral"),
        (OPEN, break_out, "neutral"),
        (raw(head(200, {}, 100) + b"half", close), read_until_the_error, "failure"),
        (raw(head(200, {}, 100) + b"half", reset), read_until_the_error, "failure"),
        (raw(head(404, {}, 100) + b"half", close), read_until_the_error, "failure"),
        (raw(head(429, {}, 100) + b"half", close), read_until_the_error, "neutral"),
        (OPEN, be_cancelled, "neutral"),
        (OPEN, time_out_outside, "failure"),
    ],
)
async def test_an_attempt_is_settled_once_at_the_end_of_its_body(
    family: Family, server: Server, answer: Step, use: Any, kind: str
) -> None:
    """Requirement 9: whatever comes first settles it, and nothing settles it again."""
    server.play(answer)
    ledger = Ledger()
    async with family.binding.AsyncClient(policy=ledger, verify=False) as client:
        await use(client, server.url)
        assert (ledger.kinds, ledger.held, ledger.given_back) == ([kind], 0, 1)
    gc.collect()
    await asyncio.sleep(0)
    assert (ledger.kinds, ledger.held, ledger.given_back) == ([kind], 0, 1)


async def test_the_slot_is_held_until_the_end_of_the_body(family: Family, server: Server) -> None:
    """Requirement 9: a response that is being read takes a place until it ends."""
    bulkhead = Bulkhead(1)
    async with family.binding.AsyncClient(policy=bulkhead, verify=False) as client:
        async with client.stream("GET", server.url) as response:
            assert bulkhead.in_flight == 1
            with pytest.raises(family.binding.BulkheadFullError):
                await client.get(server.url)
            await response.aread()
            assert bulkhead.in_flight == 0
        assert (await client.get(server.url)).status_code == 200


async def test_release_at_the_headers_is_for_who_asks_for_it(
    family: Family, server: Server
) -> None:
    """Requirement 9: with ``release="headers"`` a slow reader holds nothing."""
    ledger = Ledger()
    transport = family.binding.ResilientTransport(
        ledger, family.client.AsyncHTTPTransport(verify=False), release="headers"
    )
    async with family.client.AsyncClient(transport=transport) as client:
        async with client.stream("GET", server.url) as response:
            assert (ledger.kinds, ledger.held) == (["success"], 0)
            assert await response.aread() == b"ok"
    assert (ledger.kinds, ledger.given_back) == (["success"], 1)


async def test_a_response_that_is_closed_already_is_settled_at_once(family: Family) -> None:
    """Requirement 9: mocks are never iterated nor closed."""
    ledger = Ledger()
    mock = family.client.MockTransport(lambda request: family.client.Response(200, text="mock"))
    transport = family.binding.ResilientTransport(ledger, mock)
    async with family.client.AsyncClient(transport=transport) as client:
        async with client.stream("GET", "http://server/") as response:
            assert (ledger.kinds, ledger.held) == (["success"], 0)
            assert await response.aread() == b"mock"
    assert (ledger.kinds, ledger.given_back) == (["success"], 1)


def collect(held: list[Any]) -> None:
    held.clear()
    gc.collect()


async def test_a_dropped_response_is_collected_and_gives_back_what_it_held(
    family: Family, server: Server
) -> None:
    """Requirement 9: the garbage collector is the last to settle; it warns about it."""
    server.play(OPEN)
    ledger = Ledger()
    policy = Pipeline(Timeout(30), ledger)
    inner = family.client.AsyncHTTPTransport(
        verify=False, limits=family.client.Limits(max_connections=1)
    )
    transport = family.binding.ResilientTransport(policy, inner)
    async with family.client.AsyncClient(transport=transport, timeout=1) as client:
        response = await client.send(client.build_request("GET", server.url), stream=True)
        dropped = weakref.ref(response.stream)
        leave = [response]
        del response
        with pytest.warns(ResourceWarning, match="dropped before its body was read"):
            collect(leave)
        assert dropped() is None
        await asyncio.sleep(0.05)
        assert (ledger.kinds, ledger.held, ledger.given_back) == (["neutral"], 0, 1)
        server.play(respond())
        assert (await client.get(server.url)).status_code == 200


async def test_a_body_that_drips_past_the_deadline_ends_with_our_timeout(
    family: Family, server: Server
) -> None:
    """Requirement 9: the read that waits raises the family's timeout, and the attempt failed."""
    server.play(drip(100, every=0.02))
    ledger = Ledger()
    async with family.binding.AsyncClient(
        policy=Pipeline(Timeout(0.2), ledger), verify=False
    ) as client:
        with pytest.raises(family.binding.CallTimeoutError) as caught:
            await client.get(server.url)
        assert caught.value.request.url.host == "127.0.0.1"
        assert caught.value.seconds == pytest.approx(0.2, abs=0.15)
        assert (ledger.kinds, ledger.held) == (["failure"], 0)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_a_response_that_is_kept_and_never_read_is_closed_at_the_deadline(
    family: Family, server: Server
) -> None:
    """Requirement 9: the slot does not wait for a caller that forgot it; a late read is told."""
    server.play(OPEN)
    ledger = Ledger()
    async with family.binding.AsyncClient(
        policy=Pipeline(Timeout(0.4), ledger), verify=False
    ) as client:
        async with client.stream("GET", server.url) as response:
            assert ledger.held == 1
            await asyncio.sleep(0.5)
            assert (ledger.kinds, ledger.held) == (["neutral"], 0)
            with pytest.raises(family.binding.CallTimeoutError):
                await response.aread()
    assert ledger.given_back == 1


async def test_only_the_outermost_timeout_covers_the_body(family: Family, server: Server) -> None:
    """The timeout of an attempt ends at the headers; a body may take longer."""
    server.play(drip(10, every=0.06))
    policy = Pipeline(Timeout(20), Timeout(0.4))
    async with family.binding.AsyncClient(policy=policy, verify=False) as client:
        assert len((await client.get(server.url)).content) == 10


async def test_a_cancellation_from_outside_is_never_taken_for_the_deadline(
    family: Family, server: Server
) -> None:
    """A caller that cancels in the tick of the deadline gets its cancellation."""
    server.play(OPEN)
    loop = asyncio.get_running_loop()
    async with family.binding.AsyncClient(policy=Timeout(0.15), verify=False) as client:
        task = asyncio.create_task(client.get(server.url))
        # Both in one iteration of the loop: busy from before the deadline until after it.
        loop.call_later(0.1, lambda: _spin(loop, 0.1))
        loop.call_later(0.14, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task


def _spin(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    until = loop.time() + seconds
    while loop.time() < until:
        pass


async def test_an_endless_probe_is_settled_at_its_headers(family: Family, server: Server) -> None:
    """Requirement 9: an event stream that answers closes the circuit, and keeps its slot."""
    breaker, bulkhead = CircuitBreaker(trip=1, open_for=0.05), Bulkhead(1)
    server.play(close, raw(head(200, {"content-type": "text/event-stream"}, None), hang))
    async with family.binding.AsyncClient(
        policy=Pipeline(breaker, bulkhead), verify=False
    ) as client:
        with pytest.raises(family.client.RemoteProtocolError):
            await client.get(server.url)
        assert breaker.state is State.OPEN
        await asyncio.sleep(0.06)
        async with client.stream("GET", server.url):
            assert breaker.state is State.CLOSED
            assert bulkhead.in_flight == 1
        assert breaker.state is State.CLOSED
        assert bulkhead.in_flight == 0


async def test_an_early_end_frees_a_probe_and_proves_nothing(
    family: Family, server: Server
) -> None:
    """Requirement 9: the next caller may probe at once."""
    breaker = CircuitBreaker(trip=1, open_for=0.05)
    server.play(close, OPEN, respond())
    async with family.binding.AsyncClient(policy=breaker, verify=False) as client:
        with pytest.raises(family.client.RemoteProtocolError):
            await client.get(server.url)
        await asyncio.sleep(0.06)
        async with client.stream("GET", server.url):
            assert breaker.state is State.HALF_OPEN
            with pytest.raises(family.binding.CircuitOpenError):
                await client.get(server.url)
        assert breaker.state is State.HALF_OPEN
        assert (await client.get(server.url)).status_code == 200
        assert breaker.state is State.CLOSED


async def test_the_connection_is_given_back_before_the_slot(family: Family, server: Server) -> None:
    """Requirement 9: with as many slots as connections nobody waits for a connection."""
    inner = family.client.AsyncHTTPTransport(
        verify=False, limits=family.client.Limits(max_connections=2)
    )
    policy = Bulkhead(2, queue=100)
    transport = family.binding.ResilientTransport(policy, inner)
    timeout = family.client.Timeout(5, pool=0.001)
    async with family.client.AsyncClient(transport=transport, timeout=timeout) as client:
        answers = await asyncio.gather(*[client.get(server.url) for _ in range(50)])
    assert [answer.status_code for answer in answers] == [200] * 50
    assert server.connections == 2


async def test_the_stream_is_closed_before_the_slot_is_free(family: Family) -> None:
    """Requirement 9: a slot never outlives its connection, however long that takes to close."""
    bulkhead = Bulkhead(1)
    held: list[int] = []

    class Slow(family.client.AsyncByteStream):
        async def __aiter__(self) -> Any:
            yield b"x"

        async def aclose(self) -> None:
            await asyncio.sleep(0.01)
            held.append(bulkhead.in_flight)

    mock = family.client.MockTransport(lambda request: family.client.Response(200, stream=Slow()))
    transport = family.binding.ResilientTransport(bulkhead, mock)
    async with family.client.AsyncClient(transport=transport) as client:
        await client.get("http://server/")
        async with client.stream("GET", "http://server/"):
            pass
    assert (held, bulkhead.in_flight) == ([1, 1], 0)


async def test_two_readers_of_a_closing_client_settle_once(family: Family, server: Server) -> None:
    """A body that is closed while another task reads it ends there and then."""
    server.play(OPEN)
    ledger = Ledger()
    async with family.binding.AsyncClient(policy=ledger, verify=False) as client:
        request = client.build_request("GET", server.url)
        response = await client.send(request, stream=True)
        reader = asyncio.create_task(response.aread())
        await asyncio.sleep(0.05)
        await response.aclose()
        assert (ledger.kinds, ledger.held, ledger.given_back) == (["neutral"], 0, 1)
        with pytest.raises(family.client.ReadError):
            await reader
    assert ledger.given_back == 1


async def test_an_open_response_of_another_client_leaves_none_of_this_one_open(
    family: Family, server: Server
) -> None:
    """Who gets a body that is still to be read gets that one alone; the attempt's own is closed."""

    class FromElsewhere(Policy):
        async def run(self, call: Any, proceed: Any) -> Any:
            await proceed(call)
            return await other.send(other.build_request("GET", server.url), stream=True)

    ledger, theirs = Ledger(), Ledger()
    server.play(OPEN, respond(body=b"instead"))
    async with (
        family.binding.AsyncClient(policy=theirs, verify=False) as other,
        family.binding.AsyncClient(
            policy=Pipeline(FromElsewhere(), ledger), verify=False
        ) as client,
        client.stream("GET", server.url) as response,
    ):
        assert (ledger.held, theirs.held) == (0, 1)
        assert await response.aread() == b"instead"
    assert (ledger.given_back, theirs.given_back) == (1, 1)


async def test_a_fallback_leaves_no_failed_body_open(family: Family, server: Server) -> None:
    """What a policy answers in place of an attempt does not leave the attempt's body behind."""

    class Replace(Ledger):
        async def run(self, call: Any, proceed: Any) -> Any:
            await super().run(call, proceed)
            call.open = None
            return family.client.Response(200, text="instead")

    server.play(OPEN)
    ledger = Replace()
    async with family.binding.AsyncClient(policy=ledger, verify=False) as client:
        assert (await client.get(server.url)).text == "instead"
    assert (ledger.kinds, ledger.held) == (["neutral"], 0)


async def test_a_policy_that_raises_after_the_response_leaves_nothing_open(
    family: Family, server: Server
) -> None:
    """Where the response does not get through, its body is closed and its slot given back."""

    class Spoil(Ledger):
        async def run(self, call: Any, proceed: Any) -> Any:
            await super().run(call, proceed)
            raise KeyError

    server.play(OPEN)
    bulkhead, ledger = Bulkhead(1), Spoil()
    inner = family.client.AsyncHTTPTransport(
        verify=False, limits=family.client.Limits(max_connections=1)
    )
    transport = family.binding.ResilientTransport(Pipeline(ledger, bulkhead), inner)
    async with family.client.AsyncClient(transport=transport, timeout=0.5) as client:
        for _ in range(3):
            with pytest.raises(KeyError):
                await client.get(server.url)
    assert (ledger.held, bulkhead.in_flight) == (0, 0)


async def test_a_classifier_that_raises_leaves_nothing_open(family: Family, server: Server) -> None:
    """The error of a user's classifier propagates; the attempt is neutral, and closed."""

    def classify(outcome: Any) -> Verdict:
        raise LookupError

    server.play(OPEN)
    ledger = Ledger()
    inner = family.client.AsyncHTTPTransport(
        verify=False, limits=family.client.Limits(max_connections=1)
    )
    transport = family.binding.ResilientTransport(ledger, inner, classify=classify)
    async with family.client.AsyncClient(transport=transport, timeout=0.5) as client:
        for _ in range(3):
            with pytest.raises(LookupError):
                await client.get(server.url)
    assert [verdict.kind for verdict in ledger.verdicts] == [Kind.NEUTRAL] * 3
    assert ledger.held == 0


async def test_an_attempt_that_fails_after_its_headers_is_closed_before_the_next(
    family: Family, server: Server
) -> None:
    """Where the place in the pool is the only one, the next attempt gets it."""
    raising = [LookupError()]

    def classify(outcome: Any) -> Verdict | None:
        if raising:
            raise raising.pop()
        return None

    server.play(OPEN, respond())
    inner = family.client.AsyncHTTPTransport(
        verify=False, limits=family.client.Limits(max_connections=1)
    )
    policy = Retry(2, backoff=constant(0), on=LookupError)
    transport = family.binding.ResilientTransport(policy, inner, classify=classify)
    async with family.client.AsyncClient(transport=transport, timeout=0.5) as client:
        assert (await client.get(server.url)).status_code == 200


async def test_a_stream_that_swallows_the_cancellation_ends_at_the_next_read(
    family: Family,
) -> None:
    """The deadline holds for a transport of the user's own that does not behave."""

    class Stubborn(family.client.AsyncByteStream):
        async def __aiter__(self) -> Any:
            for _ in range(100):
                try:
                    await asyncio.sleep(0.05)
                except asyncio.CancelledError:
                    pass
                yield b"x"

    ledger = Ledger()
    mock = family.client.MockTransport(
        lambda request: family.client.Response(200, stream=Stubborn())
    )
    transport = family.binding.ResilientTransport(Pipeline(Timeout(0.12), ledger), mock)
    async with family.client.AsyncClient(transport=transport) as client:
        with pytest.raises(family.binding.CallTimeoutError):
            await client.get("http://server/")
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert (ledger.kinds, ledger.held) == (["failure"], 0)
