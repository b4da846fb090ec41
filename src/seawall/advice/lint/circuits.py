"""Mistakes with the numbers of a circuit, and with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from seawall.advice.finding import Finding
from seawall.advice.formulas import open_time
from seawall.advice.totals import only_refusals
from seawall.core.verdict import Kind
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import CircuitBreaker
from seawall.policies.load_shedder import LoadShedder
from seawall.policies.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.advice.lint.facts import Facts
    from seawall.advice.onion import Onion

# Seconds that a circuit may stay open for a single failure: as long as a cache's in the presets.
_LONG: Final = 10.0
# Probes at a time beyond which they are no probes any more; Resilience4j's default.
_MANY: Final = 10


def check_single_failure(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW101: one failure opens it for long."""
    for _, breaker in onion.each(CircuitBreaker):
        open_for = breaker._circuit.open_for
        if open_for is None or open_for <= _LONG:
            continue
        if breaker._circuit.rule.start().record(Kind.FAILURE, 0.0, 0.0):
            yield Finding(
                code="SW101",
                sentence=f"a single failure opens it for {open_for:g} s",
                numbers={"failures": 1, "open_for": open_for},
                remedy="Wait for more evidence, as the default rule does, or open for less long",
                policy=breaker,
            )


def check_restart(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW102: it asks again while the dependency still starts."""
    restart = facts.restart_seconds
    if restart is None:
        return
    for _, breaker in onion.each(CircuitBreaker):
        open_for, longest = breaker._circuit.open_for, breaker._circuit.max_open_for
        if open_for is None or open_for >= restart or (longest is not None and longest >= restart):
            continue
        advised = open_time(restart, 0.0, 0.0)
        yield Finding(
            code="SW102",
            sentence=f"it is open for {open_for:g} s, but a restart takes {restart:g} s: it flaps",
            numbers={"open_for": open_for, "restart_seconds": restart, "advised": advised},
            remedy=f"Take open_for={advised:g}, twice the restart, or max_open_for={advised:g}",
            policy=breaker,
        )


def check_probes(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW103: half-open, it lets as many through as if it were closed."""
    usual = None
    if facts.requests_per_second is not None and facts.latency is not None:
        usual = facts.requests_per_second * facts.latency
    for _, breaker in onion.each(CircuitBreaker):
        probes = breaker._circuit.probes
        limit = min((bulkhead.limit for _, bulkhead in onion.each(Bulkhead)), default=None)
        if probes == 1:
            continue
        if limit is not None and probes >= limit:
            than = f"as many as the bulkhead ever does, {limit}"
        elif usual is not None and probes >= usual:
            than = f"as many as there usually are, {usual:.3g}"
        elif probes > _MANY:
            than = "a crowd for a dependency that has just come back"
        else:
            continue
        yield Finding(
            code="SW103",
            sentence=f"half-open, it lets {probes} calls through at a time, {than}",
            numbers={"probes": probes, "limit": limit, "usual": usual},
            remedy="Take probes=1; for more evidence take a higher close_after",
            policy=breaker,
        )


def check_retry_inside(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW107: it sees only what retries have given up on."""
    for place, layer in enumerate(onion.layers):
        if not isinstance(layer.policy, CircuitBreaker | LoadShedder):
            continue
        retries = [each for each in onion.inside(place, Retry) if each.attempts > 1]
        retries = [each for each in retries if not only_refusals(each)]
        if retries:
            attempts = retries[0].attempts
            yield Finding(
                code="SW107",
                sentence=f"it sees only calls that failed {attempts} times: a Retry is inside it",
                numbers={"attempts": attempts},
                remedy="Put it inside the Retry, so that it sees each call and ends the retries",
                policy=layer.policy,
            )


def check_lease(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW108: a probe loses its place before it can be answered."""
    for _, breaker in onion.each(CircuitBreaker):
        lease = breaker._circuit.probe_lease
        if lease is not None and facts.latency is not None and lease <= facts.latency:
            yield Finding(
                code="SW108",
                sentence=(
                    f"a probe makes room for the next after {lease:g} s, before its answer, which "
                    f"takes {facts.latency:g} s"
                ),
                numbers={"probe_lease": lease, "latency": facts.latency},
                remedy="Leave probe_lease out, or take several times the latency",
                policy=breaker,
            )


CIRCUIT_CHECKS: Final = (
    check_single_failure,
    check_restart,
    check_probes,
    check_retry_inside,
    check_lease,
)
