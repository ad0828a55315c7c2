"""What the cluster's feature level does not have yet is refused by name, before it gets into the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matchengine.errors import NotLeaderError, RefusedError
from matchengine.levels import Levels

if TYPE_CHECKING:
    from matchengine.runtime.node import Node


def require_level(node: Node, what: str, *, library: int = 0, machine: int = 0) -> None:
    """Raise RefusedError unless the cluster's feature level has ``what``, a noun that clients read.

    A node that does not lead may know an older level than the one in force, so it raises NotLeaderError instead, and
    its client asks the leader.
    """
    needed, active = Levels(library, machine), node.feature_levels.active
    if active is not None and active.covers(needed):
        return
    if active is None:
        raise RefusedError(f"{what}: this cluster has no feature levels, because its commands carry no client sessions")
    if not node.is_leader:
        raise NotLeaderError(node.leader_id, node.leader_address)
    raise RefusedError(
        f"{what}: this needs feature level {needed}, and the cluster is at {active}; "
        "`matchengine cluster upgrade` raises it once every member runs a program that is new enough"
    )
