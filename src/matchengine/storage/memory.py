"""Stores without a disk, for tests and simulations.

They keep the promises of a disk and no more: ``crash`` forgets what no sync or commit has made
durable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from matchengine.raft.types import Entry, HardState, Index, SnapshotMeta
from matchengine.storage.contracts import StorageError


class MemoryLog:
    """A :class:`~matchengine.storage.contracts.LogStore` in a list."""

    def __init__(self) -> None:
        self._first: Index = 1
        self._entries: list[Entry] = []
        self._durable: tuple[Index, list[Entry]] = (1, [])

    @property
    def first_index(self) -> Index:
        """See :class:`~matchengine.storage.contracts.LogStore`."""
        return self._first

    @property
    def last_index(self) -> Index:
        """See :class:`~matchengine.storage.contracts.LogStore`."""
        return self._first + len(self._entries) - 1

    def append(self, entries: Sequence[Entry]) -> None:
        """See :class:`~matchengine.storage.contracts.LogStore`."""
        for index, entry in enumerate(entries, self.last_index + 1):
            if entry.index != index:
                raise ValueError(f"entry {entry.index} cannot follow entry {index - 1}")
        self._entries.extend(entries)

    def truncate_from(self, index: Index) -> None:
        """See :class:`~matchengine.storage.contracts.LogStore`."""
        del self._entries[max(0, index - self._first) :]

    def compact_to(self, index: Index) -> None:
        """See :class:`~matchengine.storage.contracts.LogStore`."""
        dropped = min(max(0, index + 1 - self._first), len(self._entries))
        del self._entries[:dropped]
        self._first += dropped

    def reset(self, index: Index) -> None:
        """See :class:`~matchengine.storage.contracts.LogStore`."""
        self._first = index
        self._entries.clear()

    def sync(self) -> None:
        """See :class:`~matchengine.storage.contracts.LogStore`."""
        self._durable = (self._first, self._entries.copy())

    def read(self, first: Index, last: Index) -> Iterator[Entry]:
        """See :class:`~matchengine.storage.contracts.LogStore`."""
        if first < self.first_index or last > self.last_index:
            raise IndexError(f"entries {first} to {last} are not in {self.first_index} to {self.last_index}")
        yield from self._entries[first - self._first : last + 1 - self._first]

    def close(self) -> None:
        """See :class:`~matchengine.storage.contracts.LogStore`."""

    def crash(self) -> None:
        """Go back to the last sync."""
        self._first, self._entries = self._durable[0], self._durable[1].copy()


class MemoryStable:
    """A :class:`~matchengine.storage.contracts.StableStore` in a variable; every save is durable."""

    def __init__(self) -> None:
        self._state = HardState()

    def load(self) -> HardState:
        """See :class:`~matchengine.storage.contracts.StableStore`."""
        return self._state

    def save(self, state: HardState) -> None:
        """See :class:`~matchengine.storage.contracts.StableStore`."""
        self._state = state


class MemorySnapshots:
    """A :class:`~matchengine.storage.contracts.SnapshotStore` in a list, newest first."""

    def __init__(self, retain: int = 3) -> None:
        self._retain = retain
        self._kept: list[tuple[SnapshotMeta, bytes]] = []

    def create(self, meta: SnapshotMeta) -> MemorySink:
        """See :class:`~matchengine.storage.contracts.SnapshotStore`."""
        return MemorySink(self, meta)

    def newest(self) -> SnapshotMeta | None:
        """See :class:`~matchengine.storage.contracts.SnapshotStore`."""
        return self._kept[0][0] if self._kept else None

    def open(self, meta: SnapshotMeta) -> Iterator[bytes]:
        """See :class:`~matchengine.storage.contracts.SnapshotStore`."""
        for kept, data in self._kept:
            if (kept.term, kept.index) == (meta.term, meta.index):
                return iter((data,) if data else ())
        raise StorageError(f"there is no snapshot of term {meta.term}, index {meta.index}")

    def keep(self, meta: SnapshotMeta, data: bytes) -> None:
        """Add a finished snapshot and drop the oldest beyond ``retain``."""
        self._kept.insert(0, (meta, data))
        self._kept.sort(key=lambda kept: (kept[0].term, kept[0].index), reverse=True)
        del self._kept[self._retain :]


class MemorySink:
    """A :class:`~matchengine.storage.contracts.SnapshotSink` in a buffer."""

    def __init__(self, store: MemorySnapshots, meta: SnapshotMeta) -> None:
        self._store = store
        self._meta = meta
        self._data = bytearray()

    def write(self, chunk: bytes) -> None:
        """See :class:`~matchengine.storage.contracts.SnapshotSink`."""
        self._data += chunk

    def commit(self) -> SnapshotMeta:
        """See :class:`~matchengine.storage.contracts.SnapshotSink`."""
        size = len(self._data)
        if self._meta.size not in (0, size):
            raise StorageError(f"the snapshot has {size} bytes, {self._meta.size} were announced")
        meta = msgspec.structs.replace(self._meta, size=size)
        self._store.keep(meta, bytes(self._data))
        return meta

    def abort(self) -> None:
        """See :class:`~matchengine.storage.contracts.SnapshotSink`."""
        self._data.clear()
