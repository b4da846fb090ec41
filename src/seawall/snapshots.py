"""Snapshots: what ``snapshot()`` returns, for annotations."""

from seawall.core.snapshot import PipelineSnapshot, Snapshot
from seawall.policies.adaptive_limit.adaptive_limit import AdaptiveLimitSnapshot
from seawall.policies.bulkhead.snapshot import BulkheadSnapshot
from seawall.policies.circuit.snapshot import CircuitSnapshot
from seawall.policies.fallback import FallbackSnapshot
from seawall.policies.hedge import HedgeSnapshot
from seawall.policies.keyed import KeyedSnapshot
from seawall.policies.last_good import LastGoodSnapshot
from seawall.policies.load_shedder.load_shedder import LoadShedderSnapshot
from seawall.policies.rate_limiter.snapshot import RateLimiterSnapshot
from seawall.policies.retry.snapshot import RetrySnapshot
from seawall.policies.timeout.snapshot import TimeoutSnapshot

__all__ = [
    "AdaptiveLimitSnapshot",
    "BulkheadSnapshot",
    "CircuitSnapshot",
    "FallbackSnapshot",
    "HedgeSnapshot",
    "KeyedSnapshot",
    "LastGoodSnapshot",
    "LoadShedderSnapshot",
    "PipelineSnapshot",
    "RateLimiterSnapshot",
    "RetrySnapshot",
    "Snapshot",
    "TimeoutSnapshot",
]
