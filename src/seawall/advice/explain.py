"""Say what a pipeline does."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from seawall.advice.explanation import Explanation
from seawall.advice.onion import onion
from seawall.advice.totals import around, totals_of
from seawall.advice.words import count, seconds, words
from seawall.core.bound import Bound
from seawall.core.checks import check_number
from seawall.core.policy import Policy
from seawall.policies.fallback import Fallback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.advice.onion import Layer, Onion
    from seawall.advice.totals import Totals


def explain(
    policy: Policy, *, key: Any = None, requests_per_second: float | None = None
) -> Explanation:
    """Return in words what a policy and those in it do; see :meth:`seawall.Pipeline.explain`."""
    check_number("requests_per_second", requests_per_second, above=0, optional=True)
    met = onion(policy, key)
    totals = totals_of(met.layers)
    extra = sum(totals.drips.values())
    spent = float(totals.spent)
    if requests_per_second is not None:
        spent = min(float(totals.load), spent + extra / requests_per_second)
    return Explanation(
        title=_title(policy),
        lines=tuple([_line(layer) for layer in met.layers])
        or ("nothing: it only runs the function",),
        worst_case=totals.seconds,
        attempts=totals.attempts,
        load=float(totals.load),
        load_with_budget=spent,
        extra_per_second=extra,
        totals=(_duration(totals), _attempts(totals), _load(totals, spent, extra)),
        notes=tuple(_notes(met)),
    )


def _title(policy: Policy) -> str:
    kind = "view" if isinstance(policy, Bound) else type(policy).__name__
    return kind if policy.name is None else f"{kind} {policy.name!r}"


def _line(layer: Layer) -> str:
    policy = layer.policy
    indent = "  " * layer.depth
    name = "" if policy.name is None else f" {policy.name!r}"
    kind = "bind" if isinstance(policy, Bound) else policy._shown_as or type(policy).__name__
    unseen = ", and explain(key=...) shows one" if layer.is_hidden else ""
    return f"{indent}{kind}{name}: {words(policy)}{unseen}"


def _duration(totals: Totals) -> str:
    if totals.seconds == inf:
        return "duration: no limit, for nothing ends a call that hangs or waits"
    text = f"duration: {seconds(totals.seconds)} at most"
    cut_by, uncut = totals.cut_by, totals.uncut
    if cut_by is None or uncut is None or uncut == inf or totals.seconds != cut_by.seconds:
        return text
    return f"{text}, by the timeout; without it {uncut:.4g} s"


def _attempts(totals: Totals) -> str:
    return f"attempts: {totals.attempts}{'' if totals.attempts == 1 else ' at most'}"


def _load(totals: Totals, spent: float, extra: float) -> str:
    text = f"load while everything fails: {totals.load} × the calls"
    if not totals.drips:
        return text
    text += f" until the budget is empty, then {spent:.4g} ×"
    if extra == 0 or spent != totals.spent:
        return text
    return f"{text} and {count(round(60 * extra, 3), 'attempt')} a minute"


def _notes(met: Onion) -> Iterator[str]:
    for layer in met.layers:
        policy = layer.policy
        name = type(policy).__name__
        if layer.is_hidden:
            yield f"what the policies of the keys of {name} do"
        elif isinstance(policy, Fallback) and policy._function is not None:
            yield f"the time and the calls of the function of {name}"
        elif words.dispatch(type(policy)) is words.dispatch(Policy) and (
            around.dispatch(type(policy)) is around.dispatch(Policy)
        ):
            yield f"what {name} adds: it is taken to run what is inside it once"
