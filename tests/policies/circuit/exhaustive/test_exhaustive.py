"""Every interleaving of a few calls, in all configurations; `make check-model` goes further."""

from __future__ import annotations

import pytest

from seawall.core.verdict import Kind
from seawall.policies.circuit.core import Circuit, State
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
    assert result.states > 100
    assert not result.mismatches, as_code(shorten(result.mismatches[0]))


class Twice(Circuit):
    """Lets a stale ticket count: rule 2."""

    def settle(self, ticket, kind, now, cause=None):
        if ticket.generation >= 0 and self.state is State.HALF_OPEN:
            ticket.generation = self.generation
        super().settle(ticket, kind, now, cause)


class Keeps(Circuit):
    """A neutral probe keeps its place: rule 6."""

    def settle(self, ticket, kind, now, cause=None):
        end = self._places.get(ticket)
        super().settle(ticket, kind, now, cause)
        if end is not None and kind is Kind.NEUTRAL and self.state is State.HALF_OPEN:
            self._places[ticket] = end


class Mute(Circuit):
    """A probe that lost its place loses its voice too: rule 7."""

    def settle(self, ticket, kind, now, cause=None):
        if ticket.probe and now >= ticket.start + 4.0:
            kind = Kind.NEUTRAL
        super().settle(ticket, kind, now, cause)


class Generous(Circuit):
    """Lets one probe more through than there are places: rule 5."""

    def __init__(self, *args, probes=1, **options):
        super().__init__(*args, probes=probes + 1, **options)


class Hasty(Circuit):
    """Closes at the first success: rule 5."""

    def __init__(self, *args, close_after=1, **options):
        super().__init__(*args, close_after=1, **options)


class Negative(Circuit):
    """Says how long it was going to be open, from its beginning: rule 8."""

    def retry_after(self, now):
        return self._open_until - now if self.state is State.OPEN else super().retry_after(now)


class Greedy(Circuit):
    """Counts a retry as evidence: rule 3."""

    def admit(self, now, first=True):
        return super().admit(now, True)


@pytest.mark.parametrize(
    "faulty, world",
    [
        (Twice, "probes-1-1-4"),
        (Keeps, "probes-1-1-4"),
        (Mute, "probes-1-1-4"),
        (Generous, "probes-1-1-4"),
        (Hasty, "probes-1-2-4"),
        (Negative, "probes-1-1-4"),
        (Greedy, "rule-"),
    ],
)
def test_a_fault_is_found(faulty, world):
    """Each typical mistake of a breaker is reported, with steps that show it."""
    result = enumerate_world(named(world)[0], Bounds(calls=3, controls=0), faulty)
    assert result.mismatches
    assert "admit" in as_code(shorten(result.mismatches[0], faulty))
