"""What ``explain()`` and ``lint()`` return, for annotations."""

from seawall.advice.explanation import Explanation
from seawall.advice.finding import Finding

__all__ = ["Explanation", "Finding"]
