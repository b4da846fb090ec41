"""Every policy, by every way in, in every situation; of this, what each run of the tests takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest

from tests.cancellation.policies import CASES, PARTS, STACKS, Case, five
from tests.cancellation.ways import WAYS, Way
from tests.cancellation.work import SITUATIONS, Situation

ALONE_OR_STACKED = [*PARTS, *STACKS]


def rows(cases: Collection[Case]) -> Iterable[tuple[Case, Way, bool]]:
    """Yield each policy and way, and whether each run takes it; the rest is for the soak.

    Each run takes these cases by the ways that differ in what the policies see, and the stack of
    five by all ways.
    """
    for case in CASES:
        for way in WAYS:
            yield case, way, case is five or (case in cases and not way.variant)


def marks(often: bool) -> Any:
    return () if often else (pytest.mark.soak,)


def by_each_way(cases: Collection[Case] = ALONE_OR_STACKED) -> pytest.MarkDecorator:
    """Run a test for each policy, by each way in."""
    return pytest.mark.parametrize(
        "case, way",
        [
            pytest.param(case, way, id=f"{case}-{way}", marks=marks(often))
            for case, way, often in rows(cases)
        ],
    )


def product(
    situations: Iterable[Situation] = SITUATIONS,
    cases: Collection[Case] = ALONE_OR_STACKED,
) -> pytest.MarkDecorator:
    """Run a test for each policy, by each way in, in each of these situations."""
    return pytest.mark.parametrize(
        "case, way, situation",
        [
            pytest.param(case, way, situation, id=f"{case}-{way}-{situation}", marks=marks(often))
            for case, way, often in rows(cases)
            for situation in situations
        ],
    )


def named(*names: str) -> list[Situation]:
    """Return the situations of these names."""
    found = {situation.name: situation for situation in SITUATIONS}
    return [found[name] for name in names]
