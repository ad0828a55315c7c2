"""What the storage tests share: entries, and stores of every kind behind one door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from logs import open_log

from matchengine.raft.types import Configuration, Entry, Server, SnapshotMeta
from matchengine.storage.contracts import LogStore, SnapshotStore, StableStore
from matchengine.storage.files import FileSystem, Fuse, OsFileSystem, make_directory
from matchengine.storage.memory import MemoryLog, MemorySnapshots, MemoryStable
from matchengine.storage.simulated import SimulatedFileSystem
from matchengine.storage.snapshots import SnapshotFiles
from matchengine.storage.stable import StableFile

SEGMENT_BYTES = 4096
Entries: TypeAlias = Callable[..., list[Entry]]


def _entries(first: int, last: int, *, term: int = 1, size: int = 10) -> list[Entry]:
    return [
        Entry(i, term, data=(b"%d/%d;" % (i, term) * size)[:size], appended_at=1_700_000_000_000_000_000 + i)
        for i in range(first, last + 1)
    ]


@pytest.fixture(scope="session")
def make_entries() -> Entries:
    """Entries ``first`` to ``last`` with data that tells index and term, of ``size`` bytes."""
    return _entries


@pytest.fixture
def meta() -> Callable[..., SnapshotMeta]:
    """A snapshot's meta data."""

    def make(index: int, term: int = 1, size: int = 0) -> SnapshotMeta:
        return SnapshotMeta(index, term, Configuration((Server("a", "host:1"),)), 1, size)

    return make


@pytest.fixture
def simulated() -> SimulatedFileSystem:
    """A fresh file system that can lose power."""
    return SimulatedFileSystem()


@pytest.fixture(params=["os", "simulated"])
def any_fs(request: pytest.FixtureRequest) -> FileSystem:
    """Each file system in turn."""
    return OsFileSystem() if request.param == "os" else SimulatedFileSystem()


@pytest.fixture(params=["memory", "os", "simulated"])
def open_stores(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[], tuple[LogStore, StableStore, SnapshotStore]]:
    """Opens log, stable store and snapshots; every call after the first finds what the earlier ones left."""
    if request.param == "memory":
        stores = (MemoryLog(), MemoryStable(), MemorySnapshots())
        return lambda: stores
    fs: FileSystem = OsFileSystem() if request.param == "os" else SimulatedFileSystem()

    def reopen() -> tuple[LogStore, StableStore, SnapshotStore]:
        fuse = Fuse()
        make_directory(fs, tmp_path)
        log = open_log(tmp_path / "log", segment_bytes=SEGMENT_BYTES, fs=fs, fuse=fuse)
        return log, StableFile(fs, tmp_path / "stable", fuse), SnapshotFiles(fs, tmp_path / "snapshots", fuse)

    return reopen
