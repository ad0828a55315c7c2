"""What nodes say to each other beyond Raft, and what they say about themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc

from matchengine.levels import MAX_LEVEL, Levels
from matchengine.service.errors import InvalidArgumentError, UnsupportedError, unary
from matchengine.state_machine import Hashable
from matchengine.v1 import cluster_pb2
from matchengine.v1.cluster_pb2_grpc import (
    ClusterServicer,
    PeerServicer,
    add_ClusterServicer_to_server,
    add_PeerServicer_to_server,
)

if TYPE_CHECKING:
    from matchengine.runtime.node import Node

PEER_SERVICE: Final = "matchengine.v1.Peer"
CLUSTER_SERVICE: Final = "matchengine.v1.Cluster"
_STATM: Final = Path("/proc/self/statm")


class PeerService(PeerServicer):
    """See ``proto/matchengine/v1/cluster.proto``."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @unary
    async def ReadIndex(self, _request: cluster_pb2.ReadIndexRequest) -> cluster_pb2.ReadIndexResponse:
        """A follower asks for a point from which its reads are linearizable."""
        return cluster_pb2.ReadIndexResponse(index=await self._node.confirm_read_index())


class ClusterService(ClusterServicer):
    """See ``proto/matchengine/v1/cluster.proto``."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @unary
    async def Status(self, request: cluster_pb2.StatusRequest) -> cluster_pb2.StatusResponse:
        """This node's standing; the state hash belongs to exactly ``applied_index``."""
        applied, state_hash = await self._state_hash() if request.state_hash else (None, b"")
        status = await self._node.status()
        levels = self._node.feature_levels
        return cluster_pb2.StatusResponse(
            id=status.id,
            address=status.address,
            role="shutdown" if status.is_shut_down else status.role.name.lower(),
            term=status.term,
            leader_id=status.leader_id,
            leader_address=status.leader_address,
            first_index=status.first_index,
            last_index=status.last_index,
            commit_index=status.commit_index,
            applied_index=status.applied if applied is None else applied,
            snapshot_index=status.snapshot_index,
            state_hash=state_hash,
            fsync_us=status.fsync_us,
            terms_seen=status.terms_seen,
            resident_bytes=_resident_bytes(),
            last_contact_ms=status.last_contact_ms,
            active_levels=_wire_levels(levels.active),
            newest_levels=_wire_levels(levels.newest),
        )

    @unary
    async def Upgrade(self, request: cluster_pb2.UpgradeRequest) -> cluster_pb2.UpgradeResponse:
        """Raise the cluster's feature levels, once every member can execute them."""
        asked = _levels_of(request.levels) if request.HasField("levels") else None
        done = await self._node.feature_levels.upgrade(asked, dry_run=request.dry_run)
        members = [
            cluster_pb2.MemberLevels(id=member.id, address=member.address, newest=_wire_levels(member.newest))
            for member in done.members
        ]
        return cluster_pb2.UpgradeResponse(
            before=_wire_levels(done.before), after=_wire_levels(done.after), index=done.index, members=members
        )

    async def _state_hash(self) -> tuple[int, bytes]:
        """The applied index with its state hash."""
        machine = self._node.machine
        if not isinstance(machine, Hashable):
            raise UnsupportedError(f"state_hash: {type(machine).__name__} has no state hash")
        return await self._node.examine(machine.state_hash)


def _levels_of(message: cluster_pb2.FeatureLevels) -> Levels:
    for field, value in (("levels.library", message.library), ("levels.machine", message.machine)):
        if value > MAX_LEVEL:
            raise InvalidArgumentError(f"{field}: {value} is above {MAX_LEVEL}")
    return Levels(message.library, message.machine)


def _wire_levels(levels: Levels | None) -> cluster_pb2.FeatureLevels | None:
    return None if levels is None else cluster_pb2.FeatureLevels(library=levels.library, machine=levels.machine)


def _resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 on a system that does not say."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGESIZE")


def add_cluster(node: Node, server: grpc.aio.Server) -> Sequence[str]:
    """Serve Peer and Cluster."""
    add_PeerServicer_to_server(PeerService(node), server)
    add_ClusterServicer_to_server(ClusterService(node), server)
    return (PEER_SERVICE, CLUSTER_SERVICE)
