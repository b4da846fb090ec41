"""The errors: their tree, what they say, and that they travel."""

from __future__ import annotations

import copy
import pickle

import pytest

import seawall
from seawall import (
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    DeadlineError,
    LoadShedError,
    RateLimitedError,
    RejectedError,
    SeawallError,
    UsageError,
)
from seawall.core import errors
from seawall.core.errors import Opening

OPENING = Opening(failures=8, calls=20, cause="ConnectError")
WAYS = [
    *[
        pytest.param(
            lambda error, p=protocol: pickle.loads(pickle.dumps(error, p)), id=f"p{protocol}"
        )
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ],
    pytest.param(copy.copy, id="copy"),
    pytest.param(copy.deepcopy, id="deepcopy"),
]
MADE = [
    SeawallError("text"),
    RejectedError(),
    RejectedError(name="n", key=("a", 1), retry_after=0.0),
    BulkheadFullError(key="k", retry_after=1.5),
    DeadlineError(name="n"),
    LoadShedError(name="n", key="k"),
    RateLimitedError(key="k", retry_after=0.25),
    CircuitOpenError(),
    CircuitOpenError(state="half_open", opening=OPENING, name="n", key="k", retry_after=2.0),
    CallTimeoutError(2.5),
    CallTimeoutError(0.25, name="n", phase="idle"),
    UsageError("wrong: f\n  right: g"),
]
FIELDS = ("name", "key", "retry_after", "state", "failures", "calls", "cause", "seconds", "phase")


class OwnError(RejectedError):
    """A user's own refusal, with a field of its own."""

    def __init__(self, *, detail: str, **fields: object) -> None:
        super().__init__(**fields)
        self.detail = detail


def said(error: BaseException) -> dict[str, object]:
    """Return the fields that an error has, by name."""
    return {name: getattr(error, name) for name in FIELDS if hasattr(error, name)}


def test_the_tree():
    """What is raised can be caught as one family, and as the builtin errors that it resembles."""
    parents = {
        SeawallError: Exception,
        RejectedError: SeawallError,
        CircuitOpenError: RejectedError,
        BulkheadFullError: RejectedError,
        DeadlineError: RejectedError,
        CallTimeoutError: SeawallError,
        UsageError: SeawallError,
    }
    assert {kind: kind.__bases__[0] for kind in parents} == parents
    assert issubclass(CallTimeoutError, TimeoutError)
    assert issubclass(UsageError, TypeError)
    assert not issubclass(RejectedError, TimeoutError)


def test_the_tree_in_the_docstring_is_the_tree():
    """The module's docstring draws each public error, and none that does not exist."""
    drawn = [
        line.strip("│├└─ ").split()[0]
        for line in errors.__doc__.splitlines()
        if "Error" in line and "every error" not in line.lower()
    ]
    public = [
        name
        for name in seawall.__all__
        if isinstance(getattr(seawall, name), type)
        and issubclass(getattr(seawall, name), SeawallError)
    ]
    assert sorted(drawn) == sorted(public)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_every_error_pickles_and_copies(error, way):
    """A copy is of the same class and says the same."""
    twin = way(error)
    assert type(twin) is type(error)
    assert twin is not error
    assert str(twin) == str(error)
    assert said(twin) == said(error)


@pytest.mark.parametrize("way", WAYS)
def test_notes_travel(way):
    """A copy has the notes of the original, in a list of its own."""
    error = CircuitOpenError(name="n")
    error.add_note("seawall: a story")
    error.add_note("the user's")
    twin = way(error)
    assert twin.__notes__ == ["seawall: a story", "the user's"]
    twin.add_note("another")
    assert len(error.__notes__) == 2
    assert not hasattr(way(CircuitOpenError()), "__notes__")


@pytest.mark.parametrize(
    "kind", [RejectedError, BulkheadFullError, DeadlineError, CircuitOpenError]
)
def test_the_policy_stays_behind(kind):
    """Another process has no use for the policy; a copy within this one keeps it."""
    breaker = CircuitBreaker()
    error = kind(policy=breaker, name="n")
    assert error.policy is breaker
    assert copy.copy(error).policy is breaker
    for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert twin.policy is None
        assert twin.name == "n"


@pytest.mark.parametrize("way", WAYS)
def test_errors_of_the_users_own_travel_with_all_their_fields(way):
    """A subclass needs no method to be picklable."""
    twin = way(OwnError(detail="deep", key=3, retry_after=1.0))
    assert (twin.detail, twin.key, twin.retry_after) == ("deep", 3, 1.0)


def test_fields_have_defaults():
    """An error made by hand says that it knows nothing."""
    error = CircuitOpenError()
    assert (error.policy, error.name, error.key, error.retry_after) == (None,) * 4
    assert (error.state, error.failures, error.calls, error.cause) == ("open", 0, 0, None)
    timeout = CallTimeoutError(3.0)
    assert (timeout.seconds, timeout.name, timeout.phase) == (3.0, None, "call")


def test_an_opening_is_frozen():
    """All refusals of one opening share one record that nobody can change."""
    with pytest.raises(AttributeError):
        OPENING.failures = 1
    error = CircuitOpenError(opening=OPENING)
    assert (error.failures, error.calls, error.cause) == (8, 20, "ConnectError")
    with pytest.raises(AttributeError):
        error.failures = 1


@pytest.mark.parametrize(
    "error,text",
    [
        (RejectedError(), "the call was refused"),
        (
            RejectedError(name="db", key="a", retry_after=0.25),
            "the call was refused by 'db' for key 'a'; retry after 0.25 s",
        ),
        (RejectedError(key=0), "the call was refused for key 0"),
        (BulkheadFullError(), "the bulkhead is full: the call was refused"),
        (
            DeadlineError(name="db", retry_after=0.0),
            "no time is left to begin: the call was refused by 'db'; retry after 0 s",
        ),
        (CircuitOpenError(), "circuit is open"),
        (
            CircuitOpenError(
                state="half_open", opening=OPENING, name="db", key="host-1", retry_after=12.34567
            ),
            (
                "circuit 'db' for key 'host-1' is half-open: 8 of 20 calls failed, "
                "the last with ConnectError; retry after 12.3 s"
            ),
        ),
        (
            CircuitOpenError(opening=Opening(5, 5, None), retry_after=1.0),
            "circuit is open: 5 of 5 calls failed; retry after 1 s",
        ),
        (CircuitOpenError(state="isolated"), "circuit is isolated"),
        (CallTimeoutError(2.5), "no answer within the timeout of 2.5 s (call)"),
        (
            CallTimeoutError(1, name="total", phase="first_item"),
            "no answer within the timeout of 'total' of 1 s (first_item)",
        ),
        (UsageError("wrong: f"), "wrong: f"),
        (UsageError(), ""),
    ],
)
def test_what_errors_say(error, text):
    """A message says which policy refused what and why, and when to come back."""
    assert str(error) == text


def test_a_timeout_has_no_errno():
    """``CallTimeoutError`` is an ``OSError`` by way of ``TimeoutError``, but none of the system."""
    error = CallTimeoutError(1.0)
    assert isinstance(error, OSError)
    assert error.errno is None
