"""Something that is likely to be wrong with a pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seawall.core.json_ready import JsonReady

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seawall.core.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding(JsonReady):
    """What :meth:`~seawall.Pipeline.lint` has found. ``str(finding)`` tells all of it.

    Attributes:
        code: which check it was, such as ``"SW101"``; ``docs/lint.md`` explains each.
        sentence: what is wrong, with its numbers.
        numbers: these numbers by name.
        remedy: what to do instead.
        policy: the policy that it is about.
    """

    code: str
    sentence: str
    numbers: Mapping[str, Any] = field(hash=False)
    remedy: str
    policy: Policy = field(repr=False)

    def __str__(self) -> str:
        name = type(self.policy).__name__
        if self.policy.name is not None:
            name += f" {self.policy.name!r}"
        return f"{self.code} {name}: {self.sentence}. {self.remedy}."
