"""Records that can be written as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from math import isfinite
from typing import Any, cast


class JsonReady:
    """Base of frozen dataclasses with :meth:`as_dict`."""

    __slots__ = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, in values that ``json.dumps`` takes.

        Enums become their value, tuples lists, keys of mappings strings. What is not finite becomes
        ``None``, for JSON has no such number. Other objects become their ``repr``.
        """
        return {"type": type(self).__name__} | {
            field.name: _plain(getattr(self, field.name))
            for field in fields(self)  # type: ignore[arg-type]
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, float) and not isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, JsonReady) and is_dataclass(value):
        return value.as_dict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in cast("Any", value).items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in cast("list[Any]", value)]
    return repr(value)
