"""A limit on how many calls run at a time."""

from seawall.policies.bulkhead.bulkhead import Bulkhead

__all__ = ["Bulkhead"]
