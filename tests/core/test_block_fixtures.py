"""A block in a fixture of pytest-asyncio, which begins and ends it in tasks of its own."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from seawall import Bulkhead, Pipeline, Retry, Timeout


@pytest_asyncio.fixture
async def pipeline() -> Pipeline:
    return Pipeline(Timeout(30), Bulkhead(5), Retry(2))


def held(pipeline: Pipeline) -> int:
    return pipeline.find(Bulkhead).in_flight


@pytest_asyncio.fixture
async def connection(pipeline: Pipeline) -> AsyncIterator[Any]:
    async with pipeline as attempt:
        yield attempt
    assert held(pipeline) == 0


@pytest_asyncio.fixture
async def stacked(connection: Any, pipeline: Pipeline) -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(pipeline)
        yield stack
    assert held(pipeline) == 1


@pytest.mark.asyncio
async def test_a_block_begun_and_ended_by_fixtures(pipeline, connection, stacked):
    """A block, and one in an exit stack, live as long as the fixtures that hold them."""
    gc.collect()
    assert held(pipeline) == 2
    assert connection.number == 1
    async with pipeline:
        assert held(pipeline) == 3
    assert held(pipeline) == 2
