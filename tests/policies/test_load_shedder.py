"""LoadShedder: which outcomes are accepted, and whom it refuses."""

from __future__ import annotations

import random
from contextlib import nullcontext

import anyio
import pytest

from seawall import (
    BulkheadFullError,
    Call,
    CallTimeoutError,
    Classifier,
    Keyed,
    Kind,
    LoadShedder,
    LoadShedError,
    Pipeline,
    Retry,
    Timeout,
    Verdict,
)
from seawall.core.open_attempt import OpenAttempt
from seawall.events import CallRefused
from tests.doubles import Script, virtual
from tests.listening import Heard
from tests.virtual_time import run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


def refusing(shedder):
    """Let chance refuse whatever may be refused."""
    shedder._acceptance._random = lambda: 0.0
    return shedder


class Status(Exception):
    """An error with an HTTP status."""

    def __init__(self, status):
        self.status_code = status


async def fails_later(shedder):
    async def fails():
        await anyio.sleep(1.0)
        raise OSError("made up")

    with pytest.raises(OSError, match="made up"):
        await shedder.execute(fails)


def counted(shedder):
    """Return how many requests it has seen, and how many accepts."""
    now = shedder.snapshot()
    return now.requests, now.accepts


ACCEPTED, NOT_ACCEPTED, NO_REQUEST = (1, 1), (1, 0), (0, 0)


@pytest.mark.parametrize(
    "outcome, expected",
    [
        ("fine", ACCEPTED),
        (Status(404), ACCEPTED),
        (Status(500), NOT_ACCEPTED),
        (Status(429), NOT_ACCEPTED),
        (Status(503), NOT_ACCEPTED),
        (OSError("made up"), NOT_ACCEPTED),
        (CallTimeoutError(1.0), NOT_ACCEPTED),
        (TypeError("made up"), NO_REQUEST),
        (BulkheadFullError(), NO_REQUEST),
        (KeyboardInterrupt(), NO_REQUEST),
    ],
    ids=["value", "404", "500", "429", "503", "error", "timeout", "bug", "refusal", "interrupt"],
)
async def test_what_is_accepted(outcome, expected):
    """A SUCCESS; not a FAILURE or what is throttled; and what is NEUTRAL was no request."""
    for classify in (None, Classifier()):
        shedder = LoadShedder()
        with nullcontext() if outcome == "fine" else pytest.raises(type(outcome)):
            await Pipeline(shedder, classify=classify).execute(Script(outcome))
        assert counted(shedder) == expected


async def test_a_result_may_be_a_failure():
    """The verdict decides, also on what a function returns."""
    shedder = LoadShedder()
    pipeline = Pipeline(shedder, classify=Classifier(results=lambda value: value == "bad"))
    await pipeline.execute(Script("good"))
    await pipeline.execute(Script("bad"))
    assert counted(shedder) == (2, 1)


async def test_a_caller_that_leaves_was_no_request():
    """A hundred callers that are cancelled must not make it refuse anybody."""
    shedder = LoadShedder()
    with anyio.move_on_after(1.0):
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(shedder.execute, anyio.sleep, 60.0)
    assert counted(shedder) == NO_REQUEST


async def test_a_call_that_an_enclosing_timeout_ends_is_not_accepted():
    """The dependency hung."""
    shedder = LoadShedder()
    with pytest.raises(CallTimeoutError):
        await Pipeline(Timeout(1.0), shedder).execute(anyio.sleep, 60.0)
    assert counted(shedder) == NOT_ACCEPTED


async def test_slow_calls_are_not_refused():
    """A call counts when it ends: a cold start at 20 s a call refuses nobody."""
    shedder = refusing(LoadShedder())
    async with anyio.create_task_group() as group:
        for _ in range(300):
            group.start_soon(shedder.execute, anyio.sleep, 20.0)
            await anyio.sleep(0.1)
    assert shedder.rejected == 0


@pytest.mark.parametrize("kind", [Kind.SUCCESS, Kind.FAILURE])
async def test_an_open_response_counts_at_its_end(kind):
    """By the verdict on its body; a head that is a failure counts at once."""
    shedder = LoadShedder()
    call = Call()

    async def opens():
        call.open = OpenAttempt(anyio.lowlevel.checkpoint)
        return "response"

    call.begin(opens)
    await shedder.conduct(call)
    assert counted(shedder) == NO_REQUEST
    call.open.end(Verdict(kind))
    call.open.end(Verdict(kind))
    assert counted(shedder) == (1, int(kind is Kind.SUCCESS))


async def test_a_classifier_that_raises_counts_nothing():
    """There is no verdict then."""

    def confused(outcome):
        raise ValueError("made up")

    shedder = LoadShedder()
    for function in (Script("fine"), Script(OSError)):
        with pytest.raises(ValueError, match="made up"):
            await Pipeline(shedder, classify=confused).execute(function)
    assert counted(shedder) == NO_REQUEST


async def test_whom_it_refuses():
    """While too little is accepted; the function is not run, and the refusal says by whom."""
    shedder = refusing(LoadShedder())
    shedder.name = "api"
    with pytest.raises(OSError, match="made up"):
        await shedder.execute(Script(OSError("made up")))
    late = Script("fine")
    with pytest.raises(LoadShedError) as caught:
        await shedder.bind(key="host").execute(late)
    assert late.calls == 0
    assert (caught.value.policy, caught.value.name, caught.value.key) == (shedder, "api", "host")
    assert caught.value.retry_after is None
    assert str(caught.value) == (
        "the dependency is overloaded: the call was refused by 'api' for key 'host'"
    )
    await anyio.sleep(10.0)
    assert await shedder.execute(late) == "fine"


async def test_a_refusal_is_not_retried():
    """Repeating it would be the load that is to be shed."""
    shedder = refusing(LoadShedder())
    with pytest.raises(OSError, match="made up"):
        await shedder.execute(Script(OSError("made up")))
    with pytest.raises(LoadShedError):
        await Pipeline(Retry(3), shedder).execute(Script("fine"))
    assert shedder.rejected == 1


async def test_it_finds_out_that_the_dependency_is_back():
    """Even at its most, one call in ten passes: within 20 s of an hour's outage all pass again."""
    random.seed(1)
    shedder = LoadShedder()
    begun = anyio.current_time()
    down_until = begun + 3600.0

    async def dependency():
        if anyio.current_time() < down_until:
            raise OSError("made up")

    refused = []
    for _ in range(36_000 + 300):
        try:
            await shedder.execute(dependency)
        except LoadShedError:
            refused.append(anyio.current_time())
        except OSError:
            pass
        await anyio.sleep(0.1)
    assert 0.85 * 36_000 < len(refused) < 0.91 * 36_000
    assert 5.0 < refused[-1] - down_until < 25.0
    assert shedder.snapshot().reject == 0.0


async def test_what_it_shows():
    """What it has counted in the window, and the share of calls that it refuses."""
    shedder = LoadShedder(2, window=5, max_reject=0.5)
    assert counted(shedder) == NO_REQUEST
    for _ in range(3):
        try:
            await shedder.execute(Script(OSError))
        except (OSError, LoadShedError):
            pass
    now = shedder.snapshot()
    assert (now.k, now.window, now.max_reject) == (2, 5, 0.5)
    assert (now.requests, now.accepts, now.reject) == (3, 0, 0.5)
    assert shedder.snapshot() == now
    assert now.as_dict()["policy"] == "LoadShedder"
    await anyio.sleep(5.0)
    assert (counted(shedder), shedder.snapshot().reject) == (NO_REQUEST, 0.0)


async def test_what_it_tells():
    """Each refusal."""
    heard = Heard()
    keyed = Keyed(lambda key: refusing(LoadShedder()), key=lambda: "host")
    with keyed.subscribe(heard):
        for _ in range(2):
            with pytest.raises((OSError, LoadShedError)):
                await keyed.execute(Script(OSError))
    refused = heard.the(CallRefused)
    assert (refused.policy, refused.key) == ("LoadShedder", "host")
    assert (refused.error, refused.retry_after) == ("LoadShedError", None)


async def test_it_matters_while_it_refuses():
    """A shedder that lets all pass may be forgotten."""
    shedder = LoadShedder()
    await shedder.execute(Script("fine"))
    assert not shedder.matters(anyio.current_time())
    async with anyio.create_task_group() as group:
        # They begin before any of them has failed.
        for _ in range(3):
            group.start_soon(fails_later, shedder)
    assert shedder.matters(anyio.current_time())
    assert not shedder.matters(anyio.current_time() + 10.0)


def test_it_serves_one_loop_after_another():
    """What it has counted stays as young as it was; a call of the old loop counts no more."""
    shedder = refusing(LoadShedder())

    async def fails():
        with pytest.raises(OSError, match="made up"):
            await shedder.execute(Script(OSError("made up")))

    async def refused():
        with pytest.raises(LoadShedError):
            await shedder.execute(Script("fine"))
        await anyio.sleep(10.0)
        await shedder.execute(Script("fine"))

    run(fails(), start=1e6)
    assert counted(shedder) == (1, 0)
    run(refused(), start=5.0)
    assert counted(shedder) == (1, 1)


@pytest.mark.parametrize(
    "shedder, text",
    [
        (LoadShedder(), "LoadShedder(2.0, window=10.0, max_reject=0.9)"),
        (LoadShedder(3, window=5, max_reject=1), "LoadShedder(3, window=5, max_reject=1)"),
    ],
    ids=["defaults", "others"],
)
def test_it_shows_its_settings(shedder, text):
    """The repr is what was asked for."""
    assert repr(shedder) == text
