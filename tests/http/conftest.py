"""Both families of client, and the bindings for them."""

from __future__ import annotations

from types import ModuleType

import httpx
import httpx2
import pytest


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def client_module(request: pytest.FixtureRequest) -> ModuleType:
    """Every test that asks for it runs on httpx and on httpx2."""
    return request.param
