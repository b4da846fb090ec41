"""The pages of the documentation."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_the_diagram_of_the_circuit_is_that_of_its_table():
    """The page shows every transition that there is, and no other."""
    spec = spec_from_file_location("diagrams", DOCS / "diagrams.py")
    diagrams = module_from_spec(spec)
    spec.loader.exec_module(diagrams)
    assert diagrams.circuit() in (DOCS / "circuit.md").read_text()


def test_the_first_example_of_the_circuit_runs():
    """It prints what the page says that it prints."""
    code = (DOCS / "circuit.md").read_text().split("```python\n")[1].split("```")[0]
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.splitlines() == ["asked"] * 5 + ["orders: try again in 10 s"] * 2
    assert result.stderr == ""
