"""Telling what a circuit does: to listeners, and to the log."""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING, Any

from seawall.core import lazy_events as events
from seawall.core.listeners import deliver, logger
from seawall.core.observe import is_heard
from seawall.policies.circuit.state import State, Trigger

if TYPE_CHECKING:
    from seawall.core.policy import Policy
    from seawall.policies.circuit.state import Transition

_LEVELS = {
    State.OPEN: logging.WARNING,
    State.ISOLATED: logging.WARNING,
    State.HALF_OPEN: logging.INFO,
    State.CLOSED: logging.INFO,
}


def announce(breaker: Policy, transition: Transition) -> None:
    """Log a transition, and tell those who listen to the breaker."""
    level = _LEVELS[transition.after]
    if transition.trigger is Trigger.RELAPSED:
        # The outage has been reported, and it may last for an hour with a probe each second.
        level = logging.INFO
    if logger.isEnabledFor(level):
        _log(level, breaker, transition)
    if is_heard(breaker):
        deliver(_event(breaker, transition), breaker._listeners)


def _log(level: int, breaker: Policy, transition: Transition) -> None:
    after = transition.after.value
    opening = transition.opening
    why: str = transition.trigger.value
    context: dict[str, Any] = {
        "seawall_event": f"circuit_{after}",
        "seawall_policy": type(breaker).__name__,
        "seawall_name": breaker.name,
        "seawall_key": breaker._made_for,
        "seawall_before": transition.before.value,
        "seawall_after": after,
        "seawall_trigger": why,
    }
    if transition.after is State.OPEN and opening is not None:
        context["seawall_failures"] = opening.failures
        context["seawall_calls"] = opening.calls
        context["seawall_cause"] = opening.cause
        context["seawall_open_for"] = transition.open_for
        if opening.calls:
            why += f": {opening.failures} of {opening.calls} calls failed"
        if opening.cause is not None:
            why += f", the last with {opening.cause}"
    name = breaker.name if breaker.name is not None else breaker._made_for
    which = "circuit" if name is None else f"circuit {name!r}"
    logger.log(level, "%s is %s: %s", which, after.replace("_", "-"), why, extra=context)


def _event(breaker: Policy, transition: Transition) -> events.CircuitEvent:
    fields: dict[str, Any] = {
        "time": transition.time,
        "policy": type(breaker).__name__,
        "name": breaker.name,
        "key": breaker._made_for,
        "before": transition.before.value,
        "after": transition.after.value,
        "trigger": transition.trigger.value,
        "lasted": None if transition.lasted == inf else transition.lasted,
    }
    if transition.after is State.HALF_OPEN:
        return events.CircuitHalfOpened(**fields)
    if transition.after is State.CLOSED:
        return events.CircuitClosed(**fields)
    if transition.after is State.ISOLATED:
        return events.CircuitIsolated(**fields)
    failures, calls, cause = transition.opening or (0, 0, None)
    return events.CircuitOpened(
        **fields,
        failures=failures,
        calls=calls,
        cause=cause,
        open_for=transition.open_for or 0.0,
    )
