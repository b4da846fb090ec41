"""The policies of the standard pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seawall.core.policy import Policy
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import CircuitBreaker
from seawall.policies.retry import Retry
from seawall.policies.timeout import Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator


def standard(
    *,
    timeout: float,
    attempts: int,
    attempt_timeout: float,
    limit: int | Policy | None,
    name: str | None,
) -> Iterator[Policy]:
    """Yield the policies of ``Pipeline.standard()``, outermost first."""
    yield Timeout(timeout, name=name)
    yield Retry(attempts)
    yield CircuitBreaker(name=name)
    if limit is not None:
        yield limit if isinstance(limit, Policy) else Bulkhead(limit)
    yield Timeout(attempt_timeout, name=name)
