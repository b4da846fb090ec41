"""Both families of client, their bindings, and a server to talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
import pytest_asyncio

import seawall.httpx
import seawall.httpx2
from tests.http.scripted import Server


class Family:
    """A client library and our binding for it."""

    def __init__(self, client: Any, binding: Any) -> None:
        self.client = client
        self.binding = binding


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def client_module(request: pytest.FixtureRequest) -> ModuleType:
    """Every test that asks for it runs on httpx and on httpx2."""
    return request.param


@pytest.fixture
def family(client_module: ModuleType) -> Family:
    """The client library together with its binding."""
    bindings = {"httpx": seawall.httpx, "httpx2": seawall.httpx2}
    return Family(client_module, bindings[client_module.__name__])


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    """A server on a free port of loopback."""
    async with Server() as running:
        yield running
