"""When a server asks to be left alone: ``retry-after-ms`` and ``Retry-After``.

Pure: the headers and the wall-clock time come in, seconds go out. Whatever bytes a server sends,
nothing is raised, the work is bounded, and the answer is a positive finite number or ``None``.

``float()`` and ``int()`` are never given raw text. ``float("nan")`` would be slept on for ever,
``int("١٢")`` reads digits that no HTTP header may hold, and both accept ``1_000`` and signs.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST: Final = 1e9
"""Seconds (some 32 years): what is asked for beyond it reads as this."""

_SECONDS: Final = re.compile(r"[0-9]+")
_MILLISECONDS: Final = re.compile(r"([0-9]+)(?:\.([0-9]*))?")


def read_retry_after(headers: Mapping[Any, Any], now: float) -> float | None:
    """How long the server asks to wait, or ``None`` if it does not ask.

    ``retry-after-ms`` (milliseconds; sent by OpenAI and Azure) comes before ``Retry-After``
    (RFC 9110, section 10.2.3: whole seconds, or an HTTP date in any of its three forms).
    A date is compared with the response's own ``Date`` header, so that a wrong clock on either
    side does no harm, and with ``now`` where that header is missing or not valid.

    Args:
        headers: the response's headers: any mapping whose ``get`` ignores case, or a plain dict.
        now: the wall-clock time, in seconds since the epoch, as ``time.time()`` gives it.

    Returns:
        Seconds, greater than 0 and at most ``LONGEST``. A time that is past, zero or not
        understood is ``None``: back off as usual.
    """
    seconds = _milliseconds(_text(headers, "retry-after-ms"))
    if seconds is None:
        seconds = _seconds(headers, _text(headers, "retry-after"), now)
    if seconds is None or not seconds > 0.0:
        return None
    return min(seconds, LONGEST)


def retry_after_of(error: BaseException, now: float | None = None) -> float | None:
    """How long the response asks to wait that an exception carries, or ``None``.

    The headers are those of ``error.response`` (httpx, openai, anthropic, requests), else those
    of the exception itself (aiohttp).

    Args:
        error: any exception.
        now: the wall-clock time in seconds since the epoch; ``time.time()`` by default. It is
            compared with nothing but an HTTP date.
    """
    try:
        headers = getattr(getattr(error, "response", None), "headers", None)
        if headers is None:
            headers = getattr(error, "headers", None)
        if headers is None or not callable(getattr(headers, "get", None)):
            return None
        return read_retry_after(headers, time.time() if now is None else now)
    except Exception:
        # A foreign object's attributes may do whatever they like.
        return None


def _text(headers: Mapping[Any, Any], name: str) -> str | None:
    """Return one header as stripped text; a plain dict is searched whatever the case."""
    value = headers.get(name)
    if value is None and isinstance(headers, dict):
        wanted = name.encode()
        for key, candidate in headers.items():
            folded = key.lower() if isinstance(key, (str, bytes)) else None
            if folded in (name, wanted):
                value = candidate
                break
    if isinstance(value, (bytes, bytearray)):
        value = value.decode("latin-1")
    return value.strip(" \t") if isinstance(value, str) else None


def _number(digits: str) -> float:
    digits = digits.lstrip("0")
    return float(digits or "0") if len(digits) <= 12 else LONGEST * 1000.0


def _milliseconds(text: str | None) -> float | None:
    match = _MILLISECONDS.fullmatch(text) if text else None
    if match is None:
        return None
    fraction = (match[2] or "")[:6]
    milliseconds = _number(match[1]) + (float(f"0.{fraction}") if fraction else 0.0)
    return milliseconds / 1000.0 if milliseconds > 0.0 else None


def _seconds(headers: Mapping[Any, Any], text: str | None, now: float) -> float | None:
    if not text:
        return None
    if _SECONDS.fullmatch(text):
        return _number(text)
    # Most servers say seconds, and reading a date takes two modules more.
    from seawall.core.http_date import read_http_date  # noqa: PLC0415

    date = read_http_date(text, now)
    if date is None:
        return None
    sent = read_http_date(_text(headers, "date"), now)
    return date - (now if sent is None else sent)
