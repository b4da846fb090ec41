"""A server on loopback that fails exactly as it is told to."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import anyio
from anyio.from_thread import start_blocking_portal

from seawall.core.errors import UsageError
from seawall.testing.background import Background
from seawall.testing.certificates import Certificates
from seawall.testing.connection import Connection
from seawall.testing.dead_ends import DeadEnds
from seawall.testing.fault import Fault
from seawall.testing.script import Script
from seawall.testing.seen import Seen

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from anyio.abc import TaskGroup

    from seawall.testing.script import Choose, Item

LOOPBACK = "127.0.0.1"
# A small window: an upload that nobody reads comes to a halt soon.
_RECEIVE_BUFFER = 64 * 1024
_TUNNEL = Fault("tunnel")


class FaultServer(Seen):
    """Serves HTTP/1.1 and HTTP/2, with and without TLS, and does wrong what its script says.

        async with FaultServer(["reset_after_request", 503]) as server:
            ...  # the first request is reset, the second gets a 503, all others a 200

    An item of the script is the name of a fault, a :class:`Fault`, a status, an
    :class:`Answer` or any async function of an ``Exchange``. It runs on the loop of the test, on
    asyncio and trio; with a plain ``with`` it runs in a thread of its own instead. It listens on
    free ports of 127.0.0.1 and connects to nothing else. Whatever a script or a fault raises is
    raised again when the server is closed.

    Args:
        script: what to do to the requests (or connections), one after another.
        then: what to do when nothing of the script is left; by default a 200.
        choose: asked first for each request, when its head has arrived: a function (or async
            function) of the ``Request`` that returns an item, or ``None`` to go by the script.
        hosts: more names that the certificate is good for; the proxies lead every name here.
        proxy: what to do to those who ask a proxy for a tunnel (or connect to one), one after
            another; by default all get it.

    Attributes:
        script: what is still to be played.
        proxy_script: the same, of the proxies.

    Raises:
        ValueError: no fault has such a name; the error lists all.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        script: Iterable[Item] = (),
        *,
        then: Item = 200,
        choose: Choose | None = None,
        hosts: Iterable[str] = (),
        proxy: Iterable[Item] = (),
    ) -> None:
        self.script = Script(script, then, choose)
        self.proxy_script = Script(proxy, _TUNNEL)
        self.certificates = Certificates(LOOPBACK, "localhost", *hosts)
        super().__init__()
        self._ports: list[int] = []
        self._listeners: list[socket.socket] = []
        self._dead_ends = DeadEnds()
        self._background: Background | None = None
        self._thread: ExitStack | None = None

    def __repr__(self) -> str:
        if self._background is None:
            return "<FaultServer, closed>"
        return f"<FaultServer {self.url}, {len(self.requests)} requests>"

    # What to do.

    def play(self, *script: Item, then: Item = 200, choose: Choose | None = None) -> None:
        """Begin a new script; the arguments are those of the constructor."""
        self.script = Script(script, then, choose)

    def play_proxy(self, *script: Item) -> None:
        """Begin a new script for those who ask the proxies for a tunnel, or connect to them.

        A status that is no success refuses the tunnel, on SOCKS too; a fault is done to it.
        """
        self.proxy_script = Script(script, _TUNNEL)

    # Where to go.

    @property
    def url(self) -> str:
        """Where HTTP/1.1 is spoken without TLS, and HTTP/2 to who knows of it before."""
        return f"http://{LOOPBACK}:{self._port(0)}"

    @property
    def tls_url(self) -> str:
        """Where HTTP/2 and HTTP/1.1 are spoken over TLS; clients need ``ssl_context``."""
        self.certificates.server()
        return f"https://{LOOPBACK}:{self._port(0)}"

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """A new context for a client: it trusts this server alone."""
        return self.certificates.client()

    @property
    def proxy_url(self) -> str:
        """A proxy, with and without CONNECT; whatever host it is asked for, it leads here."""
        return f"http://{LOOPBACK}:{self._port(1)}"

    @property
    def socks_url(self) -> str:
        """A SOCKS5 proxy, with and without credentials; it leads here as well."""
        return f"socks5://{LOOPBACK}:{self._port(1)}"

    @property
    def refused_url(self) -> str:
        """A port where nobody listens, and nobody else will while this server is open."""
        self._port(0)
        return f"http://{LOOPBACK}:{self._dead_ends.refusing()}"

    @property
    def full_url(self) -> str:
        """A port where somebody listens who never accepts, and whose backlog is full."""
        self._port(0)
        return f"http://{LOOPBACK}:{self._dead_ends.full()}"

    @property
    def unresolvable_url(self) -> str:
        """A host name that never resolves (RFC 6761, 6.4)."""
        return f"http://nowhere.invalid:{self._port(0)}"

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds, such as ``lambda: len(server.requests) == 2``."""
        if self._thread is None:
            await self.tally.until(condition)
            return
        # What happens in another thread sets no event here.
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.001)

    # Life.

    async def __aenter__(self) -> Self:
        if self._background is not None:
            raise UsageError(f"{self!r} is open already; make a second FaultServer")
        self._listeners = [self._listen(), self._listen()]
        self._ports = [listener.getsockname()[1] for listener in self._listeners]
        self._background = Background(self._run)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        background, self._background = self._background, None
        if background is not None:
            await background.stop()
        errors, self.tally.errors = self.tally.errors, []
        if error is not None:
            for own in errors:
                error.add_note(f"the script of this server has failed: {own!r}")
        elif len(errors) == 1:
            raise errors[0]
        elif errors:
            raise ExceptionGroup("the script of this server has failed", errors)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(portal.wrap_async_context_manager(self))
            self._thread = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.__exit__(kind, error, traceback)

    async def _run(self, stopping: anyio.Event) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                for at_proxy, listener in enumerate(self._listeners):
                    tasks.start_soon(self._accept, listener, tasks, at_proxy)
                await stopping.wait()
                tasks.cancel_scope.cancel()
        finally:
            # Those that were cancelled before they began.
            for connection in self.live:
                connection.wire.close()
            self.live.clear()
            for listener in self._listeners:
                listener.close()
            self._dead_ends.close()

    async def _accept(self, listener: socket.socket, tasks: TaskGroup, at_proxy: int) -> None:
        while True:
            await anyio.wait_readable(listener)
            try:
                accepted, _ = listener.accept()
            except (BlockingIOError, ConnectionError):
                continue
            connection = Connection(accepted, self, at_proxy=bool(at_proxy))
            tasks.start_soon(connection.run)

    def _listen(self) -> socket.socket:
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            listener.settimeout(0)
            listener.bind((LOOPBACK, 0))
            listener.listen(1024)
        except BaseException:
            listener.close()
            raise
        return listener

    def _port(self, index: int) -> int:
        if self._background is None:
            raise UsageError(
                "the server is not open.\n"
                "  wrong: FaultServer().url\n"
                "  right: async with FaultServer() as server: server.url"
            )
        return self._ports[index]
