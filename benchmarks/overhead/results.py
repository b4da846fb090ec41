"""What is compared across Python versions, in one file for each: targets and figures read it."""

from __future__ import annotations

import json
import platform
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "results"


def version() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def rounded(value):
    """Round all numbers to three digits: what changes from run to run is no news."""
    if isinstance(value, dict):
        return {str(key): rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


def store(part: str, values: dict) -> None:
    """Replace what one part of the measurement has found on this Python."""
    path = FOLDER / f"{version()}.json"
    # The order is kept: rows and places of the figures are in it.
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[part] = rounded(values)
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(known, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def load() -> dict[str, dict]:
    """Return what is known of each Python, the oldest first."""
    paths = sorted(FOLDER.glob("*.json"), key=lambda path: [int(it) for it in path.stem.split(".")])
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
