"""Keyed: one policy for each key, of a bounded number of keys."""

from __future__ import annotations

import contextlib
import gc
import sys
import weakref
from collections import Counter
from functools import partial

import anyio
import pytest

from seawall import (
    Bulkhead,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Keyed,
    Pipeline,
    Policy,
    Retry,
    State,
    Timeout,
    UsageError,
)
from seawall.core.listeners import SUBSCRIPTIONS
from tests.doubles import Held, Script, turns, virtual
from tests.listening import Heard
from tests.virtual_time import run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


async def trip(keyed, key):
    """Let one call of a key fail."""
    with pytest.raises(OSError, match="made up"):
        await keyed.bind(key=key).execute(Script(OSError("made up")))


async def test_each_key_has_a_policy_of_its_own():
    """A dead host does not cut off the healthy ones."""
    keyed = Keyed(lambda key: CircuitBreaker(1, name=f"host {key}"))
    await trip(keyed, "dead")
    with pytest.raises(CircuitOpenError) as caught:
        await keyed.bind(key="dead").execute(Script("never"))
    assert (caught.value.name, caught.value.key) == ("host dead", "dead")
    assert await keyed.bind(key="alive").execute(Script("fine")) == "fine"


async def test_a_policy_is_made_once_and_kept():
    """The factory is asked when a key is first used; its policy can be found by the key."""
    made = []

    def factory(key):
        made.append(key)
        return CircuitBreaker(1)

    keyed = Keyed(factory)
    for key in ["a", "b", "a", "a", "b"]:
        await keyed.bind(key=key).execute(Script(1))
    assert made == ["a", "b"]
    assert len(keyed) == 2
    assert list(keyed) == ["a", "b"]
    assert isinstance(keyed["a"], CircuitBreaker)
    with pytest.raises(KeyError):
        keyed["c"]


async def test_the_key_may_be_computed_from_the_arguments():
    """``key`` gets what the function gets, and refusals name what it returned."""
    seen = []

    def key(url, *, verbose=False):
        seen.append((url, verbose))
        return url.split("/")[0]

    keyed = Keyed(lambda host: CircuitBreaker(1), key=key)
    with pytest.raises(OSError, match="made up"):
        await keyed.execute(Script(OSError("made up")), "host/a", verbose=True)
    with pytest.raises(CircuitOpenError) as caught:
        await keyed.execute(Script(1), "host/b")
    assert caught.value.key == "host"
    assert await keyed.execute(Script("fine"), "other/a") == "fine"
    assert seen == [("host/a", True), ("host/b", False), ("other/a", False)]


async def test_a_computed_key_outranks_the_bound_one():
    """Where both are given, the arguments decide."""
    keyed = Keyed(lambda key: Bulkhead(1), key=lambda url: url)
    await keyed.bind(key="bound").execute(Script(1), "computed")
    assert list(keyed) == ["computed"]


@pytest.mark.parametrize("key", [0, "", False, (), frozenset()])
async def test_a_key_may_be_false(key):
    """Only ``None`` is no key."""
    keyed = Keyed(lambda key: Bulkhead(1), key=lambda: key)
    await keyed.execute(Script(1))
    assert list(keyed) == [key]
    bound = Keyed(lambda key: Bulkhead(1))
    await bound.bind(key=key).execute(Script(1))
    assert list(bound) == [key]


@pytest.mark.parametrize("key", [None, lambda: None])
async def test_a_call_without_a_key_is_shown_how(key):
    """The error shows both ways of giving one, and the function has not run."""
    script = Script("never")
    with pytest.raises(UsageError) as caught:
        await Keyed(lambda key: Bulkhead(1), key=key).execute(script)
    assert "right: await pipeline.bind(key=host).execute(fetch, url)" in str(caught.value)
    assert "right: Keyed(lambda host: " in str(caught.value)
    assert script.calls == 0


@pytest.mark.parametrize("wrong", [CircuitBreaker, Bulkhead, CircuitBreaker()])
def test_a_class_or_a_policy_as_factory_is_shown_the_lambda(wrong):
    """``Keyed(CircuitBreaker)`` would take the key for a trip rule; the right way is shown."""
    with pytest.raises(UsageError) as caught:
        Keyed(wrong)
    name = wrong.__name__ if isinstance(wrong, type) else type(wrong).__name__
    assert f"wrong: Keyed({name})" in str(caught.value)
    assert f"right: Keyed(lambda key: {name}())" in str(caught.value)


@pytest.mark.parametrize("wrong", [None, CircuitBreaker, "policy"])
async def test_a_factory_that_makes_no_policy_is_named(wrong):
    """The key and what was made for it are in the error, and the key is not remembered."""
    keyed = Keyed(lambda key: wrong)
    with pytest.raises(UsageError, match=r"factory\('a'\) must return a Policy, not "):
        await keyed.bind(key="a").execute(Script(1))
    assert len(keyed) == 0


async def test_a_factory_that_raises_is_asked_again():
    """Its error propagates, and the next call of the key tries anew."""
    answers = iter([ZeroDivisionError(), Bulkhead(1)])

    def factory(key):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    keyed = Keyed(factory)
    with pytest.raises(ZeroDivisionError):
        await keyed.bind(key=1).execute(Script(1))
    assert await keyed.bind(key=1).execute(Script("fine")) == "fine"


@pytest.mark.parametrize("failures", [1, 9])
async def test_a_factory_that_raises_is_asked_again_by_a_retry_before_it(failures):
    """What a factory raises is an attempt that failed, within the timeout and the retry before."""
    asked = []

    def factory(key):
        asked.append(key)
        if len(asked) <= failures:
            raise OSError("made up")
        return Bulkhead(1)

    retry = Retry(3, backoff=1.0)
    pipeline = Pipeline(Timeout(9.0), retry, Keyed(factory), Timeout(1.0)).bind(key="a")
    heard = Heard()
    with pipeline.subscribe(heard):
        if failures == 1:
            assert await pipeline.execute(Script("fine")) == "fine"
        else:
            with pytest.raises(OSError, match="made up") as caught:
                await pipeline.execute(Script("never"))
            assert caught.value.__notes__[0].startswith("seawall: gave up after 3 attempts")
            assert caught.value.__context__ is None
    assert len(asked) == min(failures + 1, 3)
    assert [type(event).__name__ for event in heard][:2] == ["AttemptFailed", "RetryScheduled"]


async def test_a_partial_is_a_factory():
    """Any callable that is no class will do."""
    keyed = Keyed(partial(lambda limit, key: Bulkhead(limit), 3))
    await keyed.bind(key=1).execute(Script(1))
    assert keyed[1].limit == 3


async def test_a_key_may_have_a_whole_pipeline():
    """The factory may return a pipeline, also one with a ``Keyed`` in it."""
    keyed = Keyed(lambda key: Pipeline(Retry(2, backoff=0), CircuitBreaker(5), Timeout(1)))
    script = Script(OSError("made up"), "fine")
    assert await keyed.bind(key=1).execute(script) == "fine"
    assert script.calls == 2
    tree = Keyed(
        lambda region: Keyed(lambda host: Bulkhead(1), key=lambda region, host: host),
        key=lambda region, host: region,
    )
    await tree.execute(Script(1), "eu", "a")
    await tree.execute(Script(1), "eu", "b")
    assert list(tree) == ["eu"]
    assert list(tree["eu"]) == ["a", "b"]


async def test_a_pipeline_of_a_key_may_be_linked_in_a_way_of_its_own():
    """What a subclass does in its ``link`` is done for each call of the key."""
    calls = []

    class Counting(Pipeline):
        def link(self, proceed):
            inner = super().link(proceed)

            def step(call):
                calls.append(call.key)
                return inner(call)

            return step

    pipeline = Pipeline(Keyed(lambda key: Counting(Bulkhead(1))), Timeout(9.0))
    for _ in range(2):
        await pipeline.bind(key="a").execute(Script(1))
    assert calls == ["a", "a"]


async def test_the_policy_of_a_key_is_linked_once():
    """It is put around the rest of the pipeline once, also where a subclass has its own ``run``."""
    linked = []

    class Linked(Bulkhead):
        def link(self, proceed):
            linked.append(self)
            return super().link(proceed)

    class Own(Keyed):
        async def run(self, call, proceed):
            return await super().run(call, proceed)

    for kind in (Keyed, Own):
        view = Pipeline(kind(lambda key: Linked(1)), Timeout(9.0)).bind(key="a")
        for _ in range(3):
            await view.execute(Script(1))
    assert len(linked) == 2


async def test_the_key_holds_only_inside():
    """Policies outside see the key that was bound, those inside the computed one."""
    outer, inner = Bulkhead(1), Bulkhead(1)
    keyed = Keyed(lambda key: Pipeline(), key=lambda: "computed")
    held = Held()
    async with anyio.create_task_group() as group:
        group.start_soon(outer.execute, held)
        group.start_soon(inner.execute, held)
        await turns()
        for pipeline, key in [
            (Pipeline(outer, keyed), "bound"),
            (Pipeline(Keyed(lambda key: inner, key=lambda: "computed")), "computed"),
        ]:
            with pytest.raises(BulkheadFullError) as caught:
                await pipeline.bind(key="bound").execute(Script(1))
            assert caught.value.key == key
        held.let_go()


@pytest.mark.parametrize("outcome", ["fine", OSError("made up")], ids=repr)
async def test_the_key_ends_with_the_policy_of_the_key(outcome):
    """After a return and after an error, a policy outside finds the key that it knew."""
    keys = []

    class Look(Policy):
        async def run(self, call, proceed):
            try:
                return await proceed(call)
            finally:
                keys.append(call.key)

    keyed = Keyed(lambda key: Look(), key=lambda: "computed")
    with contextlib.suppress(OSError):
        await Pipeline(Look(), keyed).bind(key="bound").execute(Script(outcome))
    assert keys == ["computed", "bound"]


async def test_one_keyed_may_stand_in_several_pipelines():
    """The policy of a key is the same in all of them, whatever is further inside."""
    keyed = Keyed(lambda key: CircuitBreaker(1))
    pipelines = [Pipeline(keyed, Timeout(1)), Pipeline(Retry(2, backoff=0), keyed)]
    for _ in range(2):
        for pipeline in pipelines:
            assert await pipeline.bind(key=1).execute(Script("fine")) == "fine"
    await trip(pipelines[0], 1)
    with pytest.raises(CircuitOpenError):
        await pipelines[1].bind(key=1).execute(Script(1))
    keyed[1].reset()
    assert await pipelines[1].bind(key=1).execute(anyio.sleep, 5) is None
    with pytest.raises(CallTimeoutError):
        await pipelines[0].bind(key=1).execute(anyio.sleep, 5)


async def test_it_is_iterated_over_by_key():
    """The keys come longest unused first, and may be used and added to meanwhile."""
    keyed = Keyed(lambda key: CircuitBreaker(1), max_keys=3)
    for key in ["a", "b", "c", "a"]:
        await keyed.bind(key=key).execute(Script(1))
    seen = []
    for key in keyed:
        seen.append(key)
        await keyed.bind(key=key).execute(Script(1))
        await keyed.bind(key=f"new {key}").execute(Script(1))
    assert seen == ["b", "c", "a"]
    assert list(keyed) == ["new c", "a", "new a"]


async def test_a_snapshot_has_the_state_of_each_key():
    """It neither uses a key nor forgets one: the longest unused stays so."""
    keyed = Keyed(lambda key: Pipeline(CircuitBreaker(1)), max_keys=2)
    await keyed.bind(key="a").execute(Script(1))
    await trip(keyed, "b")
    for _ in range(2):
        shown = keyed.snapshot().keys
        states = {key: pipeline.policies[0].state for key, pipeline in shown.items()}
        assert states == {"a": State.CLOSED, "b": State.OPEN}
    await keyed.bind(key="c").execute(Script(1))
    assert list(keyed) == ["b", "c"]


@pytest.mark.parametrize("way", ["bind", "arguments", "function of the call"])
async def test_each_way_of_giving_a_key_reaches_all_that_names_it(way):
    """The error, the events and the policy's own key are the same, wherever the key came from."""
    heard = Heard()

    async def fetch(host, *, verbose=False):
        raise OSError("made up")

    def of_arguments(host, *, verbose=False):
        return host

    keyed = Keyed(lambda key: CircuitBreaker(1), key=None if way == "bind" else of_arguments)
    pipeline = Pipeline(keyed)
    decorated = (pipeline.bind(key="h") if way == "bind" else pipeline)(fetch)
    with pipeline.subscribe(heard):
        with pytest.raises(OSError, match="made up"):
            await decorated("h", verbose=True)
        with pytest.raises(CircuitOpenError) as caught:
            if way == "function of the call":
                await pipeline.execute(partial(fetch), "h")
            else:
                await decorated("h")
    assert caught.value.key == "h"
    assert list(keyed) == ["h"]
    # The call itself has the key outside only where it was bound.
    outside = "h" if way == "bind" else None
    assert [(type(event).__name__, event.key) for event in heard] == [
        ("CircuitOpened", "h"),
        ("CallFinished", outside),
        ("CallRefused", "h"),
        ("CallFinished", outside),
    ]


async def test_a_policy_keeps_a_key_of_its_own():
    """A policy of one's own may have an attribute of that name: it is left alone."""

    class Signed(Policy):
        def __init__(self):
            self.key = "secret"

        async def run(self, call, proceed):
            return await proceed(call)

    keyed = Keyed(lambda host: Signed())
    await keyed.bind(key="host").execute(Script(1))
    assert keyed["host"].key == "secret"


# What is forgotten.


async def test_ten_thousand_keys_are_a_hundred():
    """However many keys come by, no more than ``max_keys`` are remembered: the latest."""
    keyed = Keyed(lambda key: CircuitBreaker(), max_keys=100)
    most = 0
    for key in range(10_000):
        await keyed.bind(key=key).execute(Script(1))
        most = max(most, len(keyed))
    assert most == 100
    assert list(keyed) == list(range(9_900, 10_000))


async def answers(key=None):
    return 1


async def fails(key=None):
    raise OSError("made up")


@pytest.mark.slow
@pytest.mark.parametrize("listening", [False, True])
@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_a_hundred_thousand_keys_are_a_thousand(count, listening):
    """Memory is bounded, no open circuit is forgotten, and each call costs the same as the first.

    The cost is the number of functions that a hundred calls with new keys enter, after 2,000 keys
    and after all of them.
    """
    alive = weakref.WeakSet()

    def factory(key):
        breaker = CircuitBreaker(1, open_for=1e6)
        alive.add(breaker)
        return breaker

    async def main():
        keyed = Keyed(factory, key=lambda key: key, max_keys=1000)
        if listening:
            keyed.subscribe(lambda event: None)
        down = {}
        for key in range(600):
            with contextlib.suppress(OSError):
                await keyed.execute(fails, ("down", key))
            down["down", key] = keyed["down", key]
        used = 0

        async def call_new_keys(until):
            nonlocal used
            while used < until:
                await keyed.execute(answers, used)
                used += 1

        async def cost():
            entered = Counter()

            def profile(frame, event, argument):
                entered[event] += 1

            sys.setprofile(profile)
            try:
                await call_new_keys(used + 100)
            finally:
                sys.setprofile(None)
            return entered["call"]

        await call_new_keys(2_000)
        early = await cost()
        await call_new_keys(count)
        late = await cost()
        gc.collect()
        # As many policies as keys, and as many keys as may be: none is kept by anything else.
        assert len(keyed) == 1000
        assert len(alive) == 1000
        assert len(SUBSCRIPTIONS) == listening
        assert all(keyed[key] is breaker for key, breaker in down.items())
        return early, late

    early, late = run(main())
    assert early > 100
    assert late <= early * 1.2


def test_the_cost_of_a_call_does_not_grow_with_what_must_be_kept():
    """Five thousand open circuits beyond ``max_keys`` cost a new key no more than a thousand do."""

    async def main():
        keyed = Keyed(lambda key: CircuitBreaker(1, open_for=1e6), max_keys=10)
        costs = []
        for count in (1_000, 5_000):
            for key in range(len(keyed), count):
                with contextlib.suppress(OSError):
                    await keyed.bind(key=key).execute(fails)
            asked = 0

            def profile(frame, event, argument):
                nonlocal asked
                asked += event == "call"

            sys.setprofile(profile)
            try:
                with contextlib.suppress(OSError):
                    await keyed.bind(key=count).execute(fails)
            finally:
                sys.setprofile(None)
            costs.append(asked)
            assert len(keyed) == count + 1
        return costs

    few, many = run(main())
    assert 0 < many <= few + 5


async def test_the_longest_unused_is_forgotten_first():
    """A key that is used again is young again."""
    keyed = Keyed(lambda key: CircuitBreaker(), max_keys=3)
    for key in ["a", "b", "c", "a", "d"]:
        await keyed.bind(key=key).execute(Script(1))
    assert list(keyed) == ["c", "a", "d"]


async def test_what_is_forgotten_begins_anew():
    """A key that comes back gets a new policy."""
    keyed = Keyed(lambda key: CircuitBreaker(2), max_keys=1)
    await trip(keyed, "a")
    first = keyed["a"]
    await keyed.bind(key="b").execute(Script(1))
    await trip(keyed, "a")
    assert keyed["a"] is not first
    assert keyed["a"].state is State.CLOSED


@pytest.mark.parametrize("how", ["open", "half-open", "isolated"])
async def test_a_circuit_that_is_not_closed_is_never_forgotten(how):
    """An open, half-open or isolated circuit outlives any number of other keys."""
    keyed = Keyed(lambda key: CircuitBreaker(1, open_for=30), max_keys=5)
    await trip(keyed, "down")
    breaker = keyed["down"]
    if how == "isolated":
        breaker.isolate()
    elif how == "half-open":
        await anyio.sleep(31)
        with anyio.move_on_after(1):
            await keyed.bind(key="down").execute(anyio.sleep, 50)
        assert breaker.state is State.HALF_OPEN
    for key in range(500):
        await keyed.bind(key=key).execute(Script(1))
    assert keyed["down"] is breaker
    assert len(keyed) == 5


async def test_an_open_circuit_is_forgotten_a_minute_after_its_time():
    """Until 60 s after the open time a probe may come; after that nobody asks."""
    keyed = Keyed(lambda key: CircuitBreaker(1, open_for=30), max_keys=1)
    await trip(keyed, "down")
    await anyio.sleep(89)
    await keyed.bind(key="a").execute(Script(1))
    assert "down" in list(keyed)
    await anyio.sleep(2)
    await keyed.bind(key="b").execute(Script(1))
    assert list(keyed) == ["b"]


async def test_what_has_calls_inside_is_never_forgotten():
    """The limit of a bulkhead holds, however many other keys come by meanwhile."""
    keyed = Keyed(lambda key: Bulkhead(1), max_keys=2)
    held = Held()
    async with anyio.create_task_group() as group:
        group.start_soon(keyed.bind(key="busy").execute, held)
        await turns()
        for key in range(100):
            await keyed.bind(key=key).execute(Script(1))
        with pytest.raises(BulkheadFullError):
            await keyed.bind(key="busy").execute(held)
        held.let_go()
    for key in range(100, 102):
        await keyed.bind(key=key).execute(Script(1))
    assert "busy" not in list(keyed)


@pytest.mark.parametrize("error", [OSError("made up"), KeyboardInterrupt()], ids=repr)
async def test_a_call_that_fails_is_not_inside_any_more(error):
    """Whatever is raised, the key may be forgotten afterwards."""
    keyed = Keyed(lambda key: Bulkhead(1), max_keys=1)
    with pytest.raises(type(error)):
        await keyed.bind(key="a").execute(Script(error))
    await keyed.bind(key="b").execute(Script(1))
    assert list(keyed) == ["b"]


async def test_if_all_matter_it_grows_until_they_do_not():
    """Fifty open circuits are kept beyond a limit of ten, and forgotten when their time is up."""
    keyed = Keyed(lambda key: CircuitBreaker(1, open_for=5), max_keys=10)
    for key in range(50):
        await trip(keyed, key)
    assert len(keyed) == 50
    await anyio.sleep(66)
    for key in range(100, 110):
        await keyed.bind(key=key).execute(Script(1))
    assert len(keyed) == 10


async def test_it_matters_if_one_of_its_keys_does():
    """A ``Keyed`` in a ``Keyed`` is kept for the sake of one open circuit."""
    keyed = Keyed(lambda key: CircuitBreaker(1, open_for=5))
    await keyed.bind(key="a").execute(Script(1))
    assert not keyed.matters(anyio.current_time())
    await trip(keyed, "b")
    assert keyed.matters(anyio.current_time())


def test_it_shows_its_settings():
    """The repr is what was asked for."""
    assert repr(Keyed(len, max_keys=5)) == "Keyed(<built-in function len>, max_keys=5)"
