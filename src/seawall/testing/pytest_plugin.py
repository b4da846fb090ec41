"""The fixture ``fault_server``, for tests with any event loop and with none.

In ``conftest.py``: ``pytest_plugins = ["seawall.testing.pytest_plugin"]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from seawall.testing.server import FaultServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def fault_server() -> Iterator[FaultServer]:
    """A :class:`FaultServer` of this test alone, in a thread of its own; say what it ``play``s."""
    with FaultServer() as server:
        yield server
