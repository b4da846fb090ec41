"""The presets: their policies and numbers, what they do, and that they do no harm."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import random
import re
import subprocess
import sys
from math import nan
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest

from seawall import (
    Bulkhead,
    BulkheadFullError,
    Calls,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    ConsecutiveFailures,
    FailureRate,
    Keyed,
    Kind,
    Pipeline,
    Retry,
    State,
    Timeout,
    presets,
)
from seawall.policies.circuit.slow_calls import SlowCallRate
from tests.doubles import Held, Script, turns, virtual

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parents[2] / "docs" / "presets.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)

# FEATURES: failures to open, open for, successes to close, each as (least, most).
CHAPTER = {
    "rest_api": ((5, 10), (30, 60), (2, 3)),
    "database": ((3, 5), (10, 20), (1, 2)),
    "internal_service": ((10, 15), (15, 30), (3, 5)),
    "cache": ((20, 30), (5, 10), (5, 10)),
    "ml_service": ((3, 5), (60, 120), (1, 2)),
    "message_broker": ((5, 10), (20, 40), (2, 3)),
}
KINDS = sorted(CHAPTER)
ALIKE = ["hystrix", "resilience4j"]

# The same for what the presets chose, and then: total, attempts, attempt, first backoff and cap.
NUMBERS = {
    "rest_api": (10, 30.0, 2, 30.0, 3, 10.0, 0.25, 8.0),
    "database": (5, 10.0, 1, 30.0, 3, 10.0, 0.05, 1.0),
    "internal_service": (15, 15.0, 3, 15.0, 2, 5.0, 0.05, 1.0),
    "cache": (30, 5.0, 5, 1.0, 2, 0.5, 0.01, 0.1),
    "ml_service": (5, 60.0, 1, 600.0, 2, 300.0, 1.0, 30.0),
    "message_broker": (10, 20.0, 2, 30.0, 3, 10.0, 0.25, 8.0),
}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


def make(preset, /, **settings):
    return getattr(presets, preset)(**settings)


def kinds(pipeline):
    return [type(policy) for policy in pipeline.policies]


def circuit_of(pipeline):
    return pipeline.find(CircuitBreaker)._circuit


def trips_after(rule, good=0):
    """Return how many failures it takes after so many successes, all of them within 3 s."""
    tally = rule.start()
    for number in range(good):
        assert not tally.record(Kind.SUCCESS, 0.001, 2.0 * number / good)
    for number in range(1, 1001):
        if tally.record(Kind.FAILURE, 0.001, 2.0 + number / 1001):
            return number
    raise AssertionError(rule)


async def fail(pipeline, count):
    """Let so many calls fail, each with one attempt that counts."""
    script = Script(OSError)
    for _ in range(count):
        with pytest.raises(OSError):
            await pipeline.execute(script)


# ------------------------------------------------------------------- policies, order and numbers


@pytest.mark.parametrize("name", KINDS)
def test_the_order(name):
    """Timeout, Retry with a budget, CircuitBreaker, a Bulkhead if there is a limit, Timeout."""
    assert kinds(make(name)) == [Timeout, Retry, CircuitBreaker, Timeout]
    limited = make(name, limit=7)
    assert kinds(limited) == [Timeout, Retry, CircuitBreaker, Bulkhead, Timeout]
    assert limited.find(Bulkhead).limit == 7
    assert limited.find(Retry).budget is not None


@pytest.mark.parametrize("name", KINDS)
def test_the_numbers(name):
    """Each preset has the numbers that its docstring and its page name."""
    total, retry, breaker, attempt = make(name).policies
    circuit = breaker._circuit
    assert NUMBERS[name] == (
        trips_after(circuit.rule),
        circuit.open_for,
        circuit.close_after,
        total.seconds,
        retry.attempts,
        attempt.seconds,
        retry.backoff.base,
        retry.backoff.cap,
    )
    assert circuit.max_open_for is None
    assert circuit.probes == 1
    assert retry.backoff.jitter == "full"
    assert retry.max_retry_after == (120.0 if name == "ml_service" else 30.0)


@pytest.mark.parametrize("name", KINDS)
def test_the_numbers_are_those_of_the_chapter(name):
    """Failures, open time and successes are inside the ranges of the chapter's table."""
    failures, open_for, close_after = CHAPTER[name]
    circuit = circuit_of(make(name))
    assert failures[0] <= trips_after(circuit.rule) <= failures[1]
    assert open_for[0] <= circuit.open_for <= open_for[1]
    assert close_after[0] <= circuit.close_after <= close_after[1]


@pytest.mark.parametrize("name", KINDS)
def test_the_docstring_tells_the_numbers(name):
    """What the docstring says of timeouts, attempts, backoff and circuit is what is built."""
    failures, open_for, close_after, total, attempts, attempt, base, cap = NUMBERS[name]
    text = " ".join(getattr(presets, name).__doc__.split())
    for part in (
        f"``Timeout({total:g})``, ``Retry({attempts})`` from {base:g} s to {cap:g} s",
        f"``Timeout({attempt:g})`` for each attempt",
        f"opens after {failures} failures in a row",
        f"half of at least {2 * max(failures, 10)} calls in 30 s",
        f"for {open_for:g} s; and {close_after} success",
    ):
        assert part in text


@pytest.mark.parametrize("name", KINDS)
def test_the_settings(name):
    """Each argument is where it belongs, and the name is on each policy."""
    pipeline = make(
        name,
        timeout=5,
        attempts=4,
        attempt_timeout=1,
        limit=6,
        trip=3,
        open_for=7,
        close_after=9,
        name="dependency",
    )
    total, retry, breaker, bulkhead, attempt = pipeline.policies
    circuit = breaker._circuit
    assert (total.seconds, retry.attempts, bulkhead.limit, attempt.seconds) == (5, 4, 6, 1)
    assert (circuit.rule, circuit.open_for, circuit.close_after) == (ConsecutiveFailures(3), 7, 9)
    assert {policy.name for policy in (pipeline, *pipeline.policies)} == {"dependency"}


@pytest.mark.parametrize("name", KINDS)
def test_all_presets_take_the_same_arguments(name):
    """The six differ in numbers only: same names, keyword-only, same meaning."""
    parameters = inspect.signature(getattr(presets, name)).parameters
    assert list(parameters) == list(inspect.signature(presets.rest_api).parameters)
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("name", [*KINDS, "hystrix"])
def test_the_limit_may_be_a_policy(name):
    """Any policy may be the limit; it is taken as it is."""
    limit = Bulkhead(3, queue=10)
    assert make(name, limit=limit, name="db").find(Bulkhead) is limit
    assert limit.name is None


@pytest.mark.parametrize("name", [*KINDS, *ALIKE])
def test_the_traffic_may_decide_the_open_time(name):
    """With ``open_for=None`` the probes are paced by the traffic, as in the standard pipeline."""
    assert circuit_of(make(name, open_for=None)).open_for is None


@pytest.mark.parametrize("name", [*KINDS, *ALIKE])
def test_nothing_is_shared(name):
    """Two pipelines of one preset have no policy and no budget in common."""
    first, second = make(name), make(name)
    assert not set(first.policies) & set(second.policies)
    first.find(CircuitBreaker).trip()
    assert second.find(CircuitBreaker).state is State.CLOSED
    if name in KINDS:
        assert first.find(Retry).budget is not second.find(Retry).budget


WRONG = [
    ("timeout", 0, ValueError),
    ("timeout", "30", TypeError),
    ("timeout", None, TypeError),
    ("attempts", 0, ValueError),
    ("attempts", 2.5, TypeError),
    ("attempt_timeout", -1, ValueError),
    ("attempt_timeout", None, TypeError),
    ("limit", 0, ValueError),
    ("limit", "5", TypeError),
    ("limit", True, TypeError),
    ("limit", Bulkhead, TypeError),
    ("trip", 0, ValueError),
    ("trip", 1.5, ValueError),
    ("trip", "5", TypeError),
    ("open_for", 0, ValueError),
    ("open_for", nan, ValueError),
    ("open_for", "5", TypeError),
    ("probes", 0, ValueError),
    ("close_after", 0, ValueError),
    ("close_after", None, TypeError),
    ("name", 5, TypeError),
]


@pytest.mark.parametrize("preset", [*KINDS, *ALIKE])
def test_a_wrong_argument_is_named(preset):
    """The error names the argument of the preset, its value and what is allowed."""
    taken = inspect.signature(getattr(presets, preset)).parameters
    tried = set()
    for name, value, kind in WRONG:
        if name in taken:
            tried.add(name)
            with pytest.raises(kind) as caught:
                make(preset, **{name: value})
            text = str(caught.value)
            assert text.startswith(f"{name} must be ")
            assert text.endswith(f"not {value!r}")
    assert tried == set(taken)


# ------------------------------------------------------------------------------------- behaviour


@pytest.mark.parametrize("name", KINDS)
async def test_it_opens_and_closes(name):
    """It opens after as many failures, for as long, and closes after as many successes."""
    failures, open_for, close_after, *_ = NUMBERS[name]
    pipeline = make(name, name="dependency")
    breaker = pipeline.find(CircuitBreaker)
    await fail(pipeline, failures - 1)
    assert breaker.state is State.CLOSED
    await fail(pipeline, 1)
    assert breaker.state is State.OPEN
    script = Script("fine")
    with pytest.raises(CircuitOpenError) as caught:
        await pipeline.execute(script)
    assert caught.value.name == "dependency"
    assert 0 < caught.value.retry_after < open_for + 0.001
    await anyio.sleep(caught.value.retry_after - 0.001)
    with pytest.raises(CircuitOpenError):
        await pipeline.execute(script)
    assert script.calls == 0
    await anyio.sleep(0.002)
    for _ in range(close_after - 1):
        assert await pipeline.execute(script) == "fine"
        assert breaker.state is State.HALF_OPEN
    assert await pipeline.execute(script) == "fine"
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("name", KINDS)
async def test_a_failed_probe_opens_it_again(name):
    """One failure while half-open costs another open time, whatever succeeded before."""
    open_for = NUMBERS[name][1]
    pipeline = make(name)
    breaker = pipeline.find(CircuitBreaker)
    breaker.trip()
    await anyio.sleep(open_for + 0.001)
    if NUMBERS[name][2] > 1:
        await pipeline.execute(Script("fine"))
        assert breaker.state is State.HALF_OPEN
    begun = anyio.current_time()
    await fail(pipeline, 1)
    assert breaker.state is State.OPEN
    with pytest.raises(CircuitOpenError) as caught:
        await pipeline.execute(Script("fine"))
    assert caught.value.retry_after == pytest.approx(open_for - (anyio.current_time() - begun))


@pytest.mark.parametrize("name", KINDS)
async def test_a_hung_dependency_is_left(name):
    """Each attempt ends after its own timeout, and the call after the whole."""
    _, _, _, total, attempts, attempt, *_ = NUMBERS[name]
    begun = anyio.current_time()
    held = Held()
    with pytest.raises(CallTimeoutError):
        await make(name, attempts=1).execute(held)
    assert anyio.current_time() - begun == pytest.approx(attempt)
    begun = anyio.current_time()
    with pytest.raises(CallTimeoutError):
        await make(name).execute(held)
    assert anyio.current_time() - begun <= total + 0.001
    assert 2 <= held.calls - 1 <= attempts


async def test_a_model_may_ask_for_two_minutes():
    """The preset for models waits as long as 120 s where the server asks, the others give up."""

    class Throttled(Exception):
        response = SimpleNamespace(status_code=429, headers={"retry-after": "100"})

    script = Script(Throttled, "fine")
    assert await presets.ml_service().execute(script) == "fine"
    assert 100 <= script.gaps[0] <= 101
    impatient = Script(Throttled, "fine")
    with pytest.raises(Throttled):
        await presets.rest_api(timeout=600).execute(impatient)
    assert impatient.calls == 1


async def test_what_may_not_run_twice_runs_once():
    """With ``bind(idempotent=False)`` no attempt that may have reached it is repeated."""
    for name in KINDS:
        script = Script(OSError, "fine")
        with pytest.raises(OSError):
            await make(name).bind(idempotent=False).execute(script)
        assert script.calls == 1


# --------------------------------------------------------------------------------------- no harm


@pytest.mark.parametrize("name", KINDS)
async def test_a_healthy_dependency_notices_nothing(name):
    """A thousand calls at once all get through: no default refuses what a bare call would do."""
    pipeline, held = make(name), Held()
    async with anyio.create_task_group() as group:
        for _ in range(1000):
            group.start_soon(pipeline.execute, held)
        await turns()
        assert held.inside == 1000
        held.let_go()


@pytest.mark.parametrize("name", KINDS)
def test_a_few_failures_on_a_busy_service_prove_nothing(name):
    """After 1,000 good calls it takes ten failures in a row, or as many as the table says."""
    assert trips_after(circuit_of(make(name)).rule, good=1000) == max(10, NUMBERS[name][0])


def false_trips(rule, share, per_second, hours):
    """Count how often a service trips that fails this share of its calls at random."""
    chance = random.Random(f"{rule} {share} {per_second}")
    tally, trips, now = rule.start(), 0, 0.0
    while now < 3600 * hours:
        now += chance.expovariate(per_second)
        kind = Kind.FAILURE if chance.random() < share else Kind.SUCCESS
        if tally.record(kind, 0.001, now):
            trips += 1
            tally.reset()
    return trips


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("per_second,hours", [(0.3, 24), (3, 8), (50, 1)])
def test_one_failure_in_five_is_no_outage(name, per_second, hours):
    """A service that fails 20 % of its calls is cut off once in three hours at the most."""
    rule = circuit_of(make(name)).rule
    assert false_trips(rule, 0.2, per_second, hours) <= hours / 3


def test_five_in_a_row_alone_would_do_harm():
    """With the chapter's count by itself the same service is cut off every minute or two."""
    assert false_trips(ConsecutiveFailures(5), 0.2, 50, 1) > 30


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("gap", [0.01, 1.0, 60.0])
def test_a_dead_dependency_is_noticed_at_any_rate(name, gap):
    """However few calls there are, no more failures than in the numbers, or ten, are needed."""
    tally = circuit_of(make(name)).rule.start()
    needed = next(n for n in range(1, 100) if tally.record(Kind.FAILURE, 0.001, n * gap))
    assert needed == NUMBERS[name][0]


# ----------------------------------------------------------------------- like the other libraries


def test_the_numbers_of_hystrix():
    """20 calls, 50 %, 10 s; open for 5 s; 1 s per call; 10 at a time; no retry."""
    pipeline = presets.hystrix(name="legacy")
    assert kinds(pipeline) == [CircuitBreaker, Bulkhead, Timeout]
    breaker, bulkhead, timeout = pipeline.policies
    circuit = breaker._circuit
    assert circuit.rule == FailureRate(0.5, window=10.0, minimum_calls=20)
    assert (circuit.open_for, circuit.probes, circuit.close_after) == (5.0, 1, 1)
    assert circuit.count_retries is True
    assert (bulkhead.limit, bulkhead.queue, timeout.seconds) == (10, 0, 1.0)
    assert {policy.name for policy in (pipeline, *pipeline.policies)} == {"legacy"}
    assert kinds(presets.hystrix(limit=None)) == [CircuitBreaker, Timeout]


async def test_it_acts_like_hystrix():
    """It opens at the 20th call if 10 failed, refuses for 5 s, and one success closes it."""
    pipeline = presets.hystrix()
    breaker = pipeline.find(CircuitBreaker)
    for _ in range(10):
        await pipeline.execute(Script("fine"))
    await fail(pipeline, 9)
    assert breaker.state is State.CLOSED
    await fail(pipeline, 1)
    with pytest.raises(CircuitOpenError) as caught:
        await pipeline.execute(Script("fine"))
    assert caught.value.retry_after == pytest.approx(5.0)
    await anyio.sleep(5.001)
    await pipeline.execute(Script("fine"))
    assert breaker.state is State.CLOSED


async def test_it_limits_like_hystrix():
    """The eleventh call at a time is refused, and each call ends after a second."""
    pipeline, held = presets.hystrix(), Held()
    begun = anyio.current_time()

    async def call():
        with pytest.raises(CallTimeoutError):
            await pipeline.execute(held)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(call)
        await turns()
        with pytest.raises(BulkheadFullError):
            await pipeline.execute(held)
    assert anyio.current_time() - begun == pytest.approx(1.0)


def test_the_numbers_of_resilience4j():
    """50 % of 100 calls, or all slower than 60 s; open for 60 s; 10 calls half-open."""
    pipeline = presets.resilience4j(name="legacy")
    assert kinds(pipeline) == [CircuitBreaker]
    circuit = circuit_of(pipeline)
    assert circuit.rule == (
        FailureRate(0.5, window=Calls(100), minimum_calls=100)
        | SlowCallRate(1.0, slower_than=60.0, window=Calls(100), minimum_calls=100)
    )
    assert (circuit.open_for, circuit.probes, circuit.close_after) == (60.0, 10, 10)
    assert circuit.count_retries is True
    assert {pipeline.name, pipeline.find(CircuitBreaker).name} == {"legacy"}


async def test_it_acts_like_resilience4j():
    """It opens at the 100th call if 50 failed, for 60 s, and permits 10 calls at a time then."""
    pipeline = presets.resilience4j()
    breaker = pipeline.find(CircuitBreaker)
    for _ in range(50):
        await pipeline.execute(Script("fine"))
    await fail(pipeline, 49)
    assert breaker.state is State.CLOSED
    await fail(pipeline, 1)
    with pytest.raises(CircuitOpenError) as caught:
        await pipeline.execute(Script("fine"))
    assert caught.value.retry_after == pytest.approx(60.0)
    await anyio.sleep(60.001)
    held = Held()
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(pipeline.execute, held)
        await turns()
        with pytest.raises(CircuitOpenError):
            await pipeline.execute(held)
        held.let_go()
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("seconds,state", [(60.5, State.OPEN), (59.5, State.CLOSED)])
async def test_slow_calls_open_it_like_resilience4j(seconds, state):
    """A hundred calls that all take longer than a minute open it though all succeed."""
    pipeline = presets.resilience4j()
    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(pipeline.execute, anyio.sleep, seconds)
    assert pipeline.find(CircuitBreaker).state is state


async def test_retries_are_evidence_as_they_are_there():
    """Around both of them, each attempt of a Retry counts as a call."""
    for name, attempts in (("hystrix", 20), ("resilience4j", 100)):
        pipeline = Pipeline(Retry(attempts, backoff=0, budget=None), make(name))
        await fail(pipeline, 1)
        assert pipeline.find(CircuitBreaker).state is State.OPEN


async def test_silence_opens_neither():
    """Neither library takes calls that do not answer for failures before they end."""
    for name in ALIKE:
        settings = {"timeout": 3600, "limit": None} if name == "hystrix" else {}
        pipeline, held = make(name, **settings), Held()
        async with anyio.create_task_group() as group:
            for _ in range(200):
                await pipeline.execute(Script("fine"))
                await anyio.sleep(0.01)
            for _ in range(200):
                group.start_soon(pipeline.execute, held)
            await anyio.sleep(50)
            assert await pipeline.execute(Script("fine")) == "fine"
            held.let_go()


# ---------------------------------------------------------------------------- the module, the page


def test_both_imports_work():
    """``import seawall.presets`` and ``from seawall import presets`` give the same module."""
    assert importlib.import_module("seawall.presets") is presets
    code = "import seawall, sys; assert 'seawall.advice' not in sys.modules; import seawall.presets"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_module_offers_what_it_names():
    """``__all__`` is sorted, complete, and each function has a docstring."""
    assert presets.__all__ == sorted([*KINDS, *ALIKE, "failure_threshold", "open_time"])
    for name in presets.__all__:
        function = getattr(presets, name)
        assert function.__doc__
        assert function.__name__ == name


def seconds(value):
    return f"{value:g} s"


def numbers_table():
    """Return the table of the page, made from the presets themselves."""
    rows = [
        (
            "| | opens after failures in a row | if busy | or half of at least | open for "
            "| closes after successes | whole call | attempts | each attempt |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in CHAPTER:
        total, retry, breaker, attempt = make(name).policies
        circuit = breaker._circuit
        rows.append(
            f"| `{name}()` | {trips_after(circuit.rule)} | {trips_after(circuit.rule, good=1000)} "
            f"| {circuit.rule.rules[0].minimum_calls} calls in {circuit.rule.rules[0].window:g} s "
            f"| {seconds(circuit.open_for)} | {circuit.close_after} | {seconds(total.seconds)} "
            f"| {retry.attempts} | {seconds(attempt.seconds)} |"
        )
    return "\n".join(rows)


def libraries_table():
    """Return the table of the other libraries, made from their presets."""
    breaker, bulkhead, timeout = presets.hystrix().policies
    mine, theirs = breaker._circuit, circuit_of(presets.resilience4j())
    counted = mine.rule
    failed, slow = theirs.rule.rules
    hystrix = (
        f"| `hystrix()` | {counted.ratio:.0%} of at least {counted.minimum_calls} calls in "
        f"{counted.window:g} s | {mine.open_for:g} s | {mine.probes} probe at a time; "
        f"{mine.close_after} success closes | {bulkhead.limit} calls at a time, "
        f"{timeout.seconds:g} s each |"
    )
    resilience4j = (
        f"| `resilience4j()` | {failed.ratio:.0%} of {failed.window.count} calls, or "
        f"{slow.ratio:.0%} slower than {slow.slower_than:g} s | {theirs.open_for:g} s | "
        f"{theirs.probes} probes at a time; {theirs.close_after} successes in a row close "
        "| nothing |"
    )
    return f"{hystrix}\n{resilience4j}"


def between_false_trips(share, in_a_row, per_second=100):
    """Return the mean time until so many calls in a row fail by chance."""
    calls = (1 - share**in_a_row) / ((1 - share) * share**in_a_row)
    time = calls / per_second
    for unit, size in (("years", 31_557_600), ("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if time >= 2 * size:
            return "over 100 years" if time > 100 * 31_557_600 else f"{time / size:.2g} {unit}"
    return f"{time:.2g} s"


def risk_table():
    """Return the table of the page that tells why three in a row are few."""
    shares = (0.01, 0.05, 0.2)
    rows = [
        "| in a row | " + " | ".join(f"{share:.0%} fail" for share in shares) + " |",
        "|---" * (len(shares) + 1) + "|",
    ]
    for count in (3, 5, 8, 10, 15):
        times = [between_false_trips(share, count) for share in shares]
        rows.append(f"| {count} | {' | '.join(times)} |")
    return "\n".join(rows)


@pytest.mark.parametrize("table", [numbers_table, risk_table, libraries_table])
def test_the_tables_of_the_page_are_true(table):
    """The tables in docs/presets.md are what the presets and the formula say now."""
    made = table()
    assert made in PAGE, f"put this into docs/presets.md:\n{made}"


def test_the_example_runs_as_written(capsys):
    """The first example of the page prints what the page says it prints."""
    exec(compile(EXAMPLES[0], "docs/presets.md", "exec"), {})
    said = re.search(r"prints\n\n((?: {4}.*\n)+)", PAGE).group(1)
    assert capsys.readouterr().out == re.sub("^ {4}", "", said, flags=re.MULTILINE)


@pytest.mark.parametrize("position", range(len(EXAMPLES)))
def test_the_other_examples_build(position):
    """Each further example runs too: what it names exists and its arguments are right."""
    exec(compile(EXAMPLES[position], "docs/presets.md", "exec"), {})


def test_one_circuit_for_each_key():
    """A preset inside ``Keyed``, as the page shows it, has one circuit for each key."""

    async def main():
        pipeline = Keyed(lambda host: presets.rest_api(name=host, attempts=1, trip=1))
        with pytest.raises(OSError):
            await pipeline.bind(key="a").execute(Script(OSError))
        with pytest.raises(CircuitOpenError, match="a"):
            await pipeline.bind(key="a").execute(Script("fine"))
        assert await pipeline.bind(key="b").execute(Script("fine")) == "fine"

    asyncio.run(main())


async def test_a_preset_in_front_of_http():
    """In the transport, as the page shows it, each origin has a circuit of its own."""
    httpx = pytest.importorskip("httpx")
    binding = importlib.import_module("seawall.httpx")
    asked = []

    def answer(request):
        asked.append(request.url.host)
        return httpx.Response(503 if request.url.host == "sick" else 200)

    policy = Keyed(lambda _origin: presets.rest_api(attempts=1, trip=2))
    transport = binding.ResilientTransport(policy, httpx.MockTransport(answer))
    async with httpx.AsyncClient(transport=transport) as client:
        for _ in range(2):
            assert (await client.get("http://sick/")).status_code == 503
        with pytest.raises(binding.CircuitOpenError):
            await client.get("http://sick/")
        assert (await client.get("http://well/")).status_code == 200
    assert asked == ["sick", "sick", "well"]
