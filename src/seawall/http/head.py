"""What the head of a response says of the body that follows."""

from __future__ import annotations

from typing import Any, Final

_SWITCHING_PROTOCOLS: Final = 101
_WITHOUT_A_BODY: Final = frozenset({204, 304})


def is_endless(response: Any) -> bool:
    """Say whether a response may go on for as long as both sides wish."""
    if response.status_code == _SWITCHING_PROTOCOLS:
        return True
    kind: str = response.headers.get("content-type", "")
    return kind.lstrip().lower().startswith("text/event-stream")


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
