"""The page on streams: its code runs, and what it calls wrong is."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import AsyncIterator
from inspect import CO_COROUTINE
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any, Self

import pytest

from seawall import Bulkhead, CallTimeoutError, CircuitBreaker
from tests.virtual_time import run

PAGE = (Path(__file__).parent.parent / "docs" / "streams.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
USAGE, DECORATED, ITEMS, FALLBACK, LOOP, TIMEOUT, KEPT, OPENED = BLOCKS


class Model:
    """A client of a model, of the shape that the page uses; its prompts say what happens."""

    def __init__(self) -> None:
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self.create))
        self.requests: list[str] = []
        self.closed = 0

    async def create(self, *, messages: Any, stream: bool, model: str = "small") -> Opened:
        prompt = messages if isinstance(messages, str) else messages[0]["content"]
        self.requests.append(prompt)
        await asyncio.sleep(0.1)
        return Opened(self, self.chunks(prompt))

    async def chunks(self, prompt: str) -> AsyncIterator[Any]:
        first = self.requests.count(prompt) == 1
        yield chunk("", role="assistant")
        if prompt == "a failure for good" or (first and prompt == "a failure after the role"):
            raise ConnectionError("lost")
        yield SimpleNamespace(choices=[])
        words = "x" * 100 if prompt == "a long answer" else "hello"
        for number, letter in enumerate(words):
            if first and number == 2 and prompt == "a failure after two letters":
                raise ConnectionError("lost")
            await asyncio.sleep(0.5)
            yield chunk(letter)


def chunk(content: str, role: str | None = None) -> Any:
    return SimpleNamespace(choices=[SimpleNamespace(delta=SimpleNamespace(content=content))])


class Opened:
    """What the client returns for a stream."""

    def __init__(self, model: Model, chunks: AsyncIterator[Any]) -> None:
        self.model = model
        self.chunks = chunks

    def __aiter__(self) -> AsyncIterator[Any]:
        return self.chunks

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.close()

    async def close(self) -> None:
        self.model.closed += 1


class Reader:
    """Runs the blocks of the page, one after the other, and keeps what they print."""

    def __init__(self) -> None:
        self.client = Model()
        self.shown: list[str] = []
        self.names: dict[str, Any] = {
            "client": self.client,
            "other_tokens": self.other_tokens,
            "print": lambda text, end: self.shown.append(text),
        }

    async def other_tokens(self, prompt: str) -> AsyncIterator[str]:
        raise ConnectionError("lost")
        yield

    async def read(self, block: str) -> None:
        """Run one block, in which ``await`` may stand outside of functions."""
        code = compile(block, "streams.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        body = FunctionType(code, self.names)()
        if code.co_flags & CO_COROUTINE:
            await body

    async def run(self, name: str) -> str:
        """Call a function of the page; say what it printed."""
        self.shown.clear()
        self.client.requests.clear()
        try:
            await self.names[name]()
        finally:
            self.printed = "".join(self.shown)
        return self.printed

    @property
    def bulkhead(self) -> Bulkhead:
        return self.names["pipeline"].find(Bulkhead)

    @property
    def breaker(self) -> CircuitBreaker:
        return self.names["pipeline"].find(CircuitBreaker)


def on_page(test: Any) -> Any:
    """Run a test on a loop of virtual time, with a reader that has read how streams are used."""

    def runs() -> None:
        async def main() -> None:
            reader = Reader()
            await reader.read(USAGE)
            await test(reader)
            assert reader.bulkhead.in_flight == 0

        run(main())

    runs.__name__ = test.__name__
    runs.__doc__ = test.__doc__
    return runs


@on_page
async def test_usage(reader):
    """A function and a decorated function both print the whole answer."""
    assert "".join(reader.shown) == "hello"
    await reader.read(DECORATED)
    assert "".join(reader.shown) == "hellohello"
    assert reader.client.closed == 2


@on_page
async def test_a_role_is_no_item(reader):
    """With the role as the first item, what fails after it is raised; else it is retried."""
    await reader.read(ITEMS)
    with pytest.raises(ConnectionError):
        await reader.run("wrong")
    assert (reader.printed, len(reader.client.requests)) == ("", 1)
    assert await reader.run("right") == "hello"
    assert len(reader.client.requests) == 2


@on_page
async def test_fallbacks(reader):
    """The last fallback answers where model and other model fail."""
    reader.shown.clear()
    await reader.read(FALLBACK)
    assert "".join(reader.shown) == "Please try again later."


@on_page
async def test_the_loop_inside_the_retry(reader):
    """What was shown is shown again; a stream raises instead."""
    await reader.read(LOOP)
    assert await reader.run("wrong") == "hehello"
    with pytest.raises(ConnectionError):
        await reader.run("right")
    assert reader.printed == "he"


@on_page
async def test_one_timeout_for_everything(reader):
    """It cuts off an answer of 50 s after 30 s, though it flows."""
    await reader.read(TIMEOUT)
    with pytest.raises(CallTimeoutError):
        await reader.run("wrong")
    assert 50 < len(reader.printed) < 65
    assert await reader.run("right") == "x" * 100


@on_page
async def test_a_stream_that_is_kept(reader):
    """The kept error keeps the slot; where the stream is closed, it does not."""
    await reader.read(KEPT)
    with pytest.raises(ValueError, match="h") as kept:
        await reader.run("wrong")
    assert reader.bulkhead.in_flight == 1
    kept.value.__traceback__ = None
    del kept
    assert reader.bulkhead.in_flight == 0
    with pytest.raises(ValueError, match="h") as kept:
        await reader.run("right")
    assert kept.value.__traceback__ is not None
    assert reader.bulkhead.in_flight == 0


@on_page
async def test_policies_around_the_opening_alone(reader):
    """The breaker hears of a success, and nothing is retried; with a stream it is."""
    await reader.read(OPENED)
    with pytest.raises(ConnectionError):
        await reader.run("wrong")
    assert len(reader.client.requests) == 1
    assert reader.breaker.snapshot().failures == 0
    with pytest.raises(ConnectionError):
        await reader.run("right")
    assert len(reader.client.requests) == 3
    assert reader.breaker.snapshot().failures == 3
