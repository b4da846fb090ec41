"""The ways in: each runs a function, or its own body in place of it, behind a policy.

A later way joins by one line in ``WAYS``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from seawall import Call, Kind, Pipeline, Policy, Verdict
from seawall.core.open_attempt import OpenAttempt

Work = Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class Way:
    """One way in.

    Attributes:
        run: runs the work behind the policy, in this way.
        variant: whether the policies see the same as in another way, so that most of the product
            is left to the soak.
    """

    name: str
    run: Callable[[Policy, Any], Awaitable[Any]]
    variant: bool = False

    def __str__(self) -> str:
        return self.name


async def execute(policy, work):
    return await policy.execute(work)


async def coroutine(policy, work):
    return await policy.execute(work())


async def decorator(policy, work):
    @policy
    async def decorated():
        return await work()

    return await decorated()


async def block(policy, work):
    async with policy:
        return await work()


async def attempt(policy, work):
    async with policy as attempt:
        attempt.result = await work()
    return attempt.result


async def loop(policy, work):
    async for attempt in policy:
        async with attempt:
            return await work()
    return None


async def whole_loop(policy, work):
    async for attempt in policy:
        async with attempt:
            attempt.result = await work()
    return attempt.result


def bound(policy):
    return policy.bind(key="key", timeout=40.0, idempotent=True, tags={"tag": 1})


async def bind(policy, work):
    return await bound(policy).execute(work)


async def bind_block(policy, work):
    async with bound(policy):
        return await work()


async def bind_loop(policy, work):
    async for attempt in bound(policy):
        async with attempt:
            return await work()
    return None


async def nested(policy, work):
    return await Pipeline(Pipeline(policy), Pipeline()).execute(work)


async def nested_block(policy, work):
    async with Pipeline(Pipeline(policy), name="outer"), Pipeline():
        return await work()


async def exit_stack(policy, work):
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(policy)
        return await work()


async def generator(policy, work):
    async def items():
        async with policy:
            yield await work()

    async with aclosing(items()) as found:
        async for item in found:
            return item
    return None


async def manager(policy, work):
    @asynccontextmanager
    async def managed():
        async with policy as attempt:
            yield attempt

    async with managed():
        return await work()


async def body_left_open(policy, work):
    """Return while the attempt goes on, as a streamed response does."""
    opened = []

    async def close():
        pass

    async def opens():
        value = await work()
        opened.append(OpenAttempt(close))
        call.open = opened[-1]
        return value

    call = Call()
    call.begin(opens)
    value = await policy.conduct(call)
    if call.open is None:
        return value
    body = opened[-1]
    kind = Kind.NEUTRAL
    try:
        await work.pause(0)
        await work.pause(0.01)
        kind = Kind.SUCCESS
    finally:
        body.end(Verdict(kind))
    return value


async def stream(policy, work):
    """Consume a stream to its end; each of its items is waited for."""

    async def items():
        yield await work()
        await work.pause(0.01)
        yield "more"
        await work.pause(0)

    first = None
    async with aclosing(policy.stream(items)) as found:
        async for item in found:
            first = first or item
    return first


async def timed_stream(policy, work):
    """Consume a stream whose items are waited for only so long."""

    async def items():
        yield await work()
        await work.pause(0.01)
        await work.pause(0)

    first = None
    timed = policy.bind(first_item_timeout=3.0, key="key")
    async with aclosing(timed.stream(items, idle_timeout=5.0)) as found:
        async for item in found:
            first = first or item
    return first


async def stream_left_early(policy, work):
    """Leave a stream while it holds what it holds, and let it clean up."""

    async def items():
        try:
            yield await work()
            yield "never"
        finally:
            await work.pause(0)
            await work.pause(0.01)

    async with aclosing(policy.stream(items)) as found:
        async for item in found:
            await work.pause(0.01)
            return item
    return None


async def decorated_stream(policy, work):
    @policy
    async def items():
        yield await work()
        await work.pause(0)

    first = None
    async for item in items():
        first = first or item
    return first


WAYS = [
    Way("execute", execute),
    Way("coroutine", coroutine),
    Way("decorator", decorator, variant=True),
    Way("block", block),
    Way("attempt", attempt, variant=True),
    Way("loop", loop),
    Way("whole_loop", whole_loop, variant=True),
    Way("bind", bind, variant=True),
    Way("bind_block", bind_block, variant=True),
    Way("bind_loop", bind_loop, variant=True),
    Way("nested", nested, variant=True),
    Way("nested_block", nested_block, variant=True),
    Way("exit_stack", exit_stack, variant=True),
    Way("generator", generator),
    Way("manager", manager, variant=True),
    Way("body_left_open", body_left_open),
    Way("stream", stream),
    Way("timed_stream", timed_stream),
    Way("stream_left_early", stream_left_early),
    Way("decorated_stream", decorated_stream, variant=True),
]
