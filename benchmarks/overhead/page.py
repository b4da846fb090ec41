"""A page under `benchmarks/`: one section per Python version, of which a run replaces its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class Page(NamedTuple):
    """What one part of the measurement has to say."""

    path: Path
    introduction: str
    section: str
    values: dict[str, Any]

    def write(self) -> None:
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        self.path.write_text(merge(text, self.section, self.introduction), encoding="utf-8")


def merge(text: str, own: str, opening: str) -> str:
    """Replace the section of this Python in `text`; the others stay, in order of the versions."""
    sections = {part.split("\n", 1)[0]: part for part in re.split(r"(?m)^(?=## )", text)[1:]}
    sections[own.split("\n", 1)[0]] = own
    ordered = sorted(
        sections.values(),
        key=lambda part: [int(number) for number in re.findall(r"\d+", part.split("\n", 1)[0])],
    )
    return "\n".join([opening, *(part.strip("\n") + "\n" for part in ordered)])
