"""What each fault of a server becomes: its class, its verdict, whether the request is sent again.

Which class a client without policies gets is in the table of the fault server's own tests.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal, NamedTuple

import pytest
from h2.exceptions import ProtocolError

from seawall import Bulkhead, CircuitBreaker, Pipeline, Retry, constant
from seawall.testing import Answer, Fault, FaultServer, faults, steps
from tests.http.conftest import Family
from tests.http.ledger import Ledger
from tests.testing.test_fault_table import (
    CONNECT,
    CONNECT_TIMEOUT,
    FINE,
    READ_TIMEOUT,
    TABLE,
    UPLOAD,
    UPLOADS,
    WRITE_TIMEOUT,
)

Protocol = Literal["HTTP/1.1", "TLS", "HTTP/2"]
ANY, IDEMPOTENT, NEVER = "any", "idempotent", "never"


class Row(NamedTuple):
    """What the transport makes of a fault.

    Attributes:
        again: which requests are sent again: those of ``any`` method, ``idempotent`` ones or none.
        verdict: what the circuit is told of each attempt.
    """

    again: str
    verdict: str


MAYBE_DONE = Row(IDEMPOTENT, "failure")
NOT_SENT = Row(ANY, "failure")
HANDED_OUT = Row(NEVER, "failure")
NO_FAULT = Row(NEVER, "success")

ROWS: dict[str, Row] = {
    "fin_on_accept": MAYBE_DONE,
    "reset_on_accept": MAYBE_DONE,
    "tls_silence": NOT_SENT,
    "tls_reset": NOT_SENT,
    "tls_garbage": NOT_SENT,
    "untrusted_certificate": Row(NEVER, "failure"),
    "expired_certificate": Row(NEVER, "failure"),
    "certificate_of_another_host": Row(NEVER, "failure"),
    "unread_upload": MAYBE_DONE,
    "early_413": MAYBE_DONE,
    "reset_in_upload": MAYBE_DONE,
    "no_response": MAYBE_DONE,
    "reset_after_request": MAYBE_DONE,
    "silence": MAYBE_DONE,
    "cut_head": MAYBE_DONE,
    "reset_in_head": MAYBE_DONE,
    "stalled_head": MAYBE_DONE,
    "slow_head": NO_FAULT,
    "garbage_status_line": MAYBE_DONE,
    "bad_header": MAYBE_DONE,
    "huge_header": MAYBE_DONE,
    "truncated_body": HANDED_OUT,
    "reset_in_body": HANDED_OUT,
    "stalled_body": HANDED_OUT,
    "dripping_body": NO_FAULT,
    # Decoded above the transport, which then sees an early end.
    "bad_gzip": Row(NEVER, "neutral"),
    "cut_chunk": HANDED_OUT,
    "bad_chunk": HANDED_OUT,
    "close_delimited_body": NO_FAULT,
    "keep_alive_fin": MAYBE_DONE,
    "keep_alive_reset": MAYBE_DONE,
    "refused_stream": NOT_SENT,
    "stream_reset": MAYBE_DONE,
    "stream_reset_in_body": HANDED_OUT,
    "goaway_without_stream": NOT_SENT,
    "goaway_with_stream": MAYBE_DONE,
    "goaway_in_body": HANDED_OUT,
    # Both clients call it an error of their own, or let one of h2's through; see below.
    "short_body": HANDED_OUT,
}


def protocol_of(fault: str) -> Protocol:
    """Plain HTTP/1.1, where it makes sense there."""
    _, plain, tls, _ = TABLE[fault]
    if fault.startswith("tls") or (plain is None and tls is not None):
        return "TLS"
    return "HTTP/2" if plain is None else "HTTP/1.1"


CASES = [pytest.param((fault, protocol_of(fault)), id=fault) for fault in ROWS]
# What is done to one stream, or in its body, is done so on HTTP/2 as well.
CASES += [
    pytest.param((fault, "HTTP/2"), id=f"{fault}-HTTP/2")
    for fault in (
        "no_response",
        "reset_after_request",
        "silence",
        "truncated_body",
        "reset_in_body",
        "stalled_body",
        "keep_alive_fin",
        "keep_alive_reset",
    )
]


class Subject:
    """A client with one place in its pool and one slot in its bulkhead, and what it writes down."""

    def __init__(self, family: Family, *, timeout: Any = 30, **options: Any) -> None:
        self.family = family
        self.ledger = Ledger()
        self.bulkhead = Bulkhead(1)
        self.circuit = CircuitBreaker(trip=1000)
        limits = family.client.Limits(max_connections=1)
        self.inner = family.client.AsyncHTTPTransport(limits=limits, **options)
        retry = Retry(2, backoff=constant(0), budget=None)
        policy = Pipeline(retry, self.circuit, self.bulkhead, self.ledger)
        self.client = family.client.AsyncClient(
            transport=family.binding.ResilientTransport(policy, self.inner), timeout=timeout
        )

    async def meet(self, method: str, url: str, **options: Any) -> tuple[str, str]:
        """Send a request; return in which phase it met which error."""
        phase = "send"
        try:
            async with self.client.stream(method, url, **options) as response:
                phase = "body"
                await response.aread()
        # Some of h2's own cross httpx as they are.
        except (self.family.client.HTTPError, ProtocolError) as error:
            return phase, type(error).__name__
        return phase, FINE

    async def assert_that_nothing_is_lost(self, server: FaultServer, url: str) -> None:
        """The slot and the only place are there, and both can be used."""
        assert (self.ledger.held, self.bulkhead.in_flight) == (0, 0)
        assert len(self.ledger.verdicts) == self.ledger.given_back
        pool = self.inner._pool
        assert pool._requests == []
        assert all(each.is_idle() or each.is_closed() for each in pool._connections)
        server.play()
        options = {"timeout": self.family.client.Timeout(30, pool=5)}
        assert (await self.client.get(url, **options)).status_code == 200


def test_the_table_is_complete() -> None:
    """Every fault that the server has is in it."""
    assert list(ROWS) == list(faults.BY_NAME)


@pytest.mark.asyncio
@pytest.mark.parametrize("idempotent", [True, False], ids=["idempotent", "not idempotent"])
@pytest.mark.parametrize("case", CASES)
async def test_what_becomes_of_a_fault(
    family: Family, case: tuple[str, Protocol], idempotent: bool
) -> None:
    """Its class is the bare client's; it is repeated as the table says, and no slot is lost."""
    fault, protocol = case
    row = ROWS[fault]
    phase, *errors = TABLE[fault]
    error = errors[("HTTP/1.1", "TLS", "HTTP/2").index(protocol)]
    assert error is not None
    again = row.again == ANY or (row.again == IDEMPOTENT and idempotent)
    # Only what the fault makes wait for ever is given little time, more where a head comes first.
    kind = {CONNECT_TIMEOUT: "connect", WRITE_TIMEOUT: "write", READ_TIMEOUT: "read"}.get(error)
    seconds = 0.1 if phase == "send" else 0.5
    timeout = family.client.Timeout(30, **({kind: seconds} if kind else {}))
    method, content = ("PUT" if idempotent else "POST"), b"body"
    if fault in UPLOADS:
        content = UPLOAD
    async with FaultServer() as server:
        url = server.url if protocol == "HTTP/1.1" else server.tls_url
        subject = Subject(
            family, timeout=timeout, verify=server.ssl_context, http2=protocol == "HTTP/2"
        )
        async with subject.client:
            kept = fault.startswith("keep_alive")
            server.play(fault, *([] if kept else [fault]))
            if kept:
                await subject.client.get(url)
                subject.ledger.verdicts.clear()
            # A kept connection is lost once: another one is healthy.
            healed = kept and again
            met = await subject.meet(method, url, content=content)
            expected = [row.verdict] * (1 + again)
            if fault == "short_body":
                # It depends on how many frames arrive together.
                assert met[1] in {error, "InvalidBodyLengthError"}
                expected = ["neutral" if met[1] == error else "failure"]
            else:
                assert met == (("body", FINE) if healed else (phase, error))
            if healed:
                expected[1] = "success"
            assert subject.ledger.kinds == expected
            subject.ledger.given_back -= kept
            assert subject.circuit.snapshot().failures == expected.count("failure")
            await subject.assert_that_nothing_is_lost(server, url)


@pytest.mark.asyncio
@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize(
    "place, error",
    [("refused_url", CONNECT), ("unresolvable_url", CONNECT), ("full_url", CONNECT_TIMEOUT)],
)
async def test_a_connection_that_cannot_be_made(
    family: Family, place: str, error: str, method: str
) -> None:
    """A failure that every method survives, for nothing was sent; both attempts are told."""
    timeout = family.client.Timeout(30, connect=0.1 if error == CONNECT_TIMEOUT else 30)
    async with FaultServer() as server:
        subject = Subject(family, timeout=timeout)
        async with subject.client:
            with pytest.raises(family.client.TransportError) as caught:
                await subject.client.request(method, getattr(server, place), content=b"body")
            assert type(caught.value).__name__ == error
            told = f"gave up after 2 attempts: {error}, slept 0 s, {error}"
            assert told in caught.value.__notes__[0]
            assert subject.ledger.kinds == ["failure", "failure"]
            assert all(verdict.unprocessed for verdict in subject.ledger.verdicts)
            await subject.assert_that_nothing_is_lost(server, server.url)


@pytest.mark.asyncio
async def test_a_fault_that_passes_is_survived(family: Family) -> None:
    """The second attempt gets the answer, on a connection of its own."""
    for fault, row in ROWS.items():
        if row.again == NEVER or TABLE[fault][1] != "RemoteProtocolError":
            continue
        async with FaultServer([fault]) as server:
            subject = Subject(family)
            async with subject.client:
                assert await subject.meet("PUT", server.url, content=b"body") == ("body", FINE)
                if not fault.startswith("keep_alive"):
                    assert subject.ledger.kinds == ["failure", "success"]
                    assert server.bodies()[-1] == b"body"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "answer",
    [
        Fault("interim", steps.send_raw(b"HTTP/1.1 100 Continue\r\n\r\n"), Answer()),
        Fault("hints", steps.send_raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"), Answer()),
    ],
)
async def test_an_interim_response_is_no_fault(family: Family, answer: Fault) -> None:
    """What comes before the answer is skipped."""
    async with FaultServer([answer]) as server:
        subject = Subject(family)
        async with subject.client:
            assert await subject.meet("GET", server.url) == ("body", FINE)
    assert subject.ledger.kinds == ["success"]


@pytest.mark.asyncio
async def test_a_hung_pool_says_nothing_about_the_dependency(family: Family) -> None:
    """A ``PoolTimeout`` is neutral, and the request was never sent."""
    async with FaultServer(["silence"]) as server:
        ledger = Ledger()
        policy = Pipeline(Retry(2, backoff=constant(0), budget=None), ledger)
        inner = family.client.AsyncHTTPTransport(limits=family.client.Limits(max_connections=1))
        transport = family.binding.ResilientTransport(policy, inner)
        timeout = family.client.Timeout(30, pool=0.02)
        async with family.client.AsyncClient(transport=transport, timeout=timeout) as client:
            holder = asyncio.create_task(client.get(server.url))
            await server.until(lambda: server.requests)
            with pytest.raises(family.client.PoolTimeout):
                await client.post(server.url)
            holder.cancel()
            await asyncio.wait({holder})
            assert len(server.requests) == 1
    assert ledger.kinds == ["neutral", "neutral", "neutral"]
    assert all(verdict.unprocessed for verdict in ledger.verdicts[:2])


GARBAGE = Fault(
    "garbage", steps.send_raw(b"HTTP/1.1 200 Yes\r\n\r\nthis is no TLS"), steps.fin, at="head"
)


@pytest.mark.asyncio
async def test_a_tunnel_that_fails_costs_the_pool_no_place(family: Family) -> None:
    """Requirement 7: both families lose a place where TLS fails inside a proxy's tunnel."""
    async with FaultServer(proxy=[GARBAGE] * 8) as server:
        subject = Subject(family, verify=server.ssl_context, proxy=server.proxy_url)
        async with subject.client:
            for _ in range(4):
                with pytest.raises(family.client.ConnectError):
                    await subject.client.post("https://server.example/")
            assert len(server.tunnels) == 8
            assert subject.ledger.kinds == ["failure"] * 8
            assert subject.inner._pool._connections == []
            await subject.assert_that_nothing_is_lost(server, server.tls_url)


@pytest.mark.asyncio
@pytest.mark.parametrize("status, kind, attempts", [(407, "neutral", 1), (503, "failure", 2)])
async def test_a_proxy_that_refuses(family: Family, status: int, kind: str, attempts: int) -> None:
    """A 407 asks for credentials and is not tried again; anything else was never sent on."""
    async with FaultServer(proxy=[status] * attempts) as server:
        subject = Subject(family, verify=server.ssl_context, proxy=server.proxy_url)
        async with subject.client:
            with pytest.raises(family.client.ProxyError):
                await subject.client.post(server.tls_url)
            assert subject.ledger.kinds == [kind] * attempts
            await subject.assert_that_nothing_is_lost(server, server.tls_url)
