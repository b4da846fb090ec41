from __future__ import annotations

import random

from grit import breaker, bulkhead, fallback, policy, retry, timeout

from benchmarks.overhead.peers import BASE, OPEN_FOR, TRANSIENT, Peer


def wait(attempt):
    # Its own `jitter` only adds to a delay; any function of the attempt will do.
    return random.uniform(0.0, min(10.0, BASE * 2.0 ** (attempt - 1)))


def make_retry():
    return retry(tries=3, on=TRANSIENT, wait=wait)


def make_breaker():
    return breaker(reset_after=OPEN_FOR)


def four(function):
    return policy(make_retry(), make_breaker(), bulkhead(100), timeout(10.0))(function)


def five(function):
    layers = (timeout(30.0), make_retry(), make_breaker(), bulkhead(100), timeout(10.0))
    return policy(*layers)(function)


PEER = Peer(
    name="grit-toolkit",
    distributions=("grit-toolkit",),
    policies="all four",
    composition="`policy(retry, breaker, bulkhead, timeout)`, decorated once; the bulkhead waits "
    "when full, which is its faster form; the fifth is another `timeout`",
    timeout=timeout(10.0),
    retry=lambda function: make_retry()(function),
    breaker=lambda function: make_breaker()(function),
    bulkhead=lambda function: bulkhead(100)(function),
    fallback=fallback("fallback"),
    four=four,
    five=five,
)
