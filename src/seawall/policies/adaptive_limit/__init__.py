"""A limit that finds out how many calls a dependency takes: a pure estimate, and the policy."""

from seawall.policies.adaptive_limit.adaptive_limit import AdaptiveLimit

__all__ = ["AdaptiveLimit"]
