"""Hedges: further attempts beside one that takes too long."""

from seawall.policies.hedge.hedge import Hedge, HedgeSnapshot
from seawall.policies.hedge.percentile import Percentile

__all__ = ["Hedge", "HedgeSnapshot", "Percentile"]
