from __future__ import annotations

from resilix import CircuitBreaker, protect

from benchmarks.overhead.peers import BASE, OPEN_FOR, TRANSIENT, Peer


def make_retry():
    return protect.when(
        TRANSIENT, retry=3, delay=BASE, backoff="exponential", jitter=True, max_delay=10.0
    )


def breaker(function):
    return CircuitBreaker(reset_timeout=OPEN_FOR)(function)


def inner(function):
    """Bulkhead and timeout merge into one wrapper, as its documentation says."""
    return protect.bulkhead(100, wait=False)(protect.timeout(10.0)(function))


def four(function):
    return make_retry()(breaker(inner(function)))


def five(function):
    return protect.limits(deadline=30.0)(four(function))


def merged_four(function):
    return breaker(make_retry()(inner(function)))


def merged_five(function):
    return breaker(protect.limits(deadline=30.0)(make_retry()(inner(function))))


PEER = Peer(
    name="resilix",
    distributions=("resilix",),
    policies="all four",
    composition="`protect.when(retry=3)` on a `CircuitBreaker` on merged `protect.bulkhead` and "
    "`protect.timeout`; the fifth is `protect.limits(deadline=)`",
    timeout=protect.timeout(10.0),
    retry=make_retry(),
    breaker=breaker,
    bulkhead=lambda function: protect.bulkhead(100, wait=False)(function),
    fallback=lambda function: protect.when(Exception, return_="fallback")(function),
    four=four,
    five=five,
)

MERGED = Peer(
    name="resilix, merged",
    distributions=("resilix",),
    policies="all four, in another order",
    composition="its breaker outside, everything else merged into one wrapper: faster, but a slot "
    "is held while it backs off, and the breaker counts calls, not attempts",
    four=merged_four,
    five=merged_five,
)
