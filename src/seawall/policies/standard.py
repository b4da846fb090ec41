"""The policies of the standard pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seawall.core.checks import check_number
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
    check_number("timeout", timeout, above=0)
    check_number("attempt_timeout", attempt_timeout, above=0)
    yield Timeout(timeout, name=name)
    yield _named(Retry(attempts), name)
    yield CircuitBreaker(name=name)
    if isinstance(limit, Policy):
        yield limit
    elif limit is not None:
        yield _named(Bulkhead(limit), name)
    yield Timeout(attempt_timeout, name=name)


def _named(policy: Policy, name: str | None) -> Policy:
    policy.name = name
    return policy
