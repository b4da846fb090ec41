"""The fault server in the words of these tests: the last step of a script is played on and on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from seawall.testing import Answer, Exchange, Fault, FaultServer, Request, steps
from tests.http.ledger import Ledger

__all__ = [
    "Exchange",
    "Ledger",
    "Server",
    "Step",
    "close",
    "drip",
    "hang",
    "head",
    "raw",
    "reset",
    "respond",
]

Step: TypeAlias = Any

hang, close, reset = steps.hang, steps.fin, steps.reset


class Server(FaultServer):
    """Plays one step for each request, and the last one for all that follow."""

    def play(self, *script: Step) -> None:
        """Begin a new script, and forget the requests so far."""
        super().play(*script[:-1], then=script[-1])
        self.requests.clear()

    @property
    def received(self) -> list[Request]:
        return self.requests


def head(status: int, headers: Mapping[str, str], length: int | None) -> bytes:
    """Return the head of a response; without a length its body is chunked."""
    framing = (
        {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
    )
    lines = [f"HTTP/1.1 {status} Said"]
    lines += [f"{name}: {value}" for name, value in (framing | dict(headers)).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def respond(
    status: int = 200,
    body: bytes = b"ok",
    headers: Mapping[str, str] | None = None,
    *,
    delay: float = 0.0,
) -> Answer:
    """Answer in full, after a delay in seconds."""
    return Answer(status, body, headers=headers or {}, delay=delay)


def drip(
    chunks: int,
    *,
    every: float,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    size: int = 1,
    then: Step | None = None,
) -> Answer:
    """Answer with so many chunks, one each so many seconds; then end, or play another step."""
    pieces = [b"x" * size] * chunks
    return Answer(status, headers=headers or {}, chunks=pieces, every=every, then=then)


def raw(data: bytes, then: Step | None = None) -> Fault:
    """Send these bytes, then play another step."""
    return Fault("raw", steps.send_raw(data), *([] if then is None else [then]))
