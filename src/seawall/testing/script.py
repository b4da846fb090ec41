"""What a server does to which request and connection."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from seawall.core.errors import UsageError
from seawall.testing import faults
from seawall.testing.answer import Answer
from seawall.testing.fault import Fault, Step

if TYPE_CHECKING:
    from seawall.testing.request import Request

Item: TypeAlias = Answer | Fault | Step | int | str
Choice: TypeAlias = Item | None
Choose: TypeAlias = "Callable[[Request], Choice | Awaitable[Choice]]"


class Script:
    """Items that are played once each, in order, and one that is played whenever none is left.

    A fault of a connection waits for the next connection. So that there is one, the answer before
    it ends its own; a request that comes on yet another connection takes what follows.
    """

    def __init__(
        self, items: Iterable[Item] = (), then: Item = 200, choose: Choose | None = None
    ) -> None:
        if isinstance(items, str) or not isinstance(items, Iterable):
            raise TypeError(
                f"a script must be a list of answers and faults, not {items!r}.\n"
                "  once: FaultServer([item])\n"
                "  for every request: FaultServer(then=item)"
            )
        self._items = deque(to_item(item) for item in items)
        self._then = to_item(then)
        self._choose = choose
        if self._then.at == "accept" and choose is not None:
            raise UsageError("choose= is never asked where every connection ends at once")

    @property
    def connection_is_next(self) -> bool:
        """Whether the next item is a fault of a connection."""
        return (self._items[0] if self._items else self._then).at == "accept"

    @property
    def left(self) -> int:
        """How many items were not played."""
        return len(self._items)

    def for_connection(self) -> Fault | Answer | None:
        """Take what is to be done to a connection that was just accepted."""
        if not self.connection_is_next:
            return None
        return self._items.popleft() if self._items else self._then

    async def for_request(self, request: Request) -> Fault | Answer:
        """Take what is to be done to a request.

        Raises:
            UsageError: ``choose`` chose what only befalls a connection.
        """
        if self._choose is not None:
            choice = self._choose(request)
            chosen = await choice if inspect.isawaitable(choice) else choice
            if chosen is not None:
                item = to_item(chosen)
                if item.at == "accept":
                    raise UsageError(
                        f"{item!r} befalls a connection that has no request yet.\n"
                        "  wrong: FaultServer(choose=lambda request: faults.reset_on_accept)\n"
                        "  right: FaultServer([faults.reset_on_accept])"
                    )
                return item
        for position, item in enumerate(self._items):
            if item.at != "accept":
                del self._items[position]
                return item
        return self._then if self._then.at != "accept" else Answer()


def to_item(item: Item) -> Fault | Answer:
    """Return what is meant by a fault, an answer, a status, a name or a step.

    Raises:
        ValueError: no fault has that name.
        TypeError: it is none of these.
    """
    if isinstance(item, Answer | Fault):
        return item
    if isinstance(item, str):
        return faults.named(item)
    if isinstance(item, int) and not isinstance(item, bool):
        return Answer(item)
    if callable(item):
        return Fault(getattr(item, "__name__", type(item).__name__), item)
    raise TypeError(
        f"what a script plays must be an Answer, a Fault, a status, the name of a fault or a step, "
        f"not {item!r}"
    )
