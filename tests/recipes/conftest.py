"""The SDKs, both families of client, and servers to talk to."""

from __future__ import annotations

import pytest

from tests.http.conftest import client_module, family, server
from tests.recipes.sdks import ANTHROPIC, OPENAI, SDK

__all__ = ["client_module", "family", "sdk", "server"]


@pytest.fixture(params=[OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
def sdk(request: pytest.FixtureRequest) -> SDK:
    """Every test that asks for it runs with the SDKs of both."""
    return request.param
