"""What ``import seawall`` offers."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import seawall

# Public names of the design that exist so far; a new one is added here and in `__all__`.
ERRORS = {
    "BulkheadFullError",
    "CallTimeoutError",
    "CircuitOpenError",
    "DeadlineError",
    "LoadShedError",
    "RateLimitedError",
    "RejectedError",
    "SeawallError",
    "UsageError",
}
POLICIES = {
    "AdaptiveLimit",
    "Bulkhead",
    "CircuitBreaker",
    "Fallback",
    "Hedge",
    "Keyed",
    "LastGood",
    "LoadShedder",
    "Pipeline",
    "Policy",
    "RateLimiter",
    "Retry",
    "Timeout",
}
PARTS = {"Calls", "Circuit", "Classifier", "ConsecutiveFailures", "FailureCount", "FailureRate"}
PARTS |= {"AdaptiveFailureCount", "Cusum", "SlowCallRate", "Subscription", "Tally", "subscribe"}
PARTS |= {"Percentile", "RetryBudget", "TripRule", "constant", "exponential", "linear", "deadline"}
SEEN = {"Attempt", "Call", "Kind", "Outcome", "Proceed", "State", "Stream", "Verdict"}


def test_every_public_name_is_exported():
    """All names of the public API are in ``__all__``."""
    assert set(seawall.__all__) >= ERRORS | POLICIES | PARTS | SEEN


def test_all_is_sorted_and_complete():
    """``__all__`` names each thing that the module offers once, and nothing else."""
    offered = {
        name
        for name in dir(seawall)
        if not name.startswith("_") and not isinstance(getattr(seawall, name), ModuleType)
    }
    assert set(seawall.__all__) == offered
    assert len(seawall.__all__) == len(offered)
    assert list(seawall.__all__) == sorted(seawall.__all__, key=lambda name: (name.islower(), name))


@pytest.mark.parametrize("name", sorted(seawall.__all__))
def test_every_public_name_is_documented(name):
    """Each public class and function has a docstring, and so has each of its public methods."""
    value = getattr(seawall, name)
    if name == "Proceed":
        pytest.skip("a type alias")
    assert value.__doc__
    if inspect.isclass(value):
        bare = [
            member
            for member, attribute in vars(value).items()
            if inspect.isfunction(attribute) and not member.startswith("_")
            if not attribute.__doc__
        ]
        assert bare == []


def in_a_new_interpreter(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_importing_it_imports_no_client_library():
    """``import seawall`` needs anyio alone: neither httpx nor trio comes with it."""
    code = (
        "import sys, seawall; "
        "print(sorted({'httpx', 'httpx2', 'httpcore', 'trio', 'rich'} & set(sys.modules)))"
    )
    assert in_a_new_interpreter(code) == ["[]"]


def test_importing_it_makes_no_class_that_only_some_programs_need():
    """Events come with the first who listens, and what a snapshot holds when one is taken."""
    code = (
        "import sys, seawall; "
        "late = ['seawall.core.events', 'seawall.core.snapshot', 'seawall.core.http_date']; "
        "print(sorted({*late} & {*sys.modules})); "
        "seawall.subscribe(print); "
        "seawall.Pipeline().snapshot(); "
        "print(*sorted({*late} & {*sys.modules}))"
    )
    assert in_a_new_interpreter(code) == ["[]", "seawall.core.events", "seawall.core.snapshot"]


LATE = {
    "AdaptiveFailureCount",
    "AdaptiveLimit",
    "Cusum",
    "Fallback",
    "Hedge",
    "Keyed",
    "LastGood",
    "LoadShedder",
    "Percentile",
    "RateLimiter",
    "SlowCallRate",
}


def test_what_most_programs_do_not_need_is_imported_when_it_is_asked_for():
    """The rarer policies and rules come late, and then stay; ``dir`` shows them from the start."""
    code = (
        "import seawall; "
        "print(*sorted({*seawall.__all__} - {*vars(seawall)})); "
        "assert {*seawall.__all__} <= {*dir(seawall)}; "
        "assert seawall.Hedge is seawall.Hedge is vars(seawall)['Hedge']"
    )
    assert in_a_new_interpreter(code) == sorted(LATE)


@pytest.mark.parametrize("name", sorted(LATE))
def test_each_of_those_can_be_imported_as_all_others(name):
    """``from seawall import`` it, as the first import of a program."""
    code = f"from seawall import {name}; print({name}.__name__)"
    assert in_a_new_interpreter(code) == [name]


def test_a_name_that_is_not_there_is_an_attribute_error():
    """As of each module, so that ``hasattr`` and ``from seawall import`` say it."""
    assert not hasattr(seawall, "Hedges")
    with pytest.raises(AttributeError, match="module 'seawall' has no attribute 'Hedges'"):
        _ = seawall.Hedges
    with pytest.raises(ImportError, match="cannot import name 'Hedges' from 'seawall'"):
        exec("from seawall import Hedges", {})


def test_every_policy_is_a_policy():
    """All policies derive from ``Policy``, so they have the same ways in."""
    for name in POLICIES:
        assert issubclass(getattr(seawall, name), seawall.Policy)
    for name in ERRORS:
        assert issubclass(getattr(seawall, name), seawall.SeawallError)
