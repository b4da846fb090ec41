"""The loops that are timed: one call per turn, nothing else."""

from __future__ import annotations


class DependencyError(ConnectionError):
    """What the failing function raises."""


class RefusalError(Exception):
    """What the base of a refusal raises: an exception that carries a message."""


async def answer():
    return "answer"


async def one_item():
    yield "item"


def iterated(generator):
    async def run(count):
        for _ in range(count):
            async for _item in generator():
                pass

    return run


def got(client, url="http://127.0.0.1/"):
    async def run(count):
        for _ in range(count):
            response = await client.get(url)
            assert response.text == "answer"

    return run


def awaited(function):
    async def run(count):
        for _ in range(count):
            await function()

    return run


def raised_in_place():
    async def run(count):
        for _ in range(count):
            try:
                raise RefusalError("the circuit is open")
            except RefusalError:
                pass

    return run


def raised_by_function():
    def refuse():
        raise RefusalError("the circuit is open")

    async def run(count):
        for _ in range(count):
            try:
                refuse()
            except RefusalError:
                pass

    return run


def raised_through_await():
    async def refuse():
        raise RefusalError("the circuit is open")

    return refused(refuse, RefusalError)


def refused(function, error):
    async def run(count):
        for _ in range(count):
            try:
                await function()
            except error:
                pass

    return run


class FailingDependency:
    """Fails, and counts how often it was reached."""

    def __init__(self):
        self.reached = 0

    async def __call__(self):
        self.reached += 1
        raise DependencyError("the dependency is down")


async def open_circuit(build):
    """Call what fails until the circuit opens by itself; return the refusing call and its error."""
    dependency = FailingDependency()

    async def fail():
        await dependency()

    function = build(fail)
    for _ in range(100):
        reached = dependency.reached
        try:
            await function()
        except Exception as error:
            if dependency.reached == reached:
                return function, type(error)
    raise AssertionError("the circuit never opened")


async def prove_retry(build):
    """Two failures and then the answer: a stack that does not give it retries nothing."""
    left = 2

    async def flaky():
        nonlocal left
        if left:
            left -= 1
            raise DependencyError("the dependency is down")
        return await answer()

    assert await build(flaky)() == "answer"
