"""Linearizable reads of a node's state machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matchengine.errors import BusyError

if TYPE_CHECKING:
    from matchengine.runtime.node import Node


async def reach_read_index(node: Node) -> int:
    """Wait until ``node.machine`` may be read, and return the applied index that the read stands for.

    The read must follow without an ``await`` between.  Raises NotLeaderError without a reachable
    leader, and BusyError while a snapshot from the leader replaces the machine's state.
    """
    index = await node.read_index()
    require_readable(node)
    return index


def require_readable(node: Node) -> None:
    """Raise BusyError while a worker thread is replacing the machine's state."""
    if not node.machine_is_readable:
        raise BusyError("the state is being replaced by a snapshot from the leader; retry later")
