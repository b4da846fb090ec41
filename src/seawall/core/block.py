"""``async with pipeline``: a block of code that is run once.

The shared pipeline finds a block again by the frame that runs the ``async with``, whatever task or
context it ends in. A frame of an exit stack is gone by then, so such a block is found by the task
that entered it.
"""

from __future__ import annotations

import contextlib
from asyncio import current_task
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from seawall.core.attempts import Attempt
from seawall.core.call import Call
from seawall.core.clock import trio_loop
from seawall.core.driver import Driver, Stop, park, raise_skipped
from seawall.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from types import FrameType

    from seawall.core.call import Proceed


class _Body:
    """The innermost step of a block: it parks the chain while the body runs, once."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = False

    def __call__(self) -> Awaitable[Any]:
        if self._begun:
            message = (
                "a block can run only once, but a policy tried to run it again.\n"
                "  wrong: async with pipeline: ...\n"
                "  right: async for attempt in pipeline:\n"
                "             async with attempt: ..."
            )
            raise UsageError(message)
        self._begun = True
        return park(Stop.BODY)


class _Block:
    """One ``async with pipeline``."""

    __slots__ = ("_driver", "attempt", "task")

    def __init__(self, chain: Proceed[Any]) -> None:
        call: Call[Any] = Call()
        call.begin(_Body())
        call.is_block = True
        call.single_run = (
            "a block runs once; to repeat it, write `async for attempt in pipeline:` "
            "and inside `async with attempt:`"
        )
        self.task = running_task(call)
        self.attempt = Attempt(call, 1)
        self._driver = Driver(chain, call)

    async def enter(self) -> Attempt:
        if await self._driver.advance() is not Stop.BODY:
            raise_skipped()
        return self.attempt

    async def exit(self, error: BaseException | None) -> bool:
        stop, stays = await self._driver.end(error, self.attempt.outcome())
        if stop is Stop.DONE and not stays and error is not None:
            self.attempt.result = self._driver.value
            return True
        return False

    def __del__(self) -> None:
        with suppress(AttributeError):
            self._driver.close()


class Blocks:
    """The open blocks of one pipeline, each found again by its frame or its task."""

    __slots__ = ("_framed", "_stacked")

    def __init__(self) -> None:
        self._framed: dict[FrameType, list[_Block]] = {}
        self._stacked: WeakKeyDictionary[Any, list[_Block]] = WeakKeyDictionary()

    async def enter(self, chain: Proceed[Any], frame: FrameType) -> Attempt:
        """Begin a block for the frame that runs the ``async with``."""
        block = _Block(chain)
        attempt = await block.enter()
        if frame.f_code.co_filename == contextlib.__file__ and block.task is not None:
            self._stacked.setdefault(block.task, []).append(block)
        else:
            self._framed.setdefault(frame, []).append(block)
        return attempt

    async def exit(self, frame: FrameType, error: BaseException | None) -> bool:
        """End the block of this frame, or else the last one that this task began."""
        block = self._take(frame)
        del frame
        return await block.exit(error)

    def _take(self, frame: FrameType) -> _Block:
        if frame in self._framed:
            return _pop(self._framed, frame)
        task = running_task(None)
        if task is not None and task in self._stacked:
            return _pop(self._stacked, task)
        for entered, blocks in reversed(self._framed.items()):
            if blocks[-1].task is task:
                return _pop(self._framed, entered)
        for other in reversed(list(self._stacked)):
            return _pop(self._stacked, other)
        message = "this block was never entered: write `async with pipeline: ...`"
        raise UsageError(message)


def _pop(blocks: Any, key: object) -> _Block:
    found: list[_Block] = blocks[key]
    block = found.pop()
    if not found:
        del blocks[key]
    return block


def running_task(call: Call[Any] | None) -> Any:
    """Return the task that runs now, of asyncio or of trio."""
    with suppress(RuntimeError):
        if call is None or call.on_asyncio:
            return current_task()
    return trio_loop().task()
