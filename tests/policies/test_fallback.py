"""Fallback: another answer where a call fails."""

from __future__ import annotations

import sys

import anyio
import pytest

from seawall import (
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Classifier,
    Fallback,
    Pipeline,
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
