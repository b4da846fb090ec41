"""A time limit for what runs inside."""

from seawall.policies.timeout.timeout import Timeout, TimeoutSnapshot, ViewTimeout

__all__ = ["Timeout", "TimeoutSnapshot", "ViewTimeout"]
