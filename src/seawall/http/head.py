"""What the head of a response says of the body that follows."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


def is_endless(response: Any) -> bool:
    """Say whether a response may go on for as long as both sides wish."""
    kind: str = response.headers.get("content-type", "")
    return response.status_code == HTTPStatus.SWITCHING_PROTOCOLS or (
        kind.lstrip().lower().startswith("text/event-stream")
    )


def length_of(response: Any) -> int:
    """Return how many bytes a response says that its body has; 0 if it does not say."""
    length: str = response.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0


def is_empty(response: Any) -> bool:
    """Say whether the head of a response tells that no body follows (RFC 9112, section 6.3)."""
    status: int = response.status_code
    return status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED} or (
        response.request.method == "HEAD"
    )
