"""What each outcome means: the whole table of verdicts, and whoever changes it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import httpx2
import pytest
import trio

from seawall import (
    Bulkhead,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Classifier,
    DeadlineError,
    Kind,
    Outcome,
    Pipeline,
    RejectedError,
    Retry,
    Timeout,
    UsageError,
    Verdict,
)
from tests.doubles import Held, Script, Witness, turns, virtual
from tests.virtual_time import run

SUCCESS, FAILURE, NEUTRAL = Kind.SUCCESS, Kind.FAILURE, Kind.NEUTRAL


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


def judge(outcome: Any, **settings: Any) -> Verdict:
    """Return the verdict that a policy sees on an outcome of the function."""
    witness = Witness()

    async def main() -> None:
        pipeline = Pipeline(witness, **settings)
        if isinstance(outcome, BaseException):
            with pytest.raises(type(outcome)) as caught:
                await pipeline.execute(Script(outcome))
            assert caught.value is outcome
        else:
            assert await pipeline.execute(Script(outcome)) is outcome

    run(main())
    return witness.verdict


# Values.


@pytest.mark.parametrize(
    "value", [None, 0, False, "text", [], ValueError, SimpleNamespace(status_code=500)]
)
def test_a_value_is_a_success(value):
    """Whatever is returned is a SUCCESS that is not repeated, unless a classifier knows better."""
    witness = Witness()

    async def function() -> Any:
        return value

    assert run(Pipeline(witness).execute(function)) is value
    assert witness.verdict == Verdict(SUCCESS)


# Exceptions by their class.


class AppError(Exception):
    """An error of the user's own."""


@pytest.mark.parametrize(
    "error",
    [
        Exception(),
        AppError("boom"),
        ValueError(),
        KeyError("k"),
        OSError(),
        ConnectionResetError(),
        RuntimeError(),
        RecursionError(),
        EOFError(),
        ImportError(),
    ],
    ids=repr,
)
def test_an_exception_is_a_failure_that_may_heal(error):
    """An exception is a FAILURE and retryable, and not known to be harmless to repeat."""
    assert judge(error) == Verdict(FAILURE, retryable=True)


def raised_from(cause):
    """Return an exception as a client raises it from a cause."""
    error = OSError("made up")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error, timed_out",
    [
        (TimeoutError(), True),
        (raised_from(TimeoutError()), True),
        (raised_from(raised_from(TimeoutError())), True),
        (raised_from(ValueError()), False),
        (ExceptionGroup("", [OSError(), TimeoutError()]), True),
        (ExceptionGroup("", [OSError(), ValueError()]), False),
    ],
    ids=["builtin", "raised from one", "from one from one", "from another", "group", "other group"],
)
def test_an_exception_that_says_that_there_was_no_answer_in_time(error, timed_out):
    """A ``TimeoutError``, and what a client raised from one, is a failure that timed out."""
    assert judge(error) == Verdict(FAILURE, retryable=True, timed_out=timed_out)


def test_a_circle_of_causes_has_an_end():
    """An exception that is its own cause, by mistake, is judged all the same."""
    error = OSError("made up")
    error.__cause__ = error
    assert not judge(error).timed_out


def test_a_refused_connection_was_never_processed():
    """A connection that was refused did no work, so even what is not idempotent may be repeated."""
    assert judge(ConnectionRefusedError()) == Verdict(FAILURE, retryable=True, unprocessed=True)


class OwnTypeError(TypeError):
    """A programming error by inheritance."""


@pytest.mark.parametrize(
    "error",
    [
        TypeError(),
        AttributeError(),
        NameError(),
        UnboundLocalError(),
        AssertionError(),
        NotImplementedError(),
        OwnTypeError(),
    ],
    ids=repr,
)
def test_a_programming_error_is_neutral_and_never_repeated(error):
    """A bug in the caller's code says nothing about the dependency, and repeating heals no bug."""
    assert judge(error) == Verdict(NEUTRAL)


# HTTP statuses that exceptions carry.


class StatusCodeError(Exception):
    """As of openai and anthropic."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.status_code = status
        self.headers = headers or {}


class StatusError(Exception):
    """As of aiohttp."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.headers = headers or {}


class ResponseError(Exception):
    """As of httpx and requests."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.response = SimpleNamespace(status_code=status, headers=headers or {})


CARRIERS = [StatusCodeError, StatusError, ResponseError]


def expected_verdict(status: int) -> Verdict:
    """The table, written once more."""
    if status in (429, 529):
        return Verdict(NEUTRAL, retryable=True, throttled=True, unprocessed=True)
    if status in (501, 505):
        return Verdict(SUCCESS)
    if status >= 500:
        return Verdict(FAILURE, retryable=True)
    return Verdict(SUCCESS, retryable=status in (408, 425))


@pytest.mark.parametrize("carrier", CARRIERS)
def test_an_exception_that_carries_a_status_is_judged_by_it(carrier):
    """Each status from 400 to 599 has its verdict, whichever attribute carries it."""
    wrong = {
        status: verdict
        for status in range(400, 600)
        if (verdict := judge(carrier(status))) != expected_verdict(status)
    }
    assert wrong == {}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("status", [0, -1, 100, 200, 302, 399, 600, 1000, True, "503", 503.0, None])
def test_what_is_no_error_status_is_judged_by_the_class(carrier, status):
    """A status outside 400 to 599, or what is no int at all, leaves the exception a FAILURE."""
    assert judge(carrier(status)) == Verdict(FAILURE, retryable=True)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_status_may_be_of_an_enum(carrier):
    """``HTTPStatus`` members are statuses."""
    assert judge(carrier(HTTPStatus.NOT_FOUND)) == Verdict(SUCCESS)


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(
    "status,header,verdict",
    [
        (503, "7", Verdict(FAILURE, retryable=True, throttled=True, retry_after=7.0)),
        (500, "7", Verdict(FAILURE, retryable=True, retry_after=7.0)),
        (502, "7", Verdict(FAILURE, retryable=True, retry_after=7.0)),
        (599, "7", Verdict(FAILURE, retryable=True, retry_after=7.0)),
        (600, "7", Verdict(FAILURE, retryable=True)),
        (429, "7", Verdict(NEUTRAL, True, True, 7.0, True)),
        (529, "7", Verdict(NEUTRAL, True, True, 7.0, True)),
        (408, "7", Verdict(SUCCESS, retryable=True, retry_after=7.0)),
        (404, "7", Verdict(SUCCESS)),
        (501, "7", Verdict(SUCCESS)),
        (429, "0", Verdict(NEUTRAL, True, True, None, True)),
        (503, "0", Verdict(FAILURE, retryable=True)),
        (503, "soon", Verdict(FAILURE, retryable=True)),
    ],
)
def test_retry_after_is_read_from_the_headers(carrier, status, header, verdict):
    """The header of whatever carries the status is on the verdict; a header of 0 is no header."""
    assert judge(carrier(status, {"Retry-After": header})) == verdict


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("status", [400, 404, 408, 425, 429, 500, 501, 502, 503, 504, 505, 529])
def test_errors_of_raise_for_status_are_judged_by_the_status(library, status):
    """The real errors of httpx and httpx2 are judged like any other that carries a status."""
    headers = {"Retry-After": "2"}
    response = library.Response(status, headers=headers, request=library.Request("GET", "http://a"))
    with pytest.raises(library.HTTPStatusError) as caught:
        response.raise_for_status()
    verdict = judge(caught.value)
    assert verdict[:2] == expected_verdict(status)[:2]
    assert verdict.throttled == (status in (429, 503, 529))
    assert verdict.retry_after == (2.0 if verdict.retryable else None)


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("name", ["ConnectError", "ReadTimeout", "PoolTimeout", "ReadError"])
def test_transport_errors_are_failures(library, name):
    """An httpx error without a response is judged by its class, though it has a request."""
    assert judge(getattr(library, name)("text")) == Verdict(FAILURE, retryable=True)


def test_an_attribute_that_raises_does_not_hide_the_error():
    """Attributes of foreign exceptions may do what they like: the user still gets the exception."""

    class OddError(Exception):
        @property
        def response(self) -> object:
            raise RuntimeError("the request has not been sent")

    class OdderError(Exception):
        @property
        def status_code(self) -> int:
            raise ValueError

    assert judge(OddError()) == Verdict(FAILURE, retryable=True)
    assert judge(OdderError()) == Verdict(FAILURE, retryable=True)


# Groups.

TOO_MANY = StatusCodeError(429, {"Retry-After": "3"})
BUSY = StatusCodeError(503, {"Retry-After": "2"})


@pytest.mark.parametrize(
    "leaves,verdict",
    [
        ([ValueError(), OSError()], Verdict(FAILURE, retryable=True)),
        ([ValueError(), TypeError()], Verdict(FAILURE)),
        ([TypeError(), AssertionError()], Verdict(NEUTRAL)),
        ([StatusError(404), StatusError(404)], Verdict(SUCCESS)),
        ([StatusError(404), ValueError()], Verdict(FAILURE)),
        ([StatusError(404), TypeError()], Verdict(SUCCESS)),
        ([TOO_MANY, StatusCodeError(429)], Verdict(NEUTRAL, True, True, 3.0, True)),
        ([TOO_MANY, ValueError()], Verdict(FAILURE, True, True, 3.0)),
        ([BUSY, TOO_MANY, BUSY], Verdict(FAILURE, True, True, 3.0)),
        ([ConnectionRefusedError()], Verdict(FAILURE, True, unprocessed=True)),
        ([ConnectionRefusedError(), OSError()], Verdict(FAILURE, True)),
        ([BulkheadFullError(), BulkheadFullError()], Verdict(NEUTRAL, unprocessed=True)),
        ([BulkheadFullError(), ValueError()], Verdict(FAILURE)),
        ([ExceptionGroup("inner", [ValueError(), TypeError()])], Verdict(FAILURE)),
        ([ExceptionGroup("inner", [TypeError()]), TypeError()], Verdict(NEUTRAL)),
        ([ExceptionGroup("inner", [OSError()]), ValueError()], Verdict(FAILURE, True)),
    ],
)
def test_a_group_is_judged_by_all_its_leaves(leaves, verdict):
    """It is a FAILURE if one leaf is, NEUTRAL if all are, retryable only if all are."""
    assert judge(ExceptionGroup("several", leaves)) == verdict


def test_a_group_with_an_interrupt_is_not_repeated():
    """A failure beside a KeyboardInterrupt counts as a FAILURE, and nothing repeats it."""
    group = BaseExceptionGroup("several", [ValueError(), KeyboardInterrupt()])
    assert judge(group) == Verdict(FAILURE)


# Refusals, wrong uses, timeouts.

REFUSALS = [RejectedError, CircuitOpenError, BulkheadFullError, DeadlineError]


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_is_neutral_and_not_repeated(kind):
    """A local refusal says nothing about the dependency; it says when to come back."""
    assert judge(kind(retry_after=2.0)) == Verdict(NEUTRAL, retry_after=2.0, unprocessed=True)
    assert judge(kind()) == Verdict(NEUTRAL, unprocessed=True)


def test_a_wrong_use_is_neutral():
    """A ``UsageError`` is a mistake in the caller's code."""
    assert judge(UsageError("wrong")) == Verdict(NEUTRAL)


def test_neither_refusals_nor_wrong_uses_are_shown_to_a_classifier():
    """Refusals, wrong uses and timeouts are the core's to judge."""
    seen: list[Outcome] = []

    def classify(outcome: Outcome) -> Verdict:
        seen.append(outcome)
        return Verdict(FAILURE, retryable=True)

    for error in (*[kind() for kind in REFUSALS], UsageError(), CallTimeoutError(1.0)):
        judge(error, classify=classify)
    assert seen == []


@pytest.mark.anyio
async def test_a_refusal_of_this_pipeline_is_neutral():
    """What a bulkhead further inside refuses is NEUTRAL for who is outside of it."""
    witness = Witness()
    held = Held()
    pipeline = Pipeline(witness, Bulkhead(1))
    async with anyio.create_task_group() as group:
        group.start_soon(pipeline.execute, held)
        await turns()
        with pytest.raises(BulkheadFullError):
            await pipeline.execute(held)
        held.let_go()
    assert witness.verdicts == [Verdict(NEUTRAL, unprocessed=True), Verdict(SUCCESS)]


@pytest.mark.anyio
async def test_a_refusal_of_an_inner_pipeline_is_neutral():
    """A refusal by a pipeline that the function calls is no failure of the outer dependency."""
    inner = CircuitBreaker(1)
    outer = CircuitBreaker(1)
    inner.isolate()

    async def function() -> None:
        await inner.execute(Script(1))

    for _ in range(5):
        with pytest.raises(CircuitOpenError) as caught:
            await outer.execute(function)
        assert caught.value.policy is inner
    assert outer.state.value == "closed"


@pytest.mark.anyio
async def test_a_timeout_is_a_failure_on_both_sides():
    """Outside of the ``Timeout`` it is a FAILURE that may heal, inside the dependency hung."""
    outside, inside = Witness(), Witness()
    with pytest.raises(CallTimeoutError):
        await Pipeline(outside, Timeout(1), inside).execute(anyio.sleep, 5)
    assert outside.verdict == Verdict(FAILURE, retryable=True, timed_out=True)
    assert inside.verdict == Verdict(FAILURE, timed_out=True)


@pytest.mark.anyio
async def test_a_timeout_of_an_inner_pipeline_is_a_failure():
    """A ``CallTimeoutError`` that the function raises is a FAILURE that may heal."""
    witness = Witness()
    with pytest.raises(CallTimeoutError):
        await Pipeline(witness).execute(Timeout(1).execute, anyio.sleep, 5)
    assert witness.verdict == Verdict(FAILURE, retryable=True, timed_out=True)


def test_a_stalled_call_is_not_repeated():
    """What a circuit ended because it stalled is a FAILURE, and nobody sends it again."""
    assert judge(CallTimeoutError(1.0, phase="stalled")) == Verdict(FAILURE, timed_out=True)


# Cancellations.


@pytest.mark.anyio
async def test_cancelled_by_an_outer_timeout_of_the_same_pipeline():
    """It is a FAILURE for the policies inside whichever of several timeouts fired."""
    witnesses = [Witness(), Witness()]
    pipeline = Pipeline(Timeout(1), witnesses[0], Timeout(10), witnesses[1])
    with pytest.raises(CallTimeoutError):
        await pipeline.execute(anyio.sleep, 50)
    assert [witness.verdict for witness in witnesses] == [Verdict(FAILURE, timed_out=True)] * 2


@pytest.mark.anyio
async def test_cancelled_by_a_timeout_around_the_calling_function():
    """The timeout may be of another pipeline, around the function that makes the call."""
    witness = Witness()
    inner = Pipeline(witness)

    async def handler() -> None:
        await inner.execute(anyio.sleep, 50)

    with pytest.raises(CallTimeoutError):
        await Timeout(1).execute(handler)
    assert witness.verdict == Verdict(FAILURE, timed_out=True)


@pytest.mark.anyio
async def test_cancelled_by_a_timeout_around_a_group_of_tasks():
    """The same holds in the child tasks of the function that the timeout is around."""
    witness = Witness()
    inner = Pipeline(witness)

    async def handler() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(inner.execute, anyio.sleep, 50)
            group.start_soon(inner.execute, anyio.sleep, 50)

    with pytest.raises(CallTimeoutError):
        await Timeout(1).execute(handler)
    assert witness.verdicts == [Verdict(FAILURE, timed_out=True)] * 2


@pytest.mark.anyio
async def test_cancelled_inside_a_group_of_exceptions():
    """A timeout's cancellation is found among the leaves of a group."""
    witness = Witness()

    async def function() -> None:
        try:
            await anyio.sleep(50)
        except anyio.get_cancelled_exc_class() as cancelled:
            raise BaseExceptionGroup("from a nursery", [cancelled]) from None

    with pytest.raises((CallTimeoutError, BaseExceptionGroup)):
        await Pipeline(Timeout(1), witness).execute(function)
    assert witness.verdict == Verdict(FAILURE, timed_out=True)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_cancelled_inside_a_nursery_of_trio():
    """Whatever form a nursery gives the cancellations of its tasks, it is a FAILURE."""
    witness = Witness()

    async def function() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 50)
            nursery.start_soon(trio.sleep, 60)
            await trio.sleep(70)

    with pytest.raises(CallTimeoutError):
        await Pipeline(Timeout(1), witness).execute(function)
    assert witness.verdict == Verdict(FAILURE, timed_out=True)


@pytest.mark.anyio
async def test_a_timeout_while_waiting_for_a_slot_is_neutral():
    """A call that was still queued never reached the dependency, so nothing hung."""
    witness = Witness()
    held = Held()
    bulkhead = Bulkhead(1, queue=1)
    async with anyio.create_task_group() as group:
        group.start_soon(bulkhead.execute, held)
        await turns()
        with pytest.raises(CallTimeoutError):
            await Pipeline(Timeout(1), witness, bulkhead).execute(held)
        assert witness.verdict == Verdict(NEUTRAL)
        held.let_go()
    assert held.calls == 1


@pytest.mark.anyio
async def test_a_timeout_while_an_inner_pipeline_waits_is_neutral():
    """The same holds where the function calls another pipeline, and that one waits."""
    witness = Witness()
    held = Held()
    bulkhead = Bulkhead(1, queue=1)
    async with anyio.create_task_group() as group:
        group.start_soon(bulkhead.execute, held)
        await turns()
        with pytest.raises(CallTimeoutError):
            await Pipeline(Timeout(1), witness).execute(bulkhead.execute, held)
        assert witness.verdict == Verdict(NEUTRAL)
        held.let_go()


@pytest.mark.anyio
async def test_after_waiting_for_a_slot_the_function_can_hang():
    """A call that waited and then hung is a FAILURE: only the wait itself is neutral."""
    witness = Witness()
    first = Held()
    bulkhead = Bulkhead(1, queue=1)

    async def let_go_later() -> None:
        await anyio.sleep(1)
        first.let_go()

    async with anyio.create_task_group() as group:
        group.start_soon(bulkhead.execute, first)
        group.start_soon(let_go_later)
        await turns()
        with pytest.raises(CallTimeoutError):
            await Pipeline(Timeout(3), witness, bulkhead).execute(anyio.sleep, 50)
    assert witness.verdict == Verdict(FAILURE, timed_out=True)


@pytest.mark.anyio
async def test_a_cancellation_by_the_caller_is_neutral():
    """A caller that goes away says nothing about the dependency, and is never swallowed."""
    witness = Witness()
    script = Held()
    with anyio.move_on_after(1) as scope:
        await Pipeline(Timeout(10), Retry(3), witness).execute(script)
    assert scope.cancelled_caught
    assert script.calls == 1
    assert witness.verdict == Verdict(NEUTRAL)


def test_a_cancelled_task_is_neutral():
    """``Task.cancel()`` and ``asyncio.timeout`` are not ours to count."""
    witness = Witness()

    async def main() -> None:
        task = asyncio.create_task(Pipeline(Retry(3), witness).execute(asyncio.sleep, 50))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(1):
                await Pipeline(Retry(3), witness).execute(asyncio.sleep, 50)
        assert not isinstance(caught.value, CallTimeoutError)

    run(main())
    assert witness.verdicts == [Verdict(NEUTRAL)] * 2


def test_a_timeout_that_has_ended_cancels_nobody():
    """A task that outlives the call which started it is judged without that call's timeout."""
    witness = Witness()

    async def main() -> None:
        async def start() -> asyncio.Task[None]:
            return asyncio.create_task(Pipeline(witness).execute(asyncio.sleep, 50))

        task = await Timeout(1).execute(start)
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert witness.verdict == Verdict(NEUTRAL)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_an_interrupt_is_neutral_and_never_repeated(kind):
    """What is no ``Exception`` passes at once, as it is."""
    witness = Witness()
    error = kind()
    script = Script(error)
    with pytest.raises(kind) as caught:
        await Pipeline(Retry(3, on=BaseException), witness).execute(script)
    assert caught.value is error
    assert script.calls == 1
    assert witness.verdict == Verdict(NEUTRAL)


def test_a_cancellation_that_the_function_raises_itself_is_neutral():
    """A ``CancelledError`` without a timeout is NEUTRAL wherever it came from."""
    assert judge(asyncio.CancelledError()) == Verdict(NEUTRAL)


# Classifiers.


class NotFoundError(Exception):
    """No failure for whoever asked."""


@pytest.mark.parametrize(
    "error,verdict",
    [
        (OSError(), Verdict(FAILURE, retryable=True)),
        (ConnectionResetError(), Verdict(FAILURE, retryable=True)),
        (ValueError(), Verdict(SUCCESS)),
        (StatusError(503), Verdict(SUCCESS)),
        (TypeError(), Verdict(NEUTRAL)),
        (ExceptionGroup("", [OSError(), ValueError()]), Verdict(FAILURE)),
        (ExceptionGroup("", [ValueError(), KeyError()]), Verdict(SUCCESS)),
    ],
    ids=repr,
)
def test_what_is_not_among_the_failures_is_a_success(error, verdict):
    """With ``failures`` any other exception says that the dependency answered."""
    assert judge(error, classify=Classifier(failures=(OSError,))) == verdict


def test_a_failure_that_carries_a_status_keeps_what_the_status_says():
    """``failures`` may make a 404 a FAILURE; it still does not heal by repeating."""
    classify = Classifier(failures=StatusError)
    assert judge(StatusError(404), classify=classify) == Verdict(FAILURE)
    assert judge(StatusError(503), classify=classify) == Verdict(FAILURE, retryable=True)
    assert judge(StatusError(429), classify=classify)[:3] == (FAILURE, True, True)


def test_a_programming_error_may_be_named_as_a_failure():
    """A library that raises ``TypeError`` for a bad answer can have it counted."""
    classify = Classifier(failures=(TypeError,))
    assert judge(TypeError(), classify=classify) == Verdict(FAILURE, retryable=True)


@pytest.mark.parametrize("error", [NotFoundError(), StatusError(503)], ids=repr)
def test_what_is_ignored_is_neutral(error):
    """``ignore`` outranks the failures and the status."""
    classify = Classifier(failures=Exception, ignore=(NotFoundError, StatusError))
    assert judge(error, classify=classify) == Verdict(NEUTRAL)
    assert judge(ValueError(), classify=classify) == Verdict(FAILURE, retryable=True)


def test_results_can_be_failures():
    """``results`` makes a value a FAILURE that is repeated."""
    classify = Classifier(results=lambda value: value < 0)
    assert judge(-1, classify=classify) == Verdict(FAILURE, retryable=True)
    assert judge(1, classify=classify) == Verdict(SUCCESS)
    assert judge(ValueError(), classify=classify) == Verdict(FAILURE, retryable=True)


def test_retry_after_can_be_read_from_the_users_own_errors_and_results():
    """It is asked for what may be repeated, and a negative answer means at once."""
    waits = {ValueError: 7.0, KeyError: None, OSError: -3.0}
    asked: list[object] = []

    def retry_after(outcome: Any) -> float | None:
        asked.append(outcome)
        return 9.0 if outcome == "busy" else waits[type(outcome)]

    classify = Classifier(results=lambda value: value == "busy", retry_after=retry_after)
    assert judge(ValueError(), classify=classify).retry_after == 7.0
    assert judge(KeyError(), classify=classify).retry_after is None
    assert judge(OSError(), classify=classify).retry_after == 0.0
    assert judge("busy", classify=classify).retry_after == 9.0
    assert len(asked) == 4
    judge("fine", classify=classify)
    judge(TypeError(), classify=classify)
    assert len(asked) == 4


def test_retry_after_of_the_user_outranks_the_header():
    """The user knows the dependency better than the default rules do."""
    error = StatusError(503, {"Retry-After": "7"})
    assert judge(error, classify=Classifier(retry_after=lambda _: 1.0)).retry_after == 1.0
    assert judge(error, classify=Classifier(retry_after=lambda _: None)).retry_after == 7.0


def test_any_callable_can_classify():
    """A bare function gets an ``Outcome`` and returns a ``Verdict``."""
    seen: list[Outcome] = []
    verdict = Verdict(FAILURE, True, True, 2.5, True)

    def classify(outcome: Outcome) -> Verdict:
        seen.append(outcome)
        return verdict

    error = ValueError()
    assert judge("value", classify=classify) is verdict
    assert judge(error, classify=classify) is verdict
    assert seen == [Outcome(value="value"), Outcome(exception=error)]
    assert seen[0].exception is None
    assert seen[1].value is None


def test_a_classifier_sees_the_leaves_of_a_group():
    """It judges exceptions one by one, whatever group they come in."""
    seen: list[object] = []

    def classify(outcome: Outcome) -> Verdict:
        seen.append(outcome.exception)
        return Verdict(SUCCESS)

    leaves = [ValueError(), OSError()]
    judge(ExceptionGroup("", [leaves[0], ExceptionGroup("", [leaves[1]])]), classify=classify)
    assert seen == leaves


@pytest.mark.parametrize("outcome", ["value", ValueError("the function's")], ids=repr)
def test_a_classifier_that_raises_makes_the_attempt_neutral(outcome):
    """Its exception propagates as it is, the circuit counts nothing, and nothing is repeated."""
    problem = LookupError("the classifier's")
    breaker = CircuitBreaker(1)
    outer, script = Witness(), Script(outcome)

    def classify(_: Outcome) -> Verdict:
        raise problem

    async def main() -> None:
        with pytest.raises(LookupError) as caught:
            pipeline = Pipeline(outer, Retry(3), breaker, classify=classify)
            await pipeline.execute(script)
        assert caught.value is problem

    run(main())
    assert outer.verdict == Verdict(NEUTRAL)
    assert breaker.state.value == "closed"
    assert script.calls == 1


@pytest.mark.parametrize("answer", [None, True, Kind.FAILURE, "failure", (Kind.FAILURE,)], ids=repr)
def test_a_classifier_that_returns_no_verdict_is_shown_how(answer):
    """The error names the classifier and what it returned, and shows the right way."""

    def classify(_: Outcome) -> Any:
        return answer

    async def main() -> None:
        with pytest.raises(UsageError) as caught:
            await Pipeline(CircuitBreaker(1), classify=classify).execute(Script(1))
        text = str(caught.value)
        assert "classify" in text
        assert repr(answer) in text
        assert "right: classify=Classifier(" in text

    run(main())


def test_the_innermost_classifier_decides_for_all_outside_of_it():
    """Of nested pipelines the inner one's classifier is asked, and no other."""

    def outer_classify(_: Outcome) -> Verdict:
        raise AssertionError("not asked")

    witnesses = [Witness(), Witness(), Witness()]
    pipeline = Pipeline(
        witnesses[0],
        Pipeline(witnesses[1], Pipeline(witnesses[2]), classify=Classifier(ignore=ValueError)),
        classify=outer_classify,
    )

    async def main() -> None:
        with pytest.raises(ValueError):
            await pipeline.execute(Script(ValueError))

    run(main())
    assert [witness.verdict for witness in witnesses] == [Verdict(NEUTRAL)] * 3


def test_without_an_inner_classifier_the_outer_one_decides():
    """A nested pipeline without a classifier of its own is judged by the one around it."""
    witnesses = [Witness(), Witness()]
    pipeline = Pipeline(
        witnesses[0], Pipeline(witnesses[1]), classify=Classifier(ignore=ValueError)
    )

    async def main() -> None:
        with pytest.raises(ValueError):
            await pipeline.execute(Script(ValueError))

    run(main())
    assert [witness.verdict for witness in witnesses] == [Verdict(NEUTRAL)] * 2


@pytest.mark.anyio
async def test_each_attempt_is_classified_once():
    """However many policies read the verdict, the classifier is asked once per attempt."""
    asked: list[Outcome] = []

    def classify(outcome: Outcome) -> Verdict:
        asked.append(outcome)
        bad = outcome.exception is not None or outcome.value == "bad"
        return Verdict(FAILURE, retryable=True) if bad else Verdict(SUCCESS)

    witness = Witness()
    pipeline = Pipeline(
        Retry(5, backoff=0, budget=None),
        CircuitBreaker(),
        Bulkhead(1),
        CircuitBreaker(),
        Timeout(5),
        witness,
        classify=classify,
    )
    errors = [ValueError(), ValueError()]
    assert await pipeline.execute(Script(*errors, "bad", "bad", "fine")) == "fine"
    assert asked == [
        *[Outcome(exception=error) for error in errors],
        *[Outcome(value=value) for value in ("bad", "bad", "fine")],
    ]
    assert len(witness.verdicts) == 5


@pytest.mark.anyio
async def test_the_same_object_is_classified_anew_in_each_attempt():
    """A function that returns or raises one object twice has made two attempts."""
    asked = []

    def classify(outcome: Outcome) -> Verdict:
        asked.append(outcome)
        return Verdict(FAILURE, retryable=True) if len(asked) < 4 else Verdict(SUCCESS)

    error = ValueError()
    pipeline = Pipeline(Retry(9, backoff=0), CircuitBreaker(), classify=classify)
    assert await pipeline.execute(Script(error, error, None, None)) is None
    assert len(asked) == 4


@pytest.mark.anyio
async def test_what_a_policy_puts_in_place_of_an_outcome_is_judged_itself():
    """A timeout that the function met with an answer of its own stays an answer."""
    asked: list[Outcome] = []

    def classify(outcome: Outcome) -> Verdict:
        asked.append(outcome)
        return Verdict(SUCCESS)

    outside, inside = Witness(), Witness()
    with pytest.raises(CallTimeoutError):
        await Pipeline(outside, Timeout(1), inside, classify=classify).execute(anyio.sleep, 5)
    assert inside.verdict == Verdict(FAILURE, timed_out=True)
    assert outside.verdict == Verdict(FAILURE, retryable=True, timed_out=True)
    assert asked == []


@pytest.mark.parametrize("policies", [(), (Retry(2, backoff=0), CircuitBreaker(9), Timeout(5))])
def test_a_failed_call_leaves_no_reference_cycle(policies):
    """The exception, and all that its frames hold, is freed without the garbage collector."""

    class Payload(Exception):
        pass

    async def function() -> None:
        raise Payload

    async def main() -> weakref.ref[Payload]:
        try:
            await Pipeline(*policies).execute(function)
        except Payload as error:
            return weakref.ref(error)
        raise AssertionError

    gc.collect()
    gc.disable()
    try:
        assert run(main())() is None
    finally:
        gc.enable()


def test_a_verdict_is_a_plain_record():
    """A verdict has defaults, can be compared and copied, and says its fields by name."""
    verdict = Verdict(Kind.FAILURE)
    assert verdict == (Kind.FAILURE, False, False, None, False, False)
    assert verdict._replace(retryable=True).retryable
    assert [kind.value for kind in Kind] == ["success", "failure", "neutral"]
