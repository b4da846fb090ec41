"""What tests listen with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from seawall.events import CircuitEvent, Event

AnEvent = TypeVar("AnEvent", bound=Event)


class Heard(list[Any]):
    """A listener that keeps what it hears.

    Args:
        then: called with each event, after it has been kept.
    """

    def __init__(self, then: Callable[[Event], object] | None = None) -> None:
        super().__init__()
        self.then = then

    def __call__(self, event: Event) -> None:
        self.append(event)
        if self.then is not None:
            self.then(event)

    # As a listener it is itself alone, whatever another one has heard.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def kinds(self) -> list[str]:
        """The class names, in order."""
        return [type(event).__name__ for event in self]

    @property
    def changes(self) -> list[tuple[str, str]]:
        """The states before and after each transition."""
        return [(event.before, event.after) for event in self if isinstance(event, CircuitEvent)]

    def of(self, kind: type[AnEvent]) -> list[AnEvent]:
        """Return the events of one kind."""
        return [event for event in self if isinstance(event, kind)]

    def the(self, kind: type[AnEvent]) -> AnEvent:
        """Return the only event of a kind."""
        (event,) = self.of(kind)
        return event
