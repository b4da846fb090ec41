"""The two clients and their settings: the only difference between the two sides of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from seawall import CircuitBreaker, Pipeline, Retry, Timeout
from seawall.httpx import ResilientTransport

if TYPE_CHECKING:
    from collections.abc import Callable

ALONE = "alone"
BEHIND_SEAWALL = "seawall"

TITLES = {ALONE: "httpx alone", BEHIND_SEAWALL: "httpx behind seawall"}
SETTINGS = {
    ALONE: "AsyncClient() as it comes: timeout 5 s, 100 connections",
    BEHIND_SEAWALL: "the same behind Timeout(5), Retry(3), CircuitBreaker(), Timeout(1)",
}


@dataclass(frozen=True, slots=True)
class Side:
    """A client, and the state of its circuit if it has one."""

    client: httpx.AsyncClient
    circuit: Callable[[], str]


def alone() -> Side:
    """The client as it comes."""
    return Side(httpx.AsyncClient(), lambda: "none")


def behind_seawall() -> Side:
    """The same client, behind a pipeline with one circuit."""
    breaker = CircuitBreaker()
    policy = Pipeline(Timeout(5.0), Retry(3), breaker, Timeout(1.0))
    client = httpx.AsyncClient(transport=ResilientTransport(policy))
    return Side(client, lambda: breaker.state.value)


SIDES = {ALONE: alone, BEHIND_SEAWALL: behind_seawall}
