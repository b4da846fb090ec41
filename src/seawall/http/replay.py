"""Whether a request's body can be sent again, decided before it is sent for the first time.

1. By positive knowledge only. A body can be sent again if its bytes are held in memory, or if it
   is multipart and each part is held in memory or can be sought back to its beginning.
2. Everything else is one-shot. The client itself notices a second iteration of a generator only:
   another iterator, or a file that cannot be sought, is silently sent again as nothing, and the
   server answers 200 to an upload that it never got.
3. A one-shot body that nobody has begun to read (the connection failed) can still be sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType


def is_replayable(request: Any, client: ModuleType) -> bool:
    """Say whether the body of a request is known to be the same when it is sent again.

    Args:
        request: a request of the client library.
        client: the client library's module, httpx or httpx2.
    """
    stream: object = request.stream
    kind = type(stream)
    # Of exactly this type, so that a stream that was put in place of the content does not pass.
    if kind is client.ByteStream:
        return True
    if kind.__name__ != "MultipartStream" or kind.__module__.split(".")[0] != client.__name__:
        return False
    return all(_is_replayable_part(field) for field in getattr(stream, "fields", (None,)))


def _is_replayable_part(field: Any) -> bool:
    if hasattr(field, "file"):
        file = field.file
        if isinstance(file, str | bytes):
            return True
        seekable = getattr(file, "seekable", None)
        try:
            return callable(seekable) and seekable() is True and callable(file.seek)
        except Exception:
            # A closed file, or a foreign object that is none: not known, so no.
            return False
    return isinstance(getattr(field, "value", None), str | bytes)


class OneShot:
    """A body that can be sent once; remembers whether somebody began to read it.

    The binding mixes it into its client's ``AsyncByteStream``.

    Attributes:
        begun: whether an iteration was begun.
    """

    begun: bool = False

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun = True
        iterator: AsyncIterator[bytes] = self._stream.__aiter__()
        return iterator

    async def aclose(self) -> None:
        """Close the body itself."""
        await self._stream.aclose()
