"""`Timeout` does what `asyncio.timeout` does, which is the oracle here.

Random programs are run twice, with the one and with the other, in virtual time. A program nests
timeouts among sleeps, handlers that swallow or replace the cancellation, shielded awaits,
`cancel()` and `uncancel()` by the body and from outside. What is compared is everything that the
program can see: the time and `task.cancelling()` at each step, what each handler caught and which
of the timeouts raised it, and how the task ended.

In three points the two differ on purpose:

* No call begins when the deadline of an enclosing `Timeout` has passed (a body may swallow the
  cancellation and go on): it raises `DeadlineError`. Here, the oracle is made to do so too.
* asyncio.timeout converts a subclass of `CancelledError` only from Python 3.13 on. `Timeout` does
  so on every version. The programs raise no subclass; a test of its own does.
* From 3.13 on, asyncio.timeout also puts a `TimeoutError` into the `__context__` of another
  exception that replaced the cancellation, and of the members of a group. `Timeout` leaves the
  user's exceptions as they are. What leaves the block is the same exception, on all versions.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall import CallTimeoutError, DeadlineError, Pipeline, Retry, Timeout
from tests.virtual_time import VirtualLoop
from tests.virtual_time import run as run_virtually

Body = Callable[[], Awaitable[None]]
Trace = list[Any]


# ------------------------------------------------------------------------------ programs, as data


@dataclass(frozen=True)
class Sleep:
    """`await asyncio.sleep(steps × unit)`; 0 steps lets the loop turn once."""

    steps: int


@dataclass(frozen=True)
class Shielded:
    """Waits for something that goes on when the waiting is cancelled."""

    steps: int


@dataclass(frozen=True)
class Limit:
    """A timeout around further statements. Ours is entered in the way that `form` names."""

    steps: float
    form: str
    body: Block


@dataclass(frozen=True)
class Catch:
    """`try: body`, `except what: handler`, then swallow, re-raise, or raise something else."""

    what: str
    body: Block
    handler: Block
    then: str


@dataclass(frozen=True)
class Finally:
    body: Block
    cleanup: Block


@dataclass(frozen=True)
class Raise:
    what: str


@dataclass(frozen=True)
class CancelSelf:
    pass


@dataclass(frozen=True)
class Uncancel:
    pass


Block = tuple[Any, ...]
# What happens from outside: (after so many steps, "cancel" or "uncancel").
Outside = tuple[tuple[float, str], ...]
Program = tuple[Block, Outside]

FORMS = ("execute", "block", "loop", "decorator", "pipeline", "retried")
RAISED = ("ValueError", "TimeoutError", "CancelledError", "ExceptionGroup")
CAUGHT = ("CancelledError", "TimeoutError", "TimeoutError", "Exception", "BaseException")


def make_block(rng: random.Random, depth: int) -> Block:
    return tuple(make_statement(rng, depth) for _ in range(rng.randint(1, 3)))


def make_statement(rng: random.Random, depth: int) -> Any:
    kinds = ["sleep"] * 8 + ["shielded"] * 2 + ["raise", "cancel", "uncancel"]
    if depth:
        kinds += ["limit"] * 10 + ["catch"] * 10 + ["finally"] * 3
    kind = rng.choice(kinds)
    if kind == "sleep":
        return Sleep(rng.randint(0, 4))
    if kind == "shielded":
        return Shielded(rng.randint(1, 4))
    if kind == "limit":
        return Limit(rng.randint(1, 6), rng.choice(FORMS), make_block(rng, depth - 1))
    if kind == "catch":
        return Catch(
            rng.choice(CAUGHT),
            make_block(rng, depth - 1),
            make_block(rng, depth - 2) if depth > 1 and rng.random() < 0.5 else (),
            rng.choice(["swallow"] * 4 + ["reraise"] * 2 + [*RAISED]),
        )
    if kind == "finally":
        return Finally(make_block(rng, depth - 1), make_block(rng, 0))
    if kind == "raise":
        return Raise(rng.choice(RAISED))
    return CancelSelf() if kind == "cancel" else Uncancel()


def make_program(rng: random.Random) -> Program:
    body = (Limit(rng.randint(1, 6), rng.choice(FORMS), make_block(rng, 4)), *make_block(rng, 2))
    return body, tuple(make_outside(rng, n) for n in range(rng.choice([0, 0, 1, 1, 2, 3])))


def off_grid(node: Any, rng: random.Random) -> Any:
    """Return a program in which no timeout fires at a time at which something else happens.

    Timers of the same time run in any order, which matters to what comes between them.
    """
    if isinstance(node, tuple):
        return tuple(off_grid(each, rng) for each in node)
    if not is_dataclass(node):
        return node
    changed = {each.name: off_grid(getattr(node, each.name), rng) for each in fields(node)}
    if isinstance(node, Limit):
        changed["steps"] = node.steps - rng.uniform(0.1, 0.9)
    return type(node)(**changed)


def make_outside(rng: random.Random, number: int) -> tuple[float, str]:
    what = rng.choice(["cancel", "cancel", "cancel", "uncancel"])
    steps: float = rng.randint(0, 8)
    if rng.random() < 0.3 or what == "uncancel":
        # Off the grid. An `uncancel` in the very turn in which a timeout fires comes before or
        # after it, as the loop likes; all else that meets in one turn has the same end.
        steps += 0.5 ** (number + 1)
    return steps, what


# --------------------------------------------------------------------------------- the two sides


class UserTimeoutError(TimeoutError):
    """A `TimeoutError` of the user's code."""


class OracleTimeoutError(TimeoutError):
    """A `TimeoutError` that asyncio.timeout itself raised."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class LateError(Exception):
    """What the oracle raises where no time is left to begin."""


class Oracle:
    """asyncio.timeout; its own errors are told from the user's by where they are raised."""

    def __init__(self, stretch: float = 1.0) -> None:
        self.enclosing: list[float] = []
        self.stretch = stretch

    async def limit(self, seconds: float, form: str, body: Body) -> None:
        now = asyncio.get_running_loop().time()
        if any(when <= now for when in self.enclosing):
            raise LateError
        limit = asyncio.timeout(seconds * self.stretch)
        await limit.__aenter__()
        when = limit.when()
        assert when is not None
        self.enclosing.append(when)
        try:
            await body()
        except BaseException as error:
            try:
                swallowed = await limit.__aexit__(type(error), error, error.__traceback__)
            except TimeoutError:
                raise OracleTimeoutError(seconds) from error
            assert not swallowed
            raise
        else:
            await limit.__aexit__(None, None, None)
        finally:
            self.enclosing.pop()


class Ours:
    """Timeouts of seawall, one object per duration, shared by all programs."""

    def __init__(self, form: str | None = None) -> None:
        self.form = form
        self.timeouts: dict[float, Timeout] = {}
        self.pipelines: dict[float, Pipeline] = {}

    async def limit(self, seconds: float, form: str, body: Body) -> None:
        timeout = self.timeouts.get(seconds)
        if timeout is None:
            timeout = self.timeouts[seconds] = Timeout(seconds)
            self.pipelines[seconds] = Pipeline(timeout, Retry(2, on=ZeroDivisionError))
        form = self.form or form
        if form == "execute":
            await timeout.execute(body)
        elif form == "block":
            async with timeout:
                await body()
        elif form == "loop":
            async for attempt in timeout:
                async with attempt:
                    await body()
        elif form == "decorator":
            await timeout(body)()
        elif form == "pipeline":
            async with self.pipelines[seconds]:
                await body()
        else:
            await self.pipelines[seconds].execute(body)


# ------------------------------------------------------------------------------- running programs

UNIT = 0.25  # a power of two, so that sums of times are exact


class Run:
    """One run of a program in one task; the trace holds all that it saw."""

    def __init__(self, side: Oracle | Ours, unit: float, *, timed: bool = True) -> None:
        self.side = side
        self.unit = unit
        self.timed = timed
        self.trace: Trace = []
        self.loop = asyncio.get_running_loop()
        self.begun = self.loop.time()
        self.left_behind: list[asyncio.Future[None]] = []

    def see(self, event: object) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.trace.append((self.elapsed(), task.cancelling(), event))

    def elapsed(self) -> float:
        return round(self.loop.time() - self.begun, 9) if self.timed else 0.0

    async def run(self, block: Block) -> None:
        for statement in block:
            await self.step(statement)

    async def step(self, statement: Any) -> None:
        self.see(type(statement).__name__)
        if isinstance(statement, Sleep):
            await asyncio.sleep(statement.steps * self.unit)
        elif isinstance(statement, Shielded):
            inner = asyncio.ensure_future(asyncio.sleep(statement.steps * self.unit))
            self.left_behind.append(inner)
            await asyncio.shield(inner)
        elif isinstance(statement, Limit):
            await self.side.limit(
                statement.steps * self.unit, statement.form, lambda: self.run(statement.body)
            )
            self.see("left the timeout")
        elif isinstance(statement, Catch):
            await self.catch(statement)
        elif isinstance(statement, Finally):
            try:
                await self.run(statement.body)
            finally:
                self.see("cleans up")
                await self.run(statement.cleanup)
        elif isinstance(statement, Raise):
            raise make_error(statement.what)
        else:
            task = asyncio.current_task()
            assert task is not None
            task.cancel() if isinstance(statement, CancelSelf) else task.uncancel()
            self.see("did")

    async def catch(self, statement: Catch) -> None:
        classes = {
            "CancelledError": asyncio.CancelledError,
            "TimeoutError": TimeoutError,
            "Exception": Exception,
            "BaseException": BaseException,
        }
        try:
            await self.run(statement.body)
        except classes[statement.what] as error:
            self.see(describe(error))
            await self.run(statement.handler)
            if statement.then == "reraise":
                raise
            if statement.then != "swallow":
                raise make_error(statement.then) from None

    async def main(self, block: Block) -> None:
        try:
            await self.run(block)
        except BaseException as error:
            self.see(("ends with", describe(error)))
            raise
        else:
            self.see("returns")


def make_error(what: str) -> BaseException:
    if what == "ExceptionGroup":
        return ExceptionGroup("of the user", [UserTimeoutError(), ValueError()])
    errors: dict[str, type[BaseException]] = {
        "ValueError": ValueError,
        "TimeoutError": UserTimeoutError,
        "CancelledError": asyncio.CancelledError,
    }
    return errors[what]()


def describe(error: BaseException | None) -> object:
    """Name an exception alike for both sides."""
    if isinstance(error, OracleTimeoutError | CallTimeoutError):
        return "timed out", error.seconds, describe(error.__cause__)
    if isinstance(error, LateError | DeadlineError):
        return "no time left"
    return type(error).__name__


async def play(
    program: Program,
    side: Oracle | Ours,
    unit: float = UNIT,
    *,
    timed: bool = True,
    stretch: float = 1.0,
    before: Callable[[asyncio.Task[None]], None] = lambda task: None,
) -> Trace:
    """Run a program in a task of its own; return its trace, and how the task ended."""
    body, outside = program
    loop = asyncio.get_running_loop()
    run = Run(side, unit, timed=timed)
    task = loop.create_task(run.main(body))
    before(task)

    def act(what: str) -> None:
        if not task.done():
            getattr(task, what)()

    for steps, what in outside:
        loop.call_at(run.begun + steps * unit * stretch, act, what)
    await asyncio.wait([task])
    elapsed = run.elapsed()
    error: object = "cancelled" if task.cancelled() else describe(task.exception())
    end = (elapsed, task.cancelling(), error)
    await asyncio.gather(*run.left_behind, return_exceptions=True)
    return [*run.trace, end]


def show(program: Program, expected: Trace, found: Trace) -> str:
    body, outside = program
    same = next(
        (i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b),
        min(len(expected), len(found)),
    )
    lines = [f"body = {body!r}", f"outside = {outside!r}", "they agree on:"]
    lines += [f"  {event}" for event in expected[:same]]
    lines += [f"asyncio.timeout: {expected[same:]}", f"seawall.Timeout: {found[same:]}"]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def loop():
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        yield runner


async def play_all(programs: list[Program], make_side: Callable[[], Oracle | Ours]) -> list[Trace]:
    """Run many programs side by side, begun at different times."""

    async def later(number: int, program: Program) -> Trace:
        await asyncio.sleep(number % 8 * UNIT / 4)
        return await play(program, make_side())

    return await asyncio.gather(*(later(n, program) for n, program in enumerate(programs)))


def compare(runner: asyncio.Runner, seeds: Sequence[object], *rngs: random.Random) -> list[Trace]:
    """Run programs on every side; return what the oracle saw."""
    programs = [make_program(rng) for rng in rngs]
    expected = runner.run(play_all(programs, Oracle))
    for form in (None, "execute", "block"):
        shared = Ours(form)
        found = runner.run(play_all(programs, lambda shared=shared: shared))
        for seed, program, expect, saw in zip(seeds, programs, expected, found, strict=True):
            if saw != expect:
                pytest.fail(f"seed {seed}, form {form}\n{show(program, expect, saw)}")
    return expected


# ----------------------------------------------------------------------------------------- tests


def random_of(seeds: Iterable[int]) -> list[random.Random]:
    return [random.Random(seed) for seed in seeds]


@pytest.mark.parametrize(
    "chunk",
    [*range(4), *(pytest.param(chunk, marks=pytest.mark.soak) for chunk in range(4, 16))],
)
def test_agrees_with_asyncio_timeout(loop, chunk):
    """On fixed random programs, all that a program can see is the same."""
    seeds = range(chunk * 250, (chunk + 1) * 250)
    compare(loop, seeds, *random_of(seeds))


def test_agrees_on_new_programs(loop):
    """The same holds for programs that no one has seen before; a failure names the seed."""
    first = random.SystemRandom().randrange(10**9)
    seeds = range(first, first + 500)
    compare(loop, seeds, *random_of(seeds))


@settings(max_examples=100)
@given(rng=st.randoms(use_true_random=False))
def test_agrees_on_the_smallest_programs(loop, rng):
    """The same holds for programs that Hypothesis makes, and makes small when one fails."""
    compare(loop, ["of Hypothesis"], rng)


def test_the_programs_reach_what_matters(loop):
    """The random programs are no empty ones: each way to end and to be caught is among them."""
    ends: Counter[object] = Counter()
    caught: Counter[object] = Counter()
    levels: Counter[int] = Counter()
    for trace in loop.run(play_all([make_program(rng) for rng in random_of(range(1000))], Oracle)):
        kind = trace[-1][2]
        ends[kind if isinstance(kind, str) else kind[0]] += 1
        for _, cancelling, event in trace[:-1]:
            levels[cancelling] += 1
            caught[event if isinstance(event, str) else event[0]] += 1
    for end in ("NoneType", "cancelled", "timed out", "UserTimeoutError", "no time left"):
        assert ends[end] >= 10, (end, ends)
    for event in ("CancelledError", "timed out", "UserTimeoutError", "left the timeout"):
        assert caught[event] >= 30, (event, caught)
    assert all(levels[level] >= 30 for level in range(4)), levels


def test_a_cancellation_between_any_two_callbacks():
    """Wherever between two callbacks of the loop the caller cancels, both see the same."""

    def cut_at(callback: int) -> Callable[[asyncio.Task[None]], None]:
        def prepare(task: asyncio.Task[None]) -> None:
            virtual: Any = asyncio.get_running_loop()
            steps = itertools.count()

            def on_step() -> None:
                # Timers of timeouts are not counted: a shared one may have nothing to do.
                handle = virtual._ready[0]
                name = getattr(handle._callback, "__name__", "")
                if handle.cancelled() or name in {"_fire", "_on_timeout"}:
                    return
                if next(steps) == callback and not task.done():
                    cuts.append(virtual.time())
                    task.cancel()

            virtual.on_step = on_step

        return prepare

    def cut(program: Program, callback: int) -> None:
        # On loops of their own, so that all times are the same to the last bit.
        before = cut_at(callback)
        expected = run_virtually(play(program, Oracle(), before=before))
        found = run_virtually(play(program, Ours(), before=before))
        if found != expected:
            pytest.fail(f"callback {callback}\n{show(program, expected, found)}")

    cuts: list[float] = []
    for seed in range(150):
        rng = random.Random(seed)
        body = off_grid(make_program(rng)[0], rng)
        for callback in itertools.count():
            before = len(cuts)
            cut((body, ()), callback)
            if len(cuts) == before:
                break
    assert len(cuts) > 1000


def test_agrees_on_uvloop():
    """On uvloop, in real time, the same programs end alike."""
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        programs = runner.run(find_robust(200))

    async def disagreements(left: list[Program], unit: float) -> list[Any]:
        sides = await asyncio.gather(*(play_in_real_time(program, unit) for program in left))
        pairs = zip(left, sides, strict=True)
        return [(program, *traces) for program, traces in pairs if traces[0] != traces[1]]

    async def rounds() -> list[str]:
        # A machine that pauses for longer than the slack of a program makes another program of
        # it: what differs is run again, slower. The traces that differ to the end are shown.
        differing: list[Any] = [(program, [], []) for program in programs]
        for unit in (0.01, 0.02, 0.04, 0.08):
            differing = await disagreements([program for program, _, _ in differing], unit)
        return [show(*each) for each in differing]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(rounds()) == []


async def find_robust(number: int) -> list[Program]:
    """Return programs that end alike when their timeouts come a fifth sooner or later."""
    programs: list[Program] = []
    for seed in itertools.count():
        body, outside = make_program(random.Random(seed))
        program = body, tuple((steps, what) for steps, what in outside if steps)
        traces = [
            await play(program, Oracle(limits), stretch=others, timed=False)
            for limits in (0.8, 1.0, 1.2)
            for others in (0.8, 1.0, 1.2)
        ]
        if len(traces[0]) > 8 and all(trace == traces[0] for trace in traces):
            programs.append(program)
        if len(programs) == number:
            break
    return programs


async def play_in_real_time(program: Program, unit: float) -> tuple[Trace, Trace]:
    expected, found = await asyncio.gather(
        play(program, Oracle(), unit, timed=False), play(program, Ours(), unit, timed=False)
    )
    return expected, found


class Withdrawn(asyncio.CancelledError):
    """A subclass of the cancellation."""


@pytest.mark.parametrize("form", ["execute", "block"])
def test_a_subclass_of_the_cancellation(loop, form):
    """A subclass of CancelledError is converted, as asyncio.timeout does from 3.13 on."""

    async def replace() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            raise Withdrawn from None

    async def main(side: Oracle | Ours) -> type[BaseException]:
        with pytest.raises((TimeoutError, Withdrawn)) as caught:
            await side.limit(1, form, replace)
        return caught.type

    assert loop.run(main(Ours(form))) is CallTimeoutError
    assert loop.run(main(Oracle())) is (
        OracleTimeoutError if sys.version_info >= (3, 13) else Withdrawn
    )


@pytest.mark.parametrize("form", ["execute", "block"])
def test_another_error_in_place_of_the_cancellation(loop, form):
    """What replaced the cancellation leaves as it is; only 3.13's oracle edits its context."""

    async def replace() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            raise ExceptionGroup("of the user", [ValueError()])

    async def main(side: Oracle | Ours) -> BaseException:
        with pytest.raises(ExceptionGroup) as caught:
            await side.limit(1, form, replace)
        assert asyncio.current_task().cancelling() == 0
        return caught.value

    ours = loop.run(main(Ours(form)))
    oracles = loop.run(main(Oracle()))
    assert type(ours.__context__) is asyncio.CancelledError
    edited = TimeoutError if sys.version_info >= (3, 13) else asyncio.CancelledError
    assert type(oracles.__context__) is edited
