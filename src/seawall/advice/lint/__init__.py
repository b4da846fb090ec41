"""Find what is likely to be wrong with a pipeline.

A check is a function of an onion and of the facts that yields findings. It is sure of what it says:
what it cannot know (a fact that was not given, the policies of a key that is not in use) it does
not hold against a pipeline. ``docs/lint.md`` has a section for each code.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from seawall.advice.lint.circuits import CIRCUIT_CHECKS
from seawall.advice.lint.facts import Facts
from seawall.advice.lint.fallbacks import FALLBACK_CHECKS
from seawall.advice.lint.hedges import HEDGE_CHECKS
from seawall.advice.lint.limits import LIMIT_CHECKS
from seawall.advice.lint.rates import RATE_CHECKS
from seawall.advice.lint.retries import RETRY_CHECKS
from seawall.advice.lint.rules import RULE_CHECKS
from seawall.advice.lint.sharing import SHARING_CHECKS, check_shared
from seawall.advice.lint.shedders import SHEDDER_CHECKS
from seawall.advice.lint.timeouts import TIMEOUT_CHECKS
from seawall.advice.onion import onions

if TYPE_CHECKING:
    from seawall.advice.finding import Finding
    from seawall.advice.onion import Onion
    from seawall.core.policy import Policy

__all__ = ["Facts", "lint"]

_CHECKS: Final = (
    *CIRCUIT_CHECKS,
    *RULE_CHECKS,
    *TIMEOUT_CHECKS,
    *RETRY_CHECKS,
    *HEDGE_CHECKS,
    *LIMIT_CHECKS,
    *RATE_CHECKS,
    *SHEDDER_CHECKS,
    *FALLBACK_CHECKS,
    *SHARING_CHECKS,
)


def lint(policy: Policy, facts: Facts) -> tuple[Finding, ...]:
    """Return what is likely to be wrong with a policy and those in it.

    What is wrong with the policies of many keys in the same way is found once.
    """
    found: dict[tuple[str, str, int], Finding] = {}
    met = onions(policy, facts.keys)
    shared = list(check_shared(met, facts))
    for onion in met:
        findings = [finding for check in _CHECKS for finding in check(onion, facts)]
        findings += [finding for finding in shared if _place(finding, onion) >= 0]
        findings.sort(key=lambda finding: (_place(finding, onion), finding.code))
        alike: Counter[tuple[str, str]] = Counter()
        for finding in findings:
            what = finding.code, finding.sentence
            found.setdefault((*what, alike[what]), finding)
            alike[what] += 1
    return tuple(found.values())


def _place(finding: Finding, onion: Onion) -> int:
    for place, layer in enumerate(onion.layers):
        if layer.policy is finding.policy:
            return place
    return -1
