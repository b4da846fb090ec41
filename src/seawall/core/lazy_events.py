"""The events as attributes of a module, imported with the first subscription.

To make twenty frozen dataclasses takes as long as importing all the rest, and most programs hear no
events. So what tells of one asks first whether it is heard::

    if is_heard(self):
        tell(self, call, events.TimedOut, seconds=seconds, overrun=overrun)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seawall.core.events import *  # noqa: F403 - all of them


def load() -> None:
    """Import them now, and not in the call in which the first event happens."""
    from seawall.core import events  # noqa: PLC0415 - late is what this is for

    globals().update(
        {name: value for name, value in vars(events).items() if not name.startswith("_")}
    )


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        load()
        if name not in globals():
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals()[name]
