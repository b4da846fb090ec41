"""What is read from ``retry-after-ms`` and ``Retry-After``, and that nothing is ever raised."""

from __future__ import annotations

import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.core.retry_after import LONGEST, read_retry_after, retry_after_of

NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110


@pytest.mark.parametrize(
    "value, seconds",
    [
        ("7", 7.0),
        ("007", 7.0),
        (" 7\t", 7.0),
        (b"7", 7.0),
        ("9" * 5000, LONGEST),
        ("0", None),
        ("-1", None),
        ("+7", None),
        ("1.5", None),
        ("1e3", None),
        ("1_000", None),
        ("nan", None),
        ("inf", None),
        ("\u0661\u0662", None),
        ("\u00b2", None),
        ("7, 8", None),
        ("7 seconds", None),
        ("", None),
        (7, None),
    ],
)
def test_seconds_are_ascii_digits_and_nothing_else(value: object, seconds: float | None) -> None:
    """Only plain ASCII digits are seconds; zero, signs, fractions and foreign digits are not."""
    assert read_retry_after({"retry-after": value}, NOW) == seconds


@pytest.mark.parametrize(
    "value, seconds",
    [
        ("1500", 1.5),
        ("0.5", 0.0005),
        ("250.", 0.25),
        ("9" * 5000, LONGEST),
        ("1." + "1" * 5000, 0.001111111),
    ],
)
def test_milliseconds_may_have_a_fraction(value: str, seconds: float) -> None:
    """``retry-after-ms`` is an ASCII number of milliseconds."""
    assert read_retry_after({"retry-after-ms": value}, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["nan", "inf", "-5", "1e3", "", ".", ".5", "\u0665", "0", "0.0"])
def test_milliseconds_that_make_no_sense_give_way_to_seconds(value: str) -> None:
    """A ``retry-after-ms`` that is no positive number leaves the word to ``Retry-After``."""
    assert read_retry_after({"retry-after-ms": value, "retry-after": "3"}, NOW) == 3.0
    assert read_retry_after({"retry-after-ms": value}, NOW) is None


def test_milliseconds_come_before_seconds() -> None:
    """Where both headers make sense, the finer one is followed."""
    assert read_retry_after({"Retry-After-Ms": "20", "Retry-After": "3"}, NOW) == 0.02


@pytest.mark.parametrize(
    "date",
    [
        "Sun, 06 Nov 1994 08:49:47 GMT",
        "Sunday, 06-Nov-94 08:49:47 GMT",
        "Sun Nov  6 08:49:47 1994",
    ],
)
def test_all_three_forms_of_a_date_are_understood_as_utc(date: str) -> None:
    """IMF-fixdate, RFC 850 and asctime dates are all UTC."""
    assert read_retry_after({"retry-after": date}, NOW) == 10.0


@pytest.mark.parametrize(
    "date",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:36 GMT",
        "Sun, 31 Feb 1995 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Foo 1995 08:49:37 GMT",
        "Sun, 06 Nov 1995 08:49:37 PST",
        "Sun, 06 Nov 1995 24:49:37 GMT",
        "Sun, 06 Nov 1995 08:49:61 GMT",
        "Sun, \u0660\u0666 Nov 1995 08:49:37 GMT",
        "1995-11-06T08:49:37Z",
    ],
)
def test_a_date_that_is_past_or_no_date_is_no_request(date: str) -> None:
    """The present, the past and what is no HTTP date mean: back off as usual."""
    assert read_retry_after({"retry-after": date}, NOW) is None


def test_the_date_of_the_response_stands_in_for_our_clock() -> None:
    """A date is compared with the server's own clock, when the server tells it."""
    headers = {
        "retry-after": formatdate(NOW + 30, usegmt=True),
        "date": formatdate(NOW, usegmt=True),
    }
    assert read_retry_after(headers, NOW + 86400) == 30.0
    assert read_retry_after(headers | {"date": "yesterday"}, NOW + 20) == 10.0


def test_a_leap_second_is_a_second() -> None:
    """Second 60 is the first second of the next minute."""
    headers = {
        "retry-after": "Sat, 31 Dec 2016 23:59:60 GMT",
        "date": "Sat, 31 Dec 2016 23:59:50 GMT",
    }
    assert read_retry_after(headers, NOW) == 10.0


def test_a_year_of_two_digits_is_never_more_than_fifty_years_ahead() -> None:
    """RFC 850 years are placed in the past rather than more than fifty years ahead."""
    assert read_retry_after({"retry-after": "Monday, 06-Nov-45 08:49:37 GMT"}, NOW) is None
    ahead = read_retry_after({"retry-after": "Sunday, 06-Nov-44 08:49:37 GMT"}, NOW)
    assert ahead is not None
    assert ahead == LONGEST


def test_the_names_of_headers_ignore_case_in_a_plain_dict() -> None:
    """A plain dict is searched whatever the case of its keys, and keys may be bytes."""
    assert read_retry_after({"RETRY-AFTER": "3"}, NOW) == 3.0
    assert read_retry_after({b"Retry-After": b"3"}, NOW) == 3.0
    assert read_retry_after({1: "3", None: "4"}, NOW) is None


headers = st.dictionaries(
    st.sampled_from(["retry-after-ms", "Retry-After", "date", b"Retry-After", "Date"]),
    st.one_of(
        st.text(max_size=40),
        st.binary(max_size=40),
        st.text(alphabet="0123456789.eE+-_nainf\u0661 ", max_size=30),
        st.from_regex(r"\A[A-Z][a-z]{2,8},? [0-9A-Za-z :,-]{10,40}\Z"),
        st.integers(0, 10**11).map(lambda stamp: formatdate(stamp, usegmt=True)),
        st.none(),
        st.integers(),
    ),
)


@given(headers=headers, now=st.floats())
def test_whatever_comes_the_answer_is_a_bounded_positive_number_or_none(
    headers: dict[object, object], now: float
) -> None:
    """No header and no clock makes it raise, nor answer with anything else than seconds > 0."""
    seconds = read_retry_after(headers, now)
    assert seconds is None or (math.isfinite(seconds) and 0.0 < seconds <= LONGEST)


@given(ahead=st.integers(1, 10**8), now=st.integers(0, 4 * 10**9))
def test_a_date_and_its_distance_in_seconds_are_the_same_request(ahead: int, now: int) -> None:
    """A date reads as the same number of seconds as its distance from the response's date."""
    date = formatdate(now + ahead, usegmt=True)
    sent = formatdate(now, usegmt=True)
    assert read_retry_after({"retry-after": date, "date": sent}, 0.0) == float(ahead)
    assert read_retry_after({"retry-after": date}, float(now)) == float(ahead)
    assert read_retry_after({"retry-after": str(ahead)}, 0.0) == float(ahead)


class _Carrier(Exception):
    def __init__(self, **fields: object) -> None:
        self.__dict__.update(fields)


class _Hostile(Exception):
    @property
    def response(self) -> object:
        raise RuntimeError


class _Response:
    headers = {"Retry-After": "Sun, 06 Nov 1994 08:49:47 GMT"}  # noqa: RUF012


def test_an_exception_is_asked_for_the_headers_of_its_response() -> None:
    """The response's headers come first, then the exception's own; without any, nothing."""
    assert retry_after_of(_Carrier(response=_Response()), NOW) == 10.0
    assert retry_after_of(_Carrier(response=None, headers={"retry-after": "2"})) == 2.0
    assert retry_after_of(_Carrier(headers=[("retry-after", "2")])) is None
    assert retry_after_of(ValueError()) is None
    assert retry_after_of(_Hostile()) is None
