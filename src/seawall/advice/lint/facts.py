"""What is known of a deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seawall.core.checks import check_count, check_number, check_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The arguments of :meth:`seawall.Pipeline.lint`; ``None`` where nothing was said.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is of the wrong type.
    """

    requests_per_second: float | None = None
    latency: float | None = None
    restart_seconds: float | None = None
    capacity: float | None = None
    clients: int | None = None
    user_facing: bool = False
    keys: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        for name in ("requests_per_second", "latency", "restart_seconds", "capacity"):
            check_number(name, getattr(self, name), above=0, optional=True)
        check_count("clients", self.clients, at_least=1, optional=True)
        check_type("user_facing", self.user_facing, bool, "True or False")
