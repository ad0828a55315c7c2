"""The standard health service: this process always, the application's services on the leader only.

Load balancers and gRPC clients with a health-check configuration so find the leader by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import grpc
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

if TYPE_CHECKING:
    from matchengine.runtime.node import Node

#: Name under which HashiCorp Raft nodes report leadership.
LEADER: Final = "quis.RaftLeader"


class LeaderHealth:
    """Keeps the health of ``names`` equal to the node's leadership."""

    def __init__(self, node: Node, servicer: health.aio.HealthServicer, names: Sequence[str]) -> None:
        self._node = node
        self._servicer = servicer
        self._names = (LEADER, *names)
        self._turn = asyncio.Lock()
        self._updates: set[asyncio.Task[None]] = set()
        node.on_leadership(self._changed)
        self._changed(node.is_leader)

    def _changed(self, _leading: bool) -> None:
        update = asyncio.create_task(self._update())
        self._updates.add(update)
        update.add_done_callback(self._updates.discard)

    async def _update(self) -> None:
        # What counts is the node's standing when the update's turn comes, not when it was asked for.
        async with self._turn:
            leading = self._node.is_leader
            status = HealthCheckResponse.SERVING if leading else HealthCheckResponse.NOT_SERVING
            for name in self._names:
                await self._servicer.set(name, status)


def add_health(node: Node, server: grpc.aio.Server, names: Sequence[str]) -> Sequence[str]:
    """Serve the health of this process and of ``names``."""
    servicer = health.aio.HealthServicer()
    add_HealthServicer_to_server(servicer, server)
    LeaderHealth(node, servicer, names)
    return (health.SERVICE_NAME,)
