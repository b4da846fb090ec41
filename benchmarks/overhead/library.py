"""seawall itself, with its defaults wherever a peer's would do."""

from __future__ import annotations

from benchmarks.overhead.peers import BASE, OPEN_FOR


class Library:
    """The policies of one copy of the library: a comparison has two of them side by side."""

    def __init__(self, seawall):
        self.seawall = seawall

    def retry(self):
        return self.seawall.Retry(3, backoff=self.seawall.exponential(BASE))

    def breaker(self):
        return self.seawall.CircuitBreaker()

    def bulkhead(self):
        return self.seawall.Bulkhead(100)

    def timeout(self):
        return self.seawall.Timeout(10.0)

    def fallback(self):
        return self.seawall.Fallback(value="fallback")

    def four(self, *, breaker=None, bulkhead=None, timeout=None):
        return self.seawall.Pipeline(
            self.retry(),
            breaker or self.breaker(),
            bulkhead or self.bulkhead(),
            timeout or self.timeout(),
        )

    def five(self):
        return self.seawall.Pipeline(
            self.seawall.Timeout(30.0),
            self.retry(),
            self.breaker(),
            self.bulkhead(),
            self.timeout(),
        )

    def three(self):
        return self.seawall.Pipeline(self.breaker(), self.bulkhead(), self.timeout())

    def refusing_breaker(self):
        # The default would be half-open after a second, and each refusal a call.
        return self.seawall.CircuitBreaker(open_for=OPEN_FOR)

    def refusing_four(self):
        return self.four(breaker=self.refusing_breaker())


def executed(policy, function):
    async def run(count):
        for _ in range(count):
            await policy.execute(function)

    return run


def executed_once(policy, function):
    """A coroutine object in place of a function: it runs once, so each call makes one."""

    async def run(count):
        for _ in range(count):
            await policy.execute(function())

    return run


def refused(policy, function, error):
    async def run(count):
        for _ in range(count):
            try:
                await policy.execute(function)
            except error:
                pass

    return run


def refused_block(policy, function, error):
    async def run(count):
        for _ in range(count):
            try:
                async with policy:
                    await function()
            except error:
                pass

    return run


def block(policy, function):
    async def run(count):
        for _ in range(count):
            async with policy:
                await function()

    return run


def loop(policy, function):
    async def run(count):
        for _ in range(count):
            async for attempt in policy:
                async with attempt:
                    await function()

    return run


def streamed(policy, generator):
    async def run(count):
        for _ in range(count):
            async for _item in policy.stream(generator):
                pass

    return run
