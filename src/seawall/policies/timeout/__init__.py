"""A time limit for what runs inside."""

from seawall.policies.timeout.timeout import Timeout, ViewTimeout

__all__ = ["Timeout", "ViewTimeout"]
