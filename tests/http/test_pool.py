"""Finding connection pools, and repairing them; what the repair is worth is tested on sockets."""

from __future__ import annotations

import asyncio
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from seawall.http.pool import close_connections, repair
from seawall.http.pools import find_pools


class Wrapper:
    """A transport around others, however it keeps them."""

    def __init__(self, held: Any) -> None:
        self.held = held

    async def handle_async_request(self, request: Any) -> Any:
        return await self.held.handle_async_request(request)


class Slotted:
    __slots__ = ("empty", "held")

    def __init__(self, held: Any) -> None:
        self.held = held

    async def handle_async_request(self, request: Any) -> Any:
        return await self.held.handle_async_request(request)


class Connection:
    def __init__(self, *, idle: bool = False, closed: bool = False, broken: bool = False) -> None:
        self.idle = idle
        self.broken = broken
        self.closed = closed
        self.error: BaseException | None = None

    def is_idle(self) -> bool:
        return self.idle

    def is_available(self) -> bool:
        return self.idle and not self.broken

    def is_closed(self) -> bool:
        return self.closed

    async def aclose(self) -> None:
        self.closed = True
        if self.error is not None:
            raise self.error


def pool_of(entries: list[Any], connections: list[Connection]) -> SimpleNamespace:
    return SimpleNamespace(
        _requests=entries, _connections=connections, _assign_requests_to_connections=list
    )


def entry_of(extensions: dict[str, Any], connection: Connection | None) -> SimpleNamespace:
    return SimpleNamespace(request=SimpleNamespace(extensions=extensions), connection=connection)


def test_the_pool_is_found_beneath_wrapping_transports(client_module: ModuleType) -> None:
    """One attribute, a slot, a list or a dict of transports leads to the pools beneath."""
    transport = client_module.AsyncHTTPTransport()
    other = client_module.AsyncHTTPTransport()
    core = import_module(client_module.__name__.replace("httpx", "httpcore"))
    assert isinstance(transport._pool, core.AsyncConnectionPool)
    assert find_pools(transport) == ((transport._pool,),)
    assert find_pools(Wrapper(Slotted(transport))) == ((transport._pool,),)
    found = find_pools(Wrapper({"a": transport, "b": Wrapper([Wrapper(other), None, transport])}))
    assert {id(pool) for pools in found for pool in pools} == {id(transport._pool), id(other._pool)}


def test_what_has_no_pool_is_left_alone(client_module: ModuleType) -> None:
    """A mock, an object that holds itself and a plain object have no pools."""
    mock = client_module.MockTransport(lambda request: client_module.Response(200))
    circle = Wrapper(None)
    circle.held = circle
    assert find_pools(mock) == find_pools(circle) == find_pools(object()) == ()


def test_the_repair_takes_only_what_nobody_holds() -> None:
    """The attempt's own entry and orphans go, broken ones too; held, idle and closed ones stay."""
    mine: dict[str, Any] = {}
    orphan, held, idle, closed, broken = (
        Connection(),
        Connection(),
        Connection(idle=True),
        Connection(closed=True),
        Connection(idle=True, broken=True),
    )
    # Equal to the attempt's extensions, and yet another attempt's.
    neighbor = entry_of({}, held)
    pool = pool_of(
        [neighbor, entry_of(mine, orphan), entry_of({}, None)],
        [orphan, held, idle, closed, broken],
    )
    assert repair(pool, mine) == [orphan, broken]
    assert pool._connections == [held, idle, closed]
    assert neighbor in pool._requests
    assert len(pool._requests) == 2
    assert repair(pool, mine) == []


def test_a_pool_of_another_make_is_left_alone() -> None:
    """Where the private names mean something else, nothing is done and nothing is raised."""
    assert repair(pool_of([object()], []), {}) == []
    assert repair(object(), {}) == []


@pytest.mark.asyncio
async def test_each_connection_is_closed_whatever_happens_to_the_others() -> None:
    """An error is forgotten; an interruption is raised when all the others were closed."""
    connections = [Connection(), Connection(), Connection()]
    connections[0].error = KeyboardInterrupt()
    connections[1].error = OSError()
    with pytest.raises(KeyboardInterrupt):
        await close_connections(connections)
    assert all(connection.closed for connection in connections)


@pytest.mark.asyncio
async def test_closing_ends_where_nothing_can_be_awaited() -> None:
    """A coroutine that is closed in the middle of it goes on to no further connection."""

    class Slow(Connection):
        async def aclose(self) -> None:
            await asyncio.sleep(0)
            await super().aclose()

    connections = [Slow(), Slow()]
    closing = close_connections(connections)
    closing.send(None)
    closing.close()
    assert not any(connection.closed for connection in connections)
