"""Retries that add load where there is too much of it."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Final

from seawall.advice.finding import Finding
from seawall.advice.pauses import has_jitter, longest
from seawall.advice.totals import only_refusals
from seawall.policies.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.advice.lint.facts import Facts
    from seawall.advice.onion import Onion


def check_nested(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW301: retries inside of retries multiply."""
    retries = list(_repeating(onion))
    if len(retries) > 1:
        attempts = [retry.attempts for retry in retries]
        product = prod(attempts)
        yield Finding(
            code="SW301",
            sentence=f"with the retries inside it {' × '.join(map(str, attempts))} = {product} "
            "attempts are made",
            numbers={"attempts": product, "retries": tuple(attempts)},
            remedy="Retry in one place only, best in the outermost",
            policy=retries[0],
        )


def check_budget(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW302: nothing bounds the retries while everything fails."""
    for retry in _repeating(onion):
        if retry.budget is None:
            yield Finding(
                code="SW302",
                sentence=f"while everything fails it makes {retry.attempts} times the load: "
                "there is no budget",
                numbers={"attempts": retry.attempts},
                remedy="Leave budget=None out: by default it has a budget of its own",
                policy=retry,
            )


def check_pauses(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW303: it tries again at once."""
    for retry in _repeating(onion):
        if longest(retry.backoff, retry.attempts - 1) == 0:
            yield Finding(
                code="SW303",
                sentence=f"it makes {retry.attempts} attempts without a pause between them",
                numbers={"attempts": retry.attempts, "pauses": 0.0},
                remedy="Leave backoff out, or take exponential(0.1)",
                policy=retry,
            )


def check_jitter(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW304: clients that failed together come back together."""
    if facts.clients is None or facts.clients == 1:
        return
    for retry in _repeating(onion):
        pauses = longest(retry.backoff, retry.attempts - 1)
        if pauses > 0 and has_jitter(retry.backoff) is False:
            yield Finding(
                code="SW304",
                sentence=f"its pauses have no jitter, so {facts.clients} clients that failed "
                "together come back together",
                numbers={"clients": facts.clients, "pauses": pauses},
                remedy="Take exponential(0.1), which has full jitter",
                policy=retry,
            )


def _repeating(onion: Onion) -> Iterator[Retry]:
    """Yield the retries that may add load to a dependency."""
    for _, retry in onion.each(Retry):
        if retry.attempts > 1 and not only_refusals(retry):
            yield retry


RETRY_CHECKS: Final = (check_nested, check_budget, check_pauses, check_jitter)
