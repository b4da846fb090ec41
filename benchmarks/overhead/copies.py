"""Further copies of the library in one process, each a package of its own name.

Their imports of each other's modules are rewritten to that name, those inside functions as well,
so that no copy ever runs code of another.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = Path("src/seawall")

# `import seawall` alone would need its uses rewritten as well: the library never does that.
IMPORT = re.compile(r"^(\s*(?:from|import)\s+)seawall(?=[\s.])", re.MULTILINE)


def copy_of_tree(folder: Path) -> Path:
    """Copy the library as it stands in the working tree."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(ROOT / SOURCE, folder / SOURCE, ignore=ignored))


def copy_of_commit(folder: Path, commit: str) -> Path:
    """Copy the library as it was at a commit."""
    command = ["git", "archive", "--format=tar", commit, str(SOURCE)]
    archive = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder / SOURCE


def load(source: Path, name: str):
    """Import the copy in this folder as a package of this name."""
    for path in source.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(IMPORT.sub(rf"\g<1>{name}", text), encoding="utf-8")
    spec = spec_from_file_location(name, source / "__init__.py")
    assert spec
    assert spec.loader
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
