"""The SDKs of two model APIs, and what their servers answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import anthropic
import openai

from seawall import Policy
from seawall.httpx2 import protect
from tests.http.scripted import Step, respond

JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}
WORDS = ("all ", "is ", "well")


@dataclass(frozen=True)
class SDK:
    """One SDK: how it is called, and what its server answers.

    Attributes:
        module: the SDK itself.
        path: where its questions arrive.
        whole: the body of a plain answer.
        events: a streamed answer, one item per word.
    """

    module: ModuleType
    path: str
    whole: bytes
    events: tuple[bytes, ...]

    def connect(
        self,
        url: str,
        policy: Policy | None = None,
        *,
        idempotent: bool | None = None,
        idle_timeout: float | None = None,
        transport: Any = None,
        **options: Any,
    ) -> Any:
        """Return a client of the SDK, behind policies, by the line that the page recommends."""
        given = {"verify": False} if transport is None else {"transport": transport}
        http_client = protect(
            self.module.DefaultAsyncHttpxClient(**given),
            policy,
            idempotent=idempotent,
            idle_timeout=idle_timeout,
        )
        return self.client(url, http_client, **options)

    def client(self, url: str, http_client: Any, **options: Any) -> Any:
        """Return a client of the SDK around a given HTTP client."""
        kind = getattr(self.module, "AsyncOpenAI", None) or self.module.AsyncAnthropic
        client = kind(api_key="none", base_url=url, http_client=http_client, **options)
        # Found out in a thread otherwise, and no thread waits for a virtual clock.
        client._platform = "Linux"
        return client

    async def ask(self, client: Any) -> str:
        """Ask for an answer in one piece."""
        if self.module is openai:
            answer = await client.chat.completions.create(**_QUESTION)
            text: str = answer.choices[0].message.content
        else:
            answer = await client.messages.create(**_QUESTION, max_tokens=9)
            text = answer.content[0].text
        return text

    async def stream(self, client: Any) -> AsyncIterator[str]:
        """Ask for an answer word by word."""
        if self.module is openai:
            stream = await client.chat.completions.create(**_QUESTION, stream=True)
        else:
            stream = await client.messages.create(**_QUESTION, max_tokens=9, stream=True)
        async with stream:
            async for event in stream:
                if self.module is openai:
                    yield event.choices[0].delta.content
                elif event.type == "content_block_delta":
                    yield event.delta.text

    def answer(self, *, delay: float = 0.0) -> Step:
        """Answer in one piece, after a delay in seconds."""
        return respond(200, self.whole, JSON, delay=delay)

    def refuse(self, status: int, code: str = "busy", **headers: str) -> Step:
        """Answer with an error; ``retry_after_ms="20"`` becomes the header ``retry-after-ms``."""
        error = {"error": {"message": "made up", "type": code, "code": code}}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return respond(status, json.dumps(error).encode(), JSON | named)

    def tell(self, *, pause: Any, words: int = len(WORDS)) -> Step:
        """Answer word by word; ``pause`` is awaited after each but the last of all."""

        async def step(exchange: Any) -> None:
            await exchange.send_head(200, list(EVENTS.items()))
            for number, event in enumerate(self.events[:words]):
                await exchange.send_data(event)
                if number + 1 < len(self.events):
                    await pause()
            await exchange.end()

        return step


_QUESTION: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "How?"}]}


def _data(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\n".encode() + _data(type=kind, **fields)


def _chunk(word: str) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}
    return _data(id="1", object="chat.completion.chunk", created=0, model="small", choices=[choice])


def _delta(word: str) -> bytes:
    return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})


_MESSAGE: dict[str, Any] = {
    "id": "1",
    "type": "message",
    "role": "assistant",
    "model": "small",
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 3},
}

OPENAI = SDK(
    openai,
    "/chat/completions",
    json.dumps(
        {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": "small",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "".join(WORDS)},
                    "finish_reason": "stop",
                }
            ],
        }
    ).encode(),
    (_chunk(WORDS[0]), _chunk(WORDS[1]), _chunk(WORDS[2]) + b"data: [DONE]\n\n"),
)

ANTHROPIC = SDK(
    anthropic,
    "/v1/messages",
    json.dumps(_MESSAGE | {"content": [{"type": "text", "text": "".join(WORDS)}]}).encode(),
    (
        _event("message_start", message=_MESSAGE | {"content": []})
        + _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        + _delta(WORDS[0]),
        _delta(WORDS[1]),
        _delta(WORDS[2])
        + _event("content_block_stop", index=0)
        + _event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3})
        + _event("message_stop"),
    ),
)
