"""What a real circuit holds at a moment, so that it can be brought back there.

To try the next step from a state, the enumeration brings the circuit back to it; to replay what led
there, on a new circuit, would take longer with every step. Nothing here knows how a circuit works
inside: whatever can be reached from it is written down, attribute by attribute.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import is_dataclass
from enum import Enum
from operator import attrgetter
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

# What never changes, or never in a way that matters: a class, a function, a number, an error.
_CONSTANT = (
    type(None),
    bool,
    int,
    float,
    str,
    type,
    Enum,
    BaseException,
    FunctionType,
    BuiltinFunctionType,
    MethodType,
)
# The classes of what was found to be constant.
_FIXED: set[type] = set()


class Memento:
    """All that can be reached from an object, as it is now."""

    def __init__(self, root: object) -> None:
        self._saved: list[tuple[Callable[[Any, Any], None], Any, Any]] = []
        seen: set[int] = set()
        to_do = [root]
        while to_do:
            each = to_do.pop()
            if id(each) in seen:
                continue
            seen.add(id(each))
            cls = type(each)
            plan = _PLANS.get(cls)
            if plan is None:
                plan = _PLANS[cls] = _plan(cls)
            for save, restore in plan:
                value, inside = save(each)
                self._saved.append((restore, each, value))
                to_do += inside

    def restore(self) -> None:
        """Bring all of it back. What has come since then is cut off by that."""
        for restore, each, value in self._saved:
            restore(each, value)

    def contents(self) -> list[Any]:
        """Return what was saved, for comparison: in the order in which it was found.

        An object inside is told by its class alone; what it holds is a later item.
        """
        return [_shown(value) for _, _, value in self._saved]


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return [(_shown(key), _shown(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    constant = isinstance(value, bool | int | float | str | Enum | array | bytearray)
    return value if constant else type(value).__name__


# ---------------------------------------------------------------------- one class each

Save = Callable[[Any], tuple[Any, list[Any]]]
Restore = Callable[[Any, Any], None]
_PLANS: dict[type, list[tuple[Save, Restore]]] = {
    tuple: [(lambda each: ((), [*each]), lambda *_: None)]
}


def _plan(cls: type) -> list[tuple[Save, Restore]]:
    """Return how to save and restore objects of a class; nothing for those that stay as they are.

    An object that cannot be brought back would hide faults, so one of an unknown kind is an error.
    """
    if issubclass(cls, _CONSTANT) or (is_dataclass(cls) and cls.__dataclass_params__.frozen):
        _FIXED.add(cls)
        return []
    plan: list[tuple[Save, Restore]] = []
    known = True
    if issubclass(cls, dict):
        plan.append((_save_dict, _restore_dict))
    elif issubclass(cls, list):
        plan.append((_save_list, _restore_sequence))
    elif issubclass(cls, array | bytearray):
        plan.append((_save_numbers, _restore_sequence))
    else:
        known = cls.__module__.partition(".")[0] in {"seawall", "tests"}
    if not known:
        raise TypeError(f"do not know how to save {cls!r}")
    slots = [
        name
        for base in cls.__mro__
        for name in base.__dict__.get("__slots__", ())
        if name not in {"__dict__", "__weakref__"}
    ]
    if slots:
        plan.append(_for_slots(slots))
    if hasattr(cls, "__dict__") and cls.__dictoffset__:
        plan.append((_save_attributes, _restore_attributes))
    return plan


def _inside(values: Any) -> list[Any]:
    return [value for value in values if type(value) not in _FIXED]


def _save_dict(each: Any) -> tuple[Any, list[Any]]:
    return dict(each), _inside([*each.keys(), *each.values()])


def _restore_dict(each: Any, saved: Any) -> None:
    if each:
        dict.clear(each)
    if saved:
        each.update(saved)


def _save_list(each: Any) -> tuple[Any, list[Any]]:
    return each[:], _inside(each)


def _save_numbers(each: Any) -> tuple[Any, list[Any]]:
    return each[:], []


def _restore_sequence(each: Any, saved: Any) -> None:
    each[:] = saved


def _save_attributes(each: Any) -> tuple[Any, list[Any]]:
    saved = vars(each).copy()
    return saved, _inside(saved.values())


def _restore_attributes(each: Any, saved: Any) -> None:
    attributes = vars(each)
    attributes.clear()
    attributes.update(saved)


def _for_slots(slots: list[str]) -> tuple[Save, Restore]:
    read = attrgetter(*slots) if len(slots) > 1 else lambda each: (getattr(each, slots[0]),)
    # Written out, as in a class of its own: a loop over the names takes several times as long.
    made: dict[str, Any] = {}
    targets = "".join(f"each.{name}, " for name in slots)
    exec(f"def write(each, saved):\n    ({targets}) = saved", made)
    write = made["write"]

    def save(each: Any) -> tuple[Any, list[Any]]:
        try:
            saved = read(each)
        except AttributeError:
            saved = {name: getattr(each, name) for name in slots if hasattr(each, name)}
            return saved, _inside(saved.values())
        return saved, _inside(saved)

    def restore(each: Any, saved: Any) -> None:
        if type(saved) is tuple:
            write(each, saved)
            return
        for name in slots:
            if name in saved:
                setattr(each, name, saved[name])
            elif hasattr(each, name):
                delattr(each, name)

    return save, restore
