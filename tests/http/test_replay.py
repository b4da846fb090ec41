"""Which bodies can be sent again."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pytest

from seawall.http.replay import OneShot, is_replayable


async def generate() -> AsyncIterator[bytes]:
    yield b"once"


class Pipe(io.RawIOBase):
    """A file that cannot be sought."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: Any) -> int:
        return 0


class Reader:
    """Something with ``read``, of which nothing else is known."""

    def read(self, size: int = -1) -> bytes:
        return b""


class Liar(Reader):
    def seekable(self) -> bool:
        raise OSError

    def seek(self, position: int) -> None:
        raise OSError


@pytest.mark.parametrize(
    "arguments, replayable",
    [
        ({}, True),
        ({"content": b"bytes"}, True),
        ({"content": "str"}, True),
        ({"json": {"a": 1}}, True),
        ({"data": {"a": "1"}}, True),
        ({"files": {"f": b"bytes"}}, True),
        ({"files": {"f": ("name", "str")}, "data": {"a": ["1", "2"]}}, True),
        ({"files": {"f": io.BytesIO(b"file")}}, True),
        ({"files": {"f": io.BytesIO(b"file"), "g": Pipe()}}, False),
        ({"files": {"f": Pipe()}}, False),
        ({"files": {"f": Reader()}}, False),
        ({"files": {"f": Liar()}}, False),
        ({"content": generate()}, False),
    ],
)
def test_only_what_is_known_to_be_the_same_again_can_be_sent_again(
    client_module: ModuleType, arguments: dict[str, Any], replayable: bool
) -> None:
    """Bytes in memory and parts that can be sought are replayable, and nothing else is."""
    request = client_module.Request("POST", "http://server/", **arguments)
    assert is_replayable(request, client_module) is replayable


def test_an_iterator_that_is_no_generator_is_one_shot(client_module: ModuleType) -> None:
    """An iterator that the client would silently send again as nothing is not replayable."""

    class Once:
        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            raise StopAsyncIteration

    request = client_module.Request("PUT", "http://server/", content=Once())
    assert not is_replayable(request, client_module)


def test_a_real_file_can_be_sent_again_and_a_closed_one_cannot(client_module: ModuleType) -> None:
    """A file on disk is sought back; a pipe, and a file that is closed, are not."""
    with tempfile.TemporaryFile() as file:
        request = client_module.Request("POST", "http://server/", files={"f": file})
        assert is_replayable(request, client_module)
    assert not is_replayable(request, client_module)
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        request = client_module.Request("POST", "http://server/", files={"f": pipe})
        assert not is_replayable(request, client_module)


def test_the_bytes_that_a_redirect_carries_on_are_replayable(client_module: ModuleType) -> None:
    """A 307 hop passes the stream on without the content; it is bytes all the same."""
    first = client_module.Request("POST", "http://server/", content=b"bytes")
    hop = client_module.Request("POST", "http://server/b", stream=first.stream)
    assert is_replayable(hop, client_module)


def test_a_stream_put_in_place_of_the_content_is_not_taken_for_it(
    client_module: ModuleType,
) -> None:
    """What is sent is the stream, so the content beside it proves nothing."""
    request = client_module.Request("POST", "http://server/", content=b"bytes")
    request.stream = client_module.Request("POST", "http://server/", content=generate()).stream
    assert request.content == b"bytes"
    assert not is_replayable(request, client_module)


@pytest.mark.asyncio
async def test_a_one_shot_body_knows_whether_it_was_begun() -> None:
    """Before the first read it can still be sent; from then on it cannot."""
    body = OneShot(generate())
    assert not body.begun
    assert [chunk async for chunk in body] == [b"once"]
    assert body.begun
    await body.aclose()
