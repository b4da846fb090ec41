"""Checks of constructor arguments: an error names the parameter, the value and what is allowed."""

from __future__ import annotations

from math import inf, isnan, nan
from typing import Any


def check_number(
    parameter: str,
    value: object,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    infinite: bool = False,
    optional: bool = False,
) -> None:
    """Raise unless the value is a number in the range.

    Raises:
        TypeError: the value is no number (a bool is none).
        ValueError: the value is out of range, or NaN.
    """
    allowed = _range("a number", above, at_least, at_most, optional=optional)
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = f"{parameter} must be {allowed}, not {value!r}"
        raise TypeError(message)
    try:
        number = float(value)
    except OverflowError:
        number = nan
    outside = (
        isnan(number)
        or (abs(number) == inf and not (infinite and number > 0))
        or (above is not None and number <= above)
        or (at_least is not None and number < at_least)
        or (at_most is not None and number > at_most)
    )
    if outside:
        message = f"{parameter} must be {allowed}, not {value!r}"
        raise ValueError(message)


def check_count(
    parameter: str,
    value: object,
    *,
    at_least: int,
    at_most: int | None = None,
    optional: bool = False,
) -> None:
    """Raise unless the value is a whole number in the range.

    Raises:
        TypeError: the value is no ``int`` (a bool is none).
        ValueError: the value is too small or too large.
    """
    allowed = _range("an int", None, at_least, at_most, optional=optional)
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        message = f"{parameter} must be {allowed}, not {value!r}"
        raise TypeError(message)
    if value < at_least or (at_most is not None and value > at_most):
        message = f"{parameter} must be {allowed}, not {value!r}"
        raise ValueError(message)


def check_type(
    parameter: str, value: object, kind: type[Any], allowed: str, *, optional: bool = False
) -> None:
    """Raise ``TypeError`` unless the value is of the type, which ``allowed`` describes."""
    if not isinstance(value, kind) and not (value is None and optional):
        message = f"{parameter} must be {allowed}, not {value!r}"
        raise TypeError(message)


def check_name(value: object) -> None:
    """Raise ``TypeError`` unless the value can be the name of a policy."""
    check_type("name", value, str, "a str or None", optional=True)


def _range(
    what: str,
    above: float | None,
    at_least: float | None,
    at_most: float | None,
    *,
    optional: bool,
) -> str:
    parts = [what]
    if above is not None:
        parts.append(f"> {above:g}")
    if at_least is not None:
        parts.append(f">= {at_least:g}")
    if at_most is not None:
        parts.append(f"{'and ' if len(parts) > 1 else ''}<= {at_most:g}")
    return " ".join(parts) + (" or None" if optional else "")
