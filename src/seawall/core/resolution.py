"""How coarse a loop's clock may be; apart from the clock, since the pure cores need it too."""

from __future__ import annotations

from typing import Final

RESOLUTION: Final = 0.001
"""Seconds by which a loop's clock and timers may be off: uvloop's know whole milliseconds only."""
