"""Every kind of body that a client of httpx accepts, and whether it can be sent again."""

from __future__ import annotations

import io
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """One kind of body.

    Attributes:
        make: called with the client library and a stack that closes what is opened; returns the
            arguments of a request.
        again: whether it can be sent again.
        contains: what arrives in it.
    """

    make: Callable[[Any, ExitStack], dict[str, Any]]
    again: bool
    contains: bytes = b"payload"


class Once:
    """An iterator that is no generator: the client would send it again as nothing."""

    def __init__(self) -> None:
        self.chunks = [b"pay", b"load"]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self.chunks:
            raise StopAsyncIteration
        return self.chunks.pop(0)


class Reader:
    """A file that can be read, and nothing else."""

    def __init__(self) -> None:
        self.rest = b"payload"

    def read(self, size: int = -1) -> bytes:
        chunk, self.rest = self.rest, b""
        return chunk


class Unseekable(io.BytesIO):
    """What a pipe or a socket is like."""

    def seekable(self) -> bool:
        return False

    def seek(self, *arguments: Any) -> int:
        raise io.UnsupportedOperation


async def generate() -> AsyncIterator[bytes]:
    yield b"pay"
    yield b"load"


def own_stream(client: Any) -> Any:
    class Own(client.AsyncByteStream):
        def __aiter__(self) -> AsyncIterator[bytes]:
            return Once()

    return Own()


def on_disk(client: Any, opened: ExitStack) -> dict[str, Any]:
    file = opened.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - it is one
    file.write(b"payload")
    file.flush()
    # As who has written it leaves it: at its end.
    return {"files": {"f": file}}


def midway(client: Any, opened: ExitStack) -> dict[str, Any]:
    file = io.BytesIO(b"payload and more")
    file.seek(8)
    return {"files": {"f": file}}


BODIES: dict[str, Kind] = {
    "none": Kind(lambda client, opened: {}, again=True, contains=b""),
    "bytes": Kind(lambda client, opened: {"content": b"payload"}, again=True),
    "str": Kind(lambda client, opened: {"content": "payload"}, again=True),
    "json": Kind(lambda client, opened: {"json": {"a": "payload"}}, again=True),
    "form": Kind(lambda client, opened: {"data": {"a": "payload", "b": ["1", "2"]}}, again=True),
    "large bytes": Kind(lambda client, opened: {"content": b"payload" * 30_000}, again=True),
    "files of bytes": Kind(lambda client, opened: {"files": {"f": b"payload"}}, again=True),
    "files of str": Kind(
        lambda client, opened: {"files": {"f": ("name.txt", "payload")}}, again=True
    ),
    "files in memory": Kind(
        lambda client, opened: {"files": {"f": io.BytesIO(b"payload")}, "data": {"a": "1"}},
        again=True,
    ),
    "files on disk": Kind(on_disk, again=True),
    "a file that stands midway": Kind(midway, again=True),
    "several files": Kind(
        lambda client, opened: {
            "files": [("f", io.BytesIO(b"pay")), ("f", ("n", b"payload", "a/b"))]
        },
        again=True,
    ),
    "files that cannot be sought": Kind(
        lambda client, opened: {"files": {"f": Unseekable(b"payload")}}, again=False
    ),
    "files that can be read only": Kind(
        lambda client, opened: {"files": {"f": Reader()}}, again=False
    ),
    "one of several files": Kind(
        lambda client, opened: {"files": [("f", b"fine"), ("g", Unseekable(b"payload"))]},
        again=False,
    ),
    "a generator": Kind(lambda client, opened: {"content": generate()}, again=False),
    "an iterator": Kind(lambda client, opened: {"content": Once()}, again=False),
    "a stream of one's own": Kind(
        lambda client, opened: {"content": own_stream(client)}, again=False
    ),
}
