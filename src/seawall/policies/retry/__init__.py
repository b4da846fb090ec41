"""Retries, their backoff and their budget."""

from seawall.core.budget import RetryBudget
from seawall.policies.retry.backoff import constant, exponential, linear
from seawall.policies.retry.retry import Retry

__all__ = ["Retry", "RetryBudget", "constant", "exponential", "linear"]
