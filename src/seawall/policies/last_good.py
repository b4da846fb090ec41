"""The last good value where a call fails."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final, TypeVar

from seawall.core import lazy_events as events
from seawall.core.checks import check_count, check_number
from seawall.core.clock import check_move
from seawall.core.errors import UsageError
from seawall.core.observe import is_heard, tell
from seawall.core.policy import OnlyOnce, Policy
from seawall.core.snapshot import Snapshot
from seawall.core.stand_in import can_stand_in, take_over
from seawall.core.verdict import SUCCESS, Kind, is_group

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.core.call import Call, Proceed
    from seawall.core.clock import Loop
    from seawall.core.verdict import Verdict

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LastGoodSnapshot(Snapshot):
    """The state of a :class:`LastGood`.

    Attributes:
        ttl: seconds for which a value may be served.
        max_entries: values that it keeps at most.
        entries: values that it keeps now.
        served: calls that got a kept value.
        missed: calls that failed while nothing was kept for them.
    """

    ttl: float
    max_entries: int
    entries: int
    served: int
    missed: int


class LastGood(Policy):
    """Serves what the same call returned last, where a call fails, for a limited time.

    A call is the same if it has the same function, the same arguments and the same bound key, or,
    with ``key``, the same key. Kept is what is judged a SUCCESS; not an open response, nor what can
    be gone through only once (iterators and asynchronous iterables). Calls of ``stream()`` pass.
    Served is the object itself, so callers must not change it.

    It answers for failures, refusals and what may heal (a 429), not for what the dependency has
    decided (a 404, a 403), and never for programming errors, a ``UsageError`` or a cancellation.
    The body of a block that fails is answered for; a block that was refused cannot be skipped.

    Times are of the event loop: between two loops none passes.

    Args:
        ttl: seconds for which a value may be served, more than 0; ``math.inf`` for no limit.
        max_entries: values to keep; beyond it the least recently used is forgotten.
        key: called with the arguments of the call, returns what its value is kept by. Default: the
            function and the arguments, with the key that was set by ``bind(key=...)``; for a block
            or a loop, that key alone.
        mark: called with a kept value and its age in seconds, returns what the caller gets in its
            place. Default: the value.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        ttl: float,
        *,
        max_entries: int = 1000,
        key: Callable[..., Any] | None = None,
        mark: Callable[[Any, float], Any] | None = None,
    ) -> None:
        check_number("ttl", ttl, above=0, infinite=True)
        check_count("max_entries", max_entries, at_least=1)
        _check_function("key", key, "the call's arguments")
        _check_function("mark", mark, "a value and its age")
        self.ttl = ttl
        self.max_entries = max_entries
        self.served = 0
        self.missed = 0
        self._key = key
        self._mark = mark
        # Each value with the time when it came, the least recently used first.
        self._entries: OrderedDict[Any, tuple[Any, float]] = OrderedDict()
        self._loop: Loop | None = None
        self._seen = 0.0

    def __repr__(self) -> str:
        return f"LastGood({self.ttl!r}, max_entries={self.max_entries!r})"

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Forget all values."""
        self._entries.clear()

    def snapshot(self) -> LastGoodSnapshot:
        """Return how much it keeps, and how often that was of use; it changes nothing."""
        return LastGoodSnapshot(
            policy=type(self).__name__,
            name=self.name,
            ttl=self.ttl,
            max_entries=self.max_entries,
            entries=len(self._entries),
            served=self.served,
            missed=self.missed,
        )

    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        """Run the rest of the pipeline, and keep what it returns or serve what was kept.

        Raises:
            UsageError: nothing tells which calls are the same.
        """
        if call.is_stream:
            return await proceed(call)
        if call.loop is not self._loop:
            self._move(call.loop)
        same = self._identify(call)
        try:
            result = await proceed(call)
        except Exception as error:
            if not can_stand_in(call, error) or not _is_outage(call, error):
                raise
            now = call.now()
            kept = self._find(same, now)
            if kept is None:
                raise
            await take_over(call, error)
            return self._serve(call, kept, now, type(error).__name__)  # type: ignore[no-any-return]
        verdict = SUCCESS if call.classifier is None else call.judge_result(result)
        if verdict.kind is Kind.SUCCESS and not verdict.retryable:
            if call.open is None and not call.unjudged and _can_be_kept(result):
                self._keep(same, result, call.loop.time())
        elif not call.is_block and _may_heal(verdict):
            now = call.now()
            kept = self._find(same, now)
            if kept is not None:
                await take_over(call, None, result)
                return self._serve(call, kept, now, "result")  # type: ignore[no-any-return]
        return result

    def _identify(self, call: Call[Any]) -> Any:
        if self._key is not None:
            same = self._key(*call.args, **call.kwargs)
            if same is None:
                raise UsageError(_NO_KEY)
        elif call.is_block:
            same = call.key
            if same is None:
                raise UsageError(_NO_KEY_OF_BLOCK)
        else:
            same = _by_arguments(call)
        try:
            # Before the call, so that it is known even while all goes well.
            hash(same)
        except TypeError as error:
            raise UsageError(_UNHASHABLE) from error
        return same

    def _keep(self, same: Any, value: Any, now: float) -> None:
        self._seen = now
        entries = self._entries
        entries[same] = value, now
        entries.move_to_end(same)
        # One that is too old is forgotten too: each call makes up for one of these.
        least = next(iter(entries))
        if len(entries) > self.max_entries or now - entries[least][1] > self.ttl:
            del entries[least]

    def _find(self, same: Any, now: float) -> tuple[Any, float] | None:
        self._seen = now
        kept = self._entries.get(same)
        if kept is None:
            self.missed += 1
        elif now - kept[1] > self.ttl:
            del self._entries[same]
            self.missed += 1
            kept = None
        else:
            self._entries.move_to_end(same)
        return kept

    def _serve(self, call: Call[Any], kept: tuple[Any, float], now: float, error: str) -> Any:
        value, since = kept
        age = now - since
        self.served += 1
        if is_heard(self):
            tell(self, call, events.LastGoodServed, error=error, age=age)
        return value if self._mark is None else self._mark(value, age)

    def _move(self, loop: Loop) -> None:
        check_move(self, self._loop, loop)
        now = loop.time()
        if self._entries:
            later = now - self._seen
            for same, (value, since) in self._entries.items():
                self._entries[same] = value, since + later
        self._loop = loop
        self._seen = now


def _check_function(parameter: str, value: object, of: str) -> None:
    if value is not None and (not callable(value) or iscoroutinefunction(value)):
        message = f"{parameter} must be a plain function of {of} or None, not {value!r}"
        raise TypeError(message)


def _by_arguments(call: Call[Any]) -> Any:
    function: Any = call.function
    args: tuple[Any, ...] = call.args
    kwargs: Any = call.kwargs
    while isinstance(function, partial):
        args = (*function.args, *args)
        kwargs = function.keywords | kwargs
        function = function.func
    if not args and not kwargs:
        if isinstance(function, OnlyOnce):
            raise UsageError(_AWAITABLE)
        if getattr(function, "__name__", None) == "<lambda>":
            raise UsageError(_LAMBDA)
    return call.key, function, args, tuple(sorted(kwargs.items())) if kwargs else None


def _is_outage(call: Call[Any], error: BaseException) -> bool:
    if is_group(error):
        return all(_is_outage(call, leaf) for leaf in error.exceptions)
    return _may_heal(call.judge_error(error))


def _may_heal(verdict: Verdict) -> bool:
    # A refusal and a 429 are no failures, but the dependency has done nothing.
    return verdict.kind is Kind.FAILURE or verdict.retryable or verdict.unprocessed


def _can_be_kept(value: object) -> bool:
    """Say whether this can be read more than once."""
    kind = type(value)
    return kind in _PLAIN or not (
        hasattr(kind, "__next__") or hasattr(kind, "__anext__") or hasattr(kind, "__aiter__")
    )


_PLAIN: Final = frozenset({str, bytes, int, float, dict, list, tuple, type(None)})

_NO_KEY: Final = "the key of a LastGood returned None, so nothing tells which calls are the same"
_NO_KEY_OF_BLOCK: Final = (
    "a block has no arguments that tell LastGood which calls are the same.\n"
    "  wrong: async with pipeline as attempt: ...\n"
    '  right: async with pipeline.bind(key=("user", 7)) as attempt: ...'
)
_AWAITABLE: Final = (
    "an awaitable does not show the arguments that tell LastGood which calls are the same.\n"
    "  wrong: await pipeline.execute(fetch(url))\n"
    "  right: await pipeline.execute(fetch, url)"
)
_LAMBDA: Final = (
    "a lambda is another function each time, so LastGood finds no value of an earlier call.\n"
    "  wrong: await pipeline.execute(lambda: fetch(url))\n"
    "  right: await pipeline.execute(fetch, url)"
)
_UNHASHABLE: Final = (
    "LastGood cannot tell which calls are the same: an argument or key of this call cannot be "
    "hashed.\n"
    "  wrong: LastGood(60)                               with fetch([1, 2])\n"
    "  right: LastGood(60, key=lambda ids: tuple(ids))"
)
