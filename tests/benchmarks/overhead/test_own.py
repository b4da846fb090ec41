"""What is measured must run, and must do what its name says."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

import seawall
from benchmarks.overhead import (
    cases,
    flight,
    footprint,
    instructions,
    loopback,
    neighbors,
    own,
)
from benchmarks.overhead.library import Library

CASES = own.all_cases()


def test_each_case_has_a_name_of_its_own():
    """A comparison finds a case by its name."""
    assert len({(case.group, case.name) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.group}: {case.name}")
def test_each_case_runs(case):
    """A case can be built from the library, and run as often as it is asked to."""

    async def main():
        run = await case.build(Library(seawall))
        await run(3)

    asyncio.run(main())


@pytest.mark.parametrize("case", list(own.refusals()), ids=lambda case: case.name)
def test_what_is_to_refuse_does(case, monkeypatch):
    """Each call of a refusal is refused: one that is let through would be measured in its place."""

    async def main():
        calls = []

        async def reached():
            calls.append("reached")

        monkeypatch.setattr(own, "answer", reached)
        run = await case.build(Library(seawall))
        calls.clear()
        await run(5)
        assert calls == []

    asyncio.run(main())


def test_stacks_grow_by_one_policy():
    """The stack of so many policies has that many, and four of them are the four policies."""
    library = Library(seawall)
    kinds = [type(policy).__name__ for policy in reversed(library.four().policies)]
    layers = [type(layer(library)).__name__ for layer in own.LAYERS.values()]
    assert layers[:4] == kinds
    assert len(layers) == 8


def test_so_many_calls_are_in_flight():
    """All are inside before the first comes out, and all come out."""

    async def main():
        dependency = flight.Dependency()
        call = flight.way(flight.FOUR, dependency)
        tasks = await dependency.hold(2500, call)
        assert len(tasks) == 2500
        assert not any(task.done() for task in tasks)
        assert await call() == "answer"
        await dependency.let_go(tasks)
        assert {task.result() for task in tasks} == {"answer"}

    asyncio.run(main())


def test_flights_are_measured_and_told():
    """Each number of calls has its row, against a hundred."""
    beside, together = asyncio.run(flight.groups(2, (1, 100)))
    for group in (beside, together):
        assert flight.sizes_of(group) == [1, 100]
        assert flight.ratio_of(group, 100) == 1.0
        assert len(flight.table("asyncio", group).splitlines()) == 4


def test_the_server_answers_on_a_kept_connection():
    """Requests that come one after the other get the same answer, and on the other port none."""
    with loopback.server() as (url, silent_url), httpx.Client() as client:
        assert [client.get(url).text for _ in range(3)] == ["answer"] * 3
        with pytest.raises(httpx.ReadTimeout):
            client.get(silent_url, timeout=httpx.Timeout(10, read=0.05))


def test_a_client_beside_requests_that_hang_has_a_hundred_of_them():
    """Each of the four clients gets its answers, two of them with a hundred requests in flight."""

    async def main(url, silent_url):
        async with AsyncExitStack() as stack:
            group = await neighbors.group(stack, url, silent_url)
            for variant in group.variants:
                await variant.run(2)
            assert len(asyncio.all_tasks()) == 2 * neighbors.HUNG + 1
            names = [variant.name for variant in group.variants]
        assert len(asyncio.all_tasks()) == 1
        return names

    with loopback.server() as urls:
        names = asyncio.run(main(*urls))
    assert names == [
        cases.BARE_CLIENT,
        neighbors.BARE_BESIDE,
        own.STANDARD,
        neighbors.BESIDE,
    ]


def test_callgrind_files_are_read_in_order(tmp_path):
    """What was counted at each mark comes in the order of the marks, not of the names."""
    for number in (1, 2, 10):
        text = f"desc: Trigger: --dump-before=getpgrp\nsummary: {number}\ntotals: {number}\n"
        Path(tmp_path, f"out.{number}").write_text(text)
    Path(tmp_path, "out").write_text("totals: 99\n")
    assert instructions.totals(tmp_path) == [1, 2, 10]


def test_an_import_tells_what_it_brings_in(monkeypatch):
    """A module that imports httpx is caught at it."""
    monkeypatch.setattr(footprint, "IMPORTS", 2)
    milliseconds, brought = footprint.import_time("import httpx")
    assert milliseconds > 0
    assert brought == "httpx"
    assert footprint.import_time("import asyncio")[1] == ""
