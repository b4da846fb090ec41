"""What a run came to, by the time of arrival: the figures of a scenario's row."""

from __future__ import annotations
