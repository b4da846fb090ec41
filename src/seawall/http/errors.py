"""Our errors as members of the client's family.

Code around an HTTP client catches that client's errors: a plain ``CircuitOpenError`` would escape
``except httpx.HTTPError``. So the transport raises a twin of each of our errors that is also an
error of the client's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seawall.core.errors import CallTimeoutError, DeadlineError, SeawallError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType


class FamilyErrors:
    """The errors of one binding.

    Args:
        client: the client library's module.
        kinds: for each error type of ours, its twin in the client's family.
    """

    def __init__(
        self, client: ModuleType, kinds: Mapping[type[SeawallError], type[SeawallError]]
    ) -> None:
        self._client = client
        self._kinds = dict(kinds)

    def adopt(self, error: SeawallError, request: Any) -> SeawallError:
        """Return the error's twin in the client's family, with the request set.

        The twin has the fields, notes, cause and traceback of the error.

        Args:
            error: an error of ours; one that is in the family already is returned as it is.
            request: the request that it is about.
        """
        kind = type(error)
        if issubclass(kind, self._client.HTTPError):
            return error
        family_kind = self._kinds.get(kind) or self._make(kind)
        twin: SeawallError = family_kind.__new__(family_kind)
        twin.take_fields(error.fields() | {"_request": request})
        for note in getattr(error, "__notes__", ()):
            twin.add_note(note)
        twin.__cause__ = error.__cause__
        twin.__suppress_context__ = error.__suppress_context__
        twin.__traceback__ = error.__traceback__
        return twin

    def _make(self, kind: type[SeawallError]) -> type[SeawallError]:
        """Make the twin of an error type of the user's own, so that it is still caught by it."""
        late = issubclass(kind, CallTimeoutError | DeadlineError)
        base = self._client.TimeoutException if late else self._client.TransportError

        def reduce(self: Any) -> tuple[Callable[..., SeawallError], tuple[Any, ...]]:
            # Nobody can import a type that was made here: it travels as what it stands for.
            restore, (_, args, fields, notes) = SeawallError.__reduce__(self)
            return restore, (
                kind,
                args,
                {n: v for n, v in fields.items() if n != "_request"},
                notes,
            )

        namespace = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__reduce__": reduce}
        made: type[SeawallError] = type(kind.__name__, (kind, base), namespace)
        self._kinds[kind] = made
        return made
