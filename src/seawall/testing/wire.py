"""One accepted connection as bytes, down to the segments that end it."""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from seawall.testing.tally import Tally

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Wire(ByteStream):
    """A socket that shows its peer exactly what it is told to: no more bytes, and no other end.

    anyio's own socket streams send a FIN before they abort, which would hide a RST.
    """

    def __init__(self, connected: socket.socket, tally: Tally) -> None:
        connected.settimeout(0)
        if connected.family == socket.AF_INET:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._tally = tally
        self._unread = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes of the peer.

        Raises:
            anyio.EndOfStream: the peer sends no more.
            anyio.BrokenResourceError: the connection is gone.
        """
        await checkpoint()
        if self._unread:
            data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
            return data
        while True:
            try:
                data = self._socket.recv(max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
            except OSError as error:
                raise anyio.BrokenResourceError from error
            else:
                break
        if not data:
            raise anyio.EndOfStream
        self._tally.bytes_received += len(data)
        return data

    def put_back(self, data: bytes) -> None:
        """Let the next ``receive`` return these bytes first."""
        self._unread = data + self._unread

    async def send(self, item: bytes) -> None:
        """Hand all the bytes to the kernel.

        Raises:
            anyio.BrokenResourceError: the connection is gone.
        """
        await checkpoint()
        rest = memoryview(item)
        while rest:
            try:
                sent = self._socket.send(rest)
            except BlockingIOError:
                await anyio.wait_writable(self._socket)
            except OSError as error:
                raise anyio.BrokenResourceError from error
            else:
                self._tally.bytes_sent += sent
                rest = rest[sent:]

    async def delivered(self) -> None:
        """Wait until the peer's kernel has all that was sent, for a second at most.

        A reset throws away what is still on its way.
        """
        if sys.platform != "linux":
            await anyio.sleep(0.02)
            return
        with anyio.move_on_after(1):
            # The kernel tells nobody when it is done.
            while self._outstanding():  # noqa: ASYNC110
                await anyio.sleep(0.001)

    def _outstanding(self) -> int:
        # Not everywhere are there such modules.
        import fcntl  # noqa: PLC0415
        import termios  # noqa: PLC0415

        answer = fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4))
        return int.from_bytes(answer, sys.byteorder)

    def fin(self) -> None:
        """Send no more; what the peer sends can still be read."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            # The peer has ended the connection before us.
            pass

    def reset_on_close(self) -> None:
        """Let ``close`` send a RST, whatever was read."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def close(self) -> None:
        """Close the socket: a FIN, or a RST where the peer sent what nobody has read."""
        self._socket.close()

    async def send_eof(self) -> None:
        """Send no more."""
        await checkpoint()
        self.fin()

    async def aclose(self) -> None:
        """Close the socket."""
        self.close()
        await checkpoint()
