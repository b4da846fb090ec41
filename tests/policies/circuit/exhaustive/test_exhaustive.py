"""Every interleaving of a few calls, in all configurations; `make check-model` goes further."""

from __future__ import annotations

import pytest

from tests.policies.circuit.exhaustive.enumerate import Bounds, as_code, enumerate_world, shorten
from tests.policies.circuit.exhaustive.setups import WORLDS, named

# These have the most states.
LARGE = {"child-silence", "silence-floor", "silence-waits"}
SMALL = [world for world in WORLDS if world.name not in LARGE]


@pytest.mark.parametrize("world", SMALL, ids=lambda world: world.name)
def test_one_call_and_two_controls(world):
    """The circuit does what the numbered rules say, whatever comes when."""
    check(world, Bounds(calls=1))


@pytest.mark.parametrize(
    "world", named("probes-2-2-4", "waits", "shadow", "change-open"), ids=lambda world: world.name
)
def test_two_calls_and_two_controls(world):
    """The same with another call beside the first."""
    check(world, Bounds(calls=2))


def check(world, bounds):
    result = enumerate_world(world, bounds)
    assert result.states > 50
    assert not result.mismatches, as_code(shorten(result.mismatches[0]))
