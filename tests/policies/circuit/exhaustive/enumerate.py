"""Every interleaving of a few calls on a circuit, compared step by step with a naive model.

Breadth first, from a fresh circuit: from each state every step is tried, the real circuit is
brought there anew by replaying its steps, and what is seen of both is compared. A state is the
model's, with times relative to now; each is expanded once, or, with ``paths`` above 1, from that
many of the ways that lead to it, since the real circuit may differ where the model does not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from seawall.core.verdict import Kind
from seawall.policies.circuit.core import Circuit
from tests.policies.circuit.exhaustive.evidence import UnsureError
from tests.policies.circuit.exhaustive.ideal import Ideal, Seen
from tests.policies.circuit.exhaustive.real import MakeCircuit, Real
from tests.policies.circuit.exhaustive.setups import Step, World

CLOSE = 1e-9


class Bounds(NamedTuple):
    """How far the enumeration goes.

    Attributes:
        calls: calls that are admitted.
        controls: control actions; those that only switch the shadow mode, too.
        paths: from how many of the ways that lead to it a state is expanded.
    """

    calls: int = 4
    controls: int = 2
    paths: int = 1


class Left(NamedTuple):
    """What the bounds leave of a way."""

    controls: int
    ticks: int
    jumps: int


@dataclass
class Mismatch:
    """Where the circuit does not do what the rules say.

    Attributes:
        world: the configuration.
        steps: what leads there.
        expected: what the model says of the last step.
        seen: what is seen of the circuit, or the exception that it raised.
    """

    world: World
    steps: list[Step]
    expected: Seen
    seen: Seen | BaseException

    @property
    def difference(self) -> str:
        return "; ".join(_difference(self.expected, self.seen))


@dataclass
class Result:
    """What an enumeration saw."""

    world: World
    states: int = 0
    transitions: int = 0
    unsure: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)


class _Link(NamedTuple):
    before: _Link | None
    step: Step


def enumerate_world(
    world: World, bounds: Bounds, make: MakeCircuit = Circuit, *, at_most: int = 1
) -> Result:
    """Enumerate a world, until so many mismatches were found."""
    result = Result(world)
    start = Ideal(world)
    link = None
    for number, step in enumerate(world.prelude):
        expected = start.apply(step)
        seen = _play(world, list(world.prelude[:number]), step, make)
        assert _same(expected, seen), Mismatch(world, [step], expected, seen)
        link = _Link(link, step)
    bounds = bounds._replace(calls=min(bounds.calls, world.calls) + start.admitted)
    left = Left(min(bounds.controls, world.actions), world.ticks[1], world.jumps or 0)
    expanded: dict[int, int] = {hash((start.key(), left, start.admitted)): 1}
    queue: deque[tuple[Ideal, Left, _Link | None]] = deque([(start, left, link)])
    while queue:
        ideal, left, link = queue.popleft()
        result.states += 1
        before = _steps(link)
        for step, left_then in _choices(ideal, left, bounds):
            after = ideal.copy()
            try:
                expected = after.apply(step)
            except UnsureError:
                result.unsure += 1
                continue
            result.transitions += 1
            seen = _play(world, before, step, make)
            if not _same(expected, seen):
                mismatch = Mismatch(world, [*before, step], expected, seen)
                result.mismatches.append(mismatch)
                if len(result.mismatches) >= at_most:
                    return result
                continue
            key = hash((after.key(), left_then, after.admitted))
            ways = expanded.get(key, 0)
            if ways < bounds.paths:
                expanded[key] = ways + 1
                queue.append((after, left_then, _Link(link, step)))
    return result


def _steps(link: _Link | None) -> list[Step]:
    steps = []
    while link is not None:
        steps.append(link.step)
        link = link.before
    steps.reverse()
    return steps


def _play(world: World, before: list[Step], step: Step, make: MakeCircuit) -> Seen | BaseException:
    real = Real(world, make)
    try:
        real.run(before)
        return real.apply(step)
    except Exception as error:
        return error


def _choices(ideal: Ideal, left: Left, bounds: Bounds) -> Iterator[tuple[Step, Left]]:
    """Yield the steps that are worth trying."""
    world = ideal.world
    circuits = range(len(world.circuits))
    if ideal.admitted < bounds.calls:
        for index in circuits[1:] or circuits:
            yield ("admit", index, True), left
            if world.retries:
                yield ("admit", index, False), left
    for number, owner in ideal.owners.items():
        call = ideal.models[owner].calls[number]
        if call.waits:
            yield ("go", number), left
            continue
        for kind in Kind:
            yield ("settle", number, kind.value), left
        if world.waits and not call.begun:
            yield ("wait", number), left
        if world.begins and not call.begun:
            yield ("begin", number), left
    moments = ideal.moments()
    if world.jumps is None:
        # The later ones are reached from there.
        for moment in moments[:1]:
            yield ("to", moment), left
    elif left.jumps:
        for moment in moments:
            yield ("to", moment), left._replace(jumps=left.jumps - 1)
    if left.ticks:
        yield ("to", ideal.now + world.ticks[0]), left._replace(ticks=left.ticks - 1)
    if not left.controls:
        return
    fewer = left._replace(controls=left.controls - 1)
    for index in circuits:
        for control in world.controls:
            yield (control, index), fewer
        if world.shadows:
            yield ("shadow", index, not ideal.models[index].shadow), fewer
        for number in range(len(world.changes)):
            yield ("reconfigure", index, number), fewer


def _same(expected: Any, seen: Any) -> bool:
    """Compare, with some tolerance for numbers that were rounded."""
    if expected == seen:
        return True
    if isinstance(expected, float) and isinstance(seen, float):
        return seen >= 0.0 and abs(expected - seen) <= CLOSE
    if isinstance(expected, tuple) and isinstance(seen, tuple) and len(expected) == len(seen):
        return all(map(_same, expected, seen))
    return False


# ---------------------------------------------------------------------- making a mismatch readable


def shorten(mismatch: Mismatch, make: MakeCircuit = Circuit) -> Mismatch:
    """Leave out steps as long as there still is a mismatch, of whatever kind, at the end."""
    steps = mismatch.steps
    position = len(steps) - 1
    while position >= 0:
        fewer = _without(steps, position)
        found = _first_mismatch(mismatch.world, fewer, make)
        if found is not None and len(found.steps) < len(steps):
            steps, mismatch = found.steps, found
            position = len(steps)
        position -= 1
    return mismatch


def _without(steps: list[Step], position: int) -> list[Step]:
    return steps[:position] + steps[position + 1 :]


def _first_mismatch(world: World, steps: list[Step], make: MakeCircuit) -> Mismatch | None:
    ideal = Ideal(world)
    for number, step in enumerate(steps):
        try:
            expected = ideal.apply(step)
        except (UnsureError, KeyError):
            return None  # a step without its call means nothing
        seen = _play(world, steps[:number], step, make)
        if not _same(expected, seen):
            return Mismatch(world, steps[: number + 1], expected, seen)
    return None


def as_code(mismatch: Mismatch) -> str:
    """Return the mismatch as code that runs, with what was expected and seen as comments."""
    world = mismatch.world
    lines = [
        "from seawall.core.verdict import Kind",
        "from seawall.policies.circuit.core import Circuit",
        "from seawall.policies.circuit.rules import *",
        "from seawall.policies.circuit.windows import Calls",
        "",
    ]
    for index, setup in enumerate(world.circuits):
        parent = "parent=c0, " if index else ""
        lines.append(f"c{index} = Circuit({setup}, {parent}random=lambda: {world.jitter})")
    now = 0.0
    ideal = Ideal(world)
    waiting = False
    for step in mismatch.steps:
        kind, *rest = step
        owner = ideal.owners.get(rest[0], 0) if kind in {"settle", "begin"} else 0
        number = ideal.admitted
        last = ideal.apply(step) if step is not mismatch.steps[-1] else None
        if kind == "to":
            now = rest[0]
        elif kind == "admit":
            refused = last is not None and last.probe is None
            tail = "  # refused, so wrap it in try" if refused else ""
            lines.append(f"t{number} = c{rest[0]}.admit({now!r}, first={rest[1]}){tail}")
        elif kind == "settle":
            verdict = f"Kind.{rest[1].upper()}"
            lines.append(f"c{owner}.settle(t{rest[0]}, {verdict}, {now!r}, 'E')")
        elif kind == "begin":
            lines.append(f"c{owner}.begin(t{rest[0]}, {now!r})")
        elif kind == "wait":
            if not waiting:
                lines.append(
                    "class Waiter:\n    def refuse(self, error): print('refused', repr(error))"
                )
                waiting = True
            lines.append(f"w{rest[0]} = Waiter(); t{rest[0]}.waits(w{rest[0]})")
        elif kind == "go":
            lines.append(f"t{rest[0]}.goes_on(w{rest[0]}, {now!r})")
        elif kind == "shadow":
            lines.append(f"c{rest[0]}.shadow = {rest[1]}")
        elif kind == "reconfigure":
            changes = ", ".join(f"{k}={v!r}" for k, v in world.changes[rest[1]].items())
            lines.append(f"c{rest[0]}.reconfigure({changes})")
        else:
            lines.append(f"c{rest[0]}.{kind}({now!r})")
    lines.append(f"now = {now!r}")
    lines.append(f"# {mismatch.difference}")
    return "\n".join(lines)


def _difference(expected: Any, seen: Any, where: str = "") -> list[str]:
    if _same(expected, seen):
        return []
    if isinstance(expected, tuple) and isinstance(seen, tuple) and len(expected) == len(seen):
        names = getattr(expected, "_fields", range(len(expected)))
        return [
            text
            for name, one, other in zip(names, expected, seen, strict=True)
            for text in _difference(one, other, f"{where}.{name}" if where else str(name))
        ]
    return [f"{where or 'step'}: the rules say {expected!r}, the circuit {seen!r}"]
