"""What the enumeration trusts: that a circuit which was brought back is as if nothing had been."""

from __future__ import annotations

from random import Random

import pytest

from tests.policies.circuit.exhaustive.enumerate import Left, choices
from tests.policies.circuit.exhaustive.evidence import UnsureError
from tests.policies.circuit.exhaustive.ideal import Ideal
from tests.policies.circuit.exhaustive.memento import Memento
from tests.policies.circuit.exhaustive.real import Real
from tests.policies.circuit.exhaustive.setups import WORLDS


def held(real):
    """Return all that there is in a circuit, as text."""
    return repr(Memento(real).contents())


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_what_is_brought_back_is_as_a_new_one_after_the_same_steps(world):
    """On a way at random, each step is tried and undone, and leaves nothing behind."""
    random = Random(world.name)
    left = Left(calls=3, controls=2, ticks=world.ticks[1], jumps=world.jumps or 0)
    ideal, real = Ideal(world), Real(world)
    ideal.run(world.prelude)
    real.run(world.prelude)
    steps = [*world.prelude]
    begun = ideal.admitted
    changed = 0
    for _ in range(20):
        replayed = Real(world)
        replayed.run(steps)
        before = held(replayed)
        assert held(real) == before
        memento = Memento(real)
        ways = []
        for step, left_then in choices(ideal, left):
            after = ideal.copy()
            try:
                after.apply(step)
            except UnsureError:
                continue
            real.apply(step)
            changed += held(real) != before
            memento.restore()
            assert held(real) == before, step
            ways.append((step, after, left_then))
        if not ways:
            break
        step, ideal, left = random.choice(ways)
        left = left._replace(calls=3 - ideal.admitted + begun)
        real.run([step])
        steps.append(step)
    assert changed > 20


def test_what_cannot_be_saved_is_an_error():
    """An object that would not be brought back could hide a fault."""
    with pytest.raises(TypeError, match="do not know how to save"):
        Memento([{1, 2, 3}])
