"""What a client that is not async hears of an async transport: errors that show the right one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from seawall.core.errors import UsageError

if TYPE_CHECKING:
    from seawall.http.family import Family


class AsyncOnly:
    """The sync side of an async transport: nothing but errors."""

    family: ClassVar[Family]

    def handle_request(self, request: Any) -> Any:
        """Refuse a client that is not async.

        Raises:
            UsageError: always.
        """
        del request
        raise self._sync_error()

    def __enter__(self) -> Self:
        raise self._sync_error()

    def __exit__(self, *_: object) -> None:
        """Belong to ``__enter__``, which never returns."""

    def close(self) -> None:
        """Do nothing: a client that is not async has opened nothing."""

    def _sync_error(self) -> UsageError:
        name = self.family.name
        return UsageError(
            f"{type(self).__name__} is for async clients.\n"
            f"  wrong: {name}.Client(transport=ResilientTransport())\n"
            f"  right: {name}.AsyncClient(transport=ResilientTransport())"
        )
