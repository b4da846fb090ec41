"""When a server asks to be left alone: ``retry-after-ms`` and ``Retry-After``.

Pure: the headers and the wall-clock time come in, seconds go out. Whatever bytes a server sends,
nothing is raised, the work is bounded, and the answer is a positive finite number or ``None``.

``float()`` and ``int()`` are never given raw text. ``float("nan")`` would be slept on for ever,
``int("١٢")`` reads digits that no HTTP header may hold, and both accept ``1_000`` and signs.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST: Final = 1e9
"""Seconds (some 32 years): what is asked for beyond it reads as this."""

_LONGEST_TEXT: Final = 64
_MONTHS: Final = {
    month: number
    for number, month in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_SECONDS: Final = re.compile(r"[0-9]+")
_MILLISECONDS: Final = re.compile(r"([0-9]+)(?:\.([0-9]*))?")
_CLOCK: Final = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DAY: Final = "(?P<day>[ 0-9][0-9])"
_MONTH: Final = "(?P<month>[A-Za-z]{3})"
_IMF_FIXDATE: Final = f"[A-Za-z]{{3}}, {_DAY} {_MONTH} (?P<year>[0-9]{{4}}) {_CLOCK} GMT"
_RFC_850: Final = f"[A-Za-z]{{6,9}}, {_DAY}-{_MONTH}-(?P<year>[0-9]{{2}}) {_CLOCK} GMT"
_ASCTIME: Final = f"[A-Za-z]{{3}} {_MONTH} {_DAY} {_CLOCK} (?P<year>[0-9]{{4}})"
# RFC 9110, section 5.6.7: the last two are obsolete, and a recipient must accept them.
_DATES: Final = tuple(re.compile(form) for form in (_IMF_FIXDATE, _RFC_850, _ASCTIME))


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
    date = _date(text, now)
    if date is None:
        return None
    sent = _date(_text(headers, "date"), now)
    return date - (now if sent is None else sent)


def _date(text: str | None, now: float) -> float | None:
    """Return an HTTP date as seconds since the epoch."""
    if not text or len(text) > _LONGEST_TEXT:
        return None
    match = next(filter(None, (form.fullmatch(text) for form in _DATES)), None)
    month = _MONTHS.get(match["month"].lower()) if match is not None else None
    if match is None or month is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        year = _full_year(year, now)
    # A leap second is second 60, which datetime does not know.
    second = int(match["second"])
    leap = second == 60
    try:
        moment = datetime(
            year,
            month,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            59 if leap else second,
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return moment.timestamp() + leap


def _full_year(year: int, now: float) -> int:
    """Place a year of two digits: at most 50 years ahead (RFC 9110, section 5.6.7)."""
    try:
        this_year = datetime.fromtimestamp(now, UTC).year
    except (ValueError, OverflowError, OSError):
        this_year = 2000
    return this_year + 50 - (this_year + 50 - year) % 100
