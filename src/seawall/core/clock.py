"""The one clock: the running loop's, on asyncio and on trio.

A :class:`Loop` is what a policy knows of the loop that it runs on. On asyncio it is the loop
itself, so that the common case costs nothing; trio's is wrapped in the same few methods.
"""

from __future__ import annotations

import sys
from asyncio import current_task, get_running_loop, tasks
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from seawall.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

task_on: Callable[[Any], Any]
"""Return the task that runs now on an asyncio loop, which is running; ``None`` outside of tasks."""

if sys.version_info >= (3, 12):
    task_on = current_task
else:
    # There `current_task` is this look-up in a Python function, for a twentieth of a whole call.
    _tasks: Any = tasks
    task_on = _tasks._current_tasks.get


class Loop(Protocol):
    """The part of an event loop that policies use outside their asyncio fast paths."""

    def time(self) -> float:
        """Return the loop's time in seconds."""
        ...

    def is_closed(self) -> bool:
        """Say whether the loop has ended for good."""
        ...

    def call_soon_threadsafe(self, callback: Callable[..., object], /, *args: Any) -> object:
        """Run a callback on the loop, from whatever thread."""
        ...


class TrioLoop:
    """One run of trio, with the methods of an asyncio loop."""

    __slots__ = ("_last", "_token", "_trio")

    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()
        self._last: float = trio.current_time()

    def time(self) -> float:
        """Return trio's time; the last one seen where trio does not run (in a finalizer)."""
        with suppress(RuntimeError):
            self._last = self._trio.current_time()
        return self._last

    def task(self) -> Any:
        """Return the task that runs now."""
        return self._trio.lowlevel.current_task()

    def is_closed(self) -> bool:
        """Say whether this run of trio has ended."""
        try:
            self._token.run_sync_soon(_nothing, idempotent=True)
        except self._trio.RunFinishedError:
            return True
        return False

    def call_soon_threadsafe(self, callback: Callable[..., object], /, *args: Any) -> None:
        """Run a callback inside this run of trio."""
        self._token.run_sync_soon(callback, *args)


def _nothing() -> None:
    """Show that a run of trio still takes callbacks."""


_trio_loops: Any = None


def trio_loop() -> TrioLoop:
    """Return the running trio's loop, the same object for one run.

    Raises:
        UsageError: neither asyncio nor trio is running.
    """
    global _trio_loops  # noqa: PLW0603 - trio is imported by the user, perhaps after this module
    trio: Any = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_run():
        message = (
            "no event loop is running.\n"
            "  wrong: pipeline.execute(fetch).send(None)\n"
            "  right: asyncio.run(main()), and inside main: await pipeline.execute(fetch)"
        )
        raise UsageError(message)
    if _trio_loops is None:
        _trio_loops = trio.lowlevel.RunVar("seawall.loop")
    try:
        found: TrioLoop = _trio_loops.get()
    except LookupError:
        found = TrioLoop(trio)
        _trio_loops.set(found)
    return found


def current_loop() -> Loop:
    """Return the loop that runs now.

    Raises:
        UsageError: neither asyncio nor trio is running.
    """
    try:
        return get_running_loop()
    except RuntimeError:
        return trio_loop()


def call_on(loop: Loop, step: Callable[[], object]) -> None:
    """Take a synchronous step on the loop that owns it: at once where it runs, or is closed."""
    running: object = None
    with suppress(RuntimeError):
        running = get_running_loop()
    if running is None:
        with suppress(UsageError):
            running = trio_loop()
    if running is not loop and not loop.is_closed():
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(step)
            return
        # It was closed just now.
    step()


def check_move(policy: object, old: Loop | None, new: Loop) -> None:
    """Let a policy pass on to a later loop, but never serve two running ones.

    Raises:
        UsageError: the loop that the policy belongs to is still open.
    """
    if old is None or old is new or old.is_closed():
        return
    message = (
        f"{policy!r} belongs to another event loop that is still open; one instance serves one "
        "loop at a time.\n"
        "  wrong: one pipeline, shared by two threads that each run a loop\n"
        "  right: one pipeline for each loop"
    )
    raise UsageError(message)
