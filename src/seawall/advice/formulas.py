"""Two rules of thumb for the numbers of a circuit, as functions."""

from __future__ import annotations

from math import ceil
from typing import Final

from seawall.core.checks import check_number

_FEWEST: Final = 5


def open_time(deployment: float, startup: float, warm_up: float) -> float:
    """Return how many seconds a circuit should stay open: twice the time that a restart takes.

    The formula is 2 × (deployment + startup + warm-up): if the dependency was taken down by its
    own restart, a probe then finds it ready. It suits ``open_for`` where an outage most often is a
    restart; 10 s, 15 s and 5 s give 60 s. The factor of two is a margin, no measurement.

    Args:
        deployment: seconds until the new process is started; at least 0.
        startup: seconds until it accepts calls; at least 0.
        warm_up: seconds until it is as fast as before; at least 0.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument is negative, or not finite.
    """
    check_number("deployment", deployment, at_least=0)
    check_number("startup", startup, at_least=0)
    check_number("warm_up", warm_up, at_least=0)
    return 2.0 * (deployment + startup + warm_up)


def failure_threshold(rate: float, window: float) -> int:
    """Return how many failures in a window should open a circuit: a tenth of its calls, or five.

    The formula is max(5, 0.1 × calls per second × seconds of the window), and a fraction is rounded
    up, so that never less than a tenth opens it. 100 calls per second and a window of 10 s give
    100. It is a number for ``FailureCount(n, window)``, not for failures in a row. With it, a
    steady share of one failure in ten is an outage; ``FailureRate(0.5, window)`` allows more.

    Args:
        rate: usual calls per second; at least 0.
        window: seconds that the circuit looks back; above 0.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument is out of range, or not finite.
    """
    check_number("rate", rate, at_least=0)
    check_number("window", window, above=0)
    # Divided, not multiplied: 0.1 * 70 * 10 is more than 70. Rounded first: so is 1.1 * 100 to 110.
    return max(_FEWEST, ceil(round(rate * window / 10, 6)))
