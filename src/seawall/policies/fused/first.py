"""The first attempt of a call that is retried, which has ended before the retry hears of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from seawall.core.call import Call, Proceed

T = TypeVar("T")


class First:
    """What a retry runs where the first attempt has ended already, and the attempts after it."""

    __slots__ = ("_attempt", "_error", "_given", "_result")

    def __init__(
        self, attempt: Proceed[Any], *, error: Exception | None = None, result: Any = None
    ) -> None:
        self._attempt = attempt
        self._error = error
        self._result = result
        self._given = False

    def __call__(self, call: Call[Any]) -> Awaitable[Any]:
        """Come to what the first attempt came to; run each further one."""
        if self._given:
            return self._attempt(call)
        self._given = True
        error, self._error = self._error, None
        result, self._result = self._result, None
        if error is None:
            return _returned(result)
        context = error.__context__
        try:
            raise error
        finally:
            # It is raised anew, and would take on what the caller is handling. An exception may
            # be a frozen dataclass.
            object.__setattr__(error, "__context__", context)
            # This frame is on its traceback.
            del error, context


async def _returned(result: T) -> T:
    return result
