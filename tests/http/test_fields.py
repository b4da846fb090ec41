"""How the fields of a client's headers are read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from seawall.http.fields import find_fields
from tests.http.conftest import Family

FIELDS = [(b"Content-Type", b"content-type", b"text/plain"), (b"X-A", b"x-a", b"\xff")]


class Renamed:
    """Headers that are kept in another way."""

    def __init__(self, fields: Any) -> None:
        self.raw = list(fields)


@pytest.mark.parametrize("kept", [True, False], ids=["as they are now", "in another way"])
def test_fields_are_read_in_whatever_way_the_client_keeps_them(family: Family, kept: bool) -> None:
    """Names come as they were sent and in lower case, values as bytes."""
    client: Any = family.client if kept else SimpleNamespace(Headers=Renamed)
    headers = client.Headers([(name, value) for name, _, value in FIELDS])
    assert list(find_fields(client)(headers)) == FIELDS
