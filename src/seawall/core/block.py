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
from seawall.core.clock import task_on, trio_loop
from seawall.core.driver import BODY, DONE, Driver, park, raise_skipped
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
        return park(BODY)


class _Block:
    """One ``async with pipeline``."""

    __slots__ = ("attempt", "driver", "outer", "task")

    def __init__(self, policy: Policy) -> None:
        # The one around it in the same frame.
        self.outer: _Block | None = None
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
        self.driver = Driver(policy.entry(), call)

    def __del__(self) -> None:
        # There is none where the call could not begin.
        driver = getattr(self, "driver", None)
        if driver is not None:
            driver.close()


class Blocks:
    """The open blocks of one pipeline, each found again by its frame or its exit stack."""

    __slots__ = ("_framed", "_stacked")

    def __init__(self) -> None:
        # Of each frame the innermost one.
        self._framed: dict[FrameType, _Block] = {}
        # By the identity of what an exit stack has to leave. The reference ends the entry with it.
        self._stacked: dict[int, tuple[ref[Any], list[_Block]]] = {}

    async def enter(self, policy: Policy, frame: FrameType) -> Attempt:
        """Begin a block for the frame that runs the ``async with``."""
        block = _Block(policy)
        driver = block.driver
        came = driver.move()
        if came is not BODY and await driver.go_on(came) is not BODY:
            raise_skipped()
        call = driver.call
        loop: Any = call.loop
        block.task = task_on(loop) if call.on_asyncio else loop.task()
        stack = _exit_stack(frame)
        if stack is None:
            block.outer = self._framed.get(frame)
            self._framed[frame] = block
        else:
            self._find(stack).append(block)
        return block.attempt

    async def exit(self, frame: FrameType, error: BaseException | None) -> bool:
        """End the block of this frame or exit stack, or else the last one of this task.

        Returns whether a policy answered in place of a body that failed.
        """
        block = self._take(frame)
        del frame
        block.task = None
        driver, value = block.driver, block.attempt.outcome()
        if error is None:
            came = driver.move(None, value)
            if came is not DONE:
                await driver.go_on(came)
            return False
        try:
            stop, stays = await driver.end(error, value)
        finally:
            # From the traceback of the error, this frame is reached: as `f_back`, since 3.12.
            del error
        if stop is DONE and not stays:
            block.attempt.result = driver.value
            return True
        return False

    def _find(self, stack: Any) -> list[_Block]:
        key = id(stack)
        if key not in self._stacked:
            stacked = self._stacked
            self._stacked[key] = ref(stack, lambda _: stacked.pop(key, None)), []
        return self._stacked[key][1]

    def _take(self, frame: FrameType) -> _Block:
        if frame in self._framed:
            return self._pop(frame)
        stack = _exit_stack(frame)
        if stack is not None and id(stack) in self._stacked:
            blocks = self._stacked[id(stack)][1]
            block = blocks.pop()
            if not blocks:
                del self._stacked[id(stack)]
            return block
        task = running_task()
        for entered, block in reversed(self._framed.items()):
            if block.task is task:
                return self._pop(entered)
        message = "this block was never entered: write `async with pipeline: ...`"
        raise UsageError(message)

    def _pop(self, frame: FrameType) -> _Block:
        block = self._framed[frame]
        if block.outer is None:
            del self._framed[frame]
        else:
            self._framed[frame] = block.outer
        return block


def _exit_stack(frame: FrameType) -> Any:
    """Return what the exit stack has to leave that runs this frame; ``None`` if none does."""
    if frame.f_code.co_filename != contextlib.__file__:
        return None
    return getattr(frame.f_locals.get("self"), "_exit_callbacks", None)


def running_task() -> Any:
    """Return the task that runs now, of asyncio or of trio."""
    with suppress(RuntimeError):
        return current_task()
    return trio_loop().task()
