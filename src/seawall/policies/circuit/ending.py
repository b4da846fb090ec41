"""Ending a call that is stalled, as a ``Timeout`` ends one that is late."""

# A stalled call is ended by the arrival of another one. That may be a call inside it, in the same
# task, and the task that runs is never cancelled; nor is one that was cancelled already and that
# may be cleaning up. The cancellation is taken back on its way out, with `Task.uncancel()`, exactly
# as a timeout does it: only if nobody else has asked to cancel the task does it become an error of
# ours. The scope makes policies further inside, and nested calls, judge the cancellation as a hung
# dependency.

from __future__ import annotations

from asyncio import CancelledError, current_task
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from seawall.core.deadline import Scope, current_scope, leave, reset
from seawall.core.errors import CallTimeoutError

if TYPE_CHECKING:
    from seawall.core.call import Call, Proceed
    from seawall.policies.circuit.ticket import Ticket

T = TypeVar("T")


class Ending(Scope):
    """One call that may be ended from outside, while it is stalled."""

    __slots__ = ("_cancel_scope", "_cancelling", "_task", "_ticket")

    def __init__(self, call: Call[Any], ticket: Ticket) -> None:
        self.loop = call.loop
        self.when = inf
        self.outer = call.scope
        self.fired = self.ended = False
        self._ticket = ticket
        # The task of the call, while it may be cancelled.
        self._task: Any = None
        self._cancelling = 0
        self._cancel_scope: anyio.CancelScope | None = None

    def end(self) -> None:
        """Cancel the call, once; but never the task that is running."""
        task = self._task
        if task is None or self.fired:
            return
        if self._cancel_scope is not None:
            loop: Any = self.loop
            if task is not loop.task():
                self.fired = True
                self._cancel_scope.cancel()
        elif task is not current_task() and task.cancelling() <= self._cancelling:
            self.fired = True
            task.cancel()

    def pause(self) -> Any:
        """End nothing for now: the code that runs is not inside. Returns what resumes it."""
        task, self._task = self._task, None
        return task

    def resume(self, paused: Any) -> None:
        """Go on: from now on the call may be ended again."""
        self._task = paused

    async def run(self, call: Call[T], proceed: Proceed[T], name: str | None) -> T:
        """Run the rest of the pipeline, and raise in its place if it was ended.

        Raises:
            CallTimeoutError: the call was ended, with ``phase="stalled"``.
        """
        call.scope = self
        token = current_scope.set(self)
        try:
            if call.on_asyncio:
                return await self._run_on_asyncio(call, proceed, name)
            loop: Any = call.loop
            self._task = loop.task()
            with anyio.CancelScope() as self._cancel_scope:
                return await proceed(call)
            raise self._error(call, name)
        finally:
            # Child tasks may keep it in their context for as long as they live.
            self.ended = True
            self._task = None
            if call.is_block:
                leave(self)
            else:
                reset(self, token)
            call.scope = self.outer

    async def _run_on_asyncio(self, call: Call[T], proceed: Proceed[T], name: str | None) -> T:
        task: Any = current_task()
        self._task = task
        self._cancelling = cancelling = task.cancelling()
        try:
            result = await proceed(call)
        except BaseException as error:
            ended = (
                self.fired
                and task.uncancel() <= cancelling
                and isinstance(error, CancelledError)
                and current_task() is task
            )
            # A task keeps the error that it ends with, and so this frame.
            del task
            if ended:
                raise self._error(call, name) from error
            raise
        if self.fired:
            task.uncancel()
        return result

    def _error(self, call: Call[Any], name: str | None) -> CallTimeoutError:
        return CallTimeoutError(call.now() - self._ticket.start, name=name, phase="stalled")
