"""Retry: what it repeats, how long it waits, when it stops, and what it tells."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

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
    Policy,
    RejectedError,
    Retry,
    RetryBudget,
    Timeout,
    UsageError,
    Verdict,
    constant,
    linear,
)
from seawall.core.open_attempt import OpenAttempt
from tests.doubles import Script, Witness, virtual
from tests.virtual_time import run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


class ConnectError(Exception):
    """A failure that may heal."""


class ReadTimeout(Exception):
    """Another one."""


class BusyError(Exception):
    """Carries a status, and says when to come back."""

    def __init__(self, status: int = 429, retry_after: str | None = None) -> None:
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        self.response = SimpleNamespace(status_code=status, headers=headers)


def note_of(error: BaseException) -> str | None:
    """Return the only note of ours on an error, if it has one."""
    ours = [note for note in getattr(error, "__notes__", ()) if note.startswith("seawall: ")]
    assert len(ours) <= 1
    return ours[0].removeprefix("seawall: ") if ours else None


async def fails(policy: Policy, script: Any, *args: Any) -> BaseException:
    """Run a call that fails and return its exception."""
    with pytest.raises(BaseException) as caught:
        await policy.execute(script, *args)
    return caught.value


# Attempts.


async def test_it_repeats_until_it_succeeds():
    """The value of the first attempt that succeeds is returned, with the call's arguments."""
    script = Script(ConnectError, ConnectError, "fine")
    assert await Retry(5, backoff=0).execute(script, 1, a=2) == "fine"
    assert script.calls == 3


@pytest.mark.parametrize("attempts", [1, 2, 3, 7])
async def test_attempts_count_the_first(attempts):
    """``Retry(n)`` makes n attempts at most."""
    script = Script(ConnectError)
    await fails(Retry(attempts, backoff=0, budget=None), script)
    assert script.calls == attempts


async def test_three_attempts_with_jittered_backoff_are_the_default():
    """By default there are three attempts, after at most 0.1 s and 0.2 s."""
    script = Script(ConnectError)
    await fails(Retry(), script)
    assert script.calls == 3
    first, second = script.gaps
    assert 0 <= first <= 0.1
    assert 0 <= second <= 0.2


async def test_the_users_exception_is_the_one_that_propagates():
    """The last error propagates: the same object, its cause and its context untouched."""
    cause, context = KeyError("cause"), OSError("context")
    error = ConnectError("last")
    error.__cause__, error.__context__ = cause, context
    raised = await fails(Retry(3, backoff=0), Script(ConnectError, ConnectError, error))
    assert raised is error
    assert error.__cause__ is cause
    assert error.__context__ is context


async def test_programming_errors_and_refusals_are_not_repeated():
    """What no repeating heals is raised after one attempt, without a note."""
    for kind in (TypeError, AttributeError, AssertionError, CircuitOpenError, BulkheadFullError):
        script = Script(kind)
        raised = await fails(Retry(3, backoff=0), script)
        assert script.calls == 1
        assert note_of(raised) is None


async def test_nested_retries_multiply():
    """``Retry(3)`` around ``Retry(2)`` makes six attempts, and ``call.attempt`` counts them all."""
    witness, script = Witness(), Script(ConnectError)
    pipeline = Pipeline(Retry(3, backoff=0.5), Retry(2, backoff=0.25), witness)
    raised = await fails(pipeline, script)
    assert script.calls == 6
    assert witness.attempts == [1, 2, 3, 4, 5, 6]
    story = "ConnectError, slept 0.25 s, ConnectError, slept 0.5 s, " * 2
    story += "ConnectError, slept 0.25 s, ConnectError"
    assert note_of(raised) == f"gave up after 6 attempts: {story}"


async def test_only_first_attempts_are_a_circuits_evidence():
    """A breaker inside hears one failure per call, however many attempts it takes."""
    breaker = CircuitBreaker(3)
    counting = CircuitBreaker(3, count_retries=True)
    for number in (1, 2):
        await fails(Pipeline(Retry(3, backoff=0, budget=None), breaker), Script(ConnectError))
        assert breaker.state.value == "closed", number
    await fails(Pipeline(Retry(3, backoff=0), counting), Script(ConnectError))
    assert counting.state.value == "open"


# Backoff.


@pytest.mark.parametrize(
    "backoff,gaps",
    [
        (0, [0, 0, 0]),
        (0.25, [0.25, 0.25, 0.25]),
        (constant(2), [2, 2, 2]),
        (linear(0.5), [0.5, 1.0, 1.5]),
        (lambda failed, last: failed + 10 * last, [1, 12, 123]),
        (lambda failed, last: -1, [0, 0, 0]),
    ],
)
async def test_it_waits_as_the_backoff_says(backoff, gaps):
    """A number, a backoff or any callable (failed attempts, last delay) gives the seconds."""
    script = Script(ConnectError)
    await fails(Retry(4, backoff=backoff), script)
    assert script.gaps == gaps


async def test_a_backoff_of_the_users_that_raises_propagates():
    """A mistake in the user's callable is raised, after one attempt."""
    script = Script(ConnectError)

    def broken(failed: int, last: float) -> float:
        raise ZeroDivisionError

    raised = await fails(Retry(3, backoff=broken), script)
    assert isinstance(raised, ZeroDivisionError)
    assert script.calls == 1


# What is repeated.


@pytest.mark.parametrize(
    "on,error,calls",
    [
        (ConnectError, ConnectError(), 3),
        (ConnectError, ReadTimeout(), 1),
        ((ConnectError, ReadTimeout), ReadTimeout(), 3),
        (TypeError, TypeError(), 3),
        (CircuitOpenError, CircuitOpenError(), 3),
        (RejectedError, BulkheadFullError(), 3),
        ((), ConnectError(), 1),
        (lambda error: "again" in str(error), ConnectError("again"), 3),
        (lambda error: "again" in str(error), ConnectError("never"), 1),
        (ConnectError, ExceptionGroup("", [ConnectError(), ConnectError()]), 3),
        (ConnectError, ExceptionGroup("", [ConnectError(), ReadTimeout()]), 1),
        (ConnectError, ExceptionGroup("", [ExceptionGroup("", [ConnectError()])]), 3),
        (lambda error: isinstance(error, OSError), ExceptionGroup("", [OSError()]), 3),
        (None, ExceptionGroup("", [ConnectError(), ReadTimeout()]), 3),
        (None, ExceptionGroup("", [ConnectError(), TypeError()]), 1),
    ],
    ids=lambda value: getattr(value, "__qualname__", repr(value)),
)
async def test_on_replaces_the_verdict_for_exceptions(on, error, calls):
    """``on`` is a type, a tuple or a predicate; of a group, all leaves must match."""
    script = Script(error)
    assert await fails(Retry(3, backoff=0, on=on), script) is error
    assert script.calls == calls


async def test_a_throttled_answer_is_neutral_and_repeated():
    """``Retry`` looks at ``retryable`` only: a 429 counts for no circuit and is repeated."""
    script = Script(BusyError(429), BusyError(503), "fine")
    breaker = CircuitBreaker(2)
    assert await Pipeline(Retry(3, backoff=0), breaker).execute(script) == "fine"
    assert await fails(Retry(3, backoff=0), Script(missing := BusyError(404))) is missing


async def test_a_bad_result_is_repeated_and_in_the_end_returned():
    """A result that is judged a FAILURE is repeated like an error, and returned as it is."""
    bad = object()
    classify = Classifier(results=lambda value: value is bad)
    script = Script(bad)
    pipeline = Pipeline(Retry(3, backoff=1), classify=classify)
    assert await pipeline.execute(script) is bad
    assert script.gaps == [1, 1]
    assert await pipeline.execute(Script(bad, ConnectError, "fine")) == "fine"


async def test_a_bad_result_is_returned_when_the_budget_is_empty():
    """A result is never turned into an exception, whatever ends the attempts."""
    classify = Classifier(results=lambda value: value == "bad")
    empty = RetryBudget(capacity=1, floor=0)
    pipeline = Pipeline(Retry(9, backoff=0, budget=empty), classify=classify)
    script = Script("bad")
    assert await pipeline.execute(script) == "bad"
    assert script.calls == 2


async def test_on_does_not_concern_results():
    """``on`` replaces the verdict of exceptions; results are still the classifier's."""
    classify = Classifier(results=lambda value: value == "bad")
    script = Script("bad")
    await Pipeline(Retry(3, backoff=0, on=()), classify=classify).execute(script)
    assert script.calls == 3


async def test_an_answer_outlives_a_refusal():
    """After a bad result a refusal of the next attempt returns that result."""
    classify = Classifier(results=lambda value: value == "bad")
    pipeline = Pipeline(Retry(3, backoff=0), CircuitBreaker(1), classify=classify)
    assert await pipeline.execute(Script("bad")) == "bad"


async def test_a_cancellation_is_never_repeated():
    """Whatever ``on`` says, a cancelled call ends at once, also while it sleeps."""
    for delay, backoff in [(5.0, 0.0), (0.0, 50.0)]:
        calls = 0

        async def function(delay: float = delay) -> None:
            nonlocal calls
            calls += 1
            await anyio.sleep(delay)
            raise ConnectError

        with anyio.move_on_after(1) as scope:
            await Retry(9, backoff=backoff, on=BaseException).execute(function)
        assert scope.cancelled_caught
        assert calls == 1


def test_a_task_that_is_cancelled_while_it_sleeps_ends_at_once():
    """The cancellation propagates as it is, keeps its message, and costs no further attempt."""
    script = Script(ConnectError)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        task = asyncio.create_task(Retry(3, backoff=50).execute(script))
        await asyncio.sleep(1)
        task.cancel("shutting down")
        with pytest.raises(asyncio.CancelledError, match="shutting down"):
            await task
        return loop.time() - begun

    assert run(main()) == 1
    assert script.calls == 1


# The note.


async def test_the_note_tells_the_story():
    """The last error has one note: the attempts, the sleeps, and why there is no further one."""
    delays = iter([0.31, 0.6])
    retry = Retry(
        5, backoff=lambda failed, last: next(delays, 9.0), budget=RetryBudget(capacity=2, floor=0)
    )
    raised = await fails(retry, Script(ConnectError, ConnectError, ReadTimeout))
    (note,) = raised.__notes__
    assert note == (
        "seawall: gave up after 3 attempts: ConnectError, slept 0.31 s, ConnectError, "
        "slept 0.6 s, ReadTimeout; the retry budget was empty"
    )


async def test_the_note_of_spent_attempts_needs_no_reason():
    """That the attempts are spent is said by their number."""
    raised = await fails(Retry(2, backoff=0.5), Script(ConnectError))
    assert note_of(raised) == "gave up after 2 attempts: ConnectError, slept 0.5 s, ConnectError"


async def test_one_attempt_without_a_reason_has_no_note():
    """``Retry(1)`` and what is not retryable leave the error alone."""
    assert not hasattr(await fails(Retry(1), Script(ConnectError)), "__notes__")
    assert not hasattr(await fails(Retry(3), Script(TypeError)), "__notes__")


async def test_the_note_names_what_is_not_repeated():
    """Where a later attempt fails in a way that does not heal, the note says so."""
    raised = await fails(Retry(3, backoff=0), Script(ConnectError, TypeError("x")))
    assert note_of(raised) == (
        "gave up after 2 attempts: ConnectError, slept 0 s, TypeError; TypeError is not retried"
    )


async def test_notes_never_pile_up():
    """One object that fails call after call has one note of ours, and keeps the user's."""
    error = ConnectError()
    error.add_note("the user's")
    for _ in range(5):
        await fails(Retry(2, backoff=0), Script(error))
    assert len(error.__notes__) == 2
    assert error.__notes__[0] == "the user's"
    await fails(Retry(4, backoff=0), Script(error))
    assert note_of(error).startswith("gave up after 4 attempts: ")


async def test_the_note_says_nothing_of_the_call():
    """No argument, message or header gets into the note."""
    raised = await fails(Retry(2, backoff=0), Script(ConnectError("https://secret")), "secret")
    assert "secret" not in note_of(raised)


async def test_a_success_has_no_story():
    """A call that succeeds at once, judged by a classifier or not, records nothing."""
    stories = []

    class Look(Policy):
        async def run(self, call, proceed):
            try:
                return await proceed(call)
            finally:
                stories.append(call.story)

    for classify in (None, Classifier(results=lambda value: False)):
        await Pipeline(Look(), Retry(3), classify=classify).execute(Script(1))
    assert stories == [None, None]


# The budget.


@pytest.mark.parametrize("ratio", [0.0, 0.1])
async def test_when_everything_fails_the_retries_stop(ratio):
    """At 100 % failures the load is a tenth more than without retries, not three times as much."""
    script = Script(ConnectError)
    retry = Retry(3, backoff=0, budget=RetryBudget(ratio, capacity=10, floor=0))
    for _ in range(100):
        await fails(retry, script)
    assert script.calls == 110


async def test_the_default_budget_bounds_an_outage():
    """An hour of failures at a call per second costs the first ten retries and two a minute."""
    script = Script(ConnectError)
    retry = Retry(3, backoff=0)
    for _ in range(3600):
        await fails(retry, script)
        await anyio.sleep(1)
    retries = script.calls - 3600
    assert retries == pytest.approx(10 + 3600 / 30, abs=2)


async def test_each_retry_policy_has_a_budget_of_its_own():
    """Unless a budget is shared, what one dependency spends is not missing for another."""
    first, second = Retry(3), Retry(3)
    assert isinstance(first.budget, RetryBudget)
    assert first.budget is not second.budget
    assert Retry(3, budget=None).budget is None


async def test_a_shared_budget_is_spent_by_all():
    """One budget object in two policies pays for both."""
    budget = RetryBudget(capacity=3, floor=0)
    first, second = Script(ConnectError), Script(ConnectError)
    await fails(Retry(3, backoff=0, budget=budget), first)
    await fails(Retry(3, backoff=0, budget=budget), second)
    assert (first.calls, second.calls) == (3, 2)


async def test_only_a_first_attempt_earns():
    """A success of a first attempt earns; one of a retry does not, nor does a failure."""
    for classify in (None, Classifier(results=lambda value: value == "bad")):
        budget = RetryBudget(0.25, capacity=10, floor=0)
        pipeline = Pipeline(Retry(3, backoff=0, budget=budget), classify=classify)
        await pipeline.execute(Script(ConnectError, "fine"))
        assert budget.tokens == 9
        await pipeline.execute(Script("fine"))
        assert budget.tokens == 9.25
        await fails(pipeline, Script(TypeError))
        assert budget.tokens == 9.25


async def test_a_refusal_costs_nothing():
    """A refusal that is not repeated leaves the budget as it is."""
    budget = RetryBudget(capacity=2, floor=0)
    await fails(Retry(3, backoff=0, budget=budget), Script(CircuitOpenError))
    assert budget.tokens == 2


async def test_a_retry_that_a_server_asked_for_costs_nothing():
    """Throttled with a ``retry_after`` is obedience, not load; without one it is paid for."""
    budget = RetryBudget(capacity=2, floor=0)
    retry = Retry(3, backoff=0, budget=budget)
    await fails(retry, Script(BusyError(429, "1")))
    assert budget.tokens == 2
    await fails(retry, Script(BusyError(503, "1")))
    assert budget.tokens == 2
    await fails(retry, Script(BusyError(500, "1")))
    assert budget.tokens == 0
    script = Script(BusyError(429))
    await fails(retry, script)
    assert script.calls == 1


async def test_without_a_budget_the_retries_are_unlimited():
    """``budget=None`` repeats as often as the attempts allow."""
    script = Script(ConnectError)
    retry = Retry(3, backoff=0, budget=None)
    for _ in range(50):
        await fails(retry, script)
    assert script.calls == 150


# The deadline.


async def test_it_never_sleeps_past_the_deadline():
    """When the wait would outlast the deadline, the last error is raised at once, with the note."""
    script = Script(ConnectError)
    begun = anyio.current_time()
    raised = await fails(Pipeline(Timeout(10), Retry(9, backoff=4)), script)
    assert type(raised) is ConnectError
    assert anyio.current_time() - begun == pytest.approx(8)
    assert script.calls == 3
    assert note_of(raised) == (
        "gave up after 3 attempts: ConnectError, slept 4 s, ConnectError, slept 4 s, ConnectError; "
        "no time was left to wait 4 s"
    )


async def test_a_wait_that_ends_at_the_deadline_is_too_long():
    """An attempt that would begin with no time left is not begun."""
    script = Script(ConnectError)
    raised = await fails(Pipeline(Timeout(4), Retry(9, backoff=4)), script)
    assert type(raised) is ConnectError
    assert script.calls == 1
    assert script.times == [anyio.current_time()]


async def test_the_deadline_of_a_calling_function_counts():
    """A timeout around the code that makes the call is its deadline too."""
    script = Script(ConnectError)
    retry = Retry(9, backoff=4)

    async def handler() -> None:
        await retry.execute(script)

    assert type(await fails(Timeout(10), handler)) is ConnectError
    assert script.calls == 3


async def test_a_wait_for_the_server_is_bounded_by_the_deadline():
    """A ``retry_after`` beyond the deadline is not waited for."""
    script = Script(BusyError(503, "20"))
    begun = anyio.current_time()
    raised = await fails(Pipeline(Timeout(10), Retry(3, backoff=0)), script)
    assert isinstance(raised, BusyError)
    assert anyio.current_time() == begun
    assert "no time was left to wait 20 s" in note_of(raised)


async def test_no_time_left_costs_no_token():
    """A retry that the deadline forbids is not paid for."""
    budget = RetryBudget(capacity=2, floor=0)
    await fails(Pipeline(Timeout(1), Retry(3, backoff=5, budget=budget)), Script(ConnectError))
    assert budget.tokens == 2


async def test_attempt_timeouts_are_repeated():
    """A timeout inside a ``Retry`` ends one attempt, which is then repeated."""
    calls = 0

    async def function() -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            await anyio.sleep(50)
        return "fine"

    pipeline = Pipeline(Timeout(30), Retry(3, backoff=1), Timeout(5))
    begun = anyio.current_time()
    assert await pipeline.execute(function) == "fine"
    assert anyio.current_time() - begun == pytest.approx(12)


@pytest.mark.parametrize("error", [ConnectError, BulkheadFullError])
def test_a_sleep_that_takes_longer_than_asked_begins_no_late_attempt(error):
    """Where the machine slept too long, the last real error is raised, with the note.

    If there was none, the call never reached the dependency, which a ``DeadlineError`` says.
    """
    script = Script(error)
    retries = []

    async def main() -> BaseException:
        loop: Any = asyncio.get_running_loop()

        def oversleep(failed: int, last: float) -> float:
            loop.call_later(0.5, lambda: setattr(loop, "now", loop.now + 100))
            return 1.0

        class Deadline(Policy):
            """A deadline that nothing enforces."""

            async def run(self, call, proceed):
                call.deadline = call.now() + 10
                return await proceed(call)

        retry = Retry(3, backoff=oversleep, on=error)
        retry.name = "db"
        retries.append(retry)
        return await fails(Pipeline(Deadline(), retry).bind(key="k"), script)

    raised = run(main())
    assert script.calls == 1
    if error is BulkheadFullError:
        assert type(raised) is DeadlineError
        assert [(raised.policy, raised.name, raised.key)] == [(retries[0], "db", "k")]
        return
    assert type(raised) is ConnectError
    assert note_of(raised) == ("gave up after 1 attempt: ConnectError, slept 1 s; no time was left")


async def test_a_refusal_before_any_attempt_and_no_time_left():
    """Where nothing reached the dependency and the time is up, nothing could begin."""

    class Refuse(Policy):
        async def run(self, call, proceed):
            call.deadline = call.now()
            raise BulkheadFullError(policy=self)

    raised = await fails(Pipeline(Retry(3, backoff=0, on=RejectedError), Refuse()), Script("never"))
    assert type(raised) is BulkheadFullError
    assert "no time was left" in note_of(raised)


# What the server asks for.


async def test_the_backoff_comes_on_top_of_what_the_server_asks():
    """It waits ``retry_after`` and the backoff's delay: jitter only upward."""
    script = Script(BusyError(503, "7"))
    await fails(Retry(3, backoff=linear(0.5)), script)
    assert script.gaps == [7.5, 8.0]


async def test_zero_is_at_once():
    """A ``retry_after`` of 0.0 from a classifier means at once, without the backoff."""
    script = Script(ConnectError)
    classify = Classifier(retry_after=lambda error: 0.0)
    await fails(Pipeline(Retry(3, backoff=5), classify=classify), script)
    assert script.gaps == [0, 0]


async def test_a_header_of_zero_is_no_header():
    """A server that sends ``Retry-After: 0`` is answered with the usual backoff."""
    script = Script(BusyError(503, "0"))
    await fails(Retry(3, backoff=5), script)
    assert script.gaps == [5, 5]


async def test_a_server_that_asks_for_too_long_gets_no_retry():
    """Above ``max_retry_after`` the error is raised at once, with the note; at it, it is waited."""
    script = Script(BusyError(503, "31"))
    raised = await fails(Retry(3, backoff=0), script)
    assert script.calls == 1
    assert note_of(raised) == (
        "gave up after 1 attempt: BusyError; the server asks to wait 31 s, max_retry_after=30.0"
    )
    patient = Script(BusyError(503, "31"))
    await fails(Retry(2, backoff=0, max_retry_after=31), patient)
    assert patient.gaps == [31]


async def test_it_waits_for_a_circuit_that_it_was_told_to_repeat():
    """With ``on=CircuitOpenError`` it comes back when the refusal says so."""
    breaker = CircuitBreaker(1, open_for=5)
    await fails(breaker, Script(ConnectError))
    script = Script("fine")
    begun = anyio.current_time()
    pipeline = Pipeline(Retry(3, backoff=0.5, on=CircuitOpenError), breaker)
    assert await pipeline.execute(script) == "fine"
    assert anyio.current_time() - begun == pytest.approx(5.5)


# Refusals after an attempt that reached the dependency.


async def test_a_refusal_does_not_hide_what_the_dependency_said():
    """When a retry is refused, the error of the attempt that got through is raised."""
    error = ConnectError("real")
    breaker = CircuitBreaker(1)
    raised = await fails(Pipeline(Retry(3, backoff=0.5), breaker), Script(error))
    assert raised is error
    assert note_of(raised) == (
        "gave up after 2 attempts: ConnectError, slept 0.5 s, CircuitOpenError; "
        "CircuitOpenError is not retried"
    )


@pytest.mark.parametrize("spent", [True, False])
async def test_the_error_is_as_it_was_where_a_refusal_ends_the_call(spent):
    """Its cause and context are untouched, also for a caller that is handling another error."""
    seen = []

    async def function() -> None:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            error = ConnectError("real")
            seen.append((error, inner))
            raise error from inner

    breaker = CircuitBreaker(1)
    pipeline = Pipeline(Retry(2 if spent else 3, backoff=0), breaker)
    try:
        raise LookupError("the caller's")
    except LookupError:
        raised = await fails(pipeline, function)
    ((error, inner),) = seen
    assert raised is error
    assert error.__cause__ is inner
    assert error.__context__ is inner


async def test_a_refusal_is_raised_where_nothing_got_through():
    """If no attempt reached the dependency, the refusal itself says that it is safe to repeat."""
    refusal = BulkheadFullError()
    raised = await fails(Retry(3, backoff=0, on=RejectedError), Script(refusal))
    assert raised is refusal
    assert note_of(raised).startswith("gave up after 3 attempts: BulkheadFullError")


async def test_the_last_attempt_that_got_through_is_the_one_raised():
    """Of several errors it is the last one before the refusals."""
    first, second = ConnectError(1), ReadTimeout(2)
    script = Script(first, second, BulkheadFullError())
    raised = await fails(Retry(9, backoff=0), script)
    assert raised is second
    assert script.calls == 3


async def test_a_group_of_refusals_reached_nothing():
    """A group counts as reached if one of its leaves is no refusal."""
    error = ConnectError()
    refused = ExceptionGroup("", [BulkheadFullError(), CircuitOpenError()])
    assert await fails(Retry(9, backoff=0), Script(error, refused)) is error
    mixed = ExceptionGroup("", [BulkheadFullError(), TypeError()])
    assert await fails(Retry(9, backoff=0), Script(error, mixed)) is mixed


# What may not be repeated.


async def test_what_is_not_idempotent_is_not_repeated():
    """``idempotent=False`` makes one attempt, and the note says why."""
    script = Script(ConnectError)
    raised = await fails(Retry(3, backoff=0).bind(idempotent=False), script)
    assert script.calls == 1
    assert note_of(raised) == (
        "gave up after 1 attempt: ConnectError; "
        "the call is not idempotent, and it may have reached the dependency"
    )


async def test_what_was_not_processed_may_be_repeated_all_the_same():
    """Not idempotent, but refused by the dependency or by a policy: it is safe to repeat."""
    retry = Retry(3, backoff=0, on=Exception).bind(idempotent=False)
    for error in (
        ConnectionRefusedError(),
        BusyError(429),
        CircuitOpenError(),
        BulkheadFullError(),
    ):
        script = Script(error)
        await fails(retry, script)
        assert script.calls == 3
    script = Script(ConnectionRefusedError, ConnectError)
    await fails(retry, script)
    assert script.calls == 2


async def test_a_classifier_may_say_that_nothing_was_processed():
    """``unprocessed`` is the verdict's, so an application can know better."""
    script = Script(ConnectError)

    def classify(outcome: Outcome) -> Verdict:
        return Verdict(Kind.FAILURE, retryable=True, unprocessed=True)

    await fails(Pipeline(Retry(3, backoff=0), classify=classify).bind(idempotent=False), script)
    assert script.calls == 3


async def test_a_coroutine_makes_a_single_attempt():
    """It can run once; the note says why, and how to pass the function."""
    script = Script(ConnectError)
    raised = await fails(Retry(3, backoff=0), script())
    assert script.calls == 1
    note = note_of(raised)
    assert note.startswith("gave up after 1 attempt: ConnectError; a coroutine object or other")
    assert "`await pipeline.execute(fetch, url)`, not `execute(fetch(url))`" in note


async def test_a_coroutine_that_is_refused_is_closed():
    """A refusal, or a deadline that has passed, leaves no coroutine that was never awaited."""
    breaker = CircuitBreaker(1)
    breaker.isolate()
    script = Script("never")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(await fails(Retry(3), Pipeline(breaker).execute, script()), RejectedError)
        coroutine = script()
        await fails(Pipeline(Retry(3), breaker), coroutine)
        assert coroutine.cr_frame is None
    assert script.calls == 0


async def test_a_coroutine_is_closed_where_the_deadline_has_passed():
    """A call that begins after the caller's deadline, or is a wrong use, closes what it got."""
    script = Script("never")
    coroutine = script()

    async def late() -> None:
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(asyncio.CancelledError):
                await anyio.sleep(5)
            await Retry(3).execute(coroutine)

    assert isinstance(await fails(Timeout(1), late), DeadlineError)
    assert coroutine.cr_frame is None
    coroutine = script()
    assert isinstance(await fails(Retry(3), coroutine, "an argument beside it"), UsageError)
    assert coroutine.cr_frame is None
    assert script.calls == 0


# Open attempts.


async def test_an_open_attempt_is_discarded_before_the_next_begins():
    """A bad answer whose body is open is closed, with its verdict, before it is asked again."""
    events: list[str] = []
    calls = 0

    class Transport(Policy):
        async def run(self, call, proceed):
            nonlocal calls
            calls += 1
            number = calls

            async def close() -> None:
                events.append(f"close {number}")

            result = await proceed(call)
            call.open = OpenAttempt(close)
            call.open.on_settle(lambda verdict: events.append(f"{verdict.kind.value} {number}"))
            events.append(f"begin {number}")
            return result

    classify = Classifier(results=lambda value: value == "bad")
    bulkhead = Bulkhead(1)
    pipeline = Pipeline(Retry(3, backoff=1), bulkhead, Transport(), classify=classify)
    assert await pipeline.execute(Script("bad", "fine")) == "fine"
    assert events == ["begin 1", "close 1", "failure 1", "begin 2"]
    assert bulkhead.in_flight == 1


# One instance.


async def test_many_calls_share_nothing_but_the_budget():
    """Calls side by side each have attempts, delays and notes of their own."""
    retry = Retry(3, backoff=lambda failed, last: last + 1, budget=None)
    scripts = [Script(ConnectError) for _ in range(20)]
    raised: list[BaseException] = []

    async def one(script: Script) -> None:
        raised.append(await fails(retry, script))

    async with anyio.create_task_group() as group:
        for script in scripts:
            group.start_soon(one, script)
    assert [script.gaps for script in scripts] == [[1, 2]] * 20
    assert len({id(error) for error in raised}) == 20
    assert {note_of(error) for error in raised} == {
        "gave up after 3 attempts: ConnectError, slept 1 s, ConnectError, slept 2 s, ConnectError"
    }


def test_it_serves_one_loop_after_another():
    """The budget keeps what it has, and no time passes for it between two loops."""
    budget = RetryBudget(capacity=2, floor=1.0)
    retry = Retry(3, backoff=0, budget=budget)
    first, second = Script(ConnectError), Script(ConnectError)

    async def main(script: Script) -> None:
        await fails(retry, script)

    run(main(first), start=5.0)
    run(main(second), start=1e9)
    assert (first.calls, second.calls) == (3, 1)


async def test_it_shows_its_settings():
    """The repr is what was asked for."""
    text = repr(Retry(4, backoff=2, on=OSError, budget=None))
    assert text == "Retry(4, backoff=Constant(seconds=2), on=<class 'OSError'>, budget=None)"


async def test_a_timeout_of_an_attempt_and_then_a_refusal():
    """A ``CallTimeoutError`` reached the dependency: a later refusal does not hide it."""
    pipeline = Pipeline(Retry(3, backoff=0), CircuitBreaker(1), Timeout(1))
    raised = await fails(pipeline, anyio.sleep, 5)
    assert isinstance(raised, CallTimeoutError)
    assert "CircuitOpenError is not retried" in note_of(raised)
