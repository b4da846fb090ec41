"""What is compared with what."""

from __future__ import annotations

import httpx

import seawall
from benchmarks.overhead import handwritten, handwritten_blocks, library, limit, own, runners
from benchmarks.overhead.library import Library
from benchmarks.overhead.measure import Group, Variant, with_own_code
from benchmarks.overhead.peers import OPEN_FOR, all_peers
from benchmarks.overhead.runners import answer

BARE = "bare `await fn()`"
BY_HAND = "by hand, standard library"
RAISE_IN_PLACE = "(0) bare `raise`/`except`, no call"
PLAIN_RAISE = "(a) raised by a plain function"
AWAITED_RAISE = "(b) raised through one `await`"
LIMIT = "the limit, fused by hand"
FOUR_BLOCKS = "by hand, four context managers"
BARE_STREAM = "bare `async for`"
BARE_CLIENT = "`httpx.AsyncClient`"
EXECUTE = "**seawall** `execute`"
DECORATED = "**seawall** decorated"
BLOCK = "**seawall** `async with`"
LOOP = "**seawall** `async for`, `async with`"

FOUR = "Four policies"
FIVE = "Five policies"
REFUSAL = "Refusal by a breaker alone"
STACK_REFUSAL = "Refusal inside the four policies"
BLOCKS = "A block: breaker, bulkhead and timeout"
LOOPS = "A retried block"


OWN = Library(seawall)


def make(name, run):
    return Variant(name, with_own_code(run))


def calls(name, build):
    return make(name, runners.awaited(build(answer)))


def alone(title, attribute, by_hand):
    policy = getattr(OWN, attribute)
    variants = [
        make(BARE, runners.awaited(answer)),
        calls(BY_HAND, by_hand),
        make(EXECUTE, library.executed(policy(), answer)),
        calls(DECORATED, policy()),
    ]
    for peer in all_peers():
        build = getattr(peer, attribute)
        if build is not None:
            variants.append(calls(peer.name, build))
    return Group(title, variants)


async def stack(title, attribute, by_hand, pipeline):
    variants = [
        make(BARE, runners.awaited(answer)),
        calls(BY_HAND, by_hand),
        make(EXECUTE, library.executed(pipeline(), answer)),
        calls(DECORATED, pipeline()),
    ]
    builds = [by_hand, pipeline()]
    if title == FOUR:
        builds.append(limit.four)
        variants.insert(1, calls(LIMIT, limit.four))
    for peer in all_peers():
        build = getattr(peer, attribute)
        builds.append(build)
        variants.append(calls(peer.name, build))
    for build in builds:
        await runners.prove_retry(build)
    return Group(title, variants)


async def refusal(title, attribute, by_hand, policy):
    async def add(name, build):
        function, error = await runners.open_circuit(build)
        variants.append(make(name, runners.refused(function, error)))

    variants = [
        make(RAISE_IN_PLACE, runners.raised_in_place()),
        make(PLAIN_RAISE, runners.raised_by_function()),
        make(AWAITED_RAISE, runners.raised_through_await()),
    ]
    if title == STACK_REFUSAL:
        await add(LIMIT, lambda function: limit.four(function, open_for=OPEN_FOR))
    await add(BY_HAND, by_hand)
    opened = policy()
    _, error = await runners.open_circuit(opened)
    variants.append(make(EXECUTE, library.refused(opened, answer, error)))
    await add(DECORATED, policy())
    for peer in all_peers():
        build = getattr(peer, attribute)
        if build is not None:
            await add(peer.name, build)
    return Group(title, variants)


def blocks():
    variants = [
        make(BARE, runners.awaited(answer)),
        make(BY_HAND, handwritten.block(answer, handwritten.Breaker())),
        make(BLOCK, library.block(OWN.three(), answer)),
        make(f"{BLOCK}, with its `Retry`", library.block(OWN.four(), answer)),
    ]
    variants.extend(make(peer.name, peer.block(answer)) for peer in all_peers() if peer.block)
    return Group(BLOCKS, variants)


def loops():
    variants = [
        make(BARE, runners.awaited(answer)),
        calls(BY_HAND, handwritten.retried),
        make(f"{LOOP}, `Retry` alone", library.loop(OWN.retry(), answer)),
        make(f"{LOOP}, four policies", library.loop(OWN.four(), answer)),
    ]
    variants.extend(make(peer.name, peer.loop(answer)) for peer in all_peers() if peer.loop)
    return Group(LOOPS, variants)


BASES = {
    own.ALONE: {BARE: lambda: runners.awaited(answer)},
    own.EMPTY_WAYS: {
        BARE: lambda: runners.awaited(answer),
        BARE_STREAM: lambda: runners.iterated(runners.one_item),
    },
    own.FOUR_WAYS: {
        BARE: lambda: runners.awaited(answer),
        FOUR_BLOCKS: lambda: handwritten_blocks.four(answer, handwritten.Breaker()),
        BARE_STREAM: lambda: runners.iterated(runners.one_item),
    },
    own.STACKS: {
        BARE: lambda: runners.awaited(answer),
        LIMIT: lambda: runners.awaited(limit.four(answer)),
    },
    own.REFUSALS: {
        RAISE_IN_PLACE: runners.raised_in_place,
        PLAIN_RAISE: runners.raised_by_function,
        AWAITED_RAISE: runners.raised_through_await,
    },
    own.MOCK: {BARE_CLIENT: lambda: runners.got(httpx.AsyncClient(transport=own.mock()))},
}


async def own_groups():
    """Build what is measured of the library by itself."""
    groups = {
        title: Group(title, [make(name, base()) for name, base in bases.items()])
        for title, bases in BASES.items()
    }
    for case in own.all_cases():
        groups[case.group].variants.append(make(case.name, await case.build(OWN)))
    return list(groups.values())


async def peer_groups():
    """Build and prove every variant; the running loop is the one that they are measured on."""

    def breaker():
        return handwritten.Breaker(OPEN_FOR)

    def broken(function):
        return handwritten.broken(function, breaker())

    def four(function):
        return handwritten.four(function, breaker())

    def five(function):
        return handwritten.five(function, breaker())

    def with_fallback(function):
        return handwritten.with_fallback(function, "fallback")

    return [
        await stack(FOUR, "four", four, OWN.four),
        await stack(FIVE, "five", five, OWN.five),
        await refusal(REFUSAL, "breaker", broken, OWN.refusing_breaker),
        await refusal(STACK_REFUSAL, "four", four, OWN.refusing_four),
        blocks(),
        loops(),
        alone("`Timeout` alone", "timeout", handwritten.timed),
        alone("`Retry` alone", "retry", handwritten.retried),
        alone("`CircuitBreaker` alone", "breaker", broken),
        alone("`Bulkhead` alone", "bulkhead", handwritten.limited),
        alone("`Fallback` alone", "fallback", with_fallback),
    ]
