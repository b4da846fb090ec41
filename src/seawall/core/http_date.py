"""Dates in HTTP headers, in any of the three forms of RFC 9110, section 5.6.7."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_LONGEST_TEXT: Final = 64
_MONTHS: Final = {
    month: number
    for number, month in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_CLOCK: Final = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DAY: Final = "(?P<day>[ 0-9][0-9])"
_MONTH: Final = "(?P<month>[A-Za-z]{3})"
_IMF_FIXDATE: Final = f"[A-Za-z]{{3}}, {_DAY} {_MONTH} (?P<year>[0-9]{{4}}) {_CLOCK} GMT"
_RFC_850: Final = f"[A-Za-z]{{6,9}}, {_DAY}-{_MONTH}-(?P<year>[0-9]{{2}}) {_CLOCK} GMT"
_ASCTIME: Final = f"[A-Za-z]{{3}} {_MONTH} {_DAY} {_CLOCK} (?P<year>[0-9]{{4}})"
# RFC 9110, section 5.6.7: the last two are obsolete, and a recipient must accept them.
_DATES: Final = tuple(re.compile(form) for form in (_IMF_FIXDATE, _RFC_850, _ASCTIME))


def read_http_date(text: str | None, now: float) -> float | None:
    """Return an HTTP date as seconds since the epoch, or ``None`` where the text is none.

    Args:
        text: the value of a header; none of it is trusted.
        now: the wall-clock time in seconds since the epoch, for years of two digits.
    """
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
