"""Every error that seawall raises.

SeawallError
├── RejectedError            the call never reached the dependency
│   ├── CircuitOpenError
│   ├── BulkheadFullError
│   ├── LoadShedError
│   ├── RateLimitedError
│   └── DeadlineError        not enough time was left to begin
├── CallTimeoutError         also a TimeoutError
└── UsageError               also a TypeError
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable


def _restore(
    cls: type[SeawallError], args: tuple[Any, ...], fields: dict[str, Any], notes: list[str]
) -> SeawallError:
    error = cls.__new__(cls, *args)
    error.take_fields(fields)
    for note in notes:
        error.add_note(note)
    return error


class SeawallError(Exception):
    """Base of every error of this library. All of them pickle and copy."""

    _dropped_by_pickle: ClassVar[frozenset[str]] = frozenset()

    def fields(self) -> dict[str, Any]:
        """Return what this error says, by name: all its attributes but the notes."""
        slots = [name for cls in type(self).__mro__ for name in vars(cls).get("__slots__", ())]
        fields = {name: getattr(self, name) for name in slots if hasattr(self, name)}
        fields |= self.__dict__
        fields.pop("__notes__", None)
        return fields

    def take_fields(self, fields: dict[str, Any]) -> None:
        """Say what another error says."""
        for name, value in fields.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Callable[..., SeawallError], tuple[Any, ...]]:
        """Rebuild from the fields; what belongs to this process alone is left out."""
        dropped = self._dropped_by_pickle
        fields = {name: None if name in dropped else v for name, v in self.fields().items()}
        return _restore, (type(self), self.args, fields, list(getattr(self, "__notes__", ())))

    def __copy__(self) -> Self:
        """Copy within the process, where nothing needs to be left out."""
        twin = type(self).__new__(type(self), *self.args)
        twin.take_fields(self.fields())
        for note in getattr(self, "__notes__", ()):
            twin.add_note(note)
        return twin


class RejectedError(SeawallError):
    """A policy refused the call before it reached the dependency, so it is safe to repeat.

    Attributes:
        policy: the policy that refused; ``None`` after pickling.
        name: the name of that policy, if it has one.
        key: the key of the call, if it has one.
        retry_after: seconds (>= 0) until a further try makes sense; ``None`` when unknown.
    """

    # Slots, though all exceptions have a dict: a refusal must cost little, and making one is dear.
    __slots__ = ("key", "name", "policy", "retry_after")

    _dropped_by_pickle: ClassVar[frozenset[str]] = frozenset({"policy"})
    _reason: ClassVar[str] = "the call was refused"

    def __init__(
        self,
        *,
        policy: Any = None,
        name: str | None = None,
        key: Any = None,
        retry_after: float | None = None,
    ) -> None:
        self.policy = policy
        self.name = name
        self.key = key
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self._reason}{self._origin()}{self._when()}"

    def _origin(self) -> str:
        name = f" by {self.name!r}" if self.name is not None else ""
        return f"{name} for key {self.key!r}" if self.key is not None else name

    def _when(self) -> str:
        return f"; retry after {self.retry_after:.3g} s" if self.retry_after is not None else ""


class Opening(NamedTuple):
    """What is known of one opening of a circuit, frozen at the moment when it opened.

    Attributes:
        failures: failures in the evidence that tripped it.
        calls: calls in that evidence.
        cause: type name of the error that tripped it; ``None`` if a result or ``trip()`` did.
    """

    failures: int
    calls: int
    cause: str | None


NO_EVIDENCE: Final = Opening(0, 0, None)


class CircuitOpenError(RejectedError):
    """The circuit is open, half-open with every probe taken, or isolated.

    Attributes:
        state: ``"open"``, ``"half_open"`` or ``"isolated"``.
        failures: failures in the evidence that opened it.
        calls: calls in that evidence.
        cause: type name of the error that opened it, if an error did.
    """

    __slots__ = ("opening", "state")

    def __init__(
        self,
        *,
        state: str = "open",
        opening: Opening = NO_EVIDENCE,
        policy: Any = None,
        name: str | None = None,
        key: Any = None,
        retry_after: float | None = None,
    ) -> None:
        self.state = state
        self.opening = opening
        self.policy = policy
        self.name = name
        self.key = key
        self.retry_after = retry_after

    @property
    def failures(self) -> int:
        """Failures in the evidence that opened the circuit."""
        return self.opening.failures

    @property
    def calls(self) -> int:
        """Calls in the evidence that opened the circuit."""
        return self.opening.calls

    @property
    def cause(self) -> str | None:
        """Type name of the error that opened the circuit."""
        return self.opening.cause

    def __str__(self) -> str:
        name = f" {self.name!r}" if self.name is not None else ""
        key = f" for key {self.key!r}" if self.key is not None else ""
        state = self.state.replace("_", "-")
        why = ""
        if self.calls:
            why = f": {self.failures} of {self.calls} calls failed"
        if self.cause is not None:
            why += f", the last with {self.cause}"
        return f"circuit{name}{key} is {state}{why}{self._when()}"


class BulkheadFullError(RejectedError):
    """Every slot of a bulkhead is taken, and so is its queue or the time to wait in it."""

    _reason: ClassVar[str] = "the bulkhead is full: the call was refused"


class LoadShedError(RejectedError):
    """A ``LoadShedder`` refused the call: the dependency refuses or fails too many already."""

    _reason: ClassVar[str] = "the dependency is overloaded: the call was refused"


class RateLimitedError(RejectedError):
    """The turn of the call at a rate limiter would come too late; ``retry_after`` says when."""

    _reason: ClassVar[str] = "the rate limit is reached: the call was refused"


class DeadlineError(RejectedError):
    """Not enough time was left before the deadline to begin the call."""

    _reason: ClassVar[str] = "no time is left to begin: the call was refused"


class CallTimeoutError(SeawallError, TimeoutError):
    """A seawall ``Timeout`` ended the call. It is a builtin ``TimeoutError`` too.

    Attributes:
        seconds: the timeout that passed, in seconds.
        name: the name of the policy, if it has one.
        phase: what took too long: ``"call"``, ``"first_item"``, ``"idle"`` or ``"stalled"``.
    """

    seconds: float = 0.0
    name: str | None = None
    phase: Literal["call", "first_item", "idle", "stalled"] = "call"

    def __init__(
        self,
        seconds: float,
        *,
        name: str | None = None,
        phase: Literal["call", "first_item", "idle", "stalled"] = "call",
    ) -> None:
        self.seconds = seconds
        self.name = name
        self.phase = phase

    def __str__(self) -> str:
        name = f" of {self.name!r}" if self.name is not None else ""
        return f"no answer within the timeout{name} of {self.seconds:g} s ({self.phase})"


class UsageError(SeawallError, TypeError):
    """The library was called in a way that cannot work; the message shows the right way."""

    def __init__(self, message: str = "") -> None:
        self.message = message

    def __str__(self) -> str:
        return self.message
