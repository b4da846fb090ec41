"""The story of a call that was tried several times, as the one note on its error."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from seawall.core.call import Call

_NOTE: Final = "seawall: "
_SLEPT: Final = "slept "
_TOLD: Final = 12


def record_attempt(call: Call[Any], outcome: str) -> None:
    """Tell how an attempt ended, unless a retry further inside has told it."""
    story = call.story
    if story is None:
        call.story = [outcome]
    elif story[-1].startswith(_SLEPT):
        story.append(outcome)
        if len(story) > 2 * _TOLD:
            # Of a long story, the beginning and the end are told.
            story[_TOLD : _TOLD + 3] = ["..."]


def record_sleep(call: Call[Any], seconds: float) -> None:
    """Tell that another attempt follows, and after how many seconds."""
    if call.story is not None:
        call.story.append(f"{_SLEPT}{seconds:.3g} s")


def tell_story(error: BaseException | None, call: Call[Any], reason: str) -> None:
    """Put the one note on an error, in place of an earlier one."""
    if error is None or (call.attempt == 1 and not reason):
        return
    attempts = "1 attempt" if call.attempt == 1 else f"{call.attempt} attempts"
    story = ", ".join(call.story or ())
    note = f"{_NOTE}gave up after {attempts}: {story}{'; ' if reason else ''}{reason}"
    notes: Any = getattr(error, "__notes__", None)
    others: list[object] = []
    if isinstance(notes, list):
        others = [text for text in cast("list[object]", notes) if not _is_ours(text)]
    # An exception may be a frozen dataclass, or have no room for notes.
    with suppress(AttributeError, TypeError):
        object.__setattr__(error, "__notes__", [*others, note])


def _is_ours(note: object) -> bool:
    return isinstance(note, str) and note.startswith(_NOTE)
