"""When a node takes a snapshot by itself."""

from __future__ import annotations

import msgspec


class SnapshotPolicy(msgspec.Struct, frozen=True):
    """Snapshot after so many applied entries, or so many applied payload bytes, whichever comes first.

    The entry count is HashiCorp Raft's SnapshotThreshold; the byte bound keeps disk, memory and
    restart time flat when entries are large.
    """

    entries: int = 8192
    bytes: int = 32 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.entries < 1:
            raise ValueError(f"snapshot.entries: {self.entries} is below 1")
        if self.bytes < 1:
            raise ValueError(f"snapshot.bytes: {self.bytes} is below 1")
