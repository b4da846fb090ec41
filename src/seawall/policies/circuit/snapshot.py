"""What a circuit breaker is doing now."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from seawall.core.snapshot import Snapshot

if TYPE_CHECKING:
    from seawall.core.policy import Policy
    from seawall.policies.circuit.core import Circuit
    from seawall.policies.circuit.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitSnapshot(Snapshot):
    """The state of a circuit breaker at one moment.

    Attributes:
        state: what it does with the next call; what it would do, in the shadow mode.
        shadow: whether it lets all calls pass all the same.
        since: seconds that the state has lasted; ``None`` if it has never been another.
        retry_after: seconds until a call may be admitted, 0.0 if one may be now; ``None`` if
            isolated.
        calls: calls admitted, in the life of the circuit.
        successes: how many of those succeeded.
        failures: how many of those failed.
        neutral: how many of those were no evidence, such as cancelled ones.
        in_flight: how many of those have not ended.
        rejected: calls refused, in the life of the circuit.
        would_refuse: calls that the shadow mode let pass and that would have been refused.
        would_refuse_succeeded: how many of those succeeded.
        window_calls: calls that the trip rule goes by now.
        window_failures: how many of those failed.
        rate: share of failures among them; ``None`` without calls.
        opened: how often it has opened.
        cause: type name of the error that opened it last; ``"stalled"`` where calls got no answer.
        patience: seconds without an answer from which on calls are stalled; ``None`` if unknown.
        parent: the name of the parent, if it has one.
    """

    state: State
    shadow: bool
    since: float | None
    retry_after: float | None
    calls: int
    successes: int
    failures: int
    neutral: int
    in_flight: int
    rejected: int
    would_refuse: int
    would_refuse_succeeded: int
    window_calls: int
    window_failures: int
    rate: float | None
    opened: int
    cause: str | None
    patience: float | None
    parent: str | None


def snapshot_of(
    circuit: Circuit, now: float, policy: Policy, parent: str | None
) -> CircuitSnapshot:
    """Return what a circuit is doing at this time, for the policy around it."""
    failures, calls = circuit.evidence(now)
    ended = circuit.successes + circuit.failures + circuit.neutral
    return CircuitSnapshot(
        policy=type(policy).__name__,
        name=policy.name,
        state=circuit.state,
        shadow=circuit.shadow,
        since=None if circuit.since == -inf else max(0.0, now - circuit.since),
        retry_after=circuit.retry_after(now),
        calls=ended + circuit.in_flight,
        successes=circuit.successes,
        failures=circuit.failures,
        neutral=circuit.neutral,
        in_flight=circuit.in_flight,
        rejected=circuit.rejected,
        would_refuse=circuit.would_refuse,
        would_refuse_succeeded=circuit.would_refuse_succeeded,
        window_calls=calls,
        window_failures=failures,
        rate=failures / calls if calls else None,
        opened=circuit.opened,
        cause=None if circuit.opening is None else circuit.opening.cause,
        patience=circuit.patience,
        parent=parent,
    )
