"""The deadline that is sent on, so that the server need not work for nobody."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from seawall import Pipeline, Retry, Timeout, constant
from tests.doubles import virtual
from tests.http.conftest import Family
from tests.http.in_virtual_time import answering, fed

pytestmark = pytest.mark.anyio

URL = "http://server/"
NAME = "X-Timeout-Ms"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both event loops, in virtual time."""
    return virtual(request.param)


def client(family: Family, policy: Any, *answers: Any, name: str | None = NAME) -> Any:
    seen: list[Any] = []
    transport = family.binding.ResilientTransport(
        policy, answering(family, *answers, seen=seen), deadline_header=name
    )
    return family.client.AsyncClient(transport=transport), seen


async def test_each_attempt_tells_what_is_left(family: Family) -> None:
    """Milliseconds until the deadline of the whole call, which the body of the response has too."""
    policy = Pipeline(Timeout(10), Retry(3, backoff=constant(2), budget=None), Timeout(3))
    http, seen = client(
        family, policy, fed(family, status=503, after=1.5), fed(family, after=60), fed(family)
    )
    async with http:
        request = http.build_request("GET", URL)
        await http.send(request)
    assert [attempt.headers[NAME] for attempt in seen] == ["10000", "6500", "1500"]
    assert NAME not in request.headers


async def test_the_deadline_of_the_calling_code_counts(family: Family) -> None:
    """A handler that has 4 s left passes on 4 s."""
    http, seen = client(family, Timeout(10), fed(family))
    async with http:
        await Timeout(4).execute(http.get, URL)
        await http.get(URL, extensions={"seawall": {"timeout": 3.0}})
        await http.get(URL, extensions={"seawall": {"body_deadline": 60.0}})
    assert [attempt.headers[NAME] for attempt in seen] == ["4000", "3000", "60000"]


@pytest.mark.parametrize("policy", [Retry(3), Timeout(5)], ids=["no deadline", "not for ever"])
async def test_where_there_is_no_deadline_nothing_is_sent(family: Family, policy: Any) -> None:
    """Not a number that means for ever."""
    http, seen = client(family, policy, fed(family))
    async with http:
        await http.get(URL, extensions={"seawall": {"body_deadline": inf}})
    assert NAME not in seen[0].headers


async def test_a_header_that_is_there_already_stays(family: Family) -> None:
    """The caller may know better."""
    http, seen = client(family, Timeout(5), fed(family))
    async with http:
        await http.get(URL, headers={"x-timeout-ms": "7"})
    assert seen[0].headers.get_list(NAME) == ["7"]


async def test_it_is_sent_only_where_it_is_asked_for(family: Family) -> None:
    """By default no header is added."""
    http, seen = client(family, Timeout(5), fed(family), name=None)
    async with http:
        request = http.build_request("GET", URL)
        await http.send(request)
    assert seen[0].headers == request.headers


async def test_less_than_a_millisecond_is_one(family: Family) -> None:
    """0 could be read as no deadline."""
    http, seen = client(family, Timeout(0.0005), fed(family))
    async with http:
        await http.get(URL)
    assert {attempt.headers[NAME] for attempt in seen} == {"1"}


@pytest.mark.parametrize(
    "name, error", [(3, TypeError), ("", ValueError), ("X: 1\r\nY", ValueError)]
)
async def test_wrong_names_are_told_at_once(
    family: Family, name: Any, error: type[Exception]
) -> None:
    """What cannot be the name of a header is refused when the transport is made."""
    with pytest.raises(error, match="deadline_header must be the name of a header or None"):
        family.binding.ResilientTransport(deadline_header=name)
