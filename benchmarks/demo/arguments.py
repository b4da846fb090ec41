"""What may be asked of a run, and a clear line for what may not."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORTEST = 5.0
LONGEST = 300.0


@dataclass(frozen=True, slots=True)
class Arguments:
    """A run's seed and its length in seconds."""

    seed: int
    seconds: float


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # One line: the usage in front of it would hide what is wrong.
        self.exit(2, f"demo: {message}\n")


def _seed(text: str) -> int:
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if not 0 <= seed < 2**64:
        raise argparse.ArgumentTypeError(
            f"{_short(text)} is not allowed; give a whole number from 0, such as --seed 7"
        )
    return seed


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not SHORTEST <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(
            f"{_short(text)} is not allowed; give {SHORTEST:g} to {LONGEST:g} seconds, "
            "such as --seconds 20"
        )
    return seconds


def _short(text: str) -> str:
    return repr(text if len(text) <= 20 else f"{text[:17]}...")


def parse(words: Sequence[str] | None = None) -> Arguments:
    """Read the command line; a wrong one ends the program with status 2."""
    parser = _Parser(
        prog="python -m benchmarks.demo",
        description="Two httpx clients, one of them behind seawall, meet the same trouble.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--seed",
        type=_seed,
        default=1,
        help="of the arrivals and the faults, a whole number from 0 (default: 1)",
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=20.0,
        help=f"how long it runs, {SHORTEST:g} to {LONGEST:g} (default: 20)",
    )
    parsed = parser.parse_args(words)
    return Arguments(parsed.seed, parsed.seconds)
