"""The policy of one's own that the documentation shows does what its page says."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from seawall import Bulkhead, CircuitBreaker, CircuitOpenError, Pipeline, Retry, State, Timeout
from tests.doubles import Held, Script, turns, virtual
from tests.listening import Heard
from tests.pages import names_of
from tests.virtual_time import run

AnswerShared, Coalesce = names_of("write-your-own-policy.md", "AnswerShared", "Coalesce")

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


def by_first(*args):
    return args[0]


def inside(policy):
    """Return how many calls ask, and how many wait."""
    lines = [len(line) for line, _ in policy._questions.values()]
    return len(lines), sum(lines) - len(lines)


async def test_equal_calls_share_one_answer():
    """One of them asks, and all get the very same object; others are not mixed up with them."""
    policy, held, heard = Coalesce(by_first), Held(), Heard()
    policy.subscribe(heard)
    got = []

    async def call(number):
        got.append(await policy.execute(held, number))

    async with anyio.create_task_group() as group:
        for number in (1, 1, 2, 1):
            group.start_soon(call, number)
            await turns()
        assert held.calls == 2
        assert inside(policy) == (2, 2)
        held.let_go()
    assert sorted(got) == [(1,), (1,), (1,), (2,)]
    assert len({id(value) for value in got}) == 2
    assert [event.policy for event in heard.of(AnswerShared)] == ["Coalesce"] * 2
    assert inside(policy) == (0, 0)


async def test_who_comes_while_others_get_their_answer_asks_anew():
    """They get it one after another; a new call in between is not one of them."""
    policy, got, asked = Coalesce(by_first), [], []

    async def ask(key):
        asked.append(key)
        number = len(asked)
        await anyio.sleep(1)
        return number

    async def call(again):
        got.append(await policy.execute(ask, "key"))
        if again:
            group.start_soon(call, False)

    async with anyio.create_task_group() as group:
        for again in (True, False, False):
            group.start_soon(call, again)
    assert got == [1, 1, 1, 2]
    assert inside(policy) == (0, 0)


async def test_an_answer_is_not_kept():
    """A call that comes when the answer is there asks anew."""
    policy, script = Coalesce(by_first), Script("one", "two")
    assert [await policy.execute(script, 1) for _ in range(2)] == ["one", "two"]


@pytest.mark.parametrize("end", ["fails", "is cancelled"])
async def test_the_next_one_asks_where_the_first_one_does_not_answer(end):
    """Each failure is its own caller's; the turn passes on in the order of arrival."""
    policy, asked, got = Coalesce(by_first), [], []
    scopes = {}

    async def ask(key, number):
        asked.append(number)
        await anyio.sleep(1)
        if number < 2:
            raise OSError(str(number))
        return f"answer of {number}"

    async def call(number):
        with anyio.CancelScope() as scopes[number]:
            try:
                got.append(await policy.execute(ask, "key", number))
            except OSError as error:
                got.append(str(error))

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(call, number)
            await turns()
        if end == "is cancelled":
            await anyio.sleep(0.5)
            scopes[0].cancel()
            await turns()
            scopes[1].cancel()
    assert asked == [0, 1, 2]
    answers = ["answer of 2"] * 2
    assert got == (answers if end == "is cancelled" else ["0", "1", *answers])


def test_a_waiter_that_leaves_as_its_turn_comes_passes_it_on():
    """Cancelled in the very step in which it is to ask, it leaves nobody waiting."""
    policy, script = Coalesce(by_first), Script("answer")

    async def first():
        try:
            await policy.execute(Held(), "key")
        finally:
            tasks[1].cancel()

    async def main():
        tasks.append(asyncio.create_task(first()))
        await turns()
        for _ in range(2):
            tasks.append(asyncio.create_task(policy.execute(script, "key")))
            await turns()
        tasks[0].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    tasks = []
    outcomes = run(main())
    assert [type(outcome) for outcome in outcomes[:2]] == [asyncio.CancelledError] * 2
    assert outcomes[2] == "answer"
    assert script.calls == 1
    assert inside(policy) == (0, 0)


async def test_a_circuit_refuses_those_who_wait():
    """They wait through ``call.turn``, so a circuit around them can end that when it opens."""
    breaker, policy, held = CircuitBreaker(1), Coalesce(by_first), Held()
    pipeline, errors = Pipeline(breaker, policy), []

    async def call():
        try:
            await pipeline.execute(held, "key")
        except CircuitOpenError as error:
            errors.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(call)
            await turns()
        breaker.trip()
        await turns()
        assert len(errors) == 2
        held.let_go()
    assert inside(policy) == (0, 0)
    assert breaker.state is State.OPEN


async def test_blocks_and_streams_pass():
    """They are neither shared nor held up."""
    policy = Coalesce(lambda *args: "key")

    async def items():
        yield 1

    async with policy, policy:
        assert inside(policy) == (0, 0)
        assert [item async for item in policy.stream(items)] == [1]


async def test_it_stands_in_a_pipeline():
    """Inside and outside of others it works with what they do."""
    script = Script(OSError, "answer")
    pipeline = Pipeline(Timeout(30), Coalesce(by_first), Retry(2, backoff=1), Bulkhead(1))
    got = []

    async def call():
        got.append(await pipeline.execute(script, "key"))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(call)
    assert got == ["answer"] * 5
    assert script.calls == 2
    assert str(pipeline.explain()).count("Of equal calls at the same time lets one ask") == 1


def test_a_later_loop_begins_anew():
    """Who waited on a loop that is gone is not mixed up with the calls of the next one."""
    policy = Coalesce(lambda *args: "key")
    left_open = []

    async def leave():
        call = policy.execute(anyio.sleep_forever)
        left_open.append(call)
        call.send(None)

    run(leave())
    assert inside(policy) == (1, 0)
    assert run(policy.execute(Script("fine"))) == "fine"
    left_open.pop().close()
    assert inside(policy) == (0, 0)
