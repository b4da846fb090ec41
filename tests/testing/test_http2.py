"""HTTP/2 of the fault server: streams side by side, windows, and how connections end."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded, StreamReset

from seawall.testing import Answer, Fault, FaultServer, Request
from seawall.testing.steps import goaway, reset_stream, send_data, send_head, wait

pytestmark = pytest.mark.anyio


def http2(server: FaultServer, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=server.ssl_context, http2=True, timeout=30, **options)


async def test_many_streams_share_one_connection() -> None:
    """Fifty requests are at the server at once, and each gets its own answer."""
    arrived = anyio.Event()
    server = FaultServer()

    async def choose(request: Request) -> Answer:
        if len(server.requests) == 50:
            arrived.set()
        await arrived.wait()
        return Answer(body=request.path)

    answers: dict[int, str] = {}
    async with server, http2(server) as client:
        await client.get(server.tls_url)
        server.forget()
        server.play(choose=choose)

        async def ask(number: int) -> None:
            answers[number] = (await client.get(f"{server.tls_url}/{number}")).text

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(ask, number)
        assert answers == {number: f"/{number}" for number in range(50)}
        assert server.connections == 0
        assert server.open_connections == 1


async def test_without_tls_for_who_knows_before() -> None:
    """A client that begins with the preface of HTTP/2 is understood."""
    async with FaultServer([201]) as server:
        async with httpx.AsyncClient(http1=False, http2=True) as client:
            response = await client.post(server.url, content=b"body")
        assert (response.status_code, response.http_version) == (201, "HTTP/2")
        assert server.bodies() == [b"body"]


async def test_one_stream_fails_and_its_neighbor_does_not() -> None:
    """An RST_STREAM leaves the connection to the others."""
    slow = Fault("slow", send_head(206), send_data(b"a"), wait(0.05), send_data(b"b"))
    async with FaultServer([slow, "refused_stream"]) as server, http2(server) as client:
        async with client.stream("GET", server.tls_url) as response:
            with pytest.raises(httpx.RemoteProtocolError, match="error_code:7"):
                await client.get(server.tls_url)
            assert await response.aread() == b"ab"
        assert server.connections == 1


async def test_a_client_that_gives_up_a_stream_ends_its_fault() -> None:
    """What hangs for one stream goes on no longer than that; the connection is kept."""
    async with FaultServer(["silence"]) as server, http2(server) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get(server.tls_url, timeout=httpx.Timeout(30, read=0.05))
        assert (await client.get(server.tls_url)).status_code == 200


async def test_the_last_stream_of_a_goaway_is_told() -> None:
    """With this stream or without it, and with the code that was asked for."""
    faults = [
        Fault("first", goaway(processed=False, code=0)),
        Fault("with", goaway(processed=True, code=11)),
    ]
    async with FaultServer(faults) as server:
        for told in ("error_code:0, last_stream_id:0", "error_code:11, last_stream_id:1"):
            async with http2(server) as client:
                with pytest.raises(httpx.RemoteProtocolError, match=told):
                    await client.get(server.tls_url)


async def test_a_fault_of_a_connection_ends_the_one_before_it() -> None:
    """The answer before it is the last of its connection, on HTTP/2 too."""
    script = [201, "tls_reset", 202]
    async with FaultServer(script) as server, http2(server) as client:
        assert (await client.get(server.tls_url)).status_code == 201
        with pytest.raises(httpx.ConnectError):
            await client.get(server.tls_url)
        assert (await client.get(server.tls_url)).status_code == 202
        assert server.connections == 3


class Streams:
    """The protocol alone, for what httpx and httpx2 do not survive or do not see."""

    def __init__(self, tcp: anyio.abc.SocketStream) -> None:
        self.tcp = tcp
        self.state = H2Connection()
        self.state.initiate_connection()
        self.told: list[Any] = []
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()

    def ask(self, stream: int, *, method: str = "GET", end: bool = True) -> None:
        pseudo = {":method": method, ":scheme": "http", ":authority": "a", ":path": "/"}
        self.state.send_headers(stream, pseudo.items(), end_stream=end)
        self.bodies[stream] = b""

    async def send(self) -> None:
        await self.tcp.send(self.state.data_to_send())

    async def receive(self) -> None:
        for event in self.state.receive_data(await self.tcp.receive()):
            self.told.append(event)
            if isinstance(event, DataReceived):
                self.bodies[event.stream_id] += event.data
                self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self.ended.add(event.stream_id)
        await self.send()


def connect(server: FaultServer) -> Any:
    return anyio.connect_tcp("127.0.0.1", int(server.url.rpartition(":")[2]))


async def test_an_answer_may_be_reset_before_the_request_was_read() -> None:
    """An early answer, and then NO_ERROR: the client need not send the rest (RFC 9113, 8.1)."""
    early = Fault("early", Answer(413), reset_stream(0), at="head")
    async with FaultServer([early]) as server, await connect(server) as tcp:
        streams = Streams(tcp)
        streams.ask(1, method="POST", end=False)
        streams.state.send_data(1, b"half")
        await streams.send()
        while not any(isinstance(event, StreamReset) for event in streams.told):
            await streams.receive()
        assert (streams.bodies, streams.ended) == ({1: b"ok"}, {1})
        assert streams.told[-1].error_code == 0
        assert not server.requests[0].complete


async def test_a_client_that_leaves_in_the_middle_is_no_error_of_the_script() -> None:
    """Streams that are reset, and whole connections, while the server sends on each of them."""
    busy = Answer(chunks=[b"x" * 100] * 100_000)
    async with FaultServer(then=busy) as server:
        for goaway in (False, True):
            async with await connect(server) as tcp:
                streams = Streams(tcp)
                for stream in range(1, 40, 2):
                    streams.ask(stream)
                    await streams.send()
                    await streams.receive()
                    if stream > 10:
                        streams.state.reset_stream(stream - 10)
                if goaway:
                    streams.state.close_connection()
                    await streams.send()
                    await server.until(lambda: server.open_connections == 1)
        await server.until(lambda: server.open_connections == 0)
        assert len(server.requests) == 40


async def test_a_stream_that_is_given_up_leaves_the_frames_of_the_others_whole() -> None:
    """What is being written when a stream ends is written to its end."""
    large = bytes(range(256)) * 400
    kept = set(range(1, 80, 4))
    async with FaultServer(then=Answer(body=large)) as server, await connect(server) as tcp:
        streams = Streams(tcp)
        for stream in range(1, 80, 2):
            streams.ask(stream)
            await streams.send()
            if stream > 5 and stream % 4 == 1:
                streams.state.reset_stream(stream - 2)
            await streams.receive()
        while not kept <= streams.ended:
            await streams.receive()
        assert {stream: streams.bodies[stream] == large for stream in kept} == dict.fromkeys(
            kept, True
        )


async def test_trailers_and_answers_without_a_body() -> None:
    """What has no body ends with its head, and trailers come after one."""
    script = [Answer(204), Answer(chunks=["a", "b"], trailers={"x-sum": "2"})]
    async with FaultServer(script) as server, http2(server) as client:
        response = await client.get(server.tls_url)
        assert (response.status_code, response.content) == (204, b"")
        assert "content-length" not in response.headers
        assert (await client.get(server.tls_url)).content == b"ab"


async def test_a_client_that_breaks_the_protocol_is_sent_away() -> None:
    """It gets the GOAWAY that it has earned; it is no error of the script."""
    async with FaultServer() as server:
        async with await anyio.connect_tcp("127.0.0.1", int(server.url.rpartition(":")[2])) as tcp:
            # Data of stream 0, which is none.
            await tcp.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\1\0\0\0\0\0\0x")
            with pytest.raises(anyio.EndOfStream):
                while True:
                    await tcp.receive()
        await server.until(lambda: server.open_connections == 0)
