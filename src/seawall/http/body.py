"""The body of a response as the caller reads it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from seawall.http.open_body import OpenBody


class Body:
    """The stream that the caller reads; the binding mixes it into its ``AsyncByteStream``.

    It is its own iterator, and no generator: one that is left early would be finished by the
    garbage collector, some time later and in another task.

    Attributes:
        state: the open end of the attempt. It does not know this object.
    """

    # No __init__: with it, making one takes twice as long.
    state: OpenBody

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    def __anext__(self) -> Awaitable[bytes]:
        return self.state.next(self)

    async def aclose(self) -> None:
        """Close the body; before its end, that counts neither for nor against the dependency."""
        state = self.state
        if not state.closed:
            await state.close()

    def __del__(self) -> None:
        state = self.state
        if state.handed_out and not state.closed:
            state.abandon()
            warnings.warn(
                "a response was dropped before its body was read or closed; "
                "`async with client.stream(...)` closes it",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )
