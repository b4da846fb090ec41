"""Scripts, counts and errors of the fault server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest

from seawall import UsageError
from seawall.testing import Answer, Exchange, Fault, FaultServer, Request, event_stream, faults
from seawall.testing.steps import hang, reset, send_data, send_head, send_raw, wait

pytestmark = pytest.mark.anyio


async def statuses(client: httpx.AsyncClient, url: str, count: int) -> list[Any]:
    """What so many requests end in: a status or the name of an error."""
    seen: list[Any] = []
    for _ in range(count):
        try:
            seen.append((await client.get(url)).status_code)
        except httpx.TransportError as error:
            seen.append(type(error).__name__)
    return seen


async def test_the_default_answer_is_a_200() -> None:
    """Without a script, every request is answered."""
    async with FaultServer() as server, httpx.AsyncClient() as client:
        response = await client.get(server.url)
        assert (response.status_code, response.content) == (200, b"ok")
        assert await statuses(client, server.url, 3) == [200] * 3
        assert (server.connections, len(server.requests)) == (1, 4)


async def test_a_script_is_played_in_order_and_then_what_follows() -> None:
    """Names, statuses, answers, faults and steps are consumed one by one."""

    async def mine(exchange: Exchange) -> None:
        await exchange.send_head(299, [("x-mine", "yes")])

    script = ["no_response", 503, Answer(404), faults.no_response, mine]
    async with FaultServer(script, then=418) as server, httpx.AsyncClient() as client:
        assert server.script.left == 5
        seen = await statuses(client, server.url, 7)
        gone = "RemoteProtocolError"
        assert seen == [gone, 503, 404, gone, 299, 418, 418]
        assert server.script.left == 0
        server.play(500)
        assert await statuses(client, server.url, 2) == [500, 200]


async def test_a_fault_of_a_connection_waits_for_the_next_connection() -> None:
    """The answer before it ends its own, so that the next request meets it."""
    script = [201, "reset_on_accept", 202, "fin_on_accept", "reset_on_accept", 203]
    async with FaultServer(script) as server, httpx.AsyncClient() as client:
        seen = await statuses(client, server.url, 7)
        met = [status if isinstance(status, int) else "gone" for status in seen]
        assert met == [201, "gone", 202, "gone", "gone", 203, 200]
        assert server.connections == 6
        assert len(server.requests) == 4


async def test_a_request_on_an_open_connection_takes_what_follows_a_fault_of_another() -> None:
    """Nobody is made to wait for a connection that may never come."""
    async with FaultServer() as server, httpx.AsyncClient() as client:
        assert await statuses(client, server.url, 1) == [200]
        server.play("tls_silence", 202)
        assert await statuses(client, server.url, 1) == [202]
        assert server.script.left == 1


@pytest.mark.parametrize("tls, http2", [(False, False), (True, False), (True, True)])
async def test_bodies_arrive_byte_for_byte_and_are_counted_by_path(tls: bool, http2: bool) -> None:
    """Of known and unknown length, large and empty, there and back."""
    large = bytes(range(256)) * 2000

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 70_001):
            yield large[start : start + 70_001]

    async with FaultServer(then=Answer(body=large)) as server:
        url = server.tls_url if tls else server.url
        async with httpx.AsyncClient(verify=server.ssl_context, http2=http2) as client:
            for body in (large, pieces(), b"", None):
                response = await client.put(f"{url}/large?part=1", content=body)
                assert response.content == large
            assert (await client.head(f"{url}/head")).headers["content-length"] == str(len(large))
        assert server.bodies("/large") == [large, large, b"", b""]
        assert server.bodies() == [large, large, b"", b"", b""]
        assert [request.method for request in server.requests_to("/head")] == ["HEAD"]
        assert server.requests_to("/nowhere") == []
        first = server.requests[0]
        assert (first.path, first.query, first.target) == (
            "/large",
            {"part": "1"},
            "/large?part=1",
        )
        assert first.complete
        assert (first.protocol, first.secure) == ("HTTP/2" if http2 else "HTTP/1.1", tls)
        assert [request.number for request in server.requests] == [1, 2, 3, 4, 5]
        assert server.bytes_received > 2 * len(large)
        assert server.bytes_sent > 4 * len(large)
        server.forget()
        assert (server.requests, server.connections, server.bytes_received) == ([], 0, 0)


async def test_half_an_upload_is_recorded_as_half() -> None:
    """What arrived is there, and is not called complete."""
    async with FaultServer() as server:
        async with await anyio.connect_tcp("127.0.0.1", int(server.url.rpartition(":")[2])) as tcp:
            await tcp.send(b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nhalf")
            await server.until(lambda: server.bodies() == [b"half"])
            assert not server.requests[0].complete
        await server.until(lambda: server.open_connections == 0)
        assert (server.bodies(), server.requests[0].complete) == ([b"half"], False)


async def test_a_function_of_the_request_chooses() -> None:
    """It sees the head, may read the body, and may leave the choice to the script."""

    async def choose(request: Request) -> Any:
        if request.path == "/read":
            return Answer(body=(await request.read()).upper())
        return {"/silent": "no_response", "/teapot": 418}.get(request.path)

    async with FaultServer([503], choose=choose) as server, httpx.AsyncClient() as client:
        assert (await client.post(f"{server.url}/read", content=b"shout")).content == b"SHOUT"
        assert await statuses(client, f"{server.url}/teapot", 1) == [418]
        assert await statuses(client, f"{server.url}/silent", 1) == ["RemoteProtocolError"]
        assert await statuses(client, server.url, 2) == [503, 200]
        server.play(choose=lambda request: 300 + request.number)
        assert await statuses(client, server.url, 2) == [306, 307]


async def test_answers_carry_headers_latency_json_and_trailers() -> None:
    """What is no fault is scripted in the same way."""
    script = [
        Answer(429, headers={"Retry-After": "3"}),
        Answer(body={"error": {"code": "insufficient_quota"}}),
        Answer(headers=[("set-cookie", "a=1"), ("set-cookie", "b=2")]),
        Answer(delay=0.05),
        Answer(204),
        Answer(chunks=["a", b"", "b"], every=0.001, trailers={"x-sum": "2"}),
    ]
    async with FaultServer(script) as server, httpx.AsyncClient() as client:
        assert (await client.get(server.url)).headers["retry-after"] == "3"
        response = await client.get(server.url)
        assert response.json() == {"error": {"code": "insufficient_quota"}}
        assert response.headers["content-type"] == "application/json"
        response = await client.get(server.url)
        assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
        before = anyio.current_time()
        await client.get(server.url)
        assert anyio.current_time() - before >= 0.05
        response = await client.get(server.url)
        assert (response.content, "content-length" in response.headers) == (b"", False)
        assert (await client.get(server.url)).content == b"ab"
        assert server.connections == 1


async def test_event_streams_end_or_go_on_as_told() -> None:
    """Events come one by one, and the last may be followed by silence or a reset."""
    async with FaultServer([event_stream("one", "two\nlines", every=0.001)]) as server:
        async with httpx.AsyncClient(timeout=httpx.Timeout(30, read=0.5)) as client:
            response = await client.get(server.url)
            assert response.headers["content-type"] == "text/event-stream"
            assert response.text == "data: one\n\ndata: two\ndata: lines\n\n"
            for then, error in ((hang, httpx.ReadTimeout), (reset, httpx.ReadError)):
                server.play(event_stream("one", then=then))
                seen = ""
                with pytest.raises(error):
                    async with client.stream("GET", server.url) as response:
                        async for text in response.aiter_text():
                            seen += text
                assert seen == "data: one\n\n"


async def test_a_fault_of_ones_own_is_a_list_of_steps() -> None:
    """What the steps leave undone is done: unanswered is answered, begun is ended."""
    slow = Fault("slow", wait(0.001))
    begun = Fault("begun", send_head(206, x_part="1"), send_data(b"part"))
    raw = Fault("raw", send_raw(b"HTTP/1.1 201 Made\r\ncontent-length: 0\r\n\r\n"))
    interim = Fault("interim", send_raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"), Answer(body="late"))
    async with FaultServer([slow, begun, raw, interim]) as server, httpx.AsyncClient() as client:
        assert (await client.get(server.url)).content == b"ok"
        response = await client.get(server.url)
        assert (response.status_code, response.content) == (206, b"part")
        assert response.headers["x-part"] == "1"
        assert (await client.get(server.url)).status_code == 201
        assert (await client.get(server.url)).text == "late"
        assert server.connections == 1


async def test_an_early_answer_may_leave_the_connection_in_use() -> None:
    """An upload that is answered before it is read is read afterwards."""
    async with FaultServer([Answer(413, at="head")]) as server, httpx.AsyncClient() as client:
        large = b"x" * 3_000_000
        assert (await client.post(server.url, content=large)).status_code == 413
        assert (await client.get(server.url)).status_code == 200
        assert server.bodies() == [large, b""]
        assert server.connections == 1


async def test_a_client_that_speaks_no_http_gets_a_400() -> None:
    """Nonsense is refused; it is no error of the script."""
    async with FaultServer() as server:
        async with await anyio.connect_tcp("127.0.0.1", int(server.url.rpartition(":")[2])) as tcp:
            await tcp.send(b"nonsense\r\n\r\n")
            assert (await tcp.receive()).startswith(b"HTTP/1.1 400 ")
        assert server.requests == []


async def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    """The body is asked for when it is read."""
    async with FaultServer() as server:
        async with await anyio.connect_tcp("127.0.0.1", int(server.url.rpartition(":")[2])) as tcp:
            await tcp.send(
                b"PUT / HTTP/1.1\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            assert (await tcp.receive()).startswith(b"HTTP/1.1 100 ")
            await tcp.send(b"2;x=y\r\nok\r\n0\r\nx-trailer: 1\r\n\r\n")
            assert (await tcp.receive()).startswith(b"HTTP/1.1 200 ")
        assert server.bodies() == [b"ok"]


async def test_until_wakes_when_it_happens() -> None:
    """A test waits for what the server sees, not for a time."""
    async with FaultServer(then="silence") as server:
        async with httpx.AsyncClient() as client, anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(client.get, server.url)
            await server.until(lambda: len(server.requests) == 3)
            assert server.open_connections == 3
            tasks.cancel_scope.cancel()
        await server.until(lambda: server.open_connections == 0)


async def test_an_unknown_fault_is_refused_with_all_that_there_are() -> None:
    """So is whatever can be no item, at once and with what can."""
    with pytest.raises(ValueError, match=r"no fault 'rest_in_body'; there are .*reset_in_body"):
        FaultServer(["rest_in_body"])
    with pytest.raises(TypeError, match=r"an Answer, a Fault, a status, the name .*, not 1\.5"):
        FaultServer(then=1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"wrong|for every request: FaultServer\(then=item\)"):
        FaultServer("silence")
    with pytest.raises(TypeError, match=r"for every request"):
        FaultServer(faults.silence)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"at must be one of 'accept', 'head', 'request'"):
        Fault("mine", at="body")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"status must be an int >= 200, not 99"):
        Answer(99)
    with pytest.raises(TypeError, match=r"a step must be an async function"):
        Fault("mine", 3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"choose= is never asked"):
        FaultServer(then="reset_on_accept", choose=lambda request: None)


async def test_what_a_script_raises_is_raised_when_the_server_is_closed() -> None:
    """The client is cut off; the test learns why."""

    async def broken(exchange: Exchange) -> None:
        raise ZeroDivisionError

    async def get(server: FaultServer) -> None:
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.TransportError):
                await client.get(server.url)

    with pytest.raises(ZeroDivisionError):
        async with FaultServer([broken]) as server:
            await get(server)
    with pytest.raises(UsageError, match="befalls a connection that has no request"):
        async with FaultServer(choose=lambda request: "fin_on_accept") as server:
            await get(server)
    with pytest.raises(UsageError, match="no request has arrived"):
        async with FaultServer([Fault("early", send_head(), at="accept")]) as server:
            await get(server)
    with pytest.raises(KeyError) as caught:
        async with FaultServer([broken]) as server:
            await get(server)
            raise KeyError
    assert "ZeroDivisionError" in caught.value.__notes__[0]


async def test_a_server_is_used_while_it_is_open() -> None:
    """Before, it says how; twice at once, it refuses; again, it may be."""
    server = FaultServer()
    assert repr(server) == "<FaultServer, closed>"
    for name in ("url", "tls_url", "proxy_url", "refused_url", "full_url"):
        with pytest.raises(UsageError, match="async with FaultServer"):
            getattr(server, name)
    for _ in range(2):
        async with server, httpx.AsyncClient() as client:
            assert (await client.get(server.url)).status_code == 200
            with pytest.raises(UsageError, match="open already"):
                await server.__aenter__()
            assert server.url in repr(server)


def test_the_extra_is_named_where_it_is_missing() -> None:
    """Without h2 and trustme plain HTTP/1.1 works, and TLS says what to install."""
    code = """
import sys
sys.modules["h2"] = sys.modules["trustme"] = None
import seawall, seawall.testing
with seawall.testing.FaultServer() as server:
    import httpx
    print(httpx.get(server.url).status_code)
    for name in ("tls_url", "ssl_context"):
        try:
            getattr(server, name)
        except ImportError as error:
            print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("200\n")
    assert done.stdout.count("pip install 'seawall[testing]'") == 2


def test_importing_seawall_imports_none_of_it() -> None:
    """Neither the server nor what it needs comes with ``import seawall``."""
    code = (
        "import sys, seawall; before = {'seawall.testing', 'h2'} & set(sys.modules); "
        "import seawall.testing; print(before, {'h2', 'trustme'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set() set()"
