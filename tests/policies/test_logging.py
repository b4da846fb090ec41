"""What goes to the ``seawall`` logger, on which level, and with what beside the text."""

from __future__ import annotations

import logging
import subprocess
import sys

import anyio
import pytest

from seawall import (
    Bulkhead,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Classifier,
    Fallback,
    Keyed,
    Pipeline,
    Retry,
    Timeout,
)
from tests.doubles import Script, virtual

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


@pytest.fixture
def log(caplog):
    """All that is logged, from DEBUG up."""
    caplog.set_level(logging.DEBUG, "seawall")
    return caplog


async def fails(*args, **kwargs):
    raise OSError("password 1234")


async def answers(*args, **kwargs):
    return "fine"


def context(record):
    """Return what a record has beside the text."""
    own = {*vars(logging.makeLogRecord({})), "message", "asctime"}
    extra = {name: value for name, value in vars(record).items() if name not in own}
    assert all(name.startswith("seawall_") for name in extra)
    return {name.removeprefix("seawall_"): value for name, value in extra.items()}


async def test_each_transition_is_logged(log):
    """Opened and isolated are warnings, half-opened and closed are news; the text says why."""
    breaker = CircuitBreaker(2, open_for=5.0, name="db")
    for _ in range(2):
        with pytest.raises(OSError, match="password"):
            await breaker.execute(fails)
    await anyio.sleep(5.0)
    await breaker.execute(answers)
    breaker.isolate()
    breaker.reset()
    breaker.trip()
    assert [(record.levelname, record.getMessage()) for record in log.records] == [
        (
            "WARNING",
            "circuit 'db' is open: the trip rule holds: 2 of 2 calls failed, the last with OSError",
        ),
        ("INFO", "circuit 'db' is half-open: a call arrives after the open time"),
        ("INFO", "circuit 'db' is closed: close_after probes in a row succeeded"),
        ("WARNING", "circuit 'db' is isolated: isolate()"),
        ("INFO", "circuit 'db' is closed: reset()"),
        ("WARNING", "circuit 'db' is open: trip()"),
    ]
    assert {record.name for record in log.records} == {"seawall"}


async def test_a_transition_is_logged_with_its_context(log):
    """``extra`` has what the event has, under names that nothing else uses."""
    breaker = CircuitBreaker(1, open_for=5.0, name="db")
    with pytest.raises(OSError, match="password"):
        await breaker.execute(fails)
    breaker.reset()
    opened, closed = map(context, log.records)
    common = {"policy": "CircuitBreaker", "name": "db", "key": None}
    assert opened == {
        **common,
        "event": "circuit_open",
        "before": "closed",
        "after": "open",
        "trigger": "the trip rule holds",
        "failures": 1,
        "calls": 1,
        "cause": "OSError",
        "open_for": 5.0,
    }
    assert closed == {
        **common,
        "event": "circuit_closed",
        "before": "open",
        "after": "closed",
        "trigger": "reset()",
    }


@pytest.mark.parametrize(
    "name, shown",
    [("db", "circuit 'db'"), (None, "circuit 'host'")],
    ids=["named", "not named"],
)
async def test_a_circuit_of_a_key_is_called_by_it(name, shown, log):
    """A circuit without a name is called by the key that it was made for."""
    keyed = Keyed(lambda key: CircuitBreaker(name=name))
    await keyed.bind(key="host").execute(answers)
    keyed["host"].isolate()
    assert log.records[0].getMessage() == f"{shown} is isolated: isolate()"
    assert context(log.records[0])["key"] == "host"


async def test_a_circuit_without_a_name_has_none(log):
    """Nothing is made up."""
    CircuitBreaker().isolate()
    assert log.records[0].getMessage() == "circuit is isolated: isolate()"


async def test_each_scheduled_retry_is_logged(log):
    """At INFO: which attempt failed with what, and when the next comes; not the last failure."""
    pipeline = Pipeline(Retry(3, backoff=2.0), name="orders")
    with pytest.raises(OSError, match="password"):
        await pipeline.bind(key="k").execute(Script(OSError, KeyError, OSError("password")))
    assert [(record.levelname, record.getMessage()) for record in log.records] == [
        ("INFO", "orders: attempt 1 failed with OSError; the next one is in 2 s"),
        ("INFO", "orders: attempt 2 failed with KeyError; the next one is in 2 s"),
    ]
    assert context(log.records[1]) == {
        "event": "retry_scheduled",
        "policy": "Retry",
        "pipeline": "orders",
        "key": "k",
        "attempt": 2,
        "error": "KeyError",
        "delay": 2.0,
    }


async def test_a_retry_without_a_pipeline_is_logged(log):
    """A retry alone, also of a result, says as much as there is to say."""
    retry = Pipeline(Retry(2, backoff=0.25), classify=Classifier(results=lambda result: True))
    await retry.execute(answers)
    with pytest.raises(OSError, match="password"):
        await Retry(2, backoff=0.25).execute(fails)
    assert [record.getMessage() for record in log.records] == [
        "attempt 1 failed with result; the next one is in 0.25 s",
        "attempt 1 failed with OSError; the next one is in 0.25 s",
    ]


async def test_no_secret_is_logged(log):
    """No argument, no result and no error's text goes to the log."""
    pipeline = Pipeline(Retry(2, backoff=0.0), CircuitBreaker(1))
    with pytest.raises(OSError, match="password"):
        await pipeline.execute(fails, "password", token="password")
    assert len(log.records) == 2
    assert "password" not in str([vars(record) for record in log.records])


async def test_what_happens_to_every_call_is_not_logged(log):
    """Healthy calls, refusals, timeouts, waits and fallbacks leave the log empty."""
    breaker = CircuitBreaker()
    breaker.isolate()
    log.clear()
    pipeline = Pipeline(Fallback(value=1), Retry(1), Bulkhead(1, queue=1), Timeout(1.0))
    await pipeline.execute(answers)
    await pipeline.execute(fails)
    await pipeline.execute(anyio.sleep, 5.0)
    with pytest.raises(CircuitOpenError):
        await breaker.execute(answers)
    with pytest.raises(CallTimeoutError):
        await Timeout(1.0).execute(anyio.sleep, 5.0)
    bulkhead = Bulkhead(1)
    async with bulkhead:
        with pytest.raises(BulkheadFullError):
            await bulkhead.execute(answers)
    assert log.records == []


async def test_a_higher_level_makes_no_records(log):
    """What the logger does not take is not even put together."""
    made = []
    logging.setLogRecordFactory(lambda *args, **kwargs: made.append(args) or plain(*args, **kwargs))
    try:
        log.set_level(logging.ERROR, "seawall")
        with pytest.raises(OSError, match="password"):
            await Pipeline(Retry(2, backoff=0.0), CircuitBreaker(1)).execute(fails)
        assert made == []
        log.set_level(logging.WARNING, "seawall")
        with pytest.raises(OSError, match="password"):
            await Pipeline(Retry(2, backoff=0.0), CircuitBreaker(1)).execute(fails)
    finally:
        logging.setLogRecordFactory(plain)
    assert [args[1] for args in made] == [logging.WARNING]


plain = logging.getLogRecordFactory()


async def test_all_is_logged_before_it_is_told(log):
    """A listener finds in the log what it hears, also where it causes another transition."""
    breaker = CircuitBreaker()
    found = []

    def look(event):
        found.append((event.after, [context(record)["after"] for record in log.records]))
        if event.after == "open":
            breaker.reset()

    with breaker.subscribe(look):
        breaker.trip()
    assert found == [("open", ["open"]), ("closed", ["open", "closed"])]


def test_where_no_logging_is_set_up_nothing_is_printed():
    """A library must not write to stderr of its own accord, not even warnings."""
    code = (
        "from seawall import CircuitBreaker, subscribe\n"
        "subscribe(lambda event: 1 / 0)\n"
        "CircuitBreaker(name='db').isolate()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
