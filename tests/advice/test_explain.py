"""What ``explain()`` says, in words and in numbers, and that calls keep to these numbers."""

from __future__ import annotations

import asyncio
import json
import random
import re
from math import inf
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall import (
    AdaptiveFailureCount,
    AdaptiveLimit,
    Bulkhead,
    Calls,
    CircuitBreaker,
    CircuitOpenError,
    ConsecutiveFailures,
    Cusum,
    FailureCount,
    FailureRate,
    Fallback,
    Hedge,
    Keyed,
    LastGood,
    LoadShedder,
    Percentile,
    Pipeline,
    Policy,
    RateLimiter,
    RejectedError,
    Retry,
    RetryBudget,
    SlowCallRate,
    Timeout,
    TripRule,
    UsageError,
    constant,
    exponential,
    linear,
)
from seawall.advice import Explanation
from seawall.advice.pauses import longest, shortest
from seawall.advice.rule_words import rule_words
from tests.virtual_time import run

PAGE = (Path(__file__).parents[2] / "docs" / "explain.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


class Announce(Policy):
    """Tells of each attempt.

    More about it.
    """

    async def run(self, call, proceed):
        return await proceed(call)


class Silent(Policy):
    async def run(self, call, proceed):
        return await proceed(call)


class Patient(Timeout):
    def seconds_for(self, call):
        return 2 * self.seconds


class Odd(TripRule):
    def start(self):
        raise NotImplementedError

    def __repr__(self):
        return "Odd()"


def line(policy):
    (only,) = policy.explain().lines
    return only


def numbers(policy, **facts):
    explanation = policy.explain(**facts)
    return explanation.worst_case, explanation.attempts, explanation.load


# ------------------------------------------------------------------------------------------ words


@pytest.mark.parametrize(
    "policy,expected",
    [
        (Timeout(30), "Timeout: ends what runs inside after 30 s"),
        (Timeout(0.25, name="db"), "Timeout 'db': ends what runs inside after 0.25 s"),
        (
            Patient(30),
            "Patient: ends what runs inside after 30 s, or as many as it gives the call",
        ),
        (Retry(1), "Retry: makes 1 attempt, so it repeats nothing"),
        (
            Retry(3),
            (
                "Retry: makes up to 3 attempts, with pauses of up to 0.1 s, 0.2 s (full jitter), "
                "and up to 30 s more where a server asks for it; paid from a budget of 10: a "
                "success at the first attempt earns 0.1 and one comes back every 30 s"
            ),
        ),
        (
            Retry(2, budget=None, max_retry_after=inf),
            (
                "Retry: makes up to 2 attempts, with pauses of up to 0.1 s (full jitter), and as "
                "much more as a server asks for; there is no budget"
            ),
        ),
        (
            Retry(9, backoff=linear(1), budget=RetryBudget(0.2, capacity=20, floor=0)),
            (
                "Retry: makes up to 9 attempts, with pauses of 1 s, 2 s, 3 s, …, and up to 30 s "
                "more where a server asks for it; paid from a budget of 20: a success at the first "
                "attempt earns 0.2"
            ),
        ),
        (
            Retry(9, backoff=2, on=OSError, budget=None),
            (
                "Retry: makes up to 9 attempts of what `on` names, with pauses of 2 s, and up to "
                "30 s more where a server asks for it; there is no budget"
            ),
        ),
        (
            Retry(9, backoff=0, budget=None),
            (
                "Retry: makes up to 9 attempts, with no pause, and up to 30 s more where a server "
                "asks for it; there is no budget"
            ),
        ),
        (
            AdaptiveLimit(),
            (
                "AdaptiveLimit: lets 10 calls run at a time now, and between 1 and 1000 as the "
                "dependency allows; the others wait for a slot, 0.25 s at most"
            ),
        ),
        (
            AdaptiveLimit(1, maximum=5, max_wait=0),
            (
                "AdaptiveLimit: lets 1 call run at a time now, and between 1 and 5 as the "
                "dependency allows, and refuses the others"
            ),
        ),
        (
            LoadShedder(),
            (
                "LoadShedder: refuses calls by chance, 90 % of them at most, while less than 1 in "
                "2 of those of the last 10 s was accepted"
            ),
        ),
        (
            RateLimiter(100, burst=5),
            (
                "RateLimiter: lets 100 calls pass in 1 s, up to 5 at once after a quiet time; the "
                "others wait for their turn, as long as the timeouts around it allow; pauses for "
                "as long as a server that throttles asks, 60 s at most, all calls together"
            ),
        ),
        (
            RateLimiter(1, 60, max_wait=0, max_pause=0),
            ("RateLimiter: lets 1 call pass in 60 s; it refuses what comes too early"),
        ),
        (
            RateLimiter(2_000_000, 60, burst=9_000, cost=len, actual=len, max_wait=2, max_pause=5),
            (
                "RateLimiter: lets 2000000 units pass in 60 s, up to 9000 at once after a quiet "
                "time; a call takes what `cost` says, settled afterwards by `actual`; the others "
                "wait for their turn, 2 s at most; pauses for as long as a server that throttles "
                "asks, 5 s at most, all calls together"
            ),
        ),
        (
            RateLimiter(4, burst=4, cost=2, max_wait=0, max_pause=0),
            (
                "RateLimiter: lets 4 units pass in 1 s, up to 4 at once after a quiet time; a call "
                "takes 2; it refuses what comes too early"
            ),
        ),
        (
            RateLimiter(None),
            (
                "RateLimiter: pauses for as long as a server that throttles asks, 60 s at most, "
                "all calls together; it does not pace"
            ),
        ),
        (RateLimiter(None, max_pause=0), "RateLimiter: does nothing: no rate, and no pause"),
        (Bulkhead(1), "Bulkhead: lets 1 call run at a time and refuses the others"),
        (
            Bulkhead(5, queue=9),
            (
                "Bulkhead: lets 5 calls run at a time; 9 more wait for a slot, as long as the "
                "timeouts around it allow"
            ),
        ),
        (
            Bulkhead(5, queue=inf, max_wait=0.5),
            (
                "Bulkhead: lets 5 calls run at a time; any number of others waits for a slot, 0.5 "
                "s at most"
            ),
        ),
        (Fallback(value=1), "Fallback: answers where what runs inside raises Exception"),
        (
            Hedge(0.2, budget=None),
            (
                "Hedge: begins 1 more attempt beside one that takes longer than 0.2 s; there is "
                "no budget"
            ),
        ),
        (
            Hedge(Percentile(0.95), max_hedges=2),
            (
                "Hedge: begins 2 more attempts beside one that takes longer than 95 % of the "
                "answers do; paid from a budget of 10: a success at the first attempt earns 0.1 "
                "and one comes back every 30 s"
            ),
        ),
        (
            LastGood(300),
            (
                "LastGood: serves what the same call returned last, up to 300 s old, where what "
                "runs inside fails; keeps 1000 values at most"
            ),
        ),
        (
            LastGood(inf, max_entries=1, key=print),
            (
                "LastGood: serves what the same call returned last, however old, where what runs "
                "inside fails; keeps 1 value at most"
            ),
        ),
        (
            Fallback(print, on=(OSError, KeyError)),
            "Fallback: answers where what runs inside raises OSError or KeyError",
        ),
        (Announce(), "Announce: Tells of each attempt."),
        (Silent(), "Silent: is a policy of your own"),
        (
            Keyed(lambda key: Timeout(1)),
            "Keyed: has a policy for each key; 0 are in use, and explain(key=...) shows one",
        ),
        (
            CircuitBreaker(),
            (
                "CircuitBreaker: opens when 50 % of at least 20 calls in 30 s failed, or 8 calls "
                "in a row failed; silence is evidence too; refuses all calls for about 20 times "
                "the usual gap between two, 1 s to 30 s; then lets 1 probe through at a time, and "
                "1 success closes it"
            ),
        ),
        (
            CircuitBreaker(
                1, open_for=5, max_open_for=60, probes=2, close_after=3, stalls=False, shadow=True
            ),
            (
                "CircuitBreaker: in shadow (it only counts what it would refuse): opens when 1 "
                "call failed; refuses all calls for 5 s, twice as long each time it opens again, "
                "up to 60 s; then lets 2 probes through at a time, and 3 in a row close it"
            ),
        ),
    ],
    ids=lambda value: value.split(":")[0] if isinstance(value, str) else "",
)
def test_each_policy_has_a_line(policy, expected):
    """A line has the name of a policy, and in words what it does, with its numbers."""
    assert line(policy) == expected


@pytest.mark.parametrize(
    "rule,expected",
    [
        (ConsecutiveFailures(1), "1 call failed"),
        (ConsecutiveFailures(5), "5 calls in a row failed"),
        (FailureCount(5, 60.0), "5 of the calls in 60 s failed"),
        (FailureCount(5, Calls(100)), "5 of the last 100 calls failed"),
        (FailureRate(0.125, 60.0, 10), "12.5 % of at least 10 calls in 60 s failed"),
        (FailureRate(1, Calls(10)), "100 % of the last 10 calls failed"),
        (
            SlowCallRate(0.8, 2, 60.0, 10),
            "80 % of at least 10 calls in 60 s took longer than 2 s",
        ),
        (
            AdaptiveFailureCount(5),
            "5 of the calls in 60 s failed, a number that follows how things go",
        ),
        (Cusum(), "the failures look like 60 % of all calls rather than 10 %"),
        (
            (ConsecutiveFailures(5) | FailureCount(9, 60.0)) & FailureRate(0.5, Calls(20)),
            (
                "(5 calls in a row failed, or 9 of the calls in 60 s failed) and 50 % of the last "
                "20 calls failed"
            ),
        ),
        (Odd(), "Odd() says so"),
    ],
    ids=["one", "row", "count", "calls", "rate", "all", "slow", "adaptive", "cusum", "both", "own"],
)
def test_each_rule_has_words(rule, expected):
    """It is said of each rule when it trips, and of one's own what it is called."""
    assert rule_words(rule) == expected


def test_all_of_it_is_printed():
    """The first example of the page prints what the page says."""
    printed = str(Pipeline.standard(limit=20, name="orders").explain())
    assert "\n".join(f"    {text}" for text in printed.splitlines()) in PAGE


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_examples_run(number, capsys):
    """Each example of the page runs as it is written."""
    exec(compile(BLOCKS[number], "explain.md", "exec"), {})
    assert "print" not in BLOCKS[number] or capsys.readouterr().out.count("\n") > 3


def test_nothing_at_all_is_explained():
    """A pipeline of nothing runs the function."""
    explanation = Pipeline().explain()
    assert explanation.lines == ("nothing: it only runs the function",)
    assert numbers(Pipeline()) == (inf, 1, 1)
    assert "no limit" in str(explanation)


def test_it_is_ready_for_json():
    """All of it can be written as JSON; what is not finite is null."""
    explained = json.loads(json.dumps(Retry(3).explain().as_dict()))
    assert explained["worst_case"] is None
    assert explained["attempts"] == 3
    assert isinstance(Retry(3).explain(), Explanation)


# ------------------------------------------------------------------------------------- the totals


@pytest.mark.parametrize(
    "policy,expected",
    [
        (Timeout(5), (5.0, 1, 1)),
        (Pipeline(Timeout(5), Timeout(9)), (5.0, 1, 1)),
        (Pipeline(Timeout(9), Timeout(5)), (5.0, 1, 1)),
        (Retry(3), (inf, 3, 3)),
        (Pipeline(Retry(3, backoff=1, max_retry_after=0), Timeout(5)), (17.0, 3, 3)),
        (Pipeline(Retry(3, backoff=1, max_retry_after=10), Timeout(5)), (37.0, 3, 3)),
        (Pipeline(Retry(1, max_retry_after=inf), Timeout(5)), (5.0, 1, 1)),
        (Pipeline(Retry(2, max_retry_after=inf), Timeout(5)), (inf, 2, 2)),
        (Pipeline(Timeout(30), Retry(2, max_retry_after=inf), Timeout(5)), (30.0, 2, 2)),
        (Pipeline(Retry(3), Retry(2), Timeout(1)), (156.6, 6, 6)),
        (Pipeline(Retry(3, on=CircuitOpenError), Retry(2)), (inf, 6, 2)),
        (Pipeline(Hedge(0.5, max_hedges=2), Timeout(2)), (3.0, 3, 3)),
        (Pipeline(Hedge(5.0), Timeout(2)), (4.0, 2, 2)),
        (Pipeline(Hedge(Percentile(0.9)), Timeout(2)), (4.0, 2, 2)),
        (
            Pipeline(Hedge(0.5), Bulkhead(5, queue=5, max_wait=1), Timeout(2)),
            (6.0, 2, 2),
        ),
        (Hedge(0.5).bind(idempotent=False), (inf, 2, 1)),
        (Pipeline(AdaptiveLimit(), Timeout(2)), (2.25, 1, 1)),
        (Pipeline(AdaptiveLimit(max_wait=None), Timeout(2)), (inf, 1, 1)),
        (Pipeline(LoadShedder(), Timeout(2)), (2.0, 1, 1)),
        (Pipeline(RateLimiter(5), Timeout(2)), (inf, 1, 1)),
        (Pipeline(RateLimiter(5, max_wait=3), Timeout(2)), (5.0, 1, 1)),
        (Pipeline(RateLimiter(5, max_wait=0), Timeout(2)), (2.0, 1, 1)),
        (Pipeline(RateLimiter(None), Timeout(2)), (inf, 1, 1)),
        (Pipeline(RateLimiter(None, max_wait=3), Timeout(2)), (5.0, 1, 1)),
        (Pipeline(RateLimiter(None, max_pause=0), Timeout(2)), (2.0, 1, 1)),
        (Pipeline(LastGood(5), Timeout(2)), (2.0, 1, 1)),
        (Pipeline(Fallback(value=1, on=OSError), Fallback(value=2), Timeout(2)), (2.0, 1, 1)),
        (Pipeline(Bulkhead(5), Timeout(2)), (2.0, 1, 1)),
        (Pipeline(Bulkhead(5, queue=5, max_wait=3), Timeout(2)), (5.0, 1, 1)),
        (Pipeline(Bulkhead(5, queue=5), Timeout(2)), (inf, 1, 1)),
        (Pipeline(Bulkhead(5, max_wait=3), Timeout(2)), (2.0, 1, 1)),
        (Pipeline(Fallback(value=1), CircuitBreaker(), Announce(), Timeout(2)), (2.0, 1, 1)),
        (Pipeline.standard().bind(timeout=2), (2.0, 3, 3)),
        (Pipeline.standard().bind(idempotent=False), (30.0, 3, 1)),
        (Pipeline(Retry(2), Pipeline.standard().bind(idempotent=False)), (90.1, 6, 1)),
    ],
    ids=[
        "timeout",
        "longer inside",
        "shorter inside",
        "retry",
        "pauses",
        "asked to wait",
        "one attempt",
        "asked for any time",
        "all in time",
        "nested",
        "only refusals",
        "hedge",
        "hedge too late",
        "percentile",
        "hedge that waits",
        "no hedge",
        "adaptive limit",
        "adaptive limit, any wait",
        "load shedder",
        "rate limiter",
        "rate limiter, max_wait",
        "rate limiter, no wait",
        "pauses alone",
        "pauses, max_wait",
        "no pauses",
        "last good",
        "fallbacks",
        "no queue",
        "wait",
        "any wait",
        "wait without a queue",
        "passed through",
        "view",
        "not idempotent",
        "not idempotent inside",
    ],
)
def test_the_totals(policy, expected):
    """Longest duration, attempts, and load while everything fails."""
    assert numbers(policy) == pytest.approx(expected)


def test_the_totals_in_words():
    """They say the same, and what ends a call."""
    assert Pipeline(Timeout(9), Retry(2, backoff=1, budget=None), Timeout(2)).explain().totals == (
        "duration: 9 s at most, by the timeout; without it 35 s",
        "attempts: 2 at most",
        "load while everything fails: 2 × the calls",
    )
    assert Timeout(2).explain().totals == (
        "duration: 2 s at most",
        "attempts: 1",
        "load while everything fails: 1 × the calls",
    )
    hurried = Retry(2, budget=RetryBudget(floor=0)).explain().totals[-1]
    assert (
        hurried == "load while everything fails: 2 × the calls until the budget is empty, then 1 ×"
    )
    dripping = Retry(2).explain().totals[-1]
    assert dripping == f"{hurried} and 2 attempts a minute"
    rate = Retry(2).explain(requests_per_second=1).totals[-1]
    assert rate == hurried.replace("then 1 ×", "then 1.033 ×")


def test_what_is_not_counted_is_said():
    """The function of a fallback, policies of one's own, and those of keys that are not known."""
    pipeline = Pipeline(
        Fallback(print), Fallback(value=1), Announce(), Keyed(lambda key: Timeout(5)), Timeout(5)
    )
    assert pipeline.explain().notes == (
        "the time and the calls of the function of Fallback",
        "what Announce adds: it is taken to run what is inside it once",
        "what the policies of the keys of Keyed do",
    )
    assert "Not counted:" in str(pipeline.explain())
    assert Pipeline.standard().explain().notes == ()


def test_a_shared_budget_drips_once():
    """What comes back to one budget of two retries is counted once, to two of them twice."""
    budget = RetryBudget()
    shared = Pipeline(Retry(3, budget=budget), Retry(3, budget=budget)).explain()
    assert shared.extra_per_second == pytest.approx(1 / 30)
    apart = Pipeline(Retry(3), Retry(3)).explain()
    assert apart.extra_per_second == pytest.approx(2 / 30)
    mixed = Pipeline(Retry(3), Retry(3, budget=None)).explain()
    assert (mixed.load, mixed.load_with_budget) == (9.0, 3.0)
    assert mixed.extra_per_second == pytest.approx(3 / 30)


@pytest.mark.parametrize("wrong", [0, -1, "5", True, inf])
def test_a_wrong_rate_is_named(wrong):
    """The error names the argument and the value."""
    with pytest.raises((TypeError, ValueError), match="requests_per_second must be a number > 0"):
        Timeout(5).explain(requests_per_second=wrong)


# ------------------------------------------------------------------------------------------- keys


def test_keys():
    """Shown is the key that was used last, or the one that is asked for."""

    async def main():
        made = []

        def factory(key):
            made.append(key)
            return Pipeline(Timeout(len(made), name=key))

        async def fetch():
            return "answer"

        keyed = Keyed(factory)
        pipeline = Pipeline(Retry(1), keyed)
        assert pipeline.explain().lines[1:] == (line(keyed),)
        for key in "ab":
            await pipeline.bind(key=key).execute(fetch)
        assert made == ["a", "b"]
        explanation = pipeline.explain()
        assert explanation.worst_case == 2
        assert explanation.lines[1] == "Keyed: has a policy for each key; 2 are in use"
        assert explanation.lines[2] == "  Timeout 'b': ends what runs inside after 2 s"
        assert pipeline.explain(key="a").worst_case == 1
        assert pipeline.bind(key="a").explain().worst_case == 1
        assert made == ["a", "b"]
        assert pipeline.explain(key="c").worst_case == 3
        assert made == ["a", "b", "c"]
        assert list(keyed) == ["a", "b"]

    run(main())


def test_a_factory_that_returns_no_policy_is_told():
    """A wrong factory is as wrong here as in a call."""
    with pytest.raises(UsageError, match=r"factory\('a'\) must return a Policy"):
        Keyed(lambda key: 5).explain(key="a")


def test_a_view_says_what_it_sets():
    """Its timeout and its settings have lines, and the policy behind it has its own."""
    view = Timeout(9, name="db").bind(key="a", timeout=2, tags={"by": "me"}, idempotent=False)
    assert str(view.explain()).startswith("view 'db', the outermost first:\n")
    assert view.explain().lines == (
        "Timeout: ends what runs inside after 2 s, for this view",
        (
            "bind 'db': sets key='a', idempotent=False, tags={'by': 'me'} on the call: only what "
            "never reached the dependency is repeated"
        ),
        "Timeout 'db': ends what runs inside after 9 s",
    )


# ------------------------------------------------------------------------------ calls keep to them

PARTS = st.one_of(
    st.builds(Timeout, st.sampled_from([0.5, 2.0, 7.0])),
    st.builds(
        Retry,
        st.integers(1, 3),
        backoff=st.sampled_from(
            [0.0, 0.3, linear(0.2), exponential(0.5), exponential(1, jitter="equal")]
        ),
        budget=st.none(),
        max_retry_after=st.sampled_from([0.0, 3.0]),
    ),
    st.builds(Bulkhead, st.just(2), queue=st.sampled_from([0, 1]), max_wait=st.just(0.7)),
    st.builds(AdaptiveLimit, st.just(1), max_wait=st.sampled_from([0.0, 0.7])),
    st.builds(
        RateLimiter,
        st.sampled_from([None, 0.8, 9.0]),
        burst=st.sampled_from([1, 2]),
        max_wait=st.sampled_from([0.0, 0.7, 4.0]),
    ),
    st.builds(LoadShedder),
    st.builds(CircuitBreaker, st.just(1000), stalls=st.just(False)),
    st.builds(Fallback, value=st.none(), on=st.sampled_from([KeyError, OSError])),
    st.builds(
        Hedge, st.sampled_from([0.0, 0.3, 5.0]), max_hedges=st.integers(1, 2), budget=st.none()
    ),
    st.builds(LastGood, st.just(5)),
    st.builds(Announce),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PARTS, max_size=5), st.sampled_from([0.0, 0.4, 100.0]), st.booleans())
def test_no_call_comes_to_more(parts, seconds, throttled):
    """However policies are put together, no call takes longer or runs the function more often."""
    pipeline = Pipeline(*parts, Timeout(3.0))
    explanation = pipeline.explain()
    runs = 0

    class Throttled(ConnectionError):
        retry_after = 2.0
        status_code = 429

    async def fails():
        nonlocal runs
        runs += 1
        await asyncio.sleep(seconds)
        raise Throttled if throttled else ConnectionError

    async def main():
        begun = asyncio.get_running_loop().time()
        try:
            await pipeline.execute(fails)
        except Exception as error:
            del error
        assert asyncio.get_running_loop().time() - begun <= explanation.worst_case + 0.002
        assert runs <= explanation.attempts

    run(main())


@pytest.mark.parametrize(
    "policies",
    [
        [Timeout(2)],
        [Retry(3, backoff=1, budget=None, max_retry_after=0), Timeout(2)],
        [Timeout(5), Retry(3, backoff=1, budget=None, max_retry_after=0), Timeout(2)],
        [
            Retry(2, backoff=linear(3), budget=None, max_retry_after=0),
            Retry(3, backoff=exponential(1, jitter=None), budget=None, max_retry_after=0),
            Timeout(2),
        ],
    ],
    ids=["timeout", "retry", "in time", "nested"],
)
def test_a_call_that_hangs_takes_just_as_long(policies):
    """Where chance plays no part, a dependency that hangs brings a call to the worst case."""
    pipeline = Pipeline(*policies)

    async def main():
        begun = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await pipeline.execute(asyncio.sleep, 1000)
        took = asyncio.get_running_loop().time() - begun
        assert took == pytest.approx(pipeline.explain().worst_case, abs=0.05)

    run(main())


@pytest.mark.parametrize(
    "pipeline",
    [
        Retry(4, budget=None),
        Retry(4),
        Pipeline(Retry(3), Retry(3)),
        Pipeline(Retry(3), Retry(2, budget=None)),
        Pipeline(Retry(2, budget=RetryBudget(floor=0.5)), Retry(2, budget=None)),
    ],
    ids=["no budget", "budget", "two budgets", "one of two", "floor"],
)
def test_the_load_is_what_is_measured(pipeline):
    """While everything fails, as many attempts are made as it says, with the budget and without."""
    rate, calls = 10.0, 3000
    explanation = pipeline.explain(requests_per_second=rate)
    runs = []

    async def fails():
        runs.append(asyncio.get_running_loop().time())
        raise ConnectionError

    async def call():
        with pytest.raises(ConnectionError):
            await pipeline.execute(fails)

    async def main():
        begun = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for _ in range(calls):
                group.create_task(call())
                await asyncio.sleep(1 / rate)
        # The budgets are empty by then.
        late = [when for when in runs if 60 <= when - begun < 270]
        assert len(late) / (210 * rate) == pytest.approx(explanation.load_with_budget, rel=0.01)
        assert len(runs) <= explanation.load * calls

    run(main())


# ----------------------------------------------------------------------------------------- pauses


BACKOFFS = [
    exponential(0.1),
    exponential(0.1, cap=0.5),
    exponential(0.1, jitter="equal"),
    exponential(0.1, cap=0.5, jitter="decorrelated"),
    exponential(2.0, cap=1.0, jitter="decorrelated"),
    exponential(0.1, factor=1, jitter=None),
    linear(0.3, cap=0.7),
    constant(0.4),
]


@pytest.mark.parametrize("number", range(len(BACKOFFS)))
@pytest.mark.parametrize("pauses", [0, 1, 2, 7])
def test_pauses_are_between_the_two(number, pauses):
    """No sum of pauses is shorter or longer, and with luck it comes near to both."""
    backoff = BACKOFFS[number]
    random.seed(number)
    sums = []
    for _ in range(300):
        last = total = 0.0
        for failed in range(1, pauses + 1):
            last = backoff(failed, last)
            total += last
        sums.append(total)
    assert shortest(backoff, pauses) - 1e-9 <= min(sums)
    assert max(sums) <= longest(backoff, pauses) + 1e-9
    if pauses == 1:
        span = longest(backoff, 1) - shortest(backoff, 1)
        assert max(sums) - min(sums) >= 0.9 * span


def test_a_great_many_pauses_are_bounded():
    """A million attempts cost no time to sum up, and an infinite growth no error."""
    assert longest(exponential(0.1, cap=10), 10**6) == pytest.approx(10**7, rel=0.001)
    assert longest(exponential(1, factor=1e300), 5) == 1 + 4 * 10
    assert longest(constant(2), 10**6) == 2 * 10**6
    assert longest(lambda failed, last: 1.0, 3) == inf
    assert shortest(lambda failed, last: 1.0, 3) == 0.0
    assert shortest(constant(2), 10**6) <= 2 * 10**6


def test_what_is_refused_never_reached_it():
    """A retry of refusals alone does not multiply the load."""
    for on in (CircuitOpenError, (CircuitOpenError, RejectedError)):
        assert Retry(3, on=on, budget=None).explain().load == 1
    for on in (OSError, (CircuitOpenError, OSError), lambda error: True):
        assert Retry(3, on=on, budget=None).explain().load == 3
