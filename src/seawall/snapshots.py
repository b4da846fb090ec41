"""Snapshots: what ``snapshot()`` returns, for annotations."""

from seawall.core.snapshot import PipelineSnapshot, Snapshot
from seawall.policies.bulkhead import BulkheadSnapshot
from seawall.policies.circuit.snapshot import CircuitSnapshot
from seawall.policies.fallback import FallbackSnapshot
from seawall.policies.hedge import HedgeSnapshot
from seawall.policies.keyed import KeyedSnapshot
from seawall.policies.last_good import LastGoodSnapshot
from seawall.policies.retry.retry import RetrySnapshot
from seawall.policies.timeout import TimeoutSnapshot

__all__ = [
    "BulkheadSnapshot",
    "CircuitSnapshot",
    "FallbackSnapshot",
    "HedgeSnapshot",
    "KeyedSnapshot",
    "LastGoodSnapshot",
    "PipelineSnapshot",
    "RetrySnapshot",
    "Snapshot",
    "TimeoutSnapshot",
]
