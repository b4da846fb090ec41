"""Answers that are no faults, or not by themselves: statuses, latency, streams."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from seawall.core.checks import check_count, check_number

if TYPE_CHECKING:
    from seawall.testing.exchange import Exchange, Headers
    from seawall.testing.fault import Moment, Step

HeadersLike: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer to one request; also a step of a :class:`Fault`.

    ``Answer(503, headers={"Retry-After": "2"})``, ``Answer(delay=0.2)``,
    ``Answer(chunks=["a", "b"], every=0.01, then=reset)``.

    Args:
        status: the status code, by default 200.
        body: bytes, text, or what is sent as JSON; by default ``b"ok"``.
        headers: headers by name, or as pairs where one is repeated.
        delay: seconds before the head, by default 0.
        chunks: sent one by one instead of ``body``, without announcing their length.
        every: seconds before each chunk but the first, by default 0.
        trailers: headers after a body of chunks.
        then: a step instead of the end of the body, such as ``reset`` or ``hang``.
        at: ``"request"``, when the whole request was read, or ``"head"``, when its body was not.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is of the wrong type.
    """

    status: int = field(default=200, kw_only=False)
    body: bytes | str | Mapping[str, Any] | list[Any] = field(default=b"ok", kw_only=False)
    headers: HeadersLike = ()
    delay: float = 0.0
    chunks: Sequence[bytes | str] | None = None
    every: float = 0.0
    trailers: HeadersLike = ()
    then: Step | None = None
    at: Moment = "request"

    def __post_init__(self) -> None:
        check_count("status", self.status, at_least=200)
        if not isinstance(self.body, bytes | str | Mapping | list):
            raise TypeError(f"body must be bytes, a str, a dict or a list, not {self.body!r}")
        check_number("delay", self.delay, at_least=0)
        check_number("every", self.every, at_least=0)

    async def __call__(self, exchange: Exchange) -> None:
        """Send the answer."""
        if self.delay:
            await anyio.sleep(self.delay)
        headers = _pairs(self.headers)
        if self.chunks is None:
            kind, body = _encode(self.body)
            if kind and "content-type" not in {name.lower() for name, _ in headers}:
                headers.append(("content-type", kind))
            await exchange.send_head(self.status, headers, length=len(body), data=body)
        else:
            await exchange.send_head(self.status, headers)
            for number, chunk in enumerate(self.chunks):
                if number and self.every:
                    await anyio.sleep(self.every)
                await exchange.send_data(_encode(chunk)[1])
        if self.then is not None:
            await self.then(exchange)
        await exchange.end(_pairs(self.trailers))


def event_stream(
    *data: str,
    every: float = 0.0,
    then: Step | None = None,
    headers: HeadersLike = (),
) -> Answer:
    """Return an answer that streams server-sent events.

    Args:
        data: the data of each event.
        every: seconds before each event but the first.
        then: a step instead of the end, such as ``hang``.
        headers: headers beside the content type.
    """
    chunks = ["".join(f"data: {line}\n" for line in event.split("\n")) + "\n" for event in data]
    kind = ("content-type", "text/event-stream")
    return Answer(headers=[kind, *_pairs(headers)], chunks=chunks, every=every, then=then)


def _pairs(headers: HeadersLike) -> Headers:
    if isinstance(headers, Mapping):
        return list(headers.items())
    return list(headers)


def _encode(body: Any) -> tuple[str | None, bytes]:
    if isinstance(body, bytes):
        return None, body
    if isinstance(body, str):
        return "text/plain; charset=utf-8", body.encode()
    return "application/json", json.dumps(body).encode()
