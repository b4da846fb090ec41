"""What stands in the place of a dict that most circuits never need."""

from __future__ import annotations

from typing import Any, Final, NoReturn


class Empty(dict[Any, Any]):
    """A dict that nothing may be put into. Whoever has something to put makes a new one."""

    __slots__ = ()

    def __setitem__(self, key: object, value: object) -> NoReturn:
        raise TypeError("this dict is shared and stays empty")


EMPTY: Final = Empty()
