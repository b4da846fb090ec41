"""What a client library and its binding bring along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seawall.http.body import Body
from seawall.http.classify import ErrorRules
from seawall.http.errors import FamilyErrors
from seawall.http.fields import Fields, find_fields
from seawall.http.replay import OneShot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from seawall.core.errors import SeawallError


class Family:
    """One client library: httpx or httpx2, whose classes are disjoint.

    Args:
        client: the library's module.
        errors: for each error type of ours, its twin in the library's family.

    Attributes:
        name: the library's name.
        rules: what its exceptions mean.
        adopt: makes an error of ours one of the family.
        fields: reads the fields of its headers.
        stream: its class of streams.
        body: the class of the bodies that callers read.
        one_shot: the class of request bodies that can be sent once.
    """

    def __init__(
        self, client: ModuleType, errors: Mapping[type[SeawallError], type[SeawallError]]
    ) -> None:
        self.client: Any = client
        self.name: str = client.__name__
        self.rules: ErrorRules = ErrorRules(client)
        self.adopt: Callable[[SeawallError, Any], SeawallError] = FamilyErrors(client, errors).adopt
        self.fields: Callable[[Any], Fields] = find_fields(client)
        self.stream: Any = self.client.AsyncByteStream
        self.body: Any = type("ResponseBody", (Body, self.stream), {})
        self.one_shot: Any = type("OneShotBody", (OneShot, self.stream), {})

    def has(self, transport: object) -> bool:
        """Say whether a transport does not belong to another family."""
        roots = {kind.__module__.partition(".")[0] for kind in type(transport).__mro__}
        return not (roots & {"httpx", "httpx2"}) - {self.name}
