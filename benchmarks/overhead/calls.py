"""OVERHEAD.md: what a call costs, on each event loop."""

from __future__ import annotations

import platform
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path

import httpx

from benchmarks.overhead import cases, loopback, neighbors, own, runners
from benchmarks.overhead.loops import runners_of_loops
from benchmarks.overhead.measure import Group, measure, ratio
from benchmarks.overhead.page import Page
from benchmarks.overhead.peers import all_peers
from benchmarks.overhead.report import best_peer, heading, headline, introduction, table

PATH = Path(__file__).parents[1] / "OVERHEAD.md"

ROUNDS, QUICK = 150, 20
LOOPBACK = "A `GET` on loopback"


async def run(rounds, url, silent_url):
    """Build and prove every variant on the running loop, and measure it there."""
    async with AsyncExitStack() as stack:
        bare = await stack.enter_async_context(httpx.AsyncClient())
        client = await stack.enter_async_context(own.client_of(cases.OWN))
        over_network = Group(
            LOOPBACK,
            [
                cases.make(cases.BARE_CLIENT, runners.got(bare, url)),
                cases.make(own.STANDARD, runners.got(client, url)),
            ],
        )
        groups = [*await cases.peer_groups(), *await cases.own_groups(), over_network]
        await measure(groups, rounds)
        # By itself: the others are measured without two hundred requests in flight.
        beside = await neighbors.group(stack, url, silent_url)
        await measure([beside], rounds)
    return [*groups, beside]


def values(measured):
    """Return what targets and figures need."""
    loops = [{group.name: group for group in groups} for groups in measured.values()]
    first = loops[0]
    complete = {peer.name for peer in all_peers() if peer.policies == "all four"}
    best = best_peer(first[cases.FOUR], complete).name

    def of(title, name, base):
        return [ratio(groups[title][name], groups[title][base]) for groups in loops]

    def all_of(title, names=None):
        group = first[title]
        bare = group[cases.BARE]
        return {
            variant.name: ratio(variant, bare)
            for variant in group.variants
            if variant is not bare and (names is None or variant.name in names)
        }

    stacks = [case.name for case in own.stacks()]
    return {
        "best peer": best,
        "targets": {
            "limit": of(cases.FOUR, cases.EXECUTE, cases.LIMIT),
            "peer": of(cases.FOUR, cases.EXECUTE, best),
            "by hand": of(cases.FOUR, cases.EXECUTE, cases.BY_HAND),
            "five by hand": of(cases.FIVE, cases.EXECUTE, cases.BY_HAND),
            "breaker": of(own.ALONE, own.RATE_WINDOW, cases.BARE),
            "refusal 0": of(cases.REFUSAL, cases.EXECUTE, cases.RAISE_IN_PLACE),
            "refusal a": of(cases.REFUSAL, cases.EXECUTE, cases.PLAIN_RAISE),
            "refusal b": of(cases.REFUSAL, cases.EXECUTE, cases.AWAITED_RAISE),
            "block": of(own.FOUR_WAYS, own.ASYNC_WITH, cases.FOUR_BLOCKS),
            "mock": of(own.MOCK, own.STANDARD, cases.BARE_CLIENT),
            "loopback": of(LOOPBACK, own.STANDARD, cases.BARE_CLIENT),
            "neighbors": of(neighbors.NEIGHBORS, neighbors.BESIDE, own.STANDARD),
        },
        "four": all_of(cases.FOUR),
        "alone": all_of(own.ALONE),
        "ways": all_of(own.FOUR_WAYS),
        "stacks": {
            str(size): value for size, value in enumerate(all_of(own.STACKS, stacks).values())
        },
    }


def section(measured, rounds):
    peers = all_peers()
    versions = sorted({text for peer in peers for text in peer.versions.split(", ")})
    loops = [name if name == "asyncio" else f"{name} {version(name)}" for name in measured]
    on = f"{rounds} rounds on {' and on '.join(loops)}"
    first, *_ = measured.values()
    parts = [
        heading(),
        f"{platform.python_version()}, {on}, against {', '.join(versions)}.",
        headline({group.name: group for group in first}, peers),
        *(table(list(groups)) for groups in zip(*measured.values(), strict=True)),
    ]
    return "\n\n".join(parts) + "\n"


def measured(*, quick):
    """Measure it all on this Python."""
    rounds = QUICK if quick else ROUNDS
    with loopback.server() as urls:
        found = {name: on_loop(run(rounds, *urls)) for name, on_loop in runners_of_loops().items()}
    return Page(PATH, introduction(all_peers()), section(found, rounds), values(found))
