"""When a node takes a snapshot by itself."""

from __future__ import annotations

import zlib

import msgspec

from matchengine.raft.types import ServerId


class SnapshotPolicy(msgspec.Struct, frozen=True):
    """Snapshot after so many applied entries, or so many applied payload bytes, whichever comes first.

    The entry count is HashiCorp Raft's SnapshotThreshold; the byte bound keeps disk, memory and
    restart time flat when entries are large.  ``head_start`` is the part of both, below 1, that counts as done
    after a start or a restore.
    """

    entries: int = 8192
    bytes: int = 32 * 1024 * 1024
    head_start: float = 0.0

    def __post_init__(self) -> None:
        if self.entries < 1:
            raise ValueError(f"snapshot.entries: {self.entries} is below 1")
        if self.bytes < 1:
            raise ValueError(f"snapshot.bytes: {self.bytes} is below 1")
        if not 0 <= self.head_start < 1:
            raise ValueError(f"snapshot.head_start: {self.head_start} is not from 0 to below 1")

    def staggered(self, server_id: ServerId) -> SnapshotPolicy:
        """The policy of one replica: a head start of up to a half, which follows from its id.

        Replicas that have applied the same entries would all take their snapshots at the same moment.
        """
        return msgspec.structs.replace(self, head_start=zlib.crc32(server_id.encode()) / 2**33)
