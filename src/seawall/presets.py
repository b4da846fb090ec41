"""Ready pipelines by kind of service, two that act like well-known libraries, and two formulas.

    from seawall import presets

    orders = presets.database(name="orders")

Each call of a preset makes a new pipeline with a circuit of its own: make one for each dependency,
once, not one for each call.
"""

from seawall.advice.equivalents import hystrix, resilience4j
from seawall.advice.formulas import failure_threshold, open_time
from seawall.advice.presets import (
    cache,
    database,
    internal_service,
    message_broker,
    ml_service,
    rest_api,
)

__all__ = [
    "cache",
    "database",
    "failure_threshold",
    "hystrix",
    "internal_service",
    "message_broker",
    "ml_service",
    "open_time",
    "resilience4j",
    "rest_api",
]
