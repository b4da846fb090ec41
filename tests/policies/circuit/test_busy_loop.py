"""A client that is so busy with sending that it reads no answer: that is no silence."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from seawall import Bulkhead, CircuitBreaker, CircuitOpenError, Pipeline, State
from tests.doubles import virtual
from tests.virtual_time import VirtualLoop

# What it takes to send a call, and until it is answered.
SENDING = 0.0002
LATENCY = 0.02
CALLS = 7_000
POLICIES = {
    "breaker": CircuitBreaker,
    "child": lambda: CircuitBreaker(parent=CircuitBreaker()),
    "limited": lambda: Pipeline(CircuitBreaker(), Bulkhead(100, queue=CALLS)),
    "ending": lambda: CircuitBreaker(end_stalled=True),
    "standard": lambda: Pipeline.standard(limit=Bulkhead(100, queue=CALLS)),
}


async def call():
    loop = asyncio.get_running_loop()
    loop.now += SENDING
    await asyncio.sleep(LATENCY)


@pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)
def test_calls_that_are_all_sent_in_one_turn_are_answered(make):
    """While 7,000 calls are sent one after the other, for 1.4 s, no answer can be read."""

    async def main():
        policy = make()
        loop = asyncio.get_running_loop()

        async def send():
            # Before the policies: a call that will wait for a slot takes its time as well.
            loop.now += SENDING
            await policy.execute(asyncio.sleep, LATENCY)

        for _ in range(10):
            await send()
        for _ in range(2):
            await asyncio.gather(*[send() for _ in range(CALLS)])

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


def test_silence_after_a_busy_turn_is_believed():
    """If nothing is answered once the loop has turned, the next calls find it so."""

    async def main():
        breaker = CircuitBreaker(8, open_for=60.0)
        for _ in range(10):
            await breaker.execute(call)

        async def hang():
            asyncio.get_running_loop().now += SENDING
            await asyncio.Event().wait()

        tasks = [asyncio.create_task(breaker.execute(hang)) for _ in range(CALLS)]
        await asyncio.sleep(0)
        assert breaker.state is State.CLOSED
        await asyncio.sleep(0.01)
        tasks.append(asyncio.create_task(breaker.execute(hang)))
        await asyncio.sleep(0.01)
        assert breaker.state is State.OPEN
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


async def turns(count):
    for _ in range(count):
        await asyncio.sleep(0)


def test_each_suspicion_takes_its_own_turns():
    """Where an answer ends one, the turns since then are not those of the next."""

    async def main():
        loop = asyncio.get_running_loop()
        breaker = CircuitBreaker(ignore=LookupError)
        for _ in range(10):
            await breaker.execute(call)
        hung = asyncio.create_task(breaker.execute(asyncio.Event().wait))
        late = asyncio.Event()
        answered = asyncio.create_task(breaker.execute(late.wait))
        await turns(1)
        loop.now += 30.0

        async def say_nothing():
            raise LookupError

        async def found():
            with pytest.raises(LookupError):
                await breaker.execute(say_nothing)
            return breaker._circuit.evidence(loop.time())[0]

        assert await found() == 0
        await turns(6)
        late.set()
        await answered
        loop.now += 300.0
        assert await found() == 0
        # For as long as no call had come before.
        loop.now += 300.0
        await turns(6)
        assert await found() == 0
        await turns(6)
        assert await found() == 1
        hung.cancel()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


@pytest.mark.parametrize(
    "anyio_backend", [virtual("asyncio"), virtual("trio")], ids=["asyncio", "trio"]
)
@pytest.mark.anyio
async def test_a_black_hole_is_found_on_every_loop(anyio_backend):
    """At 100 calls a second it is found little more than a second after the last answer."""
    breaker = CircuitBreaker()

    async def hang():
        try:
            await breaker.execute(anyio.sleep, 60.0)
        except CircuitOpenError:
            pass

    for _ in range(20):
        await breaker.execute(anyio.sleep, LATENCY)
    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(hang)
            await anyio.sleep(0.01)
            if breaker.state is State.OPEN:
                break
        group.cancel_scope.cancel()
    assert 100 <= number <= 115
