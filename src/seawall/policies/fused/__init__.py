"""Neighbouring policies of a pipeline as one step: which ones, and how they run."""

from seawall.policies.fused.linking import link_all, whole_row

__all__ = ["link_all", "whole_row"]
