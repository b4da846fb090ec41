"""``async with pipeline``: a block of code that is run once.

The shared pipeline finds a block again by the frame that runs the ``async with``, whatever task or
context it ends in. An exit stack enters and leaves in frames of its own, so such a block is found
by what the stack has to leave, which ``pop_all`` hands on. Who calls ``__aenter__`` by hand, in a
frame that is gone by then, gets the last such block of the task.
"""

from __future__ import annotations

import contextlib
from asyncio import current_task
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import ref

from seawall.core.attempts import Attempt
from seawall.core.call import Call
from seawall.core.clock import trio_loop
from seawall.core.driver import Driver, Stop, park, raise_skipped
from seawall.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from types import FrameType

    from seawall.core.policy import Policy


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

    def __init__(self, policy: Policy) -> None:
        call: Call[Any] = Call()
        call.begin(_Body())
        call.pipeline = policy
        call.is_block = True
        call.single_run = (
            "a block runs once; to repeat it, write `async for attempt in pipeline:` "
            "and inside `async with attempt:`"
        )
        # Known only while the body runs: a task keeps the error it ends with, and so this block.
        self.task: Any = None
        self.attempt = Attempt(call, 1)
        self._driver = Driver(policy.entry(), call)

    async def enter(self) -> Attempt:
        if await self._driver.advance() is not Stop.BODY:
            raise_skipped()
        self.task = running_task(self._driver.call)
        return self.attempt

    async def exit(self, error: BaseException | None) -> bool:
        self.task = None
        try:
            stop, stays = await self._driver.end(error, self.attempt.outcome())
            if stop is Stop.DONE and not stays and error is not None:
                self.attempt.result = self._driver.value
                return True
            return False
        finally:
            # From the traceback of the error, this frame is reached: as `f_back`, since 3.12.
            del error

    def __del__(self) -> None:
        with suppress(AttributeError):
            self._driver.close()


class Blocks:
    """The open blocks of one pipeline, each found again by its frame or its exit stack."""

    __slots__ = ("_framed", "_stacked")

    def __init__(self) -> None:
        self._framed: dict[FrameType, list[_Block]] = {}
        # By the identity of what an exit stack has to leave. The reference ends the entry with it.
        self._stacked: dict[int, tuple[ref[Any], list[_Block]]] = {}

    async def enter(self, policy: Policy, frame: FrameType) -> Attempt:
        """Begin a block for the frame that runs the ``async with``."""
        block = _Block(policy)
        attempt = await block.enter()
        stack = _exit_stack(frame)
        if stack is None:
            self._framed.setdefault(frame, []).append(block)
        else:
            self._find(stack).append(block)
        return attempt

    async def exit(self, frame: FrameType, error: BaseException | None) -> bool:
        """End the block of this frame or exit stack, or else the last one of this task."""
        block = self._take(frame)
        del frame
        ending = block.exit(error)
        del error
        return await ending

    def _find(self, stack: Any) -> list[_Block]:
        key = id(stack)
        if key not in self._stacked:
            stacked = self._stacked
            self._stacked[key] = ref(stack, lambda _: stacked.pop(key, None)), []
        return self._stacked[key][1]

    def _take(self, frame: FrameType) -> _Block:
        if frame in self._framed:
            return _pop(self._framed, frame)
        stack = _exit_stack(frame)
        if stack is not None and id(stack) in self._stacked:
            blocks = self._stacked[id(stack)][1]
            block = blocks.pop()
            if not blocks:
                del self._stacked[id(stack)]
            return block
        task = running_task(None)
        for entered, framed in reversed(self._framed.items()):
            if framed[-1].task is task:
                return _pop(self._framed, entered)
        message = "this block was never entered: write `async with pipeline: ...`"
        raise UsageError(message)


def _pop(blocks: dict[FrameType, list[_Block]], frame: FrameType) -> _Block:
    found = blocks[frame]
    block = found.pop()
    if not found:
        del blocks[frame]
    return block


def _exit_stack(frame: FrameType) -> Any:
    """Return what the exit stack has to leave that runs this frame; ``None`` if none does."""
    if frame.f_code.co_filename != contextlib.__file__:
        return None
    return getattr(frame.f_locals.get("self"), "_exit_callbacks", None)


def running_task(call: Call[Any] | None) -> Any:
    """Return the task that runs now, of asyncio or of trio."""
    with suppress(RuntimeError):
        if call is None or call.on_asyncio:
            return current_task()
    return trio_loop().task()
