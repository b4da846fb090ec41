"""What ``lint()`` finds, and what it does not."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from math import inf

import pytest

from seawall import (
    AdaptiveLimit,
    Bulkhead,
    CircuitBreaker,
    Keyed,
    Kind,
    LoadShedder,
    Pipeline,
    Policy,
    RateLimiter,
    Retry,
    Timeout,
    UsageError,
    presets,
)
from tests.advice.mistakes import CASES, PARENT, WITH_FACTS, Announce, Nested, own, shared
from tests.virtual_time import run


def codes(policy, **facts):
    return [finding.code for finding in policy.lint(**facts)]


PLAIN = [(code, number) for code, cases in CASES.items() for number in range(len(cases))]

LIMIT = Bulkhead(5)
RATE, ADAPTIVE, SHEDDER = RateLimiter(None), AdaptiveLimit(), LoadShedder()
FACTUAL = [(code, number) for code, cases in WITH_FACTS.items() for number in range(len(cases))]


@pytest.mark.parametrize("code,number", PLAIN)
def test_it_finds_that_and_nothing_else(code, number):
    """Each mistake that shows by itself is found, and what is nearly the same is not."""
    wrong, right = CASES[code][number]
    assert codes(wrong) == [code]
    assert codes(right) == []


@pytest.mark.parametrize("code,number", FACTUAL)
def test_it_finds_that_beside_the_facts(code, number):
    """Each mistake that shows beside facts is found, only there, and the near miss is not."""
    facts, wrong, right = WITH_FACTS[code][number]
    assert codes(wrong, **facts) == [code]
    assert codes(right, **facts) == []
    if code != "SW103":
        assert codes(wrong) == []


@pytest.mark.parametrize(
    "again,once",
    [
        (Pipeline(LIMIT, Pipeline(LIMIT)), Pipeline(LIMIT, Pipeline(Bulkhead(5)))),
        (Pipeline(PARENT, PARENT), Pipeline(PARENT)),
        (Pipeline(PARENT, CircuitBreaker(parent=PARENT)), CircuitBreaker(parent=PARENT)),
        (
            Pipeline(CircuitBreaker(parent=PARENT), CircuitBreaker(parent=PARENT)),
            Pipeline(CircuitBreaker(), CircuitBreaker(parent=PARENT)),
        ),
        (Pipeline(RATE, Timeout(5), RATE), Pipeline(RATE, Timeout(5), RateLimiter(None))),
        (Pipeline(ADAPTIVE, ADAPTIVE), Pipeline(ADAPTIVE, AdaptiveLimit())),
        (Pipeline(SHEDDER, SHEDDER), Pipeline(SHEDDER, LoadShedder())),
    ],
    ids=["limit", "circuit", "parent", "two children", "rate", "adaptive limit", "shedder"],
)
def test_a_call_meets_each_circuit_and_limit_once(again, once):
    """SW601: what a call would hold twice is found, also by way of a parent."""
    assert codes(again) == ["SW601"]
    assert codes(once) == []


def test_every_code_has_a_case():
    """No code of the page is left without a mistake and a near miss."""
    every = {*CASES, *WITH_FACTS, "SW601"}
    assert every == documented()


def documented():
    from tests.advice.test_lint_page import SECTIONS

    return set(SECTIONS)


# ------------------------------------------------------------------------- the chapter's mistakes


@pytest.mark.parametrize(
    "code,policy,facts",
    [
        ("SW101", CircuitBreaker(1, open_for=300), {}),
        ("SW102", CircuitBreaker(open_for=5), {"restart_seconds": 30}),
        ("SW501", CircuitBreaker(), {"user_facing": True}),
        ("SW105", CircuitBreaker(), {"keys": ["orders", "stock", "mail"]}),
        ("SW103", CircuitBreaker(probes=1000), {}),
    ],
    ids=["threshold of one", "shorter than a restart", "no fallback", "one for all", "half-open"],
)
def test_the_mistakes_of_the_chapter(code, policy, facts):
    """On each anti-pattern that the chapter warns of it finds exactly that."""
    assert codes(policy, **facts) == [code]


FACTS = {
    "requests_per_second": 50,
    "latency": 0.2,
    "restart_seconds": 5,
    "capacity": 2000,
    "clients": 10,
    "keys": ["a", "b"],
}
ONE_KEY = FACTS | {"keys": ["a"]}
PRESETS = ["cache", "database", "internal_service", "message_broker", "ml_service", "rest_api"]


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_are_sound(name):
    """Of no preset anything is found, alone, per key, and beside facts that suit it."""
    preset = getattr(presets, name)
    assert codes(preset()) == []
    assert codes(preset(limit=50), **ONE_KEY) == []
    assert codes(preset(limit=AdaptiveLimit()), **ONE_KEY) == []
    assert codes(Keyed(lambda key: preset(name=key)), **FACTS) == []


def test_the_standard_pipelines_are_sound():
    """Nothing is found of the standard pipeline, nor of the one for HTTP."""
    from seawall.http.standard import standard

    assert codes(Pipeline.standard(), **ONE_KEY) == []
    assert codes(Pipeline.standard(limit=20), **ONE_KEY) == []
    assert codes(Pipeline.standard(limit=AdaptiveLimit()), **ONE_KEY) == []
    assert codes(Keyed(lambda key: Pipeline.standard(limit=20)), **FACTS) == []
    assert codes(standard(), **FACTS) == []
    assert codes(standard(limit=None), **FACTS) == []


def test_the_pipelines_of_other_libraries_are_sound():
    """Nothing is found of them either, but for ten probes at a time where ten calls are usual."""
    assert codes(presets.hystrix(), **ONE_KEY) == []
    assert codes(presets.resilience4j()) == []
    assert codes(presets.resilience4j(), **ONE_KEY) == ["SW103"]
    assert codes(presets.resilience4j(), **ONE_KEY | {"requests_per_second": 51}) == []


# ------------------------------------------------------------------------------- a finding itself


def test_a_finding_tells_all_of_it():
    """It has a code, a sentence, the numbers in it, a remedy, and the policy."""
    breaker = CircuitBreaker(1, open_for=300, name="orders")
    (finding,) = breaker.lint()
    assert finding.code == "SW101"
    assert finding.sentence == "a single failure opens it for 300 s"
    assert finding.numbers == {"failures": 1, "open_for": 300}
    assert finding.policy is breaker
    assert str(finding) == f"SW101 CircuitBreaker 'orders': {finding.sentence}. {finding.remedy}."
    assert json.loads(json.dumps(finding.as_dict()))["numbers"] == finding.numbers
    assert hash(finding) == hash(breaker.lint()[0])


@pytest.mark.parametrize("code,number", PLAIN + FACTUAL)
def test_sentences_are_sentences(code, number):
    """They begin in lower case, for a name stands before them, and end without a full stop."""
    case = CASES[code][number] if (code, number) in PLAIN else WITH_FACTS[code][number]
    facts, wrong = ({}, case[0]) if isinstance(case[0], Policy) else case[:2]
    (finding,) = wrong.lint(**facts)
    assert finding.sentence[0].islower() or finding.sentence[0].isdigit()
    assert finding.remedy[0].isupper()
    assert not finding.sentence.endswith(".")
    assert not finding.remedy.endswith(".")
    assert "  " not in str(finding)
    json.dumps(finding.as_dict())


def test_findings_come_in_the_order_of_the_policies():
    """The outermost first, and of one policy by code."""
    pipeline = Pipeline(
        Bulkhead(5, queue=9), Retry(3, budget=None), CircuitBreaker(1, open_for=60), Retry(2)
    )
    assert codes(pipeline) == ["SW401", "SW403", "SW406", "SW301", "SW302", "SW101", "SW107"]


def test_two_that_are_alike_are_two_findings():
    """The same mistake in two policies is found twice."""
    first, second = CircuitBreaker(1, open_for=60), CircuitBreaker(1, open_for=60)
    findings = Pipeline(first, second).lint()
    assert [finding.policy for finding in findings] == [first, second]


def test_the_remedies_of_numbers_are_right():
    """What a remedy advises is found to be sound."""
    (finding,) = CircuitBreaker(open_for=2).lint(restart_seconds=15)
    advised = finding.numbers["advised"]
    assert advised == 30
    assert f"open_for={advised:g}" in finding.remedy
    assert codes(CircuitBreaker(open_for=advised), restart_seconds=15) == []
    for limit, capacity, clients in [(100, 100, 7), (60, 99, 3), (500, 1000, 1)]:
        facts = {"capacity": capacity, "clients": clients}
        (finding,) = Pipeline(Bulkhead(limit), Timeout(0.5)).lint(**facts)
        advised = int(finding.remedy.split()[-1])
        assert codes(Pipeline(Bulkhead(advised), Timeout(0.5)), **facts) == []
        assert codes(Pipeline(Bulkhead(advised + 1), Timeout(0.5)), **facts) == ["SW402"]
    (finding,) = Pipeline(Bulkhead(1), Timeout(0.5)).lint(capacity=4, clients=2)
    assert "fewer clients" in finding.remedy
    (finding,) = RateLimiter(50, max_wait=1).lint(capacity=90, clients=3)
    assert finding.remedy == "Take a rate of at most 30 calls per second"
    assert codes(RateLimiter(30, max_wait=1), capacity=90, clients=3) == []
    for rate, cost in [(100, 1), (5000, 1), (1000, 4)]:
        (finding,) = RateLimiter(rate, burst=cost, cost=cost, max_wait=1).lint()
        advised = finding.numbers["advised"]
        assert finding.remedy.startswith(f"Take burst={advised:g};")
        assert codes(RateLimiter(rate, burst=advised, cost=cost, max_wait=1)) == []


# -------------------------------------------------------------------- pipelines, views, keys, own


def test_it_looks_into_pipelines_and_views():
    """Nested pipelines are one row of policies, and so are views, but for their own timeout."""
    pipeline = Pipeline(Pipeline(Timeout(10)), Nested(Pipeline(Retry(5)), Announce()), Timeout(3))
    assert codes(pipeline) == ["SW202"]
    assert codes(pipeline.bind(key="a", idempotent=False)) == ["SW202"]
    assert codes(Pipeline(pipeline.bind(key="a"), Announce())) == ["SW202"]
    assert codes(Pipeline.standard().bind(timeout=2.0, key="acme")) == []


def test_no_factory_is_called_unasked():
    """Without keys that are stated or in use it says nothing of what is in a ``Keyed``."""
    asked = []

    def factory(key):
        asked.append(key)
        return CircuitBreaker(1, open_for=60)

    keyed = Keyed(factory)
    assert codes(keyed) == []
    assert asked == []
    assert codes(keyed, keys=["a"]) == ["SW101"]
    assert asked == ["a"]
    assert len(keyed) == 0


def test_keys_in_use_are_looked_at():
    """The policies of all keys that are in use are linted, and nothing is made anew."""

    async def main():
        made = []

        def factory(key):
            made.append(key)
            return CircuitBreaker(1 if key == "b" else 8, open_for=60)

        async def fetch():
            return "answer"

        keyed = Keyed(factory)
        for key in "abc":
            await keyed.bind(key=key).execute(fetch)
        (finding,) = Pipeline(Retry(3), keyed).lint()
        assert finding.policy is keyed["b"]
        assert made == ["a", "b", "c"]
        assert keyed.lint(keys=["b", "d"]) == (finding,)
        assert made == ["a", "b", "c", "d"]

    run(main())


def test_what_is_wrong_for_every_key_is_found_once():
    """A thousand keys with the same mistake are one finding."""
    keyed = Keyed(lambda key: CircuitBreaker(1, open_for=60))
    assert codes(keyed, keys=range(1000)) == ["SW101"]


def test_keys_in_use_that_share_a_circuit_are_found():
    """A factory that has returned one circuit for two keys is found without any fact."""

    async def main():
        async def fetch():
            return "answer"

        keyed = shared(CircuitBreaker())
        for key in "ab":
            assert codes(keyed) == []
            await keyed.bind(key=key).execute(fetch)
        (finding,) = keyed.lint()
        assert finding.code == "SW105"
        assert finding.numbers == {"keys": 2}
        assert "'a', 'b'" in finding.sentence

    run(main())


def test_two_kinds_of_keys_are_not_confused():
    """A circuit of one key is not taken for one of several because other keys are known."""

    async def main():
        async def fetch(host, tenant):
            return host, tenant

        hosts = Keyed(lambda host: CircuitBreaker(name=host), key=lambda host, tenant: host)
        tenants = Keyed(lambda tenant: Bulkhead(5), key=lambda host, tenant: tenant)
        pipeline = Pipeline(hosts, tenants)
        for tenant in "xyz":
            await pipeline.execute(fetch, "a", tenant)
        assert codes(pipeline) == []

    run(main())


def test_a_view_of_a_key_is_about_that_key():
    """The key of a view is the one whose policies are looked at."""
    keyed = Keyed(lambda key: CircuitBreaker(1, open_for=60))
    assert codes(keyed.bind(key="a")) == []
    assert codes(keyed.bind(key="a"), keys=["a"]) == ["SW101"]


def test_a_factory_that_returns_no_policy_is_told():
    """A wrong factory is as wrong here as in a call."""
    with pytest.raises(UsageError, match=r"factory\('a'\) must return a Policy"):
        Keyed(lambda key: None).lint(keys=["a"])


def test_what_one_cannot_compare_is_no_obstacle():
    """A policy of one's own that is a dataclass may be equal to another, or have no hash."""

    @dataclass
    class Equal(Policy):
        number: int

        async def run(self, call, proceed):
            return await proceed(call)

    assert codes(Pipeline(Equal(1), Equal(1), CircuitBreaker(1, open_for=60))) == ["SW101"]


def test_it_changes_nothing_and_needs_no_loop():
    """Snapshots are the same before and after, inside a loop and outside."""
    pipeline = Pipeline(own(), Pipeline.standard(limit=5))
    before = pipeline.snapshot()

    async def inside():
        return [str(finding) for finding in pipeline.lint(**FACTS)]

    found = asyncio.run(inside())
    assert len(found) > 1
    assert [str(finding) for finding in pipeline.lint(**FACTS)] == found
    assert pipeline.snapshot() == before


def test_a_rule_is_asked_apart_from_its_circuit():
    """What a rule would do to one failure is tried on a tally of its own."""
    breaker = CircuitBreaker(1, open_for=60)
    breaker.lint()
    assert breaker.state.value == "closed"
    assert breaker.snapshot().failures == 0
    assert breaker._circuit.rule.start().record(Kind.FAILURE, 0.0, 0.0)


@pytest.mark.parametrize(
    "fact,wrong,kind",
    [
        ("requests_per_second", 0, ValueError),
        ("requests_per_second", "50", TypeError),
        ("latency", -1, ValueError),
        ("latency", inf, ValueError),
        ("restart_seconds", 0, ValueError),
        ("capacity", True, TypeError),
        ("clients", 0, ValueError),
        ("clients", 2.5, TypeError),
        ("user_facing", 1, TypeError),
        ("keys", 5, TypeError),
    ],
)
def test_a_wrong_fact_is_named(fact, wrong, kind):
    """The error names the argument and the value."""
    with pytest.raises(kind) as caught:
        Timeout(5).lint(**{fact: wrong})
    if fact != "keys":
        assert str(caught.value).startswith(f"{fact} must be ")
        assert str(caught.value).endswith(f"not {wrong!r}")
