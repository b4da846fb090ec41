"""Whether a call costs the same whatever a window holds, and however many keys were seen.

Each group has its smallest variant twice: the ratio of the two, which should be 1, shows how far
the figures of a run can be trusted. Every tenth call fails, so that windows count both kinds.

    python -m benchmarks.overhead.flat
"""

from __future__ import annotations

import argparse
import asyncio
import platform
from itertools import count as count_from
from itertools import cycle, islice
from pathlib import Path

from benchmarks.overhead.measure import Group, Variant, measure, ratio, with_own_code
from benchmarks.overhead.report import aligned, merge
from benchmarks.overhead.runners import DependencyError, answer
from seawall import Calls, CircuitBreaker, FailureRate, Keyed, State
from seawall.core.verdict import Kind

PATH = Path(__file__).parents[1] / "FLAT.md"

MAX_KEYS = 1000
# Never reached: one call in ten fails.
RATIO = 0.9
SIZES = (10, 1_000, 100_000, 1_000_000)
LENGTHS = (0.1, 10.0, 1_000.0, 10_000.0)

INTRODUCTION = """\
# Flat costs

A call costs the same whatever the window of its breaker holds, and however many keys a `Keyed` has
seen: the aim is a ratio of at most 1.2. `make flat` (`python -m benchmarks.overhead.flat`) measures
this and replaces the section of the Python that it runs on.

* Each table is measured by itself: each round runs a slice of about a millisecond of every variant,
  in rotated order, and a ratio is taken within a round. Everything is built anew several times,
  since the cost also depends on where in memory it lies. Shown are the median over all rounds, and
  the lowest and the highest median of one build. Time is the CPU time of the thread. **Again** is
  the first variant once more, with objects of its own: how far its ratio is from 1 is how far the
  others can be trusted.
* Every tenth call fails, so that successes and failures are counted both, and
  `FailureRate(0.9, window)` never trips. Windows are full before anything is measured.
* **A breaker**: `CircuitBreaker(...).execute(fn)`. **The tally alone**: what of it depends on the
  window, `record` of the rule's tally, called for each verdict, without the rest of the call that
  would hide a difference. (In a breaker a window of time hears most successes in bulk.)
* **Windows of time** are 32 buckets of equal length: in 0.1 s of calls the bucket changes thirty
  times, in 10,000 s hardly ever while this runs. The calls that fill them came evenly spread.
* **Keys**: `Keyed(lambda key: CircuitBreaker(), max_keys=1000)`, with the key from the call's
  argument. *Hits* are calls of keys that it remembers, ten of them in turn, or all that there are
  in turn; *misses* are calls of keys never seen before, which make a breaker and, beyond 1,000,
  forget one.
* **Hits of all keys in turn** is the one table that is not flat, and it cannot be: ten breakers fit
  into the fastest cache of a processor, a thousand hardly into the second, and each call meets
  another one. The same code runs, as the ten keys show; and a plain `dict` of a thousand breakers,
  with no `Keyed` around, is about twice as slow as one of ten, too. Breakers that were made between
  others which are gone lie scattered, which costs a little more.
"""


# ---------------------------------------------------------------------- windows


async def fail():
    raise DependencyError("the dependency is down")


VERDICTS = [answer] * 9 + [fail]


def filled(window, calls, now):
    """Return a breaker whose window holds this many calls, and begins to lose some at `now`."""
    breaker = CircuitBreaker(FailureRate(RATIO, window), open_for=1.0)
    circuit = breaker._circuit
    gap = 0.0 if isinstance(window, Calls) else window / calls
    kinds = cycle([Kind.SUCCESS] * 9 + [Kind.FAILURE])
    for number, kind in zip(range(calls), kinds, strict=False):
        moment = now - (calls - number) * gap
        circuit.settle(circuit.admit(moment), kind, moment)
    failures, counted = circuit.evidence(now)
    assert calls * 0.95 <= counted <= calls, counted
    assert failures == counted // 10 or not isinstance(window, Calls)
    return breaker


def called(breaker):
    functions = cycle(VERDICTS)

    async def run(count):
        for function in islice(functions, count):
            try:
                await breaker.execute(function)
            except DependencyError:
                pass

    return run


def recorded(breaker, clock):
    record = breaker._circuit._evidence._tally.record
    kinds = cycle([Kind.SUCCESS] * 9 + [Kind.FAILURE])

    async def run(count):
        for kind in islice(kinds, count):
            record(kind, 0.0, clock())

    return run


def windows(title, given, runner):
    variants = [Variant(name, with_own_code(runner(build()))) for name, build in given]
    return Group(title, variants)


def window_groups():
    clock = asyncio.get_running_loop().time

    def by_calls(size):
        return lambda: filled(Calls(size), size, clock())

    def by_time(length):
        return lambda: filled(length, 10_000, clock())

    sizes = [(f"`Calls({size:_})`", by_calls(size)) for size in SIZES]
    sizes.insert(1, ("again", by_calls(SIZES[0])))
    lengths = [(f"{length:,g} s", by_time(length)) for length in LENGTHS]
    lengths.insert(1, ("again", by_time(LENGTHS[0])))
    return [
        windows("A breaker, window of calls", sizes, called),
        windows("The tally alone, window of calls", sizes, lambda it: recorded(it, clock)),
        windows("A breaker, window of time", lengths, called),
        windows("The tally alone, window of time", lengths, lambda it: recorded(it, clock)),
    ]


# ---------------------------------------------------------------------- keys


def make_keyed():
    return Keyed(lambda key: CircuitBreaker(), key=lambda key: key, max_keys=MAX_KEYS)


async def get(key):
    return "answer"


async def seen(keys, opened=0):
    """Return a `Keyed` that has seen so many keys; of the first, so many are open for good."""
    keyed = make_keyed()
    for key in range(keys):
        await keyed.execute(get, key)
        if key < opened:
            keyed[key].isolate()
    assert len(keyed) == min(keys, MAX_KEYS)
    return keyed


def hits(keyed, most):
    keys = cycle(list(keyed)[-most:])

    async def run(count):
        for key in islice(keys, count):
            await keyed.execute(get, key)

    return run


def looked_up(made):
    breakers = {}
    for key in range(made):
        breakers[key] = breaker = CircuitBreaker()
        breaker._build()
        if key >= MAX_KEYS:
            del breakers[key - MAX_KEYS]
    keys = cycle(breakers)

    async def run(count):
        for key in islice(keys, count):
            await breakers[key].execute(get, key)

    return run


def misses(keyed):
    keys = count_from(10**9)

    async def run(count):
        for key in islice(keys, count):
            await keyed.execute(get, key)

    return run


def misses_without_forgetting():
    keys = count_from(10**9)

    async def run(count):
        assert count < MAX_KEYS
        keyed = make_keyed()
        for key in islice(keys, count):
            await keyed.execute(get, key)

    return run


def keyed_group(title, runners):
    return Group(title, [Variant(name, with_own_code(run)) for name, run in runners])


async def key_groups():
    few, again, full, many = [await seen(number) for number in (10, 10, MAX_KEYS, 100_000)]
    groups = [
        keyed_group(
            title,
            [
                ("10 keys seen", hits(few, most)),
                ("again", hits(again, most)),
                ("1,000 keys seen", hits(full, most)),
                ("100,000 keys seen", hits(many, most)),
            ],
        )
        for title, most in (("Hits of ten keys", 10), ("Hits of all keys in turn", MAX_KEYS))
    ]
    groups[-1].variants += [
        Variant(f"a `dict` of {name}", with_own_code(looked_up(made)))
        for name, made in (
            ("10 breakers", 10),
            ("1,000 breakers", MAX_KEYS),
            ("the last 1,000 of 100,000 breakers", 100_000),
        )
    ]
    full, again, many = [await seen(number) for number in (MAX_KEYS, MAX_KEYS, 100_000)]
    refusing = await seen(100_000, opened=MAX_KEYS // 2)
    assert refusing[0].state is State.ISOLATED
    runners = [
        ("1,000 keys seen", misses(full)),
        ("again", misses(again)),
        ("100,000 keys seen", misses(many)),
        ("100,000 keys seen, 500 of those remembered refuse", misses(refusing)),
        ("fewer than 1,000 keys seen: nothing is forgotten", misses_without_forgetting()),
    ]
    return [*groups, keyed_group("Misses", runners)]


# ---------------------------------------------------------------------- the report


def joined(builds):
    """Return one variant with the samples of all builds, of one place in the tables."""
    variant = Variant(builds[0].name, builds[0].run)
    for build in builds:
        variant.samples += build.samples
    return variant


def table(builds):
    """The same group, built several times: each variant against the first."""
    base = joined([group.variants[0] for group in builds])
    rows = [[builds[0].name, "ns", f"÷ {base.name}", "lowest–highest build"]]
    for number, first in enumerate(builds[0].variants):
        variant = joined([group.variants[number] for group in builds])
        medians = [ratio(group.variants[number], group.variants[0]) for group in builds]
        spread = f"{min(medians):.2f}–{max(medians):.2f}" if number else ""
        middle = f"{ratio(variant, base):.2f}"
        rows.append([first.name, f"{variant.nanoseconds:.0f}", middle, spread])
    return aligned(rows)


def section(builds, rounds):
    version = ".".join(platform.python_version_tuple()[:2])
    title = f"## {platform.python_implementation()} {version}"
    opening = f"{platform.python_version()}, {len(builds)} builds, {rounds} rounds each."
    return "\n\n".join([title, opening, *map(table, zip(*builds, strict=True))]) + "\n"


async def build_and_measure(rounds):
    groups = [*window_groups(), *await key_groups()]
    for group in groups:
        # Each by itself: the interpreter specializes code to the kind of window that it meets.
        await measure([group], rounds)
    return groups


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead.flat", description=__doc__)
    parser.add_argument("--builds", type=int, default=5, help="default: 5")
    parser.add_argument("--rounds", type=int, default=100, help="rounds per build (default: 100)")
    parser.add_argument(
        "--quick", action="store_true", help="1 build, 40 rounds, printed only: FLAT.md is left"
    )
    options = parser.parse_args()
    number, rounds = (1, 40) if options.quick else (options.builds, options.rounds)
    if number < 1 or rounds < 2:
        parser.error(f"--builds must be at least 1 and --rounds 2, not {number} and {rounds}")
    own = section([asyncio.run(build_and_measure(rounds)) for _ in range(number)], rounds)
    print(own)
    if not options.quick:
        text = PATH.read_text(encoding="utf-8") if PATH.exists() else ""
        PATH.write_text(merge(text, own, INTRODUCTION), encoding="utf-8")


if __name__ == "__main__":
    main()
