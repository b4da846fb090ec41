"""What ``response.extensions["seawall"]`` tells of what it took to get a response."""

from __future__ import annotations

import json
from typing import Any

import pytest

from seawall import (
    Bulkhead,
    Fallback,
    Hedge,
    Pipeline,
    Policy,
    Retry,
    RetryBudget,
    Timeout,
    constant,
    exponential,
)
from seawall.http.report import Report, report
from tests.doubles import company, virtual
from tests.http.conftest import Family
from tests.http.in_virtual_time import answering, fed

pytestmark = pytest.mark.anyio

URL = "http://server/"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both event loops, in virtual time."""
    return virtual(request.param)


def client(family: Family, policy: Policy, *answers: Any) -> Any:
    transport = family.binding.ResilientTransport(policy, answering(family, *answers))
    return family.client.AsyncClient(transport=transport)


def retry(attempts: int = 3, seconds: float = 2.0, **options: Any) -> Retry:
    return Retry(attempts, **({"backoff": constant(seconds), "budget": None} | options))


async def test_a_healthy_response_took_one_attempt(family: Family) -> None:
    """Requirement 18: one attempt, no wait, nothing to tell; what else is there stays."""
    given = {"http_version": b"HTTP/1.1", "reason_phrase": b"Fine"}
    response = family.client.Response(200, extensions=given)
    async with client(family, Retry(3), response) as http:
        got = await http.get(URL)
    assert got is response
    assert (got.reason_phrase, got.http_version) == ("Fine", "HTTP/1.1")
    told = got.extensions["seawall"]
    assert told == Report(attempts=1, waited=0.0, outcomes=("200",), not_retried=None)


async def test_what_happened_is_told_in_order(family: Family) -> None:
    """Requirement 18: each attempt with its outcome, and the seconds that were slept between."""
    answers = (
        family.client.ReadError("made up"),
        fed(family, b"busy", status=503, after=1.0),
        fed(family, b"ok", after=3.0),
    )
    async with client(family, retry(), *answers) as http:
        response = await http.get(URL)
    told = response.extensions["seawall"]
    assert (told.attempts, told.outcomes, told.not_retried) == (
        3,
        ("ReadError", "503", "200"),
        None,
    )
    assert told.waited == pytest.approx(4.0)
    assert json.loads(json.dumps(told.as_dict())) == {
        "type": "Report",
        "attempts": 3,
        "waited": pytest.approx(4.0),
        "outcomes": ["ReadError", "503", "200"],
        "not_retried": None,
    }


async def test_the_wait_in_a_queue_is_told(family: Family) -> None:
    """Requirement 18: who has waited for a slot, and not for the server, can see it."""
    told: list[float] = []
    async with client(family, Bulkhead(1, queue=9), fed(family, b"", after=5.0)) as http:

        async def get() -> None:
            told.append((await http.get(URL)).extensions["seawall"].waited)

        async with company() as group:
            for _ in range(3):
                group.start_soon(get)
    assert told == [pytest.approx(0.0), pytest.approx(5.0), pytest.approx(10.0)]


@pytest.mark.parametrize(
    "policy, request_, answer, reason",
    [
        (retry(2), {}, {}, "all attempts are spent"),
        (
            retry(budget=RetryBudget(capacity=1, floor=0)),
            {},
            {},
            "the retry budget was empty",
        ),
        (
            retry(),
            {},
            {"retry-after": "31"},
            "the server asks to wait 31 s, max_retry_after=30.0",
        ),
        (Pipeline(Timeout(5), retry(3, 9.0)), {}, {}, "no time was left to wait 9 s"),
        (
            retry(),
            {"method": "POST"},
            {},
            "the request is not idempotent, and it may have been processed",
        ),
        (
            retry(),
            {"method": "PUT", "content": fed},
            {},
            "the body of the request can be sent only once",
        ),
        (retry(), {}, {"x-should-retry": "false"}, None),
        (Timeout(5), {}, {}, None),
    ],
    ids=["spent", "budget", "retry-after", "time", "method", "body", "told not to", "no retry"],
)
async def test_why_a_failed_response_was_handed_out(
    family: Family, policy: Any, request_: dict[str, Any], answer: dict[str, str], reason: Any
) -> None:
    """Requirement 18: whoever gets a 503 can see why it was not tried again."""
    if policy is not None and "content" in request_:
        request_ = request_ | {"content": chunks()}
    async with client(family, policy, fed(family, b"busy", status=503, headers=answer)) as http:
        response = await http.request(**({"method": "GET", "url": URL} | request_))
    told = response.extensions["seawall"]
    assert response.status_code == 503
    assert told.outcomes[-1] == "503"
    if reason is None:
        assert told.not_retried is None
    else:
        assert told.not_retried.startswith(reason)


async def chunks() -> Any:
    yield b"once"


async def test_a_refusal_between_attempts_is_the_reason(family: Family) -> None:
    """Requirement 18: the first answer is handed out, and what refused the second is named."""

    class RefuseSecond(Policy):
        async def run(self, call: Any, proceed: Any) -> Any:
            return await (Bulkhead(1, queue=0) if call.attempt == 1 else full).execute(
                proceed, call
            )

    full = Bulkhead(1, queue=0)
    async with client(
        family, Pipeline(retry(), RefuseSecond()), family.client.Response(503)
    ) as http:
        async with full:
            response = await http.get(URL)
    told = response.extensions["seawall"]
    assert (told.attempts, told.not_retried) == (1, "BulkheadFullError is not retried")


async def test_what_an_inner_retry_gave_up_is_not_told_of_a_later_success(family: Family) -> None:
    """Requirement 18: the last attempt counts, and an SDK is told nothing of the ones before."""
    policy = Pipeline(retry(2), retry(1))
    answers = (family.client.Response(503), family.client.Response(200))
    async with client(family, policy, *answers) as http:
        response = await http.get(URL, headers={"x-stainless-retry-count": "0"})
    assert response.extensions["seawall"].outcomes == ("503", "200")
    assert response.extensions["seawall"].not_retried is None
    assert "x-should-retry" not in response.headers


async def test_hedged_attempts_are_told_too(family: Family) -> None:
    """Requirement 18: the loser is one that was cancelled; side by side, nobody waited."""
    answers = (fed(family, b"slow", after=60.0), fed(family, b"fast", after=1.0))
    async with client(family, Hedge(2.0, budget=None), *answers) as http:
        response = await http.get(URL)
    told = response.extensions["seawall"]
    assert told.attempts == 2
    assert told.waited == pytest.approx(0.0)
    assert "200" in told.outcomes
    assert set(told.outcomes) & {"CancelledError", "Cancelled"}


async def test_a_response_of_a_policy_is_told_as_well(family: Family) -> None:
    """Requirement 18: what a fallback answers came after these attempts."""

    async def instead(*arguments: Any) -> Any:
        return family.client.Response(200, text="instead")

    policy = Pipeline(Fallback(instead), retry(2))
    async with client(family, policy, family.client.ConnectError("made up")) as http:
        response = await http.get(URL)
    told = response.extensions["seawall"]
    assert response.text == "instead"
    assert told.outcomes == ("ConnectError", "ConnectError")
    assert told.waited == pytest.approx(2.0)


async def test_each_hop_has_its_own_report(family: Family) -> None:
    """Requirement 18: a redirect passes the transport twice."""
    answers = (
        family.client.Response(503),
        family.client.Response(302, headers={"location": "/b"}),
        family.client.Response(200),
    )
    policy = Retry(3, backoff=exponential(1, jitter=None))
    async with client(family, policy, *answers) as http:
        response = await http.get(URL, follow_redirects=True)
    (redirect,) = response.history
    assert redirect.extensions["seawall"].outcomes == ("503", "302")
    assert response.extensions["seawall"].outcomes == ("200",)


def test_time_in_which_several_attempts_ran_is_no_wait() -> None:
    """Overlapping, enclosed and separate attempts: only the gaps count, whatever ended first."""
    tried = [(3, 4, 503), (2, 9, "Cancelled"), (12, 13, 200), (8, 10, 500)]
    told = report(1.0, tried, None)
    assert told.waited == pytest.approx(1 + 2)
    assert told.outcomes == ("503", "Cancelled", "200", "500")
    assert report(1.0, [], None) == Report(attempts=0, waited=0, outcomes=(), not_retried=None)


def test_attempts_within_one_tick_of_the_clock() -> None:
    """An error and a status at the same time: uvloop's clock knows whole milliseconds only."""
    told = report(1.0, [(2, 2, "ReadError"), (2, 2, 200)], None)
    assert told.outcomes == ("ReadError", "200")
    assert told.waited == pytest.approx(1.0)
