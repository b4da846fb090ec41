"""What belongs to one request: its key, its settings, whether it may be processed twice."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from math import inf
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from seawall.core.checks import check_number, check_type
from seawall.core.errors import UsageError

if TYPE_CHECKING:
    from seawall.http.fields import Fields

IDEMPOTENT_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"})
"""RFC 9110, section 9.2.2; QUERY: RFC 10008."""

SDK_COUNT: Final = "x-stainless-retry-count"
"""The header in which the SDKs of OpenAI and Anthropic count the retries of their own."""

Idempotent: TypeAlias = "bool | Callable[[Any], bool | None] | None"

FIELDS_OF_CLIENTS: Final = 5
"""How many fields a client sends by itself; an SDK's request has more."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SDK_COUNT: Final = SDK_COUNT.encode()
_lower_name: Final = itemgetter(1)
_parts: Final = attrgetter("_uri_reference.scheme", "_uri_reference.host", "_uri_reference.port")
_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Settings(NamedTuple):
    """What a request's ``extensions={"seawall": {...}}`` may say; ``None`` leaves it as it is.

    Attributes:
        idempotent: whether the request may be processed twice; outranks everything else.
        replayable: whether its body can be sent again; outranks what is known of it.
        key: the key of its policies, in place of its origin: anything that can be a key of a dict.
        timeout: seconds that the whole call may take, in place of a default that nobody gave; a
            ``Timeout`` of the user's own still holds.
        body_deadline: seconds from the beginning of the call until the body of the response must
            have ended, in place of the call's deadline, and also for a response that has none;
            ``math.inf`` for no deadline.
        idle_timeout: seconds that each read of the body may wait; ``math.inf`` for ever.
    """

    idempotent: bool | None = None
    replayable: bool | None = None
    key: Any = None
    timeout: float | None = None
    body_deadline: float | None = None
    idle_timeout: float | None = None


NO_SETTINGS: Final = Settings()


def settings_of(request: Any) -> Settings:
    """Return the settings that a request carries.

    Raises:
        UsageError: a name is not known, or a value is not what it must be.
    """
    given = request.extensions.get("seawall")
    if given is None:
        return NO_SETTINGS
    if not _is_mapping(given):
        raise UsageError(f"extensions['seawall'] must be a mapping of settings, not {given!r}")
    settings: dict[str, Any] = dict(given)
    unknown = sorted(map(str, settings.keys() - set(Settings._fields)))
    if unknown:
        raise UsageError(
            f"unknown setting in extensions['seawall']: {', '.join(unknown)}; "
            f"known are {', '.join(Settings._fields)}"
        )
    for name, value in settings.items():
        try:
            _check(name, value)
        except (TypeError, ValueError) as wrong:
            raise UsageError(str(wrong)) from None
    return Settings(**settings)


def _check(name: str, value: object) -> None:
    parameter = f"extensions['seawall'][{name!r}]"
    match name:
        case "idempotent" | "replayable":
            check_type(parameter, value, bool, "a bool or None", optional=True)
        case "key":
            check_type(parameter, value, Hashable, "hashable", optional=True)
            # A tuple is, unless something in it is not.
            hash(value)
        case "timeout":
            check_number(parameter, value, above=0, optional=True)
        case _:
            check_number(parameter, value, above=0, infinite=True, optional=True)


def origin(request: Any) -> str:
    """Return the origin of a request: scheme, host in lower case, and port, as in a URL.

    The port is always there, so that ``http://server`` and ``http://server:80`` are one
    (RFC 6454, section 4).
    """
    url = request.url
    try:
        # What the next line comes to, at half the price.
        parts = _parts(url)
    except AttributeError:
        parts = url.scheme, url.raw_host.decode("ascii", "replace"), url.port
    return _origin(*parts)


@lru_cache
def _origin(scheme: str, host: str, port: int | None) -> str:
    host = host.lower()
    if ":" in host:
        host = f"[{host}]"
    return f"{scheme}://{host}:{port or _PORTS.get(scheme, 0)}"


def is_idempotent(request: Any, settings: Settings, idempotent: Idempotent) -> bool:
    """Say whether a request may be processed twice.

    Args:
        request: the request.
        settings: what the request itself says; that outranks the rest.
        idempotent: what the transport was told: for all requests, or a function of the request.
            ``None``, also from the function, leaves it to the ``Idempotency-Key`` header and the
            method.
    """
    if settings.idempotent is not None:
        return settings.idempotent
    told = idempotent(request) if callable(idempotent) else idempotent
    if told is not None:
        return bool(told)
    return request.method in IDEMPOTENT_METHODS or "idempotency-key" in request.headers


def is_from_sdk(fields: Fields) -> bool:
    """Say whether a request with these fields comes from an SDK that has retries of its own."""
    return _SDK_COUNT in map(_lower_name, fields)


def asked_seconds(extensions: Any) -> float:
    """Return the seconds that the caller lets a read take; ``inf`` for ever, 0.0 if not said."""
    try:
        seconds = extensions["timeout"]["read"]
    except (KeyError, TypeError):
        return 0.0
    return inf if seconds is None else float(seconds)


def check_header(parameter: str, value: object) -> None:
    """Raise unless the value can be the name of a header (RFC 9110, section 5.1), or is ``None``.

    Raises:
        TypeError: it is no str.
        ValueError: it holds what no name may hold.
    """
    check_type(parameter, value, str, "the name of a header or None", optional=True)
    if isinstance(value, str) and not _TOKEN.fullmatch(value):
        raise ValueError(f"{parameter} must be the name of a header or None, not {value!r}")


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)
