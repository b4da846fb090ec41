"""Another answer where a call fails."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from seawall.core import lazy_events as events
from seawall.core.errors import UsageError
from seawall.core.item_reader import check_iterable
from seawall.core.observe import is_heard, tell
from seawall.core.policy import Policy
from seawall.core.snapshot import Snapshot
from seawall.core.stand_in import can_stand_in, take_over
from seawall.core.verdict import ExceptionTypes, check_exception_types, leaves_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.core.call import Call, Proceed

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackSnapshot(Snapshot):
    """The state of a :class:`Fallback`.

    Attributes:
        used: calls that it was asked to answer for.
        failed: how many of them it had no answer for either: its function raised.
    """

    used: int
    failed: int


_NOT_GIVEN: Final[Any] = object()


class Fallback(Policy):
    """Answers in place of a call that raised one of the exceptions in ``on``.

    Either a function, called with the arguments of the call (another model, another region), in
    which the error is ``sys.exception()``; or a fixed value. What the function raises goes to the
    next fallback further out, so fallbacks for several exceptions are several policies in a row,
    the one to be asked first innermost.

    Never answered for are cancellations, and a ``UsageError``. A block that a policy inside refused
    cannot be skipped, so there the refusal is raised. Once the deadline has passed the function is
    not begun any more, and the error itself is raised.

    Args:
        function: a function, async or not, that returns the answer; for a stream, an async
            generator function. For a block, a loop, or a call of an awaitable it is called without
            arguments.
        value: the answer itself, the same object each time.
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
                "  right: Fallback(value=None)"
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
        self.failed = 0

    def snapshot(self) -> FallbackSnapshot:
        """Return how often it was asked to answer, and how often it could not."""
        return FallbackSnapshot(
            policy=type(self).__name__, name=self.name, used=self.used, failed=self.failed
        )

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
            if not can_stand_in(call, error):
                raise
            if self._function is not None and call.remaining() <= 0:
                raise
            await take_over(call, error)
            self.used += 1
            if is_heard(self):
                tell(self, call, events.FallbackUsed, error=type(error).__name__)
            try:
                answer = self._value
                if self._function is not None:
                    answer = self._function(*call.args, **call.kwargs)
                    if isawaitable(answer):
                        answer = await answer
                return await call.answer(answer, "the function of a Fallback returned")  # type: ignore[no-any-return]
            except Exception:
                self.failed += 1
                raise
