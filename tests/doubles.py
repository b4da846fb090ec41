"""What tests put in the place of a dependency, of a policy, and of the time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import anyio
import trio.testing
from anyio.lowlevel import checkpoint

from seawall import Call, Circuit, Policy, Proceed, Verdict
from tests.virtual_time import VirtualLoop


def virtual(backend: str) -> tuple[str, dict[str, Any]]:
    """Return what the ``anyio_backend`` fixture gives for a backend whose time is virtual."""
    if backend == "asyncio":
        return backend, {"loop_factory": VirtualLoop}
    return backend, {"clock": trio.testing.MockClock(autojump_threshold=0)}


async def turns(count: int = 20) -> None:
    """Let all other tasks run so often, while no time passes."""
    for _ in range(count):
        await checkpoint()


@asynccontextmanager
async def company() -> AsyncIterator[anyio.abc.TaskGroup]:
    """Give a task group, and check that its body runs to its end.

    A task that ends with a CancelledError cancels its group, and the rest of a test with it.
    """
    ended = False
    async with anyio.create_task_group() as group:
        yield group
        ended = True
    assert ended, "a task was cancelled, and its group with it"


class HeardCircuit(Circuit):
    """A circuit whose ``on_change`` and the like may be set, one by one."""


class Script:
    """An async function that plays outcomes: it raises exceptions and returns the rest.

    The last outcome is repeated. An exception type is raised as a new exception each time.
    """

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = outcomes
        self.calls = 0
        self.times: list[float] = []

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.times.append(anyio.current_time())
        outcome = self.outcomes[min(self.calls, len(self.outcomes) - 1)]
        self.calls += 1
        if isinstance(outcome, type) and issubclass(outcome, BaseException):
            raise outcome
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    @property
    def gaps(self) -> list[float]:
        """Seconds from each call to the next."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return [round(later - earlier, 6) for earlier, later in pairs]


class Witness(Policy):
    """Keeps the verdicts that a policy sees at its place."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []
        self.attempts: list[int] = []

    async def run(self, call: Call[Any], proceed: Proceed[Any]) -> Any:
        self.attempts.append(call.attempt)
        try:
            result = await proceed(call)
        except BaseException as error:
            self.verdicts.append(call.judge_error(error))
            raise
        self.verdicts.append(call.judge_result(result))
        return result

    @property
    def verdict(self) -> Verdict:
        """The only verdict."""
        (verdict,) = self.verdicts
        return verdict


class Held:
    """An async function that runs until it is let go, as often as it is called.

    Attributes:
        inside: how many calls are in it now.
        most: how many were in it at the same time.
    """

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.calls = 0
        self._gate = anyio.Event()

    async def __call__(self, *args: Any) -> Any:
        self.calls += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self._gate.wait()
        finally:
            self.inside -= 1
        return args

    def let_go(self) -> None:
        """Let all calls return that are in it."""
        self._gate.set()
        self._gate = anyio.Event()


def believe(circuit):
    """Let the silence that follows be believed at once, as if it had been looked at for long."""
    circuit._silence.suspect(0.0, -inf)
