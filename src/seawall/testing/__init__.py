"""Servers that fail on purpose, for tests of whoever calls them: ``seawall[testing]``."""

from seawall.testing import faults, steps
from seawall.testing.answer import Answer, event_stream
from seawall.testing.exchange import Exchange
from seawall.testing.fault import Fault, Step
from seawall.testing.request import Request
from seawall.testing.server import FaultServer

__all__ = [
    "Answer",
    "Exchange",
    "Fault",
    "FaultServer",
    "Request",
    "Step",
    "event_stream",
    "faults",
    "steps",
]
