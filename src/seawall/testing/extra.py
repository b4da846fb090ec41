"""The packages that only some of this needs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import anyio

if not hasattr(anyio, "wait_readable"):  # pragma: no cover - needs an old anyio
    raise ImportError(
        "seawall.testing needs anyio 4.7 or newer.\n  pip install 'seawall[testing]'", name="anyio"
    )


def need(module: str) -> Any:
    """Import a module of the extra ``testing``.

    Raises:
        ImportError: it is not installed; the error names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        message = (
            f"TLS and HTTP/2 of seawall.testing need {module!r}, which is not installed.\n"
            "  pip install 'seawall[testing]'"
        )
        raise ImportError(message, name=module) from error
