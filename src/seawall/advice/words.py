"""What each policy does, in words and with its numbers.

A policy of your own is told of by the first line of its docstring; to say more of it, register a
function of it with :func:`words`, as is done here.
"""

from __future__ import annotations

from functools import singledispatch
from inspect import cleandoc
from math import inf
from typing import TYPE_CHECKING

from seawall.advice.pauses import has_jitter, longest_pause
from seawall.advice.rule_words import rule_words
from seawall.core.bound import Bound
from seawall.core.policy import Policy
from seawall.policies.adaptive_limit import AdaptiveLimit
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import CircuitBreaker
from seawall.policies.fallback import Fallback
from seawall.policies.hedge import Hedge, Percentile
from seawall.policies.keyed import Keyed
from seawall.policies.last_good import LastGood
from seawall.policies.load_shedder import LoadShedder
from seawall.policies.rate_limiter import RateLimiter
from seawall.policies.retry import Retry, RetryBudget
from seawall.policies.retry.backoff import Exponential
from seawall.policies.timeout import Timeout, ViewTimeout

if TYPE_CHECKING:
    from seawall.policies.retry.backoff import Backoff


def seconds(value: float) -> str:
    """Return seconds as they are read: ``0.25 s``."""
    return f"{value:.4g} s"


def count(number: float, one: str, many: str | None = None) -> str:
    """Return a number with its noun: ``1 probe``, ``2 probes``."""
    return f"{number:.10g} {one if number == 1 else many or one + 's'}"


@singledispatch
def words(policy: Policy) -> str:
    """Return what a policy does, as the end of a sentence that begins with its name."""
    documented = cleandoc(policy.__doc__ or "").partition("\n")[0]
    return documented if type(policy).__doc__ else "is a policy of your own"


@words.register
def timeout_words(policy: Timeout) -> str:
    """Tell of a timeout."""
    longer = type(policy).seconds_for is not Timeout.seconds_for
    by_call = ", or as many as it gives the call" if longer else ""
    return f"ends what runs inside after {seconds(policy.seconds)}{by_call}"


@words.register
def view_words(policy: ViewTimeout) -> str:
    """Tell of the timeout of a view."""
    return f"ends what runs inside after {seconds(policy.seconds)}, for this view"


@words.register
def retry_words(policy: Retry) -> str:
    """Tell of a retry."""
    if policy.attempts == 1:
        return "makes 1 attempt, so it repeats nothing"
    what = "" if policy.on is None else " of what `on` names"
    asked = policy.max_retry_after
    more = "as much more as" if asked == inf else f"up to {seconds(asked)} more where"
    it = "" if asked == inf else " it"
    return (
        f"makes up to {policy.attempts} attempts{what}, {_pauses(policy.backoff, policy.attempts)}"
        f", and {more} a server asks for{it}; {_budget(policy.budget)}"
    )


@words.register
def circuit_words(policy: CircuitBreaker) -> str:
    """Tell of a circuit breaker."""
    circuit = policy._circuit
    if circuit.open_for is not None:
        refuses = f"refuses all calls for {seconds(circuit.open_for)}"
    else:
        refuses = "refuses all calls for about 20 times the usual gap between two, 1 s to 30 s"
    if circuit.max_open_for is not None:
        refuses += f", twice as long each time it opens again, up to {circuit.max_open_for:g} s"
    successes = "1 success" if circuit.close_after == 1 else f"{circuit.close_after} in a row"
    silence = "; silence is evidence too" if circuit.stalls else ""
    shadow = "in shadow (it only counts what it would refuse): " if circuit.shadow else ""
    return (
        f"{shadow}opens when {rule_words(circuit.rule)}{silence}; {refuses}; then lets "
        f"{count(circuit.probes, 'probe')} through at a time, and {successes} "
        f"{'closes' if circuit.close_after == 1 else 'close'} it"
    )


@words.register
def bulkhead_words(policy: Bulkhead) -> str:
    """Tell of a bulkhead."""
    limit = f"lets {count(policy.limit, 'call')} run at a time"
    if policy.queue == 0 or policy.max_wait == 0:
        return f"{limit} and refuses the others"
    waiting = "any number of others waits" if policy.queue == inf else f"{policy.queue:g} more wait"
    return f"{limit}; {waiting} for a slot, {wait_words(policy.max_wait)}"


@words.register
def hedge_words(policy: Hedge) -> str:
    """Tell of a hedge."""
    delay = policy.delay
    if isinstance(delay, Percentile):
        longer = f"{100 * delay.ratio:.4g} % of the answers do"
    else:
        longer = seconds(delay)
    more = count(policy.max_hedges, "more attempt")
    return f"begins {more} beside one that takes longer than {longer}; {_budget(policy.budget)}"


@words.register
def adaptive_limit_words(policy: AdaptiveLimit) -> str:
    """Tell of a limit that adapts."""
    limit = f"lets {count(policy.limit, 'call')} run at a time now"
    bounds = f"and between {policy.minimum} and {policy.maximum} as the dependency allows"
    if policy.max_wait == 0:
        return f"{limit}, {bounds}, and refuses the others"
    return f"{limit}, {bounds}; the others wait for a slot, {wait_words(policy.max_wait)}"


@words.register
def rate_limiter_words(policy: RateLimiter) -> str:
    """Tell of a rate limiter."""
    pause = ""
    if policy.max_pause > 0:
        pause = f"pauses for as long as a server that throttles asks, {seconds(policy.max_pause)}"
        pause = f"{pause} at most, all calls together"
    if policy.rate is None:
        return f"{pause}; it does not pace" if pause else "does nothing: no rate, and no pause"
    units = "call" if policy.cost == 1 and policy.actual is None else "unit"
    pace = f"lets {count(policy.rate, units)} pass in {seconds(policy.per)}"
    if policy.burst > 1:
        pace += f", up to {policy.burst:.10g} at once after a quiet time"
    if units == "unit":
        each = "what `cost` says" if callable(policy.cost) else f"{policy.cost:.10g}"
        settled = "" if policy.actual is None else ", settled afterwards by `actual`"
        pace += f"; a call takes {each}{settled}"
    if policy.max_wait == 0:
        wait = "it refuses what comes too early"
    else:
        wait = f"the others wait for their turn, {wait_words(policy.max_wait)}"
    return f"{pace}; {wait}" + (f"; {pause}" if pause else "")


@words.register
def load_shedder_words(policy: LoadShedder) -> str:
    """Tell of a load shedder."""
    return (
        f"refuses calls by chance, {100 * policy.max_reject:.4g} % of them at most, while less "
        f"than 1 in {policy.k:g} of those of the last {seconds(policy.window)} was accepted"
    )


@words.register
def fallback_words(policy: Fallback) -> str:
    """Tell of a fallback."""
    kinds = policy.on if isinstance(policy.on, tuple) else (policy.on,)
    names = " or ".join(kind.__name__ for kind in kinds)
    return f"answers where what runs inside raises {names}"


@words.register
def last_good_words(policy: LastGood) -> str:
    """Tell of a store of last good values."""
    old = "however old" if policy.ttl == inf else f"up to {seconds(policy.ttl)} old"
    return (
        f"serves what the same call returned last, {old}, where what runs inside fails; keeps "
        f"{count(policy.max_entries, 'value')} at most"
    )


@words.register
def keyed_words(policy: Keyed) -> str:
    """Tell of a policy for each key."""
    used = count(len(policy), "is", "are")
    return f"has a policy for each key; {used} in use"


@words.register
def bound_words(policy: Bound) -> str:
    """Tell of a view."""
    given = {name: value for name, value in policy._settings.items() if name != "timeout"}
    told = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
    once = policy._settings["idempotent"] is False
    effect = ": only what never reached the dependency is repeated" if once else ""
    return f"sets {told} on the call{effect}"


def wait_words(max_wait: float | None) -> str:
    """Return how long a call may wait for its turn."""
    if max_wait is None or max_wait == inf:
        return "as long as the timeouts around it allow"
    return f"{seconds(max_wait)} at most"


def _pauses(backoff: Backoff, attempts: int) -> str:
    longest = longest_pause(backoff)
    if longest is None:
        return f"with pauses by {backoff!r}"
    shown = [longest(failed) for failed in range(1, min(attempts, 4))]
    if shown[-1] == shown[0]:
        shown = shown[:1]
    more = ", …" if attempts > 4 and len(shown) > 1 else ""
    told = ", ".join(seconds(pause) for pause in shown) + more
    if not has_jitter(backoff):
        return f"with pauses of {told}" if any(shown) else "with no pause"
    jitter = backoff.jitter if isinstance(backoff, Exponential) else ""
    return f"with pauses of up to {told} ({jitter} jitter)"


def _budget(budget: RetryBudget | None) -> str:
    if budget is None:
        return "there is no budget"
    drip = "" if budget.floor == 0 else f" and one comes back every {1 / budget.floor:.4g} s"
    return (
        f"paid from a budget of {budget.capacity:g}: a success at the first attempt earns "
        f"{budget.ratio:g}{drip}"
    )
