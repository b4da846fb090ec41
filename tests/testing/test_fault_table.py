"""Which exception a plain client gets from which fault, and whether it has its response by then.

On asyncio and trio, with httpx and httpx2, over HTTP/1.1, TLS and HTTP/2.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
from h2.exceptions import ProtocolError

from seawall import UsageError
from seawall.testing import FaultServer, faults

pytestmark = pytest.mark.anyio

PROTOCOLS = ("HTTP/1.1", "TLS", "HTTP/2")
CONNECT, WRITE, READ, PROTOCOL = "ConnectError", "WriteError", "ReadError", "RemoteProtocolError"
CONNECT_TIMEOUT, WRITE_TIMEOUT, READ_TIMEOUT = "ConnectTimeout", "WriteTimeout", "ReadTimeout"
DECODING, LOCAL, FINE = "DecodingError", "LocalProtocolError", "no error"
NOT = None

# fault: (where it shows, over plain HTTP/1.1, over TLS, over HTTP/2)
TABLE: dict[str, tuple[str, str | None, str | None, str | None]] = {
    "fin_on_accept": ("send", PROTOCOL, CONNECT, CONNECT),
    "reset_on_accept": ("send", READ, CONNECT, CONNECT),
    "tls_silence": ("send", READ_TIMEOUT, CONNECT_TIMEOUT, CONNECT_TIMEOUT),
    "tls_reset": ("send", READ, CONNECT, CONNECT),
    "tls_garbage": ("send", NOT, CONNECT, CONNECT),
    "untrusted_certificate": ("send", NOT, CONNECT, CONNECT),
    "expired_certificate": ("send", NOT, CONNECT, CONNECT),
    "certificate_of_another_host": ("send", NOT, CONNECT, CONNECT),
    "unread_upload": ("send", WRITE_TIMEOUT, WRITE_TIMEOUT, READ_TIMEOUT),
    "early_413": ("send", READ, READ, PROTOCOL),
    "reset_in_upload": ("send", READ, READ, READ),
    "no_response": ("send", PROTOCOL, PROTOCOL, PROTOCOL),
    "reset_after_request": ("send", READ, READ, READ),
    "silence": ("send", READ_TIMEOUT, READ_TIMEOUT, READ_TIMEOUT),
    "cut_head": ("send", PROTOCOL, PROTOCOL, NOT),
    "reset_in_head": ("send", READ, READ, NOT),
    "stalled_head": ("send", READ_TIMEOUT, READ_TIMEOUT, NOT),
    "slow_head": ("body", FINE, FINE, NOT),
    "garbage_status_line": ("send", PROTOCOL, PROTOCOL, NOT),
    "bad_header": ("send", PROTOCOL, PROTOCOL, NOT),
    "huge_header": ("send", PROTOCOL, PROTOCOL, NOT),
    "truncated_body": ("body", PROTOCOL, PROTOCOL, PROTOCOL),
    "reset_in_body": ("body", READ, READ, READ),
    "stalled_body": ("body", READ_TIMEOUT, READ_TIMEOUT, READ_TIMEOUT),
    "dripping_body": ("body", FINE, FINE, FINE),
    "bad_gzip": ("body", DECODING, DECODING, DECODING),
    "cut_chunk": ("body", PROTOCOL, PROTOCOL, NOT),
    "bad_chunk": ("body", PROTOCOL, PROTOCOL, NOT),
    "close_delimited_body": ("body", FINE, FINE, NOT),
    "keep_alive_fin": ("send", PROTOCOL, PROTOCOL, PROTOCOL),
    "keep_alive_reset": ("send", READ, READ, READ),
    "refused_stream": ("send", NOT, NOT, PROTOCOL),
    "stream_reset": ("send", NOT, NOT, PROTOCOL),
    "stream_reset_in_body": ("body", NOT, NOT, PROTOCOL),
    "goaway_without_stream": ("send", NOT, NOT, PROTOCOL),
    "goaway_with_stream": ("send", NOT, NOT, PROTOCOL),
    "goaway_in_body": ("body", NOT, NOT, PROTOCOL),
    "short_body": ("body", NOT, NOT, LOCAL),
}
CASES = [
    pytest.param((fault, protocol, phase, error), id=f"{fault}-{protocol}")
    for fault, (phase, *errors) in TABLE.items()
    for protocol, error in zip(PROTOCOLS, errors, strict=True)
    if error is not NOT
]
MISFITS = [
    pytest.param(fault, protocol, id=f"{fault}-{protocol}")
    for fault, (_, *errors) in TABLE.items()
    for protocol, error in zip(PROTOCOLS, errors, strict=True)
    if error is NOT and fault != "tls_garbage"
]
# Here the RST meets a client that writes. asyncio's transports keep what they learn of it for the
# next read; trio's sockets tell whoever asks first, and then they are at their end.
RACES = {"reset_on_accept", "early_413", "reset_in_upload", "reset_after_request"}
UPLOADS = {"unread_upload", "early_413", "reset_in_upload"}
# More than the buffers of both kernels hold.
UPLOAD = b"x" * (12 * 1024 * 1024)


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> ModuleType:
    return request.param


def build(library: ModuleType, server: FaultServer, protocol: str, error: str | None) -> Any:
    """A client that waits for as long as need be, but for what never comes."""
    kind = {CONNECT_TIMEOUT: "connect", WRITE_TIMEOUT: "write", READ_TIMEOUT: "read"}.get(error)
    return library.AsyncClient(
        verify=server.ssl_context,
        http2=protocol == "HTTP/2",
        timeout=library.Timeout(30, **({kind: 0.1} if kind else {})),
    )


def test_the_table_is_complete() -> None:
    """Every fault there is has a row, and each is found by its name."""
    assert set(TABLE) == set(faults.BY_NAME)
    for name in TABLE:
        assert faults.named(name) is getattr(faults, name)
        assert faults.named(name).name == name


# On trio both clients leave generators of theirs unfinished, and trio tells.
@pytest.mark.filterwarnings("ignore:Async generator 'http(x|core)2?[.]:ResourceWarning")
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <async_generator object (Pool)?ByteStream"
    ":pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("case", CASES)
async def test_a_fault_shows_as_this_exception(
    library: ModuleType, anyio_backend: str, case: tuple[str, str, str, str]
) -> None:
    """The class is exactly that of the table, and shows in that phase."""
    fault, protocol, phase, error = case
    met: tuple[str, str]
    async with FaultServer([fault]) as server:
        url = server.url if protocol == "HTTP/1.1" else server.tls_url
        # What stalls after its head has all the time until then.
        patient = error if phase == "send" else None
        async with build(library, server, protocol, patient) as client:
            if fault.startswith("keep_alive"):
                assert (await client.get(url)).status_code == 200
            seen = "send"
            request = client.build_request("GET", url)
            if fault in UPLOADS:
                request = client.build_request("POST", url, content=UPLOAD)
            try:
                response = await client.send(request, stream=True)
                seen = "body"
                if error == READ_TIMEOUT:
                    request.extensions["timeout"]["read"] = 0.05
                await response.aread()
                await response.aclose()
                met = seen, FINE
            # Some of h2's own cross httpx as they are.
            except (library.HTTPError, ProtocolError) as caught:
                met = seen, type(caught).__name__
        await server.until(lambda: server.open_connections <= (fault == "unread_upload"))
    raced = fault in RACES and anyio_backend == "trio"
    # Over HTTP/2, the server has or has not read all when it closes: a FIN or a RST.
    raced |= fault == "early_413" and protocol == "HTTP/2"
    if raced:
        assert met[1] in {CONNECT, READ, WRITE, PROTOCOL, FINE}
    elif fault == "short_body":
        assert met[1] in {error, "InvalidBodyLengthError"}
    else:
        assert met == (phase, error)


@pytest.mark.parametrize("fault, protocol", MISFITS)
async def test_a_fault_of_another_protocol_is_an_error(fault: str, protocol: str) -> None:
    """The client is cut off, and closing the server says why."""
    with pytest.raises(UsageError, match=r"needs HTTP|over TLS|is a fault of HTTP"):
        async with FaultServer([fault]) as server:
            url = server.url if protocol == "HTTP/1.1" else server.tls_url
            async with build(httpx, server, protocol, None) as client:
                try:
                    await client.get(url)
                except httpx.TransportError:
                    pass


@pytest.mark.parametrize(
    "place, error",
    [("refused_url", CONNECT), ("unresolvable_url", CONNECT), ("full_url", CONNECT_TIMEOUT)],
)
async def test_a_connection_that_cannot_be_made(
    library: ModuleType, place: str, error: str
) -> None:
    """Nobody listens, nobody is called so, or nobody accepts."""
    async with FaultServer() as server:
        async with build(library, server, "HTTP/1.1", error) as client:
            for _ in range(2):
                with pytest.raises(library.TransportError) as caught:
                    await client.get(getattr(server, place))
                assert type(caught.value).__name__ == error
        assert server.connections == 0


async def test_a_certificate_failure_is_told_as_one(
    library: ModuleType, anyio_backend: str
) -> None:
    """Whoever looks for the reason finds OpenSSL's, and the next connection is served."""
    import ssl

    async with FaultServer(["untrusted_certificate"]) as server:
        async with build(library, server, "TLS", None) as client:
            with pytest.raises(library.ConnectError) as caught:
                await client.get(server.tls_url)
            error: BaseException | None = caught.value
            causes = []
            while error is not None:
                causes += [error, *error.args]
                error = error.__cause__ or error.__context__
            assert any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes)
            assert (await client.get(server.tls_url)).status_code == 200
        async with library.AsyncClient(verify=False) as client:
            server.play("untrusted_certificate", 418)
            assert (await client.get(server.tls_url)).status_code == 418
