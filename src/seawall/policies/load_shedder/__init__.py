"""Refusing a share of the calls while a dependency refuses or fails most: the ratio, the policy."""

from seawall.policies.load_shedder.load_shedder import LoadShedder

__all__ = ["LoadShedder"]
