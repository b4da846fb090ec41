"""How long clients of model APIs may wait: on real sockets, in virtual time.

The sockets are Unix domain ones: what one end has written, the other can read at once, so the time
never jumps while something is on its way.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

import seawall
from seawall import Pipeline, Policy, Retry, constant
from seawall.httpx2 import standard
from tests.http.scripted import Server
from tests.recipes.sdks import OPENAI, SDK, WORDS
from tests.virtual_time import run

pytestmark = pytest.mark.skipif(
    not hasattr(asyncio, "open_unix_connection"), reason="needs Unix domain sockets"
)


class LocalServer(Server):
    """The server on a Unix domain socket.

    Args:
        path: where to put the socket.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.times: list[float] = []

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.settimeout(0)
        # The first is the server, and the second its proxy.
        listener.bind(self.path + ".proxy" * bool(Path(self.path).exists()))
        listener.listen()
        return listener


@asynccontextmanager
async def connected(
    sdk: SDK, policy: Policy | None = None, **options: Any
) -> AsyncIterator[tuple[Any, LocalServer]]:
    """Yield a client of an SDK, without retries of its own, and the server that it speaks to."""
    # Not pytest's directory: the name of a socket must be short.
    with tempfile.TemporaryDirectory() as directory:
        server = LocalServer(str(Path(directory) / "model"))
        transport = httpx2.AsyncHTTPTransport(uds=server.path, verify=False)
        client = sdk.connect("http://model", policy, transport=transport, max_retries=0, **options)
        async with server, client:
            yield client, server


def now() -> float:
    return asyncio.get_running_loop().time()


def pause(seconds: float) -> Callable[[], Any]:
    return partial(asyncio.sleep, seconds)


def test_it_waits_as_long_as_a_429_asks_for(sdk: SDK) -> None:
    """``retry-after-ms: 1500`` is 1.5 s, to the millisecond, and goes before ``Retry-After``."""

    async def main() -> None:
        policy = Retry(3, backoff=constant(0))
        async with connected(sdk, policy) as (client, server):
            refusal = sdk.refuse(429, retry_after_ms="1500", retry_after="20")
            server.play(refusal, refusal, sdk.answer())
            began = now()
            assert await sdk.ask(client) == "".join(WORDS)
            assert now() - began == pytest.approx(3.0, abs=1e-6)
            assert len(server.received) == 3

    run(main())


def test_it_does_not_wait_longer_than_is_reasonable(sdk: SDK) -> None:
    """Asked to wait for minutes, it hands the 429 back at once."""

    async def main() -> None:
        async with connected(sdk) as (client, server):
            server.play(sdk.refuse(429, retry_after_ms="120000"), sdk.answer())
            began = now()
            with pytest.raises(sdk.module.RateLimitError):
                await sdk.ask(client)
            assert now() == began
            assert len(server.received) == 1

    run(main())


@pytest.mark.parametrize("seconds", [40, 599])
def test_a_long_completion_goes_through_the_defaults(sdk: SDK, seconds: float) -> None:
    """The SDK lets a read take 600 s, so no default of ours ends it after 10 s or 30 s."""

    async def main() -> None:
        async with connected(sdk) as (client, server):
            server.play(sdk.answer(delay=seconds))
            began = now()
            assert await sdk.ask(client) == "".join(WORDS)
            assert now() - began == pytest.approx(seconds)
            assert len(server.received) == 1

    run(main())


def test_it_ends_where_the_sdk_itself_would_end_it(sdk: SDK) -> None:
    """The 600 s are still a limit; the question may have been worked on, so it is not repeated."""

    async def main() -> None:
        async with connected(sdk) as (client, server):
            server.play(sdk.answer(delay=700))
            began = now()
            with pytest.raises(sdk.module.APITimeoutError):
                await sdk.ask(client)
            assert now() - began == pytest.approx(600)
            assert len(server.received) == 1

    run(main())


def test_a_timeout_that_was_given_is_kept(sdk: SDK) -> None:
    """Whoever asks for 20 s gets 20 s, whatever the SDK would allow; it is an SDK's timeout."""

    async def main() -> None:
        async with connected(sdk, standard(attempt_timeout=20)) as (client, server):
            server.play(sdk.answer(delay=40))
            began = now()
            with pytest.raises(sdk.module.APITimeoutError) as caught:
                await sdk.ask(client)
            assert isinstance(caught.value.__cause__, seawall.CallTimeoutError)
            assert now() - began == pytest.approx(20)

    run(main())


@pytest.mark.parametrize(
    "policy", [None, standard, Pipeline.standard], ids=["default", "given", "core"]
)
def test_a_stream_may_pause_for_longer_than_an_attempt_may_take(sdk: SDK, policy: Any) -> None:
    """Pauses of 45 s, beyond the attempt's 10 s and the call's 30 s: all words arrive."""

    async def main() -> None:
        given = policy and policy(timeout=30.0, attempt_timeout=10.0)
        async with connected(sdk, given) as (client, server):
            server.play(sdk.tell(pause=pause(45)))
            began = now()
            times = []
            words = []
            async for word in sdk.stream(client):
                words.append(word)
                times.append(round(now() - began, 3))
            assert words == list(WORDS)
            assert times == [0, 45, 90]
            assert len(server.received) == 1

    run(main())


def test_a_stream_that_hangs_for_good_is_ended(sdk: SDK) -> None:
    """By default after the 600 s that the SDK lets a read take, and not after hours."""

    async def main() -> None:
        async with connected(sdk) as (client, server):
            server.play(sdk.tell(pause=pause(100_000)))
            assert await silence(sdk, client) == pytest.approx(600)
            assert len(server.received) == 1

    run(main())


def test_a_stream_that_hangs_for_good_is_ended_as_soon_as_is_said(sdk: SDK) -> None:
    """``idle_timeout=60`` is kept, though the SDK lets a read take 600 s."""

    async def main() -> None:
        async with connected(sdk, idle_timeout=60) as (client, server):
            server.play(sdk.tell(pause=pause(100_000)))
            assert await silence(sdk, client) == pytest.approx(60)

    run(main())


async def silence(sdk: SDK, client: Any) -> float:
    """Read a stream that hangs, and return after how many seconds it was ended."""
    began = now()
    words = []
    # The one turns it into an error of its own, the other lets it pass.
    error = sdk.module.APITimeoutError if sdk is OPENAI else httpx2.TimeoutException
    with pytest.raises(error):
        async for word in sdk.stream(client):
            words.append(word)
    assert words == [WORDS[0]]
    return now() - began
