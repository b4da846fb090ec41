"""Fallback: another answer where a call fails."""

from __future__ import annotations

import asyncio
import sys

import anyio
import pytest
import trio

from seawall import (
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Classifier,
    Fallback,
    Keyed,
    Pipeline,
    Policy,
    RejectedError,
    Retry,
    Timeout,
    UsageError,
)
from tests.doubles import Script, Witness, virtual

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


async def test_a_value_answers_for_an_error():
    """A fixed value is returned in place of any ``Exception``."""
    spare = object()
    fallback = Fallback(value=spare)
    assert await fallback.execute(Script(OSError("made up"))) is spare
    assert await fallback.execute(Script("fine")) == "fine"


@pytest.mark.parametrize("value", [None, False, 0, ""])
async def test_any_value_is_an_answer(value):
    """What is false, or ``None``, is an answer like any other."""
    assert await Fallback(value=value).execute(Script(OSError)) is value


async def test_a_function_gets_the_arguments_of_the_call():
    """Another model or another region is asked the same question; the error can be seen."""
    seen = []

    async def other(x, *, y):
        seen.append(sys.exception())
        await anyio.sleep(1)
        return x + y

    error = OSError("made up")
    assert await Fallback(other).execute(Script(error), 1, y=2) == 3
    assert seen == [error]


async def test_a_function_may_be_sync():
    """A function that is not async answers too."""
    assert await Fallback(lambda x: x * 2).execute(Script(OSError), 21) == 42


async def test_only_what_is_listed_is_answered_for():
    """Another error propagates, the same object."""
    fallback = Fallback(value="spare", on=(OSError, RejectedError))
    assert await fallback.execute(Script(ConnectionError)) == "spare"
    assert await fallback.execute(Script(CircuitOpenError)) == "spare"
    error = ValueError("made up")
    with pytest.raises(ValueError, match="made up") as caught:
        await fallback.execute(Script(error))
    assert caught.value is error


async def test_of_a_group_all_leaves_must_match():
    """A group is answered for only if each error in it is."""
    fallback = Fallback(value="spare", on=OSError)
    matching = ExceptionGroup("", [OSError(), ExceptionGroup("", [ConnectionError()])])
    assert await fallback.execute(Script(matching)) == "spare"
    mixed = ExceptionGroup("", [OSError(), ValueError()])
    with pytest.raises(ExceptionGroup) as caught:
        await fallback.execute(Script(mixed))
    assert caught.value is mixed


async def test_a_refusal_and_a_timeout_are_answered_for():
    """What policies further inside raise is answered like what the function raises."""
    breaker = CircuitBreaker(1)
    breaker.isolate()
    assert await Pipeline(Fallback(value="spare"), breaker).execute(Script(1)) == "spare"
    pipeline = Pipeline(Fallback(value="spare", on=CallTimeoutError), Timeout(1))
    assert await pipeline.execute(anyio.sleep, 5) == "spare"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit()], ids=repr)
async def test_an_interrupt_is_never_answered_for(error):
    """What is no ``Exception`` propagates, whatever ``on`` says."""
    with pytest.raises(type(error)) as caught:
        await Fallback(value="spare", on=BaseException).execute(Script(error))
    assert caught.value is error


async def test_a_cancellation_is_never_answered_for():
    """A caller who leaves gets no answer, and its cancellation is not swallowed."""
    answered = False
    with anyio.move_on_after(1) as scope:
        await Fallback(value="spare", on=BaseException).execute(anyio.sleep, 5)
        answered = True
    assert scope.cancelled_caught
    assert not answered


async def test_an_error_of_the_fallback_propagates():
    """The answer's own error is raised, and shows what it was to answer for."""
    first, second = OSError("first"), ValueError("second")
    with pytest.raises(ValueError, match="second") as caught:
        await Fallback(Script(second)).execute(Script(first))
    assert caught.value is second
    assert second.__context__ is first


async def test_the_answer_is_judged_in_place_of_the_error():
    """Outside of a fallback the call has succeeded, unless a classifier calls the answer bad."""
    witness, breaker = Witness(), CircuitBreaker(1)
    await Pipeline(witness, breaker, Fallback(value="spare")).execute(Script(OSError))
    assert witness.verdict.kind.value == "success"
    assert breaker.state.value == "closed"
    classify = Classifier(results=lambda value: value == "spare")
    script = Script(OSError)
    pipeline = Pipeline(Retry(3, backoff=0), Fallback(value="spare"), classify=classify)
    assert await pipeline.execute(script) == "spare"
    assert script.calls == 3


async def test_outside_of_a_retry_it_answers_when_the_attempts_are_spent():
    """The usual order: the dependency is asked again first."""
    script = Script(OSError)
    pipeline = Pipeline(Fallback(value="spare"), Retry(3, backoff=0))
    assert await pipeline.execute(script) == "spare"
    assert script.calls == 3


async def test_it_answers_for_a_block():
    """The exception of a block's body is swallowed, and the answer is the attempt's result."""
    fallback = Fallback(lambda: "spare")
    async with fallback as attempt:
        raise OSError("made up")
    assert attempt.result == "spare"


async def test_a_block_that_was_refused_cannot_be_skipped():
    """Where no body has run, the refusal is raised."""
    breaker = CircuitBreaker(1)
    breaker.isolate()
    with pytest.raises(CircuitOpenError):
        async with Pipeline(Fallback(value="spare"), breaker):
            pytest.fail("the body ran")


# Chains: several fallbacks, the one to be asked first innermost.


class Down(Exception):
    """An outage of one model or region, which it names."""


def region(name, *, down=True):
    """Return a function that answers for a region, or says that it is down."""

    async def ask(question, *, verbose=False):
        await anyio.sleep(1)
        if down:
            raise Down(name)
        return f"{name}: {question}, {verbose}"

    return ask


async def test_a_chain_asks_one_after_the_other():
    """Each next region is asked with the call's own arguments, until one answers."""
    pipeline = Pipeline(
        Fallback(value="nobody"), Fallback(region("us", down=False)), Fallback(region("asia"))
    )
    began = anyio.current_time()
    assert await pipeline.execute(region("eu"), "why", verbose=True) == "us: why, True"
    assert anyio.current_time() - began == 3
    asia, us = pipeline.policies[2].snapshot(), pipeline.policies[1].snapshot()
    assert (asia.used, asia.failed) == (1, 1)
    assert (us.used, us.failed) == (1, 0)


async def test_what_a_chain_raises_shows_all_errors():
    """If nobody answers, the last error propagates, and refers to those before it in order."""
    pipeline = Pipeline(Fallback(region("us")), Fallback(region("asia")))
    with pytest.raises(Down) as caught:
        await pipeline.execute(region("eu"), "why")
    names = []
    error = caught.value
    while error is not None:
        names.append(str(error))
        assert error.__cause__ is None
        error = error.__context__
    assert names == ["us", "asia", "eu"]


async def test_the_cause_of_an_error_stays():
    """A fallback that raises from another error keeps that as its cause."""
    reason, error = KeyError("made up"), OSError("made up")

    async def fails():
        raise ValueError("no answer") from reason

    for pipeline in (
        Pipeline(Fallback(fails)),
        Pipeline(Fallback(value=1, on=KeyError), Fallback(fails)),
    ):
        with pytest.raises(ValueError, match="no answer") as caught:
            await pipeline.execute(Script(error))
        assert caught.value.__cause__ is reason
        assert caught.value.__context__ is error


EACH = [
    (CircuitOpenError, "from the cache"),
    (CallTimeoutError, "the default"),
    (OSError, "out of order"),
    (ValueError, "out of order"),
    (ExceptionGroup("", [CallTimeoutError(1.0)]), "the default"),
    (ExceptionGroup("", [CallTimeoutError(1.0), OSError()]), "out of order"),
]


@pytest.mark.parametrize("number", range(len(EACH)))
async def test_each_exception_has_its_own_answer(number):
    """Fallbacks in a row, each with its ``on``: the innermost that matches answers."""
    error, answer = EACH[number]
    if isinstance(error, type):
        error = error(1.0) if error is CallTimeoutError else error()
    pipeline = Pipeline(
        Fallback(value="out of order"),
        Fallback(value="the default", on=CallTimeoutError),
        Fallback(lambda: "from the cache", on=CircuitOpenError),
    )
    assert await pipeline.execute(Script(error)) == answer
    assert sum(policy.used for policy in pipeline.policies) == 1


async def test_a_fallback_that_raises_what_the_next_is_for():
    """What a handler raises is answered by the next one out, by the type of the new error."""

    async def from_cache():
        raise KeyError("not cached")

    pipeline = Pipeline(
        Fallback(value="unknown", on=KeyError), Fallback(from_cache, on=CircuitOpenError)
    )
    assert await pipeline.execute(Script(CircuitOpenError)) == "unknown"
    with pytest.raises(OSError, match="made up"):
        await pipeline.execute(Script(OSError("made up")))


@pytest.mark.parametrize("way", ["raise", "raise sys.exception()"])
async def test_a_function_may_decline(way):
    """It looks at the error, and raises it again for the next one out."""
    error = OSError("made up")

    def decline():
        if way == "raise":
            raise  # noqa: PLE0704 - the handler is the fallback
        raise sys.exception()

    assert await Pipeline(Fallback(value="spare"), Fallback(decline)).execute(Script(error)) == (
        "spare"
    )
    with pytest.raises(OSError, match="made up") as caught:
        await Fallback(decline).execute(Script(error))
    assert caught.value is error


async def test_a_function_behind_a_pipeline_of_its_own():
    """The other region has its own retries and its own circuit; its story is on its error."""
    other = Pipeline(Retry(2, backoff=1), CircuitBreaker(4))
    scripts = Script(OSError("first"), "second try", OSError("made up"))

    @other
    async def ask(question):
        return await scripts(question)

    first = Down("eu")
    pipeline = Pipeline(Fallback(ask), Timeout(5))
    assert await pipeline.execute(Script(first), "why") == "second try"
    with pytest.raises(OSError, match="made up") as caught:
        await pipeline.execute(Script(first), "why")
    (note,) = caught.value.__notes__
    assert note == "seawall: gave up after 2 attempts: OSError, slept 1 s, OSError"
    assert caught.value.__context__ is first
    assert not hasattr(first, "__notes__")


async def test_a_cancellation_while_a_fallback_answers():
    """It reaches the caller, and no other fallback is asked."""
    ends = []

    async def hangs():
        try:
            await anyio.sleep_forever()
        finally:
            ends.append("hangs")

    pipeline = Pipeline(Fallback(lambda: ends.append("asked")), Fallback(hangs))
    with anyio.move_on_after(1) as scope:
        await pipeline.execute(Script(OSError))
    assert scope.cancelled_caught
    assert ends == ["hangs"]
    assert (pipeline.policies[1].used, pipeline.policies[1].failed) == (1, 0)


async def test_a_timeout_around_ends_the_answer_too():
    """The time of the call is for all of them together; outside of it, another may answer."""
    pipeline = Pipeline(Fallback(value="late"), Timeout(3), Fallback(anyio.sleep), Timeout(2))
    began = anyio.current_time()
    assert await pipeline.execute(anyio.sleep, 60) == "late"
    assert anyio.current_time() - began == 3


class Dawdler(Policy):
    """Lets time pass without giving the loop a turn, as blocking code does."""

    def __init__(self, seconds):
        self.seconds = seconds

    async def run(self, call, proceed):
        try:
            return await proceed(call)
        finally:
            pass_time(self.seconds)


def pass_time(seconds):
    try:
        asyncio.get_running_loop().now += seconds
    except RuntimeError:
        trio.lowlevel.current_clock().jump(seconds)


@pytest.mark.parametrize("seconds", [1, 2])
@pytest.mark.parametrize("answer", ["function", "value"])
async def test_after_the_deadline_no_function_is_begun(answer, seconds):
    """The error itself is raised; a value that is there is returned all the same."""
    asked = []
    fallback = Fallback(lambda: asked.append(1)) if answer == "function" else Fallback(value=1)
    pipeline = Pipeline(Timeout(1), fallback, Dawdler(seconds))
    error = OSError("made up")
    if answer == "value":
        assert await pipeline.execute(Script(error)) == 1
    else:
        with pytest.raises(OSError, match="made up") as caught:
            await pipeline.execute(Script(error))
        assert caught.value is error
        assert fallback.used == 0
    assert asked == []


@pytest.mark.parametrize(
    "on", [Exception, BaseException, TypeError, UsageError], ids=lambda on: on.__name__
)
async def test_wrong_use_is_never_answered_for(on):
    """A call that cannot work at all is shown to who wrote it, alone and in a group."""
    pipeline = Pipeline(Fallback(value="spare", on=on), Keyed(lambda key: CircuitBreaker()))
    with pytest.raises(UsageError, match="this call has no key"):
        await pipeline.execute(Script("never"))
    with pytest.raises(UsageError, match="cannot be awaited"):
        await Fallback(value="spare", on=on).execute(int)
    for other in (UsageError(), TypeError()):
        group = ExceptionGroup("made up", [other, UsageError("made up")])
        with pytest.raises(ExceptionGroup) as caught:
            await Fallback(value="spare", on=on).execute(Script(group))
        assert caught.value is group


async def test_a_loop_is_answered_for_when_it_gives_up():
    """All attempts are made first; the answer is the result of the last one."""
    asked = []

    def spare():
        asked.append(sys.exception())
        return "spare"

    numbers = []
    async for attempt in Pipeline(Fallback(spare), Retry(3, backoff=0)):
        async with attempt:
            numbers.append(attempt.number)
            raise OSError(str(attempt.number))
    assert numbers == [1, 2, 3]
    assert attempt.result == "spare"
    assert [str(error) for error in asked] == ["3"]


async def test_a_chain_answers_for_a_block():
    """Of several fallbacks around a block the innermost that matches answers."""
    pipeline = Pipeline(
        Fallback(value="last"), Fallback(Script(KeyError), on=OSError), Fallback(value=1, on=Down)
    )
    for error, answer in ((OSError(), "last"), (Down(), 1), (ValueError(), "last")):
        async with pipeline as attempt:
            raise error
        assert attempt.result == answer


async def test_the_answer_for_a_block_is_judged_too():
    """A retry around it sees the answer, as it does for a function."""
    pipeline = Pipeline(
        Retry(2, backoff=0),
        Fallback(value="bad"),
        classify=Classifier(results=lambda value: value == "bad"),
    )
    numbers = []
    async for attempt in pipeline:
        async with attempt:
            numbers.append(attempt.number)
            raise OSError("made up")
    assert numbers == [1, 2]


@pytest.mark.parametrize("arguments", [{}, {"function": print, "value": 1}])
def test_it_needs_a_function_or_a_value(arguments):
    """Both or neither is an error that shows the two right ways."""
    with pytest.raises(UsageError) as caught:
        Fallback(**arguments)
    assert "right: Fallback(from_cache)" in str(caught.value)
    assert "right: Fallback(value=None)" in str(caught.value)


def test_it_shows_its_settings():
    """The repr is what was asked for."""
    assert repr(Fallback(value=[])) == "Fallback(value=[], on=<class 'Exception'>)"
    assert repr(Fallback(len, on=OSError)).startswith("Fallback(<built-in function len>, on=")
