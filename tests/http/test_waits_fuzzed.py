"""Whatever a server says of when to come back: no exception, and no wait that makes no sense."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seawall import Pipeline, Retry, Timeout, constant
from seawall.core.retry_after import LONGEST
from seawall.http.classify import judge_response
from tests.http.conftest import Family
from tests.virtual_time import run

NAMES = [b"retry-after", b"Retry-After", b"retry-after-ms", b"x-should-retry", b"date"]
VALUES = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(alphabet="0123456789.eE+-_naifNAIF ,:GMT\u0661\xa0", max_size=30).map(str.encode),
    st.integers().map(lambda number: b"%d" % number),
    st.floats().map(lambda number: repr(number).encode()),
    st.sampled_from([b"true", b"false", b"Sun, 06 Nov 1994 08:49:37 GMT", b"1e999", b"\x00", b""]),
    st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT").encode()),
)
PAIRS = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=4)
STATUSES = st.sampled_from([200, 302, 408, 425, 429, 500, 502, 503, 504, 529])
COUNTS = [
    pytest.param(300, id="some"),
    pytest.param(20_000, id="20,000", marks=[pytest.mark.soak]),
]


def fuzzed(count: int) -> Any:
    """Return the settings of a test that tries so many cases."""
    return settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.mark.parametrize("count", COUNTS)
def test_a_verdict_has_a_wait_that_makes_sense(client_module: ModuleType, count: int) -> None:
    """It is none, or seconds that are finite, positive, and bounded; for each clock of ours."""

    @fuzzed(count)
    @given(status=STATUSES, pairs=PAIRS, now=st.floats())
    def check(status: int, pairs: list[tuple[bytes, bytes]], now: float) -> None:
        verdict = judge_response(status, client_module.Headers(pairs), now)
        seconds = verdict.retry_after
        assert seconds is None or (math.isfinite(seconds) and 0 < seconds <= LONGEST)

    check()


@pytest.mark.parametrize("count", COUNTS)
def test_a_retry_waits_within_its_bounds(family: Family, count: int) -> None:
    """Never for ever, nor longer than asked for and the delay; the caller gets an answer."""

    async def fetch(pairs: list[tuple[bytes, bytes]], status: int) -> tuple[int, float]:
        answers = iter([family.client.Response(status, headers=pairs)])

        def handle(request: Any) -> Any:
            return next(answers, None) or family.client.Response(200)

        policy = Pipeline(Timeout(100), Retry(2, backoff=constant(1), budget=None))
        transport = family.binding.ResilientTransport(policy, family.client.MockTransport(handle))
        response = await transport.handle_async_request(family.client.Request("GET", "http://a/"))
        return response.status_code, response.extensions["seawall"].waited

    @fuzzed(count)
    @given(status=STATUSES, pairs=PAIRS)
    def check(status: int, pairs: list[tuple[bytes, bytes]]) -> None:
        got, waited = run(fetch(pairs, status))
        assert got in {status, 200}
        assert waited == 0 or 1 <= waited <= 31

    check()
