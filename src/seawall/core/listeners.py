"""Who listens to events, and the order in which they are heard.

An event is delivered where it happens, in the same thread, before the code there goes on. An event
that happens while a listener runs waits until all listeners have heard the one before it: everybody
hears the events of a thread in the order in which they happened.

What a listener raises is logged and goes no further, whatever it is; only what ends the program
(``KeyboardInterrupt``, ``SystemExit``) goes on, once all others have heard the event.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from seawall.core import lazy_events
from seawall.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seawall.core.events import Event

    Listener: TypeAlias = Callable[[Event], object]

logger: Final = logging.getLogger("seawall")
# A library must not write to stderr where no logging is set up.
logger.addHandler(logging.NullHandler())

# Those that hear the events of all policies.
EVERYWHERE: Final[list[Subscription]] = []
# One token for each subscription that has not ended. Looked at by each call, so it is a plain set.
SUBSCRIPTIONS: Final[set[object]] = set()

# Held while those who hear a policy change: another thread may subscribe.
CHANGING: Final = threading.RLock()


class Subscription:
    """What ``subscribe`` returns. It ends by :meth:`unsubscribe`, or at the end of a ``with``.

    It need not be kept: it lasts as long as what it listens to.
    """

    __slots__ = ("_end", "_token", "listener")

    def __init__(self, listener: Listener, end: Callable[[Subscription], object]) -> None:
        lazy_events.load()
        self.listener: Listener | None = listener
        self._end = end
        self._token = object()
        SUBSCRIPTIONS.add(self._token)

    def unsubscribe(self) -> None:
        """Hear nothing more, from this moment on. A second time does nothing."""
        if self.listener is not None:
            self.listener = None
            SUBSCRIPTIONS.discard(self._token)
            self._end(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.unsubscribe()

    def __del__(self) -> None:
        # The policy is gone, and this with it.
        SUBSCRIPTIONS.discard(self._token)


def subscribe(listener: Listener) -> Subscription:
    """Have a function called with each event of every policy of the process.

    A function that is subscribed in several ways hears each event once.

    Args:
        listener: a plain function of one :class:`~seawall.events.Event`. It is called where the
            event happens, so it must be quick, and must not block. What it raises is logged.

    Returns:
        what ends it: ``subscription.unsubscribe()``, or ``with seawall.subscribe(listener):``.

    Raises:
        UsageError: the listener is not callable, or is an async function.
    """
    check_listener(listener)
    subscription = Subscription(listener, EVERYWHERE.remove)
    EVERYWHERE.append(subscription)
    return subscription


def check_listener(listener: object) -> None:
    """Raise unless this can be a listener.

    Raises:
        UsageError: it is not callable, or is an async function.
    """
    if (
        not callable(listener)
        or iscoroutinefunction(listener)
        or iscoroutinefunction(type(listener).__call__)
    ):
        message = (
            f"a listener is a plain function of one event, not {listener!r}.\n"
            "  wrong: async def listen(event): ...\n"
            "  right: def listen(event): queue.put_nowait(event)"
        )
        raise UsageError(message)


class _Delivery(threading.local):
    """The events of one thread that are still to be heard."""

    def __init__(self) -> None:
        # Each with those who have yet to be asked, and those who have heard it.
        self.pending: deque[tuple[Event, Iterator[Subscription], list[Listener]]] = deque()
        self.busy = False


_delivery: Final = _Delivery()


def deliver(event: Event, subscriptions: tuple[Subscription, ...]) -> None:
    """Let these listeners, and those of all policies, hear an event."""
    delivery = _delivery
    delivery.pending.append((event, iter((*subscriptions, *EVERYWHERE)), []))
    if delivery.busy:
        return
    delivery.busy = True
    try:
        _empty(delivery.pending)
    finally:
        delivery.busy = False


def _empty(pending: deque[tuple[Event, Iterator[Subscription], list[Listener]]]) -> None:
    try:
        while pending:
            event, subscriptions, heard = pending[0]
            for subscription in subscriptions:
                listener = subscription.listener
                if listener is not None and listener not in heard:
                    heard.append(listener)
                    _call(listener, event)
            pending.popleft()
    except BaseException:
        # The program is to end: first let the others hear what they would have heard.
        _empty(pending)
        raise


def _call(listener: Listener, event: Event) -> None:
    try:
        listener(event)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        # Also a CancelledError, which the call would be taken to be cancelled by.
        logger.exception(
            "a listener raised on %s", type(event).__name__, extra={"seawall_listener": listener}
        )
