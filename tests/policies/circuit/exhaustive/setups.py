"""The configurations of a circuit that change a path, and what a step may change of them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from seawall.policies.circuit.rules import (
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    TripRule,
)
from seawall.policies.circuit.windows import Calls

Step = tuple[Any, ...]


@dataclass(frozen=True)
class Setup:
    """The arguments of one circuit; the defaults here are the ones of most configurations."""

    trip: TripRule = ConsecutiveFailures(1)
    open_for: float | None = 8.0
    max_open_for: float | None = None
    probes: int = 1
    close_after: int = 1
    probe_lease: float | None = 4.0
    count_retries: bool = False
    stalls: bool = False
    end_stalled: bool = False
    shadow: bool = False

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments for the circuit."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @cached_property
    def key(self) -> int:
        """A hash that is computed once."""
        return hash(self)

    def __str__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())


@dataclass(frozen=True)
class World:
    """The circuits of one enumeration, and the steps that are worth trying in it.

    Attributes:
        name: what a report calls it.
        circuits: one circuit; or two and more, of which the first is the parent of all others.
        jitter: what the circuits' source of randomness returns.
        retries: whether calls may be retries.
        waits: whether calls may wait.
        begins: whether responses may begin before they end.
        shadows: whether the shadow mode may be switched.
        changes: what ``reconfigure`` may be given.
        ticks: seconds of which a whole number may pass at any moment, and how often.
        jumps: to how many interesting moments time may pass; ``None``: to all.
        prelude: steps that are taken first; their calls are not counted.
        calls: at most so many calls here, whatever is asked for.
        actions: at most so many control actions, likewise.
        controls: the control actions that there are.
    """

    name: str
    circuits: tuple[Setup, ...]
    jitter: float = 0.5
    retries: bool = False
    waits: bool = False
    begins: bool = False
    shadows: bool = True
    changes: tuple[dict[str, Any], ...] = ()
    ticks: tuple[float, int] = (1.0, 0)
    jumps: int | None = None
    prelude: tuple[Step, ...] = ()
    calls: int = 9
    actions: int = 9
    controls: tuple[str, ...] = field(default=("trip", "reset", "isolate"))


def _half_open() -> list[World]:
    """Probes, how many successes, and leases shorter and longer than the open time (rules 4–8)."""
    found = []
    for probes in (1, 2):
        for close_after in (1, 2):
            for lease in (4.0, 16.0):
                setup = Setup(probes=probes, close_after=close_after, probe_lease=lease)
                found.append(World(f"probes-{probes}-{close_after}-{lease:g}", (setup,)))
    found.append(World("probes-3", (Setup(probes=3, close_after=3),)))
    found.append(World("lease-default", (Setup(probe_lease=None),)))
    return found


def _rules() -> list[World]:
    """Which verdicts are evidence, and what of it trips (rule 3)."""
    rules = {
        "streak": ConsecutiveFailures(2),
        "count": FailureCount(2, Calls(3)),
        "rate": FailureRate(0.5, Calls(2)),
        "ratio": FailureRate(0.6, Calls(4), minimum_calls=3),
        "window": FailureCount(2, 16.0),
        "any": ConsecutiveFailures(3) | FailureCount(2, Calls(3)),
        "all": ConsecutiveFailures(2) & FailureRate(0.5, Calls(4), minimum_calls=3),
    }
    found = []
    for name, rule in rules.items():
        for count_retries in (False, True):
            setup = Setup(trip=rule, count_retries=count_retries)
            found.append(
                World(f"rule-{name}-{'all' if count_retries else 'first'}", (setup,), retries=True)
            )
    return found


def _open() -> list[World]:
    """How long it stays open (rule 4)."""

    def paced(name: str, gap: float, **more: Any) -> World:
        setup = Setup(open_for=None, max_open_for=more.pop("max_open_for", None))
        return World(
            name, (setup,), ticks=(gap, 2), jumps=2, calls=3, actions=1, shadows=False, **more
        )

    return [
        World("doubling", (Setup(max_open_for=20.0),)),
        World("doubling-less", (Setup(max_open_for=20.0),), jitter=0.0),
        World("doubling-more", (Setup(max_open_for=20.0),), jitter=1.0),
        World("exact", (Setup(),), jitter=1.0),
        paced("paced", 0.25),
        paced("paced-less", 16.0, jitter=0.0),
        paced("paced-doubling", 0.25, max_open_for=20.0),
        paced("paced-doubling-less", 0.25, max_open_for=20.0, jitter=0.0),
    ]


def _modes() -> list[World]:
    """Waits, shadow, and changes of the configuration (rules 5 and 9)."""
    return [
        World("waits", (Setup(),), waits=True),
        World("waits-probes", (Setup(probes=2, close_after=2),), waits=True),
        World("shadow", (Setup(shadow=True),)),
        World("shadow-probes", (Setup(shadow=True, probes=2, close_after=2),)),
        World(
            "change-probes",
            (Setup(),),
            changes=({"probes": 2}, {"probes": 1}, {"close_after": 2}, {"probe_lease": 2.0}),
        ),
        World(
            "change-open",
            (Setup(),),
            changes=({"open_for": 2.0}, {"max_open_for": 12.0}, {"count_retries": True}),
            retries=True,
        ),
        World(
            "change-rule",
            (Setup(trip=ConsecutiveFailures(3)),),
            changes=({"trip": ConsecutiveFailures(2)}, {"trip": ConsecutiveFailures(1)}),
        ),
    ]


def _answers(lag: float) -> tuple[Step, ...]:
    """Two answers, of which the second is a sample of the lag: q is nine times as much."""
    return (
        ("admit", 0, True),
        ("settle", 0, "success"),
        ("to", lag),
        ("admit", 0, True),
        ("settle", 1, "success"),
    )


def _silence() -> list[World]:
    """Calls that are not answered (rule 10)."""

    def silent(name: str, setup: Setup | None = None, **more: Any) -> World:
        given: dict[str, Any] = {"jumps": 2, "calls": 3, "actions": 1, "shadows": False}
        given["prelude"] = _answers(0.25)
        given.update(more)
        return World(f"silence{name}", (replace(setup or Setup(), stalls=True),), **given)

    two = ConsecutiveFailures(2)
    return [
        silent("-unknown", prelude=(), ticks=(0.25, 1), calls=4),
        silent("", jumps=3),
        silent("-streak", Setup(trip=two), calls=4),
        silent("-count", Setup(trip=FailureCount(2, Calls(3)))),
        silent("-lease", Setup(probe_lease=None, probes=2, close_after=2), jumps=3),
        silent("-lease-end", Setup(probe_lease=None, end_stalled=True), jumps=3),
        silent("-end", Setup(end_stalled=True), calls=4),
        silent("-end-streak", Setup(end_stalled=True, trip=two), calls=4),
        silent("-retries", retries=True),
        silent("-all", Setup(count_retries=True), retries=True),
        silent("-floor", prelude=_answers(0.0625), ticks=(0.0625, 1)),
        silent("-waits", waits=True),
        silent("-begins", begins=True),
        silent("-shadow", Setup(shadow=True)),
    ]


def _parents() -> list[World]:
    """A parent and its children (rule 11)."""
    return [
        World("child", (Setup(trip=ConsecutiveFailures(2)), Setup(probe_lease=16.0))),
        World("child-slow", (Setup(open_for=2.0), Setup(trip=ConsecutiveFailures(2)))),
        World("children", (Setup(trip=ConsecutiveFailures(2)), Setup(), Setup()), calls=3),
        World("child-waits", (Setup(trip=ConsecutiveFailures(2)), Setup()), waits=True),
        World("child-shadow", (Setup(), Setup(shadow=True))),
        World(
            "child-silence",
            (Setup(stalls=True),) * 2,
            jumps=2,
            calls=3,
            actions=1,
            shadows=False,
            prelude=(
                ("admit", 1, True),
                ("settle", 0, "success"),
                ("to", 0.25),
                ("admit", 1, True),
                ("settle", 1, "success"),
            ),
        ),
    ]


WORLDS: tuple[World, ...] = (
    *_rules(),
    *_half_open(),
    *_open(),
    *_modes(),
    *_silence(),
    *_parents(),
)


def named(*names: str) -> tuple[World, ...]:
    """Return the worlds whose names begin with one of these."""
    return tuple(world for world in WORLDS if world.name.startswith(names))


def smaller(world: World, calls: int) -> World:
    """Return the world with at most so many calls."""
    return replace(world, calls=min(calls, world.calls))
