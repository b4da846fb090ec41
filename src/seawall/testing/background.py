"""A task of nobody: it may be begun in one task and ended in another, as fixtures do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Background:
    """Runs an async function beside the caller, on asyncio or trio, until it is stopped.

    Args:
        run: what to run; it is given an event and returns once that is set.
    """

    def __init__(self, run: Callable[[anyio.Event], Coroutine[Any, Any, None]]) -> None:
        self._run = run
        self._stopping = anyio.Event()
        self._done = anyio.Event()
        self._task: asyncio.Task[None] | None = None
        self._error: Exception | None = None
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # Where trio runs, it was imported.
            from trio.lowlevel import spawn_system_task  # noqa: PLC0415

            spawn_system_task(self._finish)
        else:
            self._task = loop.create_task(self._finish())

    async def _finish(self) -> None:
        try:
            await self._run(self._stopping)
        except Exception as error:
            self._error = error
        finally:
            self._done.set()

    async def stop(self) -> None:
        """Tell it to stop and wait until it has, whatever is cancelled meanwhile.

        Raises:
            Exception: what it was ended by before it was told to.
        """
        self._stopping.set()
        cancelled: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):
            while not self._ended:
                try:
                    await self._wait()
                except asyncio.CancelledError as error:
                    # A task's own cancel() knows no shields; it takes effect when all is closed.
                    cancelled = error
        if cancelled is not None:
            try:
                raise cancelled
            finally:
                # Its traceback holds this frame.
                del cancelled
        if self._error is not None:
            raise self._error

    @property
    def _ended(self) -> bool:
        return self._done.is_set() if self._task is None else self._task.done()

    async def _wait(self) -> None:
        if self._task is None:
            await self._done.wait()
        else:
            await asyncio.wait([self._task])
