"""Whether a call costs the same whatever a window holds, and however many keys were seen.

Each group has its smallest variant twice: the ratio of the two, which should be 1, shows how far
the figures of a run can be trusted. Every tenth call fails, so that windows count both kinds.
"""

from __future__ import annotations

import asyncio
from itertools import count as count_from
from itertools import cycle, islice

from benchmarks.overhead.measure import Group, Variant, measure, with_own_code
from benchmarks.overhead.runners import DependencyError, answer
from seawall import Calls, CircuitBreaker, FailureRate, Keyed, State
from seawall.core.verdict import Kind

MAX_KEYS = 1000
# Never reached: one call in ten fails.
RATIO = 0.9
SIZES = (10, 1_000, 100_000, 1_000_000)
LENGTHS = (0.1, 10.0, 1_000.0, 10_000.0)

CALLS_WINDOW = "A breaker, window of calls"
CALLS_TALLY = "The tally alone, window of calls"
TIME_WINDOW = "A breaker, window of time"
TIME_TALLY = "The tally alone, window of time"
HITS = "Hits of ten keys"
HITS_IN_TURN = "Hits of all keys in turn"
MISSES = "Misses"

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
        windows(CALLS_WINDOW, sizes, called),
        windows(CALLS_TALLY, sizes, lambda it: recorded(it, clock)),
        windows(TIME_WINDOW, lengths, called),
        windows(TIME_TALLY, lengths, lambda it: recorded(it, clock)),
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
        for title, most in ((HITS, 10), (HITS_IN_TURN, MAX_KEYS))
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
    return [*groups, keyed_group(MISSES, runners)]


async def build_and_measure(rounds):
    groups = [*window_groups(), *await key_groups()]
    for group in groups:
        # Each by itself: the interpreter specializes code to the kind of window that it meets.
        await measure([group], rounds)
    return groups
