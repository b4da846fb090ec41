"""Wrong uses, each of which a type checker must find: an ignore that is not needed is an error."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from seawall import (
    AdaptiveLimit,
    Bulkhead,
    CircuitBreaker,
    Fallback,
    Keyed,
    LoadShedder,
    Pipeline,
    Retry,
    Timeout,
)

pipeline = Pipeline(Timeout(30), Retry(3))


@pipeline
async def fetch(url: str, *, size: int = 1) -> bytes:
    return url.encode() * size


@pipeline
async def tokens(prompt: str) -> AsyncIterator[str]:
    yield prompt


async def numbers(first: int) -> AsyncIterator[int]:
    yield first


def blocking(url: str) -> bytes:
    return url.encode()


Pipeline(Retry)  # type: ignore[arg-type]
Pipeline(None)  # type: ignore[arg-type]
Pipeline(classify=lambda outcome: True)  # type: ignore[arg-type,return-value]
Keyed(Bulkhead(1))  # type: ignore[arg-type]
Retry("3")  # type: ignore[arg-type]
Retry(3, on="OSError")  # type: ignore[arg-type]
Retry(3, budget=0.1)  # type: ignore[arg-type]
CircuitBreaker(trip="5")  # type: ignore[arg-type]
CircuitBreaker(failures="OSError")  # type: ignore[arg-type]
Bulkhead(limit=None)  # type: ignore[arg-type]
AdaptiveLimit(10.5)  # type: ignore[arg-type]
LoadShedder(window=None)  # type: ignore[arg-type]
Fallback(5)  # type: ignore[arg-type]
pipeline(blocking)  # type: ignore[arg-type]


async def main() -> None:
    await fetch(1)  # type: ignore[arg-type]
    await fetch("url", size="2")  # type: ignore[arg-type]
    await fetch("url", other=1)  # type: ignore[call-arg]
    await pipeline.execute(time.sleep, 1)  # type: ignore[call-overload]
    await pipeline.execute(fetch, 1)  # type: ignore[call-overload]
    await pipeline.execute(fetch, "url", size="2")  # type: ignore[arg-type]
    pipeline.bind(retries=3)  # type: ignore[call-arg]
    await tokens("prompt")  # type: ignore[misc]
    tokens(1)  # type: ignore[arg-type]
    pipeline.stream(numbers, "1")  # type: ignore[call-overload]
    pipeline.stream(numbers(1))  # type: ignore[call-overload]
    pipeline.stream(blocking, "url")  # type: ignore[call-overload]
    await tokens("prompt").asend(None)  # type: ignore[attr-defined]
