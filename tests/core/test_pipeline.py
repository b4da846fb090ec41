"""Pipelines: their order, how they nest, and what they are made of."""

from __future__ import annotations

import pytest

from seawall import (
    Bulkhead,
    CircuitBreaker,
    Classifier,
    Keyed,
    Pipeline,
    Policy,
    Retry,
    State,
    Timeout,
)
from tests.doubles import Script, virtual

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


class Mark(Policy):
    """Notes when it is entered and left, and how often it is linked."""

    def __init__(self, name, events):
        self.name = name
        self.events = events
        self.links = 0

    def __repr__(self):
        return f"Mark({self.name!r})"

    def link(self, proceed):
        self.links += 1
        return super().link(proceed)

    async def run(self, call, proceed):
        self.events.append(f"+{self.name}")
        try:
            return await proceed(call)
        finally:
            self.events.append(f"-{self.name}")


@pytest.fixture
def events():
    return []


@pytest.fixture
def marks(events):
    """Return four policies that note their order."""
    return [Mark(name, events) for name in "abcd"]


async def test_the_first_policy_is_the_outermost(marks, events):
    """``Pipeline(A, B, C)`` runs ``A(B(C(function)))``."""
    pipeline = Pipeline(*marks[:3])

    async def function(x, *, y):
        events.append("function")
        return x + y

    assert await pipeline.execute(function, 1, y=2) == 3
    assert events == ["+a", "+b", "+c", "function", "-c", "-b", "-a"]


async def test_an_empty_pipeline_runs_the_function():
    """A pipeline without policies adds nothing, to a value or to an error."""
    error = OSError("made up")
    assert await Pipeline().execute(Script("fine")) == "fine"
    with pytest.raises(OSError, match="made up") as caught:
        await Pipeline().execute(Script(error))
    assert caught.value is error
    assert not hasattr(error, "__notes__")


async def test_pipelines_nest(marks, events):
    """A pipeline is a policy, and a nested one runs as if its policies stood there."""
    a, b, c, d = marks
    await Pipeline(a, Pipeline(b, Pipeline(), c), d).execute(Script(1))
    assert events == ["+a", "+b", "+c", "+d", "-d", "-c", "-b", "-a"]


async def test_one_policy_may_stand_in_several_pipelines():
    """A shared breaker counts for all of them."""
    breaker = CircuitBreaker(2)
    for pipeline in (Pipeline(Timeout(1), breaker), Pipeline(breaker, Bulkhead(1))):
        with pytest.raises(OSError, match="made up"):
            await pipeline.execute(Script(OSError("made up")))
    assert breaker.state is State.OPEN


async def test_one_policy_may_stand_twice_in_a_pipeline(marks, events):
    """Each place is a step of its own."""
    a, b, *_ = marks
    await Pipeline(a, b, a).execute(Script(1))
    assert events == ["+a", "+b", "+a", "-a", "-b", "-a"]


async def test_the_chain_is_built_once(marks):
    """No call links the policies again, however they are called."""
    pipeline = Pipeline(marks[0], Pipeline(marks[1]))
    decorated = pipeline(Script(1))
    for _ in range(5):
        await pipeline.execute(Script(1))
        await decorated()
        async with pipeline:
            pass
    assert [mark.links for mark in marks[:2]] == [1, 1]


async def test_a_policy_of_ones_own_may_run_a_pipeline(marks, events):
    """``run`` of a pipeline takes the rest of another one, and links it only once."""

    class Around(Policy):
        def __init__(self, inner):
            self.inner = inner

        async def run(self, call, proceed):
            return await self.inner.run(call, proceed)

    pipeline = Pipeline(Around(Pipeline(marks[0])), marks[1])
    for _ in range(3):
        assert await pipeline.execute(Script("fine")) == "fine"
    assert events == ["+a", "+b", "-b", "-a"] * 3
    assert marks[0].links == 1


async def test_every_policy_alone_is_a_pipeline():
    """``CircuitBreaker()`` alone has all ways in."""
    breaker = CircuitBreaker(1)
    assert await breaker.execute(Script("fine")) == "fine"
    assert await breaker(Script("fine"))() == "fine"
    async with breaker as attempt:
        assert attempt.number == 1
    async for attempt in breaker:
        async with attempt:
            pass
    assert await breaker.bind(key=1).execute(Script("fine")) == "fine"


def test_what_it_is_made_of():
    """Policies and name can be read; the policies are a tuple, in their order."""
    policies = (Timeout(1), Retry(2))
    pipeline = Pipeline(*policies, name="db")
    assert pipeline.policies == policies
    assert pipeline.name == "db"
    assert (Pipeline().policies, Pipeline().name) == ((), None)


def test_find_gives_the_outermost():
    """The first of a type is found, in nested pipelines too, by a base class too."""
    outer, inner = Timeout(30), Timeout(1)
    breaker = CircuitBreaker()
    pipeline = Pipeline(Pipeline(outer), Retry(3), Pipeline(Pipeline(breaker), inner))
    assert pipeline.find(Timeout) is outer
    assert pipeline.find(CircuitBreaker) is breaker
    assert pipeline.find(Policy) is pipeline.policies[0]
    assert pipeline.find(Pipeline) is pipeline.policies[0]


def test_find_says_what_is_missing():
    """A type that is not there is named, with the pipeline."""
    with pytest.raises(LookupError, match=r"Pipeline\(Timeout\(1\)\) has no Bulkhead"):
        Pipeline(Timeout(1)).find(Bulkhead)


def test_it_shows_what_it_is_made_of(marks):
    """The repr is the expression that makes it."""
    assert repr(Pipeline()) == "Pipeline()"
    assert repr(Pipeline(Timeout(1), marks[0])) == "Pipeline(Timeout(1), Mark('a'))"
    assert repr(Pipeline(Pipeline(Bulkhead(2)), name="db")) == (
        "Pipeline(Pipeline(Bulkhead(2)), name='db')"
    )


async def test_it_matters_if_one_of_its_policies_does():
    """A pipeline for a key is not forgotten while its circuit is open."""
    breaker = CircuitBreaker(1)
    keyed = Keyed(lambda key: Pipeline(Bulkhead(1), Pipeline(breaker)))
    await keyed.bind(key=1).execute(Script(1))
    assert not Pipeline(keyed).matters(0.0)
    breaker.isolate()
    assert Pipeline(keyed).matters(0.0)
    assert not Pipeline(Timeout(1), Retry(2)).matters(0.0)


@pytest.mark.parametrize(
    "wrong,shown",
    [
        (Retry, "right: Pipeline(Retry(...), ...)"),
        (Retry(), None),
        ([Retry()], "not [Retry("),
        (None, "not None"),
        (Script(1), "not <tests.doubles.Script"),
    ],
    ids=["a class", "a policy", "a list", "None", "a function"],
)
def test_what_is_no_policy_is_named(wrong, shown):
    """The position is named, and for a class the right call is shown."""
    if shown is None:
        assert Pipeline(Timeout(1), wrong)
        return
    with pytest.raises(TypeError) as caught:
        Pipeline(Timeout(1), wrong)
    assert str(caught.value).startswith("policies[1] must be a Policy, not ")
    assert shown in str(caught.value)


async def test_a_classifier_of_a_nested_pipeline_is_not_left_behind():
    """The classifier of one call says nothing about the next."""
    inner = Pipeline(classify=Classifier(results=lambda value: value == "bad"))
    script, plain = Script("bad"), Script("bad")
    retry = Retry(3, backoff=0)
    await Pipeline(retry, inner).execute(script)
    await Pipeline(retry).execute(plain)
    assert (script.calls, plain.calls) == (3, 1)
