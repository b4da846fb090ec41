"""A limit on how much is called per unit of time."""

from seawall.policies.rate_limiter.limiter import RateLimiter

__all__ = ["RateLimiter"]
