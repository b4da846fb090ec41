"""What a request's ``extensions={"seawall": {...}}`` may say, and what is not accepted there."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import anyio
import pytest

from seawall import Call, Keyed, Pipeline, Policy, Proceed, Retry, Timeout, UsageError, constant
from seawall.http.settings import Settings, settings_of
from seawall.http.standard import standard
from tests.doubles import virtual
from tests.http.conftest import Family
from tests.http.in_virtual_time import EVENTS, answering, fed

URL = "http://server/"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both event loops, in virtual time."""
    return virtual(request.param)


def client(family: Family, policy: Policy, *answers: Any, **options: Any) -> Any:
    transport = family.binding.ResilientTransport(policy, answering(family, *answers), **options)
    return family.client.AsyncClient(transport=transport)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"idempotent": True, "replayable": False},
        {"key": ("tenant", 1)},
        {"timeout": 1, "body_deadline": inf, "idle_timeout": 0.5},
        dict.fromkeys(Settings._fields),
    ],
)
def test_what_is_understood(family: Family, settings: dict[str, Any]) -> None:
    """Requirement 23: six settings, each of which may be left out, or be ``None``."""
    request = family.client.Request("GET", URL, extensions={"seawall": settings})
    assert settings_of(request)._asdict() == dict.fromkeys(Settings._fields) | settings


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"timeuot": 3}, "unknown setting.*: timeuot; known are idempotent, replayable, key, time"),
        ({1: 2, "b": 3}, "unknown setting.*: 1, b;"),
        ([("timeout", 3)], "must be a mapping of settings, not"),
        ({"idempotent": "yes"}, r"\['idempotent'\] must be a bool or None, not 'yes'"),
        ({"replayable": 1}, r"\['replayable'\] must be a bool or None, not 1"),
        ({"key": ["a"]}, r"\['key'\] must be hashable, not \['a'\]"),
        ({"key": ("a", [])}, "unhashable type: 'list'"),
        ({"timeout": "3"}, r"\['timeout'\] must be a number.*, not '3'"),
        ({"timeout": True}, r"\['timeout'\] must be a number.*, not True"),
        ({"timeout": 0}, r"\['timeout'\] must be a number.*, not 0"),
        ({"timeout": inf}, r"\['timeout'\] must be a number.*, not inf"),
        ({"body_deadline": -1.0}, r"\['body_deadline'\] must be a number.*, not -1.0"),
        ({"body_deadline": False}, r"\['body_deadline'\] must be a number.*, not False"),
        ({"idle_timeout": nan}, r"\['idle_timeout'\] must be a number.*, not nan"),
    ],
)
@pytest.mark.anyio
async def test_what_is_not_understood_is_told(family: Family, settings: Any, message: str) -> None:
    """Requirement 23: an unknown name or a wrong value is an error, before anything is sent."""
    sent: list[Any] = []
    transport = family.binding.ResilientTransport(
        Retry(3), answering(family, family.client.Response(200), seen=sent)
    )
    async with family.client.AsyncClient(transport=transport) as http:
        with pytest.raises(UsageError, match=message):
            await http.get(URL, extensions={"seawall": settings})
    assert sent == []


class Spy(Policy):
    """Writes down the deadline and the key of each call."""

    def __init__(self) -> None:
        self.total = 0.0
        self.attempt = 0.0
        self.key: Any = None

    async def run(self, call: Call[Any], proceed: Proceed[Any]) -> Any:
        self.total = round(call.total_deadline() - call.now(), 6)
        self.attempt = round(call.deadline - call.now(), 6)
        self.key = call.key
        return await proceed(call)


@pytest.mark.parametrize(
    "policy, total, attempt",
    [
        (Timeout(5), 2.0, 2.0),
        (Timeout(1), 2.0, 1.0),
        (standard(timeout=1.0), 2.0, 1.0),
        (standard(), 2.0, 2.0),
    ],
    ids=["shorter than theirs", "longer than theirs", "a given total", "the default"],
)
@pytest.mark.anyio
async def test_the_whole_call_may_take_so_long(
    family: Family, policy: Policy, total: float, attempt: float
) -> None:
    """Requirement 23: ``timeout`` is a ``Timeout`` around all policies, for this request alone."""
    spy = Spy()
    async with client(family, Pipeline(policy, spy), family.client.Response(200)) as http:
        await http.get(URL, extensions={"seawall": {"timeout": 2.0}})
        assert (spy.total, spy.attempt) == (total, attempt)


@pytest.mark.anyio
async def test_a_default_total_gives_way_to_a_longer_one(family: Family) -> None:
    """Requirement 23: what the request asks for is not undercut by what nobody asked for."""
    spy = Spy()
    policy = Pipeline(standard(), spy)
    async with client(family, policy, fed(family, 100.0, b"late")) as http:
        started = anyio.current_time()
        response = await http.get(URL, extensions={"seawall": {"timeout": 120}})
        assert (response.content, round(anyio.current_time() - started)) == (b"late", 100)
        assert (spy.total, spy.attempt) == (120, 10)
    busy = fed(family, status=503, headers={"retry-after": "25"})
    async with client(family, standard(), busy, busy, fed(family)) as http:
        started = anyio.current_time()
        response = await http.get(URL, extensions={"seawall": {"timeout": 120}})
        assert response.status_code == 200
        assert 50 <= anyio.current_time() - started < 52


@pytest.mark.anyio
async def test_the_timeout_of_a_request_is_an_error_of_its_family(family: Family) -> None:
    """Requirement 15 and 23: retries and waits are inside of it, and so is the body."""
    policy = Pipeline(Retry(10, backoff=constant(1), budget=None), Timeout(2))
    for answer in (fed(family, after=5), fed(family, b"x", 60.0)):
        async with client(family, policy, answer) as http:
            started = anyio.current_time()
            with pytest.raises(family.binding.CallTimeoutError) as caught:
                await http.get(URL, extensions={"seawall": {"timeout": 4.0}})
            assert caught.value.request.url == URL
            assert caught.value.seconds == 4.0
            assert anyio.current_time() - started == pytest.approx(4)


@pytest.mark.anyio
async def test_a_key_chooses_the_policies(family: Family) -> None:
    """Requirement 23: ``key`` stands in place of the origin."""
    policy = Keyed(lambda key: Retry(1))
    async with client(family, policy, family.client.Response(200)) as http:
        await http.get(URL, extensions={"seawall": {"key": ("tenant", 1)}})
        await http.get(URL, extensions={"seawall": {"key": None}})
    assert list(policy) == [("tenant", 1), "http://server:80"]


# The body.


@pytest.mark.parametrize("kind", [{}, EVENTS], ids=["a body", "an event stream"])
@pytest.mark.anyio
async def test_a_body_has_the_deadline_that_the_request_gives_it(
    family: Family, kind: dict[str, str]
) -> None:
    """Requirement 6 and 23: counted from the beginning of the call, for every kind of body."""
    steps = [item for _ in range(30) for item in (b"x", 1.0)]
    async with client(family, Timeout(10), fed(family, *steps, headers=kind, after=2)) as http:
        started = anyio.current_time()
        with pytest.raises(family.binding.CallTimeoutError) as caught:
            await http.get(URL, extensions={"seawall": {"body_deadline": 15.5}})
        assert anyio.current_time() - started == pytest.approx(15.5)
        assert (caught.value.seconds, caught.value.phase) == (15.5, "call")
        settings = {"body_deadline": inf}
        assert len((await http.get(URL, extensions={"seawall": settings})).content) == 30


@pytest.mark.anyio
async def test_a_long_download_may_be_watched_by_its_pauses(family: Family) -> None:
    """Requirement 23: ``idle_timeout`` bounds each read, of an ordinary body too."""
    slow = [item for _ in range(30) for item in (b"x", 4.0)]
    extensions = {"seawall": {"body_deadline": inf, "idle_timeout": 5.0}}
    async with client(
        family, Timeout(10), fed(family, *slow), fed(family, b"x", 6.0, b"x")
    ) as http:
        assert len((await http.get(URL, extensions=extensions)).content) == 30
        with pytest.raises(family.binding.CallTimeoutError) as caught:
            await http.get(URL, extensions=extensions)
        assert (caught.value.seconds, caught.value.phase) == (5.0, "idle")
        assert caught.value.request.url == URL
