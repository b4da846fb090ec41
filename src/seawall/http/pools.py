"""Find the connection pools beneath a transport, under whatever transports are wrapped around."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from seawall.http.origin_pools import OriginPools

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MOST_OBJECTS: Final = 256


def find_pools(transport: Any) -> tuple[Iterable[Any], ...]:
    """Return the connection pools beneath a transport, through the transports that wrap them.

    Each pool is in an iterable, since there may be one for each origin, and more of them with time.
    """
    pools: list[Iterable[Any]] = []
    waiting = [transport]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_OBJECTS:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, OriginPools):
            pools.append(found)
        elif is_pool(found):
            pools.append((found,))
        else:
            waiting.extend(_transports_within(found))
    return tuple(pools)


def is_pool(candidate: Any) -> bool:
    """Say whether this is a connection pool of httpcore or httpcore2, by what the repair needs."""
    return (
        isinstance(getattr(candidate, "_requests", None), list)
        and isinstance(getattr(candidate, "_connections", None), list)
        and callable(getattr(candidate, "_assign_requests_to_connections", None))
    )


def _transports_within(holder: Any) -> Iterator[Any]:
    """Yield what an object holds, directly or in a container, that can handle a request."""
    for value in _values_of(holder):
        for item in _contents(value):
            if callable(getattr(item, "handle_async_request", None)):
                yield item


def _contents(value: Any) -> Iterable[Any]:
    if _is_a(value, Mapping):
        return value.values()  # type: ignore[no-any-return]
    return value if _is_a(value, list | tuple | set | frozenset) else (value,)


def _is_a(value: object, kind: Any) -> bool:
    return isinstance(value, kind)


def _values_of(holder: Any) -> Iterator[Any]:
    yield from getattr(holder, "__dict__", {}).values()
    for kind in type(holder).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            yield getattr(holder, name, None)
