"""Another answer where a call fails."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from seawall.core.errors import UsageError
from seawall.core.events import FallbackUsed
from seawall.core.item_reader import check_iterable
from seawall.core.observe import tell
from seawall.core.policy import Policy
from seawall.core.snapshot import Snapshot
from seawall.core.verdict import ExceptionTypes, check_exception_types, leaves_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.core.call import Call, Proceed

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackSnapshot(Snapshot):
    """The state of a :class:`Fallback`.

    Attributes:
        used: how often it has answered in place of a call.
    """

    used: int


_NOT_GIVEN: Final[Any] = object()


class Fallback(Policy):
    """Answers in place of a call that raised one of the exceptions in ``on``.

    Either a function, called with the arguments of the call (another model, another region), in
    which the error is ``sys.exception()``; or a fixed value. Cancellations are never answered. A
    block that a policy inside refused cannot be skipped, so there the refusal is raised.

    Args:
        function: a function, async or not, that returns the answer; for a stream, an async
            generator function.
        value: the answer itself.
        on: exception type, or a tuple of them, to answer for; of a group, all leaves must match.

    Raises:
        TypeError: both or neither of ``function`` and ``value`` are given, or one is of the wrong
            type.
    """

    def __init__(
        self,
        function: Callable[..., Any] | None = None,
        *,
        value: Any = _NOT_GIVEN,
        on: ExceptionTypes = Exception,
    ) -> None:
        if (function is None) == (value is _NOT_GIVEN):
            message = (
                "Fallback needs a function or a value, one of the two.\n"
                "  right: Fallback(from_cache)\n"
                "  right: Fallback(value=[])"
            )
            raise UsageError(message)
        if function is not None and not callable(function):
            message = f"function must be callable, not {function!r}; a value is given by value="
            raise TypeError(message)
        check_exception_types("on", on)
        self._function = function
        self._value = value
        self.on = on
        self.used = 0

    def snapshot(self) -> FallbackSnapshot:
        """Return how often it has answered."""
        return FallbackSnapshot(policy=type(self).__name__, name=self.name, used=self.used)

    def __repr__(self) -> str:
        answer = f"value={self._value!r}" if self._function is None else f"{self._function!r}"
        return f"Fallback({answer}, on={self.on!r})"

    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        """Run the rest of the pipeline, and answer where it raises.

        Raises:
            UsageError: the call is a stream, and the answer is no async iterable.
        """
        if call.is_stream and self._function is None:
            # At once, not only when it is needed.
            check_iterable(self._value, "Fallback(value=...) answers a stream with")
        try:
            return await proceed(call)
        except Exception as error:
            if not all(isinstance(leaf, self.on) for leaf in leaves_of(error)):
                raise
            if call.is_block and not call.in_body:
                raise
            if call.open is not None:
                # Raised after the function had returned: nobody else will close what it opened.
                open_attempt, call.open = call.open, None
                await open_attempt.discard(call.judge_error(error))
            call.forget_verdict()
            self.used += 1
            tell(self, call, FallbackUsed, error=type(error).__name__)
            if self._function is None:
                answer = self._value
            else:
                answer = self._function(*call.args, **call.kwargs)
                if isawaitable(answer):
                    answer = await answer
            return await call.answer(answer, "the function of a Fallback returned")  # type: ignore[no-any-return]
