"""The functions that are called, and the situations they are called in."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

LONG = 20.0


class Work:
    """A function that awaits several times, also when it cleans up.

    Args:
        plan: what each attempt does; the last one is repeated.
        pause: sleeps, on the event loop that is tested.
        now: tells that loop's time.

    Attributes:
        attempts: attempts that have begun.
        inside: attempts that have not ended.
        harmed: whether an attempt failed or hung, so that a circuit may refuse.
        swallowed: whether an attempt caught its cancellation and returned.
        begins: when each attempt began.
    """

    def __init__(
        self,
        plan: tuple[str, ...],
        pause: Callable[[float], Awaitable[object]],
        now: Callable[[], float],
    ) -> None:
        self.plan = plan
        self.pause = pause
        self.now = now
        self.attempts = self.inside = 0
        self.harmed = self.swallowed = False
        self.begins: list[float] = []

    @property
    def began(self) -> float | None:
        """When the first attempt began."""
        return self.begins[0] if self.begins else None

    async def __call__(self) -> str:
        what = self.plan[min(self.attempts, len(self.plan) - 1)]
        self.attempts += 1
        self.inside += 1
        self.begins.append(self.now())
        try:
            await self.pause(0)
            await self.pause(0.01)
            return await getattr(self, what)()
        except GeneratorExit:
            # A coroutine that is closed may not wait any more.
            raise
        except BaseException:
            await self.pause(0)
            await self.pause(0.01)
            raise
        finally:
            self.inside -= 1

    async def answer(self) -> str:
        return "answer"

    async def fail(self) -> str:
        self.harmed = True
        raise OSError("made up")

    async def hold(self) -> str:
        await self.pause(1.0)
        return "answer"

    async def hold_and_fail(self) -> str:
        await self.pause(1.0)
        return await self.fail()

    async def hang(self) -> str:
        self.harmed = True
        await self.pause(LONG)
        return "answer"

    async def swallow(self) -> str:
        self.harmed = True
        try:
            await self.pause(LONG)
        except CancelledError:
            self.swallowed = True
            await self.pause(0)
        return "answer"

    async def interrupt(self) -> str:
        raise KeyboardInterrupt

    async def exit(self) -> str:
        raise GeneratorExit

    async def cancel_itself(self) -> str:
        raise CancelledError


@dataclass(frozen=True)
class Situation:
    """What happens to a call if nobody cancels it.

    Attributes:
        plan: what its attempts do.
        before: what a call does that came first, and holds the slot if there is but one.
    """

    name: str
    plan: tuple[str, ...]
    before: str | None = None

    def __str__(self) -> str:
        return self.name


SITUATIONS = [
    Situation("answers", ("answer",)),
    Situation("fails", ("fail",)),
    Situation("heals", ("fail", "answer")),
    Situation("hangs", ("hang",)),
    Situation("hangs_then_answers", ("hang", "answer")),
    Situation("waits", ("answer",), before="hold"),
    Situation("waits_and_fails", ("fail", "answer"), before="hold"),
    Situation("waits_in_vain", ("answer",), before="hang"),
    Situation("refused_while_it_waits", ("answer",), before="hold_and_fail"),
    Situation("swallows", ("swallow",)),
]
