"""Telling listeners what happens to a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from seawall.core import lazy_events as events
from seawall.core.errors import RejectedError
from seawall.core.listeners import EVERYWHERE, SUBSCRIPTIONS, deliver

if TYPE_CHECKING:
    from seawall.core.call import Call, Proceed
    from seawall.core.events import Event
    from seawall.core.policy import Policy

T = TypeVar("T")


def is_heard(policy: Policy) -> bool:
    """Say whether anybody listens to this policy."""
    return bool(SUBSCRIPTIONS and (EVERYWHERE or policy._listeners))


def tell(policy: Policy, call: Call[Any], event: type[Event], /, **details: Any) -> None:
    """Tell those who listen to a policy what it does to a call; make no event if nobody does.

    Args:
        policy: the policy that tells.
        call: the call that it is about; the event's common fields come from both.
        event: the type of the event.
        details: the fields that the event has of its own.
    """
    if SUBSCRIPTIONS and is_heard(policy):
        happened = event(
            time=call.now(),
            policy=policy._shown_as or type(policy).__name__,
            name=policy.name,
            pipeline=None if call.pipeline is None else call.pipeline.name,
            key=call.key,
            attempt=call.attempt,
            tags=call.tags,
            **details,
        )
        deliver(happened, policy._listeners)


def tell_change(policy: Policy, time: float, event: type[Event], /, **details: Any) -> None:
    """Tell those who listen of a change that is of the policy, and not of one call."""
    if SUBSCRIPTIONS and is_heard(policy):
        happened = event(
            time=time,
            policy=policy._shown_as or type(policy).__name__,
            name=policy.name,
            key=policy._made_for,
            **details,
        )
        deliver(happened, policy._listeners)


def observed(policy: Policy, chain: Proceed[T]) -> Proceed[T]:
    """Return the chain of a policy with a last step outside, which tells how the call ended."""
    # Of a view, the policy behind it tells.
    teller = next(policy.speakers())

    async def step(call: Call[T]) -> T:
        began = call.now()
        try:
            result = await chain(call)
        except BaseException as error:
            _finish(teller, call, _outcome_of(error), type(error).__name__, began)
            raise
        _finish(teller, call, "returned", None, began)
        return result

    return step


_Outcome = Literal["returned", "raised", "rejected", "cancelled"]


def _outcome_of(error: BaseException) -> _Outcome:
    if isinstance(error, RejectedError):
        return "rejected"
    return "raised" if isinstance(error, Exception) else "cancelled"


def _finish(
    policy: Policy, call: Call[Any], outcome: _Outcome, error: str | None, began: float
) -> None:
    details = {"outcome": outcome, "error": error, "duration": call.now() - began}
    tell(policy, call, events.CallFinished, **details, attempts=call.attempt)
