"""What the head of a response says of the body that follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from seawall.http.fields import Fields

_SWITCHING_PROTOCOLS: Final = 101
_WITHOUT_A_BODY: Final = frozenset({204, 304})


def is_endless(status: int, fields: Fields) -> bool:
    """Say whether a response may go on for as long as both sides wish.

    Args:
        status: its status code.
        fields: those of its headers.
    """
    if status == _SWITCHING_PROTOCOLS:
        return True
    for _, name, value in fields:
        if name == b"content-type":
            return value.lstrip().lower().startswith(b"text/event-stream")
    return False


def length_of(response: Any) -> int:
    """Return how many bytes a response says that its body has; 0 if it does not say."""
    length: str = response.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0


def is_empty(status: int, method: str) -> bool:
    """Say whether no body follows the head of a response (RFC 9112, section 6.3).

    Args:
        status: the status code of the response.
        method: the method of the request.
    """
    return status in _WITHOUT_A_BODY or method == "HEAD"
