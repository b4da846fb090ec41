"""The fields of a client's headers as bytes, which costs a fraction of what it does as text.

To give any of them as text, the client first looks for an encoding that fits them all.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Fields: TypeAlias = "Sequence[tuple[bytes, bytes, bytes]]"
"""Of each field its name, its name in lower case, and its value."""


def find_fields(client: Any) -> Callable[[Any], Fields]:
    """Return the function that reads the fields of a client library's headers.

    They are kept in a list just so. Where it has another name or another form, it is made.

    Args:
        client: the client library's module.
    """
    probe = client.Headers([(b"Name", b"value")])
    if getattr(probe, "_list", None) == [(b"Name", b"name", b"value")]:
        return attrgetter("_list")
    return _fields


def _fields(headers: Any) -> Fields:
    return [(name, name.lower(), value) for name, value in headers.raw]
