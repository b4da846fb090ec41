"""A quota: 100 clients ask for more than the server allows, and it says when to come back.

The server has a token bucket. What finds it empty is answered 429, with the whole seconds until it
has anything again in ``Retry-After``. For ten seconds it has nothing for anybody. What it allows
in all is the bound: who asks each time is served that much too, but by not doing as he is told, and
a server that also counts what it refuses then serves him nothing.
"""

from __future__ import annotations

import random as chance
from asyncio import TaskGroup, get_running_loop, sleep
from math import ceil, inf
from random import Random
from types import SimpleNamespace

import pytest

from seawall import CallTimeoutError, Keyed, Pipeline, RateLimiter, RejectedError, Retry, Timeout
from tests.effectiveness.loop import run
from tests.effectiveness.rows import means

ATTEMPT, TOTAL = 10.0, 30.0
THINK, LATENCY = 0.5, 0.02
END, CLOSED_FROM, CLOSED_UNTIL = 120.0, 30.0, 40.0
SEEDS = (1, 2, 3)
OTHER_SEEDS = (61, 62, 63)

pytestmark = pytest.mark.slow


class TooManyRequests(Exception):
    """A response with the status 429, as clients raise it."""

    status_code = 429

    def __init__(self, retry_after):
        headers = {"Retry-After": str(retry_after)}
        self.response = SimpleNamespace(status_code=429, headers=headers)


class QuotaServer:
    """Serves ``rate`` requests a second, and up to ``size`` more at once.

    Args:
        counts_all: whether what it refuses is taken from the bucket too.

    Attributes:
        sent: the times of all requests.
        early: how many of them came while an answer had already said that it was too early.
    """

    def __init__(self, random, rate, size, *, counts_all=False):
        self.sent, self.early = [], 0
        self._random, self._rate, self._size, self._counts_all = random, rate, size, counts_all
        self._tokens, self._at = float(size), 0.0
        self._told_until = -inf

    async def __call__(self):
        loop = get_running_loop()
        now = loop.time()
        self.sent.append(now)
        self.early += now < self._told_until
        retry_after = self._take(now)
        await sleep(LATENCY * self._random.uniform(0.5, 1.5))
        if retry_after:
            self._told_until = max(self._told_until, loop.time() + retry_after)
            raise TooManyRequests(retry_after)

    def _take(self, now):
        """Take a token, or return the seconds after which there is one."""
        open_since = CLOSED_UNTIL if now >= CLOSED_UNTIL > self._at else self._at
        gained = 0.0 if CLOSED_FROM <= now < CLOSED_UNTIL else (now - open_since) * self._rate
        self._tokens, self._at = min(self._size, self._tokens + gained), now
        if CLOSED_FROM <= now < CLOSED_UNTIL:
            self._tokens = min(self._tokens, 0.0)
            return ceil(CLOSED_UNTIL - now)
        # A rounding error is not worth a second of silence.
        if self._tokens >= 1 - 1e-6:
            self._tokens -= 1
            return 0
        if self._counts_all:
            self._tokens -= 1
        return ceil((1 - self._tokens) / self._rate)


def no_policy(rate, size):
    return Timeout(ATTEMPT)


def standard(rate, size):
    return Pipeline.standard()


def obeying(rate, size):
    return Pipeline(Timeout(TOTAL), Retry(3), RateLimiter(None), Timeout(ATTEMPT))


def limited(rate, size):
    limiter = RateLimiter(rate, burst=min(size, 5))
    return Pipeline(Timeout(TOTAL), Retry(3), limiter, Timeout(ATTEMPT))


def by_key(rate, size):
    limiters = Keyed(lambda key: RateLimiter(rate, burst=min(size, 5)), key=lambda: "key")
    return Pipeline(Timeout(TOTAL), Retry(3), limiters, Timeout(ATTEMPT))


def throttle(make, seeds, *, rate=50, clients=100, size=10, processes=1, counts_all=False):
    """Let clients ask until the end; each thinks a while after each call, served or not."""
    rows = []
    for seed in seeds:
        chance.seed(seed)
        server = QuotaServer(Random(f"server {seed}"), rate, size, counts_all=counts_all)
        policies = [make(rate / processes, max(1, size // processes)) for _ in range(processes)]
        ended = {"served": 0, "throttled": 0, "refused": 0, "ended": 0}

        async def client(number):
            random, loop = Random(f"client {seed} {number}"), get_running_loop()
            policy = policies[number % processes]
            await sleep(random.random())
            while loop.time() < END:
                try:
                    await policy.execute(server)
                except TooManyRequests:
                    outcome = "throttled"
                except RejectedError:
                    outcome = "refused"
                except CallTimeoutError:
                    outcome = "ended"
                else:
                    outcome = "served"
                if loop.time() < END:
                    ended[outcome] += 1
                await sleep(random.expovariate(1 / THINK))

        async def main():
            async with TaskGroup() as group:
                for number in range(clients):
                    group.create_task(client(number))

        run(main())
        allowed = rate * (END - (CLOSED_UNTIL - CLOSED_FROM)) + size
        sent = sum(when < END for when in server.sent)
        row = {"of the quota": ended["served"] / allowed, "early": server.early}
        row |= {"sent for each": sent / max(1, ended["served"])}
        rows.append(row | {name: ended[name] for name in ("throttled", "refused", "ended")})
    means(f"{make.__name__}, {clients} clients on a quota of {rate}/s", seeds, rows)
    return rows


@pytest.mark.parametrize("make", [limited, by_key])
@pytest.mark.parametrize(
    "seeds, settings",
    [
        (SEEDS, {}),
        (SEEDS, {"counts_all": True}),
        (OTHER_SEEDS, {"size": 50}),
        (OTHER_SEEDS, {"rate": 20, "clients": 40, "counts_all": True}),
        (OTHER_SEEDS, {"rate": 200, "clients": 400, "size": 2}),
    ],
)
def test_the_quota_is_used_and_the_server_obeyed(make, seeds, settings):
    """At least .95 of what is allowed is served, nothing is sent too early, and nobody gives up."""
    for row in throttle(make, seeds, **settings):
        assert row["of the quota"] >= 0.95
        assert row["early"] == 0
        assert row["sent for each"] <= 1.01
        assert row["throttled"] == row["refused"] == row["ended"] == 0


def test_processes_that_share_a_quota():
    """Each with its part of the rate: too early is only what others send who were not told yet."""
    for row in throttle(limited, SEEDS, processes=4, counts_all=True):
        assert row["of the quota"] >= 0.95
        assert row["early"] <= 50
        assert row["throttled"] == row["refused"] == row["ended"] == 0


@pytest.mark.parametrize("make, early", [(no_policy, 20_000), (standard, 10_000)])
def test_without_a_limiter_it_is_not_obeyed(make, early):
    """Each asks as if nobody else had been told: served as much, or nothing where that counts."""
    for row in throttle(make, SEEDS):
        assert row["of the quota"] >= 0.95
        assert row["early"] > early
        assert row["sent for each"] > 2.5
        assert row["throttled"] > 1000
    for row in throttle(make, SEEDS, counts_all=True):
        assert row["of the quota"] < 0.05


def test_who_only_obeys_does_not_pace():
    """Nothing is sent too early; but after a pause all go at once, and most meet the next 429."""
    for row in throttle(obeying, SEEDS):
        assert row["early"] == 0
        assert row["of the quota"] < 0.5
        assert row["throttled"] > 1000
