"""Draws the state diagram of docs/circuit.md from the table of transitions.

Run ``python docs/diagrams.py`` to put it into the page anew.
"""

from __future__ import annotations

import re
from pathlib import Path

from seawall.policies.circuit.state import TRANSITIONS

PAGE = Path(__file__).parent / "circuit.md"
FENCED = re.compile(r"```mermaid\n.*?```\n", re.DOTALL)


def circuit() -> str:
    """Return the diagram, as a fenced block of Mermaid."""
    labels: dict[tuple[str, str], list[str]] = {}
    for (before, trigger), after in TRANSITIONS.items():
        labels.setdefault((before.value, after.value), []).append(trigger.value)
    lines = ["stateDiagram-v2", "    [*] --> closed"]
    lines += [f"    {a} --> {b}: {' / '.join(words)}" for (a, b), words in labels.items()]
    return "\n".join(["```mermaid", *lines, "```", ""])


if __name__ == "__main__":
    PAGE.write_text(FENCED.sub(circuit(), PAGE.read_text()))
