"""Answers in virtual time: bodies that come when a test says, without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from math import inf
from typing import Any

import anyio

from tests.http.conftest import Family

EVENTS = {"content-type": "text/event-stream"}


class Feed:
    """A body that plays steps: it sleeps for numbers and yields bytes.

    Attributes:
        closed: how often it was closed.
    """

    def __init__(self, *steps: float | bytes) -> None:
        self.steps = steps
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for step in self.steps:
            if isinstance(step, bytes):
                yield step
            elif step == inf:
                await anyio.sleep_forever()
            else:
                await anyio.sleep(step)

    async def aclose(self) -> None:
        self.closed += 1


def answering(
    family: Family,
    *answers: Callable[[Any], Any] | Any,
    seen: list[Any] | None = None,
) -> Any:
    """Return a transport that gives these answers, the last one again and again.

    An answer is a response, an exception, or an async function of the request.
    """
    played = iter(answers)
    last: list[Any] = []

    async def handle(request: Any) -> Any:
        if seen is not None:
            seen.append(request)
        answer = next(played, None)
        if answer is None:
            answer = last[0]
        last[:] = [answer]
        if isinstance(answer, BaseException):
            raise answer
        return await answer(request) if callable(answer) else answer

    return family.client.MockTransport(handle)


def fed(
    family: Family,
    *steps: float | bytes,
    status: int = 200,
    headers: dict[str, str] | None = None,
    after: float = 0.0,
) -> Callable[[Any], Any]:
    """Return an answer with a new :class:`Feed` as its body, whose head comes after a time."""

    async def answer(request: Any) -> Any:
        await anyio.sleep(after)
        stream = type("Fed", (Feed, family.client.AsyncByteStream), {})(*steps)
        return family.client.Response(status, headers=headers or {}, stream=stream)

    return answer
