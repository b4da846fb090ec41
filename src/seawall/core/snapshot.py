"""What a policy is doing now."""

from __future__ import annotations

from dataclasses import dataclass

from seawall.core.json_ready import JsonReady


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(JsonReady):
    """The state of one policy at one moment; taking it changes nothing.

    Counts are of the whole life of the policy.

    Attributes:
        policy: the class name of the policy.
        name: its name, if it has one.
    """

    policy: str
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSnapshot(Snapshot):
    """The state of a pipeline.

    Attributes:
        policies: one for each policy, the outermost first.
    """

    policies: tuple[Snapshot, ...]
