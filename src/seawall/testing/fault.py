"""A fault: steps that are done to a request or to a connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from seawall.core.checks import check_type
from seawall.core.errors import UsageError
from seawall.testing.exchange import Exchange

Step: TypeAlias = Callable[[Exchange], Awaitable[None]]
Moment: TypeAlias = Literal["accept", "head", "request"]
Protocol: TypeAlias = Literal["HTTP/1.1", "HTTP/2"]

MOMENTS: tuple[Moment, ...] = ("accept", "head", "request")


@dataclass(frozen=True, init=False)
class Fault:
    """Steps that are done to a request or to a connection, one after another.

    ``Fault("half_a_status", send_raw(b"HTTP/1.1 5"), wait(0.1), reset)``

    A step is any async function of an :class:`Exchange`. What the steps leave undone is done as
    usual: a request that was not answered gets a plain 200, an answer that was begun is ended.

    Args:
        name: what it is called.
        steps: what is done.
        at: when: ``"request"``, when the whole request was read; ``"head"``, when its body was
            not; ``"accept"``, when the connection was accepted and nothing was read.
        only: the protocol that it makes sense on, ``"HTTP/1.1"`` or ``"HTTP/2"``; by default both.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: there is no such moment.
    """

    name: str
    steps: tuple[Step, ...]
    at: Moment
    only: Protocol | None

    def __init__(
        self, name: str, *steps: Step, at: Moment = "request", only: Protocol | None = None
    ) -> None:
        check_type("name", name, str, "a str")
        for step in steps:
            if not callable(step):
                raise TypeError(f"a step must be an async function of an Exchange, not {step!r}")
        if at not in MOMENTS:
            raise ValueError(f"at must be one of {', '.join(map(repr, MOMENTS))}, not {at!r}")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "at", at)
        object.__setattr__(self, "only", only)

    def __repr__(self) -> str:
        return f"<fault {self.name}>"

    async def __call__(self, exchange: Exchange) -> None:
        """Do the steps.

        Raises:
            UsageError: the client speaks another protocol than the fault is for.
        """
        if self.only is not None and exchange.request.protocol != self.only:
            raise UsageError(
                f"{self!r} is a fault of {self.only}, and this client speaks "
                f"{exchange.request.protocol}"
            )
        for step in self.steps:
            await step(exchange)
