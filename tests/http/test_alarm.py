"""The one timer that ends all open bodies at their deadlines, in virtual time."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextvars import ContextVar
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.http.alarm import Alarm
from tests.http.conftest import Family
from tests.http.in_virtual_time import answering, fed
from tests.http.scripted import Ledger
from tests.virtual_time import VirtualLoop, run


class Ended:
    """A body that notes when it is ended."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.times: list[float] = []

    def expire(self) -> None:
        self.times.append(self.loop.time())


TENTHS = st.integers(1, 50)


@given(st.lists(st.tuples(TENTHS, TENTHS, st.none() | TENTHS), max_size=12))
def test_each_body_ends_at_its_own_deadline(bodies: list[tuple[int, int, int | None]]) -> None:
    """In whatever order they begin and are removed; a removed one is left alone."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        alarm = Alarm(loop)

        async def one(begin: int, seconds: int, stays: int | None) -> None:
            await asyncio.sleep(begin / 10)
            body: Any = Ended(loop)
            # Between the ticks of the others, so that it is clear what comes first.
            deadline = loop.time() + seconds / 10 + 0.05
            alarm.add(body, deadline)
            if stays is not None:
                await asyncio.sleep(stays / 10)
                alarm.remove(body)
            await asyncio.sleep(20)
            expected = [] if stays is not None and stays <= seconds else [deadline]
            assert body.times == pytest.approx(expected)

        await asyncio.gather(*(one(*body) for body in bodies))
        assert not loop.timers()

    run(main())


def client(family: Family) -> tuple[Any, Ledger]:
    ledger = Ledger()
    transport = family.binding.ResilientTransport(
        ledger, answering(family, fed(family, b"the first half", inf))
    )
    return family.client.AsyncClient(transport=transport), ledger


def opened(http: Any, deadline: float) -> Any:
    settings = {"seawall": {"body_deadline": deadline}}
    return http.send(http.build_request("GET", "http://server/", extensions=settings), stream=True)


def test_bodies_that_nobody_reads_share_one_timer(family: Family) -> None:
    """A hundred of them, with deadlines in no order: one timer, and each ends in time."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        http, ledger = client(family)
        kept = [await opened(http, 1 + number * 37 % 100) for number in range(100)]
        assert len(loop.timers()) == 1
        await asyncio.sleep(0.5)
        for left in range(100, 0, -1):
            assert (ledger.held, len(loop.timers())) == (left, 1)
            await asyncio.sleep(1)
        assert (ledger.held, len(loop.timers()), len(kept)) == (0, 0, 100)

    run(main())


def test_a_body_that_ends_in_time_leaves_the_timer_as_it_is(family: Family) -> None:
    """Setting one and cancelling it again is what each request would else pay for."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        http, ledger = client(family)
        timers: set[int] = set()
        for _ in range(10):
            response = await opened(http, 5.0)
            timers.update(map(id, loop.timers()))
            await asyncio.sleep(0.1)
            await response.aclose()
        assert (ledger.held, len(timers)) == (0, 1)

    run(main())


def test_the_timer_keeps_no_context(family: Family) -> None:
    """What a request had in its context is free when the request is over."""
    variable: ContextVar[Any] = ContextVar("variable")

    class Big:
        pass

    async def request(http: Any) -> weakref.ref[Big]:
        big = Big()
        variable.set(big)
        response = await opened(http, 1000.0)
        await response.aclose()
        return weakref.ref(big)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        http, _ = client(family)
        big = await asyncio.create_task(request(http))
        # The loop still holds the task that has just ended.
        await asyncio.sleep(0)
        gc.collect()
        assert len(loop.timers()) == 1
        assert big() is None

    run(main())


def test_a_transport_that_moves_to_another_loop_takes_a_timer_there(family: Family) -> None:
    """What was left open on the loop before is gone with it."""
    http, ledger = client(family)

    async def main() -> None:
        response = await opened(http, 3.0)
        held = ledger.held
        await asyncio.sleep(2.9)
        assert ledger.held == held
        await asyncio.sleep(0.2)
        assert ledger.held == held - 1
        with pytest.raises(family.binding.CallTimeoutError):
            await response.aread()

    async def leave() -> None:
        kept.append(await opened(http, 60.0))

    def drop() -> None:
        kept.clear()
        gc.collect()

    kept: list[Any] = []
    run(main())
    run(leave())
    run(main())
    with pytest.warns(ResourceWarning):
        drop()
    assert ledger.held == 0
