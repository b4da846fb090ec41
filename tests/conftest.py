from __future__ import annotations

import gc
import os

import pytest
from hypothesis import settings

# A shared machine is slow now and then: the time one example takes says nothing.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every test marked ``anyio`` runs on both event loops."""
    return request.param


@pytest.fixture(scope="module", autouse=True)
def freeze() -> None:
    """Let no collection of garbage look at the tests themselves, which stay until the end.

    They are a million objects, with a report of each that has run, and many a test lets the
    collector come several times.
    """
    gc.collect()
    gc.freeze()
