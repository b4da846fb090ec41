"""A world of models: what should happen at each step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from seawall.core.verdict import Kind
from tests.policies.circuit.exhaustive.model import CLOSED, Model, Refusal
from tests.policies.circuit.exhaustive.setups import Step, World

EPSILON = 1 / 1024  # a power of two: sums of times stay exact


class View(NamedTuple):
    """What anybody can see of a circuit between two steps."""

    state: str
    retry_after: float | None
    refuses: bool
    evidence: tuple[int, int] | None
    opening: tuple[int, int, str | None] | None
    would_refuse: int
    would_refuse_succeeded: int
    rejected: int


class Seen(NamedTuple):
    """What can be seen of a step.

    Attributes:
        probe: whether the admitted ticket is a probe; of its parent's ticket too.
        refusal: what an arrival was refused with.
        told: what calls that waited were refused with, by their numbers.
        ended: numbers of the calls that were to be ended.
        views: the circuits after the step.
    """

    probe: tuple[bool, ...] | None
    refusal: Refusal | None
    told: tuple[tuple[int, Refusal], ...]
    ended: tuple[int, ...]
    views: tuple[View, ...]


class Ideal:
    """The models of a world, at a time.

    Attributes:
        now: the time.
        models: the circuits; the first is the parent of the others, if there are others.
        owners: the circuit of each call in flight, by number.
        admitted: how many calls there have been.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.now = 0.0
        self.models = [
            Model(index, setup, world.jitter) for index, setup in enumerate(world.circuits)
        ]
        self.owners: dict[int, int] = {}
        self.admitted = 0

    def copy(self) -> Ideal:
        twin = object.__new__(Ideal)
        twin.world = self.world
        twin.now = self.now
        twin.models = [model.copy() for model in self.models]
        twin.owners = dict(self.owners)
        twin.admitted = self.admitted
        return twin

    def run(self, steps: Iterable[Step]) -> None:
        """Take steps at which nobody looks."""
        for step in steps:
            self._take(step)

    def apply(self, step: Step) -> Seen:
        """Take a step, and return what should be seen."""
        probe, refusal = self._take(step)
        told: dict[int, Refusal] = {}
        for model in reversed(self.models):
            # Open: who tells a waiter, where both would. The parent does.
            for number, refused in model.told.items():
                told[number] = refused._replace(retry_after=self._retry_after(model.index))
        ended = tuple(sorted(number for model in self.models for number in model.ended))
        return Seen(probe, refusal, tuple(sorted(told.items())), ended, self.views())

    def _take(self, step: Step) -> tuple[tuple[bool, ...] | None, Refusal | None]:
        kind = step[0]
        probe = refusal = None
        if kind in {"settle", "wait", "go", "begin"}:
            call = self.models[self.owners[step[1]]].calls[step[1]]
            if call.waits is not (kind == "go"):
                raise KeyError(step)
        for model in self.models:
            model.told.clear()
            model.ended = ()
        if kind == "to":
            self.now = step[1]
        elif kind == "admit":
            probe, refusal = self._admit(step[1], first=step[2])
        elif kind == "settle":
            owner = self.owners.pop(step[1])
            for model in self._chain(owner):
                model.settle(step[1], Kind(step[2]), self.now)
        elif kind in {"wait", "go", "begin"}:
            for model in self._chain(self.owners[step[1]]):
                if kind == "wait":
                    model.wait_begins(step[1])
                elif kind == "go":
                    model.wait_ends(step[1], self.now)
                else:
                    model.begin(step[1], self.now)
        elif kind == "shadow":
            self.models[step[1]].shadow = step[2]
        elif kind == "reconfigure":
            self.models[step[1]].reconfigure(self.world.changes[step[2]])
        else:
            getattr(self.models[step[1]], kind)(self.now)
        return probe, refusal

    def _chain(self, owner: int) -> list[Model]:
        own = self.models[owner]
        return [own] if owner == 0 else [own, self.models[0]]

    def _admit(self, owner: int, *, first: bool) -> tuple[tuple[bool, ...] | None, Refusal | None]:
        """Ask the circuit, then its parent; both or neither admit a call (rule 11)."""
        asked = []
        for model in self._chain(owner):
            refusal = model.arrive(self.now)
            if refusal is not None and not model.shadow:
                model.refuse()
                # Open: whether a circuit thinks of its parent when it refuses. It does.
                return None, refusal._replace(retry_after=self._retry_after(model.index))
            asked.append((model, refusal))
        number = self.admitted
        self.admitted += 1
        self.owners[number] = owner
        return tuple(
            model.admit(number, self.now, first=first, refusal=refusal) for model, refusal in asked
        ), None

    # ------------------------------------------------------------------ what is seen

    def views(self) -> tuple[View, ...]:
        return tuple(self._view(index) for index in range(len(self.models)))

    def _view(self, index: int) -> View:
        model = self.models[index]
        refusals = [(each, each.refusal(self.now)) for each in self._chain(index)]
        opening = model.opening
        return View(
            model.state,
            self._retry_after(index),
            any(refusal is not None and not each.shadow for each, refusal in refusals),
            model.seen(self.now) if model.state == CLOSED else None,
            None if opening is None else tuple(opening),
            model.would_refuse,
            model.would_refuse_succeeded,
            model.rejected,
        )

    def _retry_after(self, index: int) -> float | None:
        """Return when a call may be admitted (rule 8), by the circuit and by its parent.

        Open: what the shadow mode says. When it would be; but of the parent, when it is.
        Open: whether a question foresees that an arrival would find stalled calls. It does not.
        """
        own, *above = self._chain(index)
        refusals = [own.refusal(self.now)]
        refusals += [each.refusal(self.now) for each in above if not each.shadow]
        times = [refusal.retry_after for refusal in refusals if refusal is not None]
        if None in times:
            return None
        return max((time for time in times if time is not None), default=0.0)

    # ------------------------------------------------------------------ for the enumeration

    def moments(self) -> list[float]:
        """Return the interesting moments to come: just before something is different, and then."""
        found: set[float] = set()
        for model in self.models:
            for moment in model.moments():
                found.update((moment - EPSILON, moment, moment + EPSILON))
            for limit in model.limits():
                found.update((limit, limit + EPSILON))
        return sorted(moment for moment in found if moment > self.now)

    def key(self) -> tuple:
        """Return all that the future depends on: times are relative, numbers of calls gone."""
        calls = [self.part(number) for number in self.owners]
        return tuple([model.key(self.now) for model in self.models]), tuple(sorted(calls))

    def part(self, number: int) -> int:
        """Return a hash of all that the future of a call depends on, but for the circuits."""
        owner = self.owners[number]
        return hash((owner, *[model.part(number, self.now) for model in self._chain(owner)]))
