"""What the node needs from a disk.  All methods block; adapters run them off the event loop.

Every failure to write or sync is final: the caller stops the node and never retries, since the
kernel may have dropped the dirty pages of a failed ``fsync`` (Rebello et al., ATC 2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from matchengine.raft.types import Entry, HardState, Index, SnapshotMeta

#: What is left to do with a node that has lost what it acknowledged.
REJOIN: Final = "remove this node from the cluster, give it an empty data directory and join it again under a new id"


class StorageError(Exception):
    """The disk failed or holds something that must not be trusted; the node has to stop.

    The text names the file, the offset where there is one, and what to do.
    """


class CorruptionError(StorageError):
    """Bytes on disk do not match their checksum where no crash can explain it."""


class DataDirError(StorageError):
    """The data directory belongs to another process, node, engine or format version."""


class RecoveryError(StorageError):
    """The members that an operator forces upon the node cannot be taken; nothing has been changed."""


class DataDirInUseError(DataDirError):
    """Another process holds the data directory's lock."""


class LogStore(Protocol):
    """The entries, contiguous from ``first_index`` to ``last_index`` (``first - 1`` when empty)."""

    @property
    def first_index(self) -> Index:
        """Index of the oldest entry kept, or of the next one to come when empty."""
        ...

    @property
    def last_index(self) -> Index:
        """Index of the newest entry, or ``first_index - 1``."""
        ...

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries that follow ``last_index``; durable only after :meth:`sync`."""
        ...

    def truncate_from(self, index: Index) -> None:
        """Drop ``index`` and everything after it, for good: no crash may bring it back after :meth:`sync`."""
        ...

    def compact_to(self, index: Index) -> None:
        """Permission to drop entries up to and including ``index``; may keep more than asked."""
        ...

    def reset(self, index: Index) -> None:
        """Drop everything; the next entry has ``index``."""
        ...

    def sync(self) -> None:
        """Make everything before durable (one ``fdatasync``); raises StorageError for good."""
        ...

    def read(self, first: Index, last: Index) -> Iterator[Entry]:
        """The entries from ``first`` to ``last`` inclusive, which must exist."""
        ...

    def close(self) -> None:
        """Release the files."""
        ...


class StableStore(Protocol):
    """Term and vote, in one record."""

    def load(self) -> HardState:
        """The last saved state, ``HardState()`` in a new store; StorageError when it is lost."""
        ...

    def save(self, state: HardState) -> None:
        """Replace the record; durable on return, all or nothing."""
        ...


class SnapshotSink(Protocol):
    """A snapshot being written; invisible until :meth:`commit`."""

    def write(self, chunk: bytes) -> None:
        """Append state bytes."""
        ...

    def commit(self) -> SnapshotMeta:
        """Make it durable and visible; returns the meta data with its real size."""
        ...

    def abort(self) -> None:
        """Throw it away."""
        ...


class SnapshotStore(Protocol):
    """The snapshots, newest first by (term, index)."""

    def create(self, meta: SnapshotMeta) -> SnapshotSink:
        """Start writing a snapshot.  A ``meta.size`` other than 0 is checked at commit."""
        ...

    def newest(self) -> SnapshotMeta | None:
        """The newest snapshot whose checksums hold, or None; damaged ones are reported and passed over."""
        ...

    def open(self, meta: SnapshotMeta) -> Iterator[bytes]:
        """The state bytes in chunks, checksums verified while reading."""
        ...
