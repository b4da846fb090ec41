"""OpenTelemetry's instrumentors of httpx and httpx2: what has a span of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.instrumentation.httpx import (
    AsyncOpenTelemetryTransport,
    AsyncOpenTelemetryTransportHttpx2,
    HTTPX2ClientInstrumentor,
    HTTPXClientInstrumentor,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from seawall import Bulkhead, Pipeline, Retry, constant
from seawall.http.pools import find_pools
from tests.http.conftest import Family
from tests.http.scripted import Server, respond

pytestmark = pytest.mark.asyncio


class Telemetry:
    """Spans of one test, and the instrumentor of its family."""

    def __init__(self, family: Family) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        old = family.client is httpx
        kind: Any = HTTPXClientInstrumentor if old else HTTPX2ClientInstrumentor
        self.instrumentor = kind()
        self.transport: Any = (
            AsyncOpenTelemetryTransport if old else AsyncOpenTelemetryTransportHttpx2
        )

    @property
    def statuses(self) -> list[Any]:
        """The status that each span has seen, in the order in which they ended."""
        return [span.attributes["http.status_code"] for span in self.exporter.get_finished_spans()]


@pytest.fixture
def telemetry(family: Family) -> Iterator[Telemetry]:
    made = Telemetry(family)
    yield made
    if made.instrumentor.is_instrumented_by_opentelemetry:
        made.instrumentor.uninstrument()
    made.provider.shutdown()


def policy() -> Pipeline:
    return Pipeline(Retry(3, backoff=constant(0)), Bulkhead(1))


async def test_an_instrumented_library_has_a_span_per_attempt(
    family: Family, telemetry: Telemetry, server: Server
) -> None:
    """``instrument()`` patches the client's own transport, which ours wraps: no further work."""
    telemetry.instrumentor.instrument(tracer_provider=telemetry.provider)
    server.play(respond(503), respond(503), respond())
    pipeline = policy()
    async with family.binding.AsyncClient(policy=pipeline, verify=False) as client:
        assert (await client.get(server.url)).status_code == 200
    assert telemetry.statuses == [503, 503, 200]
    parents = {request.headers["traceparent"] for request in server.received}
    assert len(parents) == 3
    assert pipeline.find(Bulkhead).snapshot().in_flight == 0


async def test_the_spans_of_a_call_belong_to_the_span_around_it(
    family: Family, telemetry: Telemetry, server: Server
) -> None:
    """Whoever wants one span for the whole call begins one: the attempts are its children."""
    telemetry.instrumentor.instrument(tracer_provider=telemetry.provider)
    server.play(respond(503), respond())
    tracer = telemetry.provider.get_tracer("test")
    async with family.binding.AsyncClient(policy=policy(), verify=False) as client:
        with tracer.start_as_current_span("call") as call:
            await client.get(server.url)
    *attempts, _ = telemetry.exporter.get_finished_spans()
    assert len(attempts) == 2
    assert {span.parent.span_id for span in attempts} == {call.get_span_context().span_id}


async def test_a_client_instrumented_first_has_a_span_per_attempt(
    family: Family, telemetry: Telemetry, server: Server
) -> None:
    """``instrument_client`` before ``protect``: the spans are inside."""
    server.play(respond(503), respond())
    client = family.client.AsyncClient(verify=False)
    telemetry.instrumentor.instrument_client(client, tracer_provider=telemetry.provider)
    async with family.binding.protect(client, policy()):
        assert (await client.get(server.url)).status_code == 200
    assert telemetry.statuses == [503, 200]


async def test_a_client_protected_first_has_a_span_per_call(
    family: Family, telemetry: Telemetry, server: Server
) -> None:
    """``protect`` before ``instrument_client``: one span is around all attempts."""
    server.play(respond(503), respond())
    client = family.binding.protect(family.client.AsyncClient(verify=False), policy())
    telemetry.instrumentor.instrument_client(client, tracer_provider=telemetry.provider)
    async with client:
        assert (await client.get(server.url)).status_code == 200
    assert telemetry.statuses == [200]
    assert len(server.received) == 2


async def test_the_pool_is_found_inside_an_instrumented_transport(
    family: Family, telemetry: Telemetry, server: Server
) -> None:
    """``AsyncOpenTelemetryTransport`` inside ours: a span per attempt, and the pool is repaired."""
    server.play(respond(503), respond())
    inner = telemetry.transport(
        family.client.AsyncHTTPTransport(verify=False), tracer_provider=telemetry.provider
    )
    transport = family.binding.ResilientTransport(policy(), inner)
    assert len(find_pools(transport)) == 1
    async with family.client.AsyncClient(transport=transport) as client:
        assert (await client.get(server.url)).status_code == 200
    assert telemetry.statuses == [503, 200]
