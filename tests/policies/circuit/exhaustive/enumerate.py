"""Every interleaving of a few calls on a circuit, compared step by step with a naive model.

From a fresh circuit on, every step is tried from each state, and what is seen of both is compared;
then the real circuit is brought back to the state. A state is the model's, with times relative to
now. Each is expanded once, from where most is left of the bounds; or, with ``paths`` above 1, from
that many of the ways that lead to it, since the real circuit may differ where the model does not.
Of calls that were sent at the same time and have the same future, one is tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import ge
from typing import Any, NamedTuple

from seawall.core.verdict import Kind
from tests.doubles import HeardCircuit
from tests.policies.circuit.exhaustive.evidence import UnsureError
from tests.policies.circuit.exhaustive.ideal import Ideal, Seen
from tests.policies.circuit.exhaustive.memento import Memento
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

    calls: int
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
    """The last step of a way."""

    before: _Link | None
    step: Step


class _State:
    """A state on the way to the present one, and the steps from it that are left to try."""

    __slots__ = ("choices", "ideal", "link", "memento", "moved")

    def __init__(
        self,
        ideal: Ideal,
        real: Real,
        link: _Link | None,
        choices: Iterator[tuple[Step, Left]],
    ) -> None:
        self.ideal = ideal
        self.link = link
        self.choices = choices
        self.memento = Memento(real)
        self.moved = False


class _Expanded:
    """The states that have been expanded, each with what was left of the bounds."""

    def __init__(self, paths: int) -> None:
        self._paths = paths
        self._left: dict[int, tuple[Left, ...]] = {}
        # There are few different ones, and they are shared: the states may be millions.
        self._longer: dict[tuple[tuple[Left, ...], Left], tuple[Left, ...] | None] = {}

    def add(self, ideal: Ideal, left: Left) -> bool:
        """Add a state, unless all that can follow has been tried where no less was left."""
        key = hash(ideal.key())
        question = self._left.get(key, ()), left
        if question not in self._longer:
            self._longer[question] = self._append(*question)
        longer = self._longer[question]
        if longer is None:
            return False
        self._left[key] = longer
        return True

    def _append(self, known: tuple[Left, ...], left: Left) -> tuple[Left, ...] | None:
        covered = sum(all(map(ge, other, left)) for other in known)
        return None if covered >= self._paths else (*known, left)


def enumerate_world(
    world: World, bounds: Bounds, make: MakeCircuit = HeardCircuit, *, at_most: int = 1
) -> Result:
    """Enumerate a world, until so many mismatches were found."""
    result = Result(world)
    _check_prelude(world, make)
    left = Left(
        min(bounds.calls, world.calls),
        min(bounds.controls, world.actions),
        world.ticks[1],
        world.jumps or 0,
    )
    expanded = _Expanded(bounds.paths)
    prelude = None
    for step in world.prelude:
        prelude = _Link(prelude, step)
    start = Ideal(world)
    start.run(world.prelude)
    expanded.add(start, left)
    result.states = 1
    # Steps that use up something of the bounds are tried last, those that use up most at the very
    # end. So a state is met first where most is left, and what is met later with less is covered.
    later: list[list[tuple[_Link | None, Left]]] = [[] for _ in range(sum(left) + 1)]
    later[0].append((prelude, left))
    for used, roots in enumerate(later):
        while roots:
            link, left = roots.pop()
            steps = _steps(link)
            ideal, real = Ideal(world), Real(world, make)
            ideal.run(steps)
            real.run(steps)
            way = [_State(ideal, real, link, choices(ideal, left))]
            while way:
                state = way[-1]
                step, left = next(state.choices, (None, left))
                if step is None:
                    way.pop()
                    continue
                after = state.ideal.copy()
                try:
                    expected = after.apply(step)
                except UnsureError:
                    result.unsure += 1
                    continue
                result.transitions += 1
                if state.moved:
                    state.memento.restore()
                state.moved = True
                seen = _try(real, step)
                link = _Link(state.link, step)
                if not _same(expected, seen):
                    result.mismatches.append(Mismatch(world, _steps(link), expected, seen))
                    if len(result.mismatches) >= at_most:
                        return result
                    continue
                if after.admitted > state.ideal.admitted:
                    left = left._replace(calls=left.calls - 1)
                if not expanded.add(after, left):
                    continue
                result.states += 1
                uses = len(later) - 1 - sum(left)
                if uses > used:
                    later[uses].append((link, left))
                else:
                    # Go on as if nobody had looked: to look may have changed what is held.
                    state.memento.restore()
                    real.run([step])
                    way.append(_State(after, real, link, choices(after, left)))
    return result


def _check_prelude(world: World, make: MakeCircuit) -> None:
    ideal, real = Ideal(world), Real(world, make)
    for number, step in enumerate(world.prelude):
        expected = ideal.apply(step)
        seen = _try(real, step)
        steps = [*world.prelude[: number + 1]]
        assert _same(expected, seen), Mismatch(world, steps, expected, seen)


def _steps(link: _Link | None) -> list[Step]:
    steps = []
    while link is not None:
        steps.append(link.step)
        link = link.before
    steps.reverse()
    return steps


def _try(real: Real, step: Step) -> Seen | BaseException:
    try:
        return real.apply(step)
    except Exception as error:
        return error


def _play(world: World, before: list[Step], step: Step, make: MakeCircuit) -> Seen | BaseException:
    real = Real(world, make)
    try:
        real.run(before)
    except Exception as error:
        return error
    return _try(real, step)


def choices(ideal: Ideal, left: Left) -> Iterator[tuple[Step, Left]]:
    """Yield the steps that are worth trying."""
    world = ideal.world
    circuits = range(len(world.circuits))
    if left.calls:
        for index in circuits[1:] or circuits:
            yield ("admit", index, True), left
            if world.retries:
                yield ("admit", index, False), left
    tried: set[tuple[int, float]] = set()
    for number, owner in ideal.owners.items():
        call = ideal.models[owner].calls[number]
        if len(ideal.owners) > 1:
            alike = ideal.part(number), call.sent
            if alike in tried:
                continue
            tried.add(alike)
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


def shorten(mismatch: Mismatch, make: MakeCircuit = HeardCircuit) -> Mismatch:
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
    begun: set[int] = set()
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
            if rest[1] == "success" and rest[0] in begun:
                lines.append(f"c{owner}.end(t{rest[0]}, {verdict}, {now!r})")
            else:
                lines.append(f"c{owner}.settle(t{rest[0]}, {verdict}, {now!r}, 'E')")
        elif kind == "begin":
            lines.append(f"c{owner}.begin(t{rest[0]}, {now!r})")
            begun.add(rest[0])
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
