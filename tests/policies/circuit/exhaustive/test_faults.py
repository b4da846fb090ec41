"""The enumeration finds typical faults of a circuit, so that its silence means something."""

from __future__ import annotations

import pytest

from tests.doubles import HeardCircuit
from tests.policies.circuit.exhaustive.enumerate import Bounds, as_code, enumerate_world, shorten
from tests.policies.circuit.exhaustive.faults import FAULTS
from tests.policies.circuit.exhaustive.setups import WORLDS


def enumerated(fault, make):
    name, calls, controls = FAULTS[fault]
    [world] = [world for world in WORLDS if world.name == name]
    return enumerate_world(world, Bounds(calls, controls), make)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_found(fault):
    """A circuit with the fault is reported, with steps that show it, and one without is not."""
    assert not enumerated(fault, HeardCircuit).mismatches
    [mismatch] = enumerated(fault, fault).mismatches
    short = shorten(mismatch, fault)
    assert len(short.steps) <= len(mismatch.steps)
    assert short.difference
    assert "c0 = Circuit(" in as_code(short)
