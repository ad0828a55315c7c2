"""The snapshot store on disk: one file per snapshot, visible from its commit on."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import msgspec

from matchengine.raft.types import SnapshotMeta
from matchengine.storage.contracts import CorruptionError, StorageError
from matchengine.storage.files import FileSystem, Fuse, open_directory, publish, reading, temporary_path
from matchengine.storage.snapshot_file import SnapshotReader, SnapshotWriter

RETAIN = 3
_NAME = re.compile(r"(\d{20})-(\d{20})-(\d{10})\.snap")

_logger = logging.getLogger(__name__)


class SnapshotFiles:
    """A :class:`~matchengine.storage.contracts.SnapshotStore` in a directory.

    Files are named ``<term>-<index>-<sequence>.snap``.  ``retain`` good ones are kept.  Threads
    may use the store at the same time, one thread per sink.
    """

    def __init__(self, fs: FileSystem, directory: Path, fuse: Fuse, *, retain: int = RETAIN) -> None:
        self._fs = fs
        self._directory = directory
        self._fuse = fuse
        self._retain = retain
        self._lock = Lock()
        self._verified: dict[str, SnapshotMeta | None] = {}
        with fuse.guard(f"opening the snapshots in {directory}"):
            open_directory(fs, directory)
            self._names = sorted((name for name in fs.listdir(directory) if _NAME.fullmatch(name)), reverse=True)
        self._sequence = max((int(name.split("-")[2][:10]) for name in self._names), default=0)

    def create(self, meta: SnapshotMeta) -> FileSink:
        """See :class:`~matchengine.storage.contracts.SnapshotStore`."""
        with self._lock:
            self._sequence += 1
            name = f"{meta.term:020d}-{meta.index:020d}-{self._sequence:010d}.snap"
        return FileSink(self, self._fs, self._directory / name, self._fuse, meta)

    def newest(self) -> SnapshotMeta | None:
        """See :class:`~matchengine.storage.contracts.SnapshotStore`; each file is read once only."""
        with self._lock, self._fuse.guard(f"looking for the newest snapshot in {self._directory}"):
            return next((meta for name in self._names if (meta := self._verify(name)) is not None), None)

    def open(self, meta: SnapshotMeta) -> Iterator[bytes]:
        """See :class:`~matchengine.storage.contracts.SnapshotStore`; StorageError when there is none."""
        prefix = f"{meta.term:020d}-{meta.index:020d}-"
        with self._lock:
            names = [name for name in self._names if name.startswith(prefix)]
            usable = [name for name in names if self._verified.get(name, meta) is not None]
            if not usable:
                raise StorageError(f"{self._directory}: there is no snapshot of term {meta.term}, index {meta.index}")
            chunks = self._chunks(self._directory / usable[0])
            next(chunks)  # opens the file; a generator that never began would not close one
        return chunks

    def publish(self, path: Path, meta: SnapshotMeta) -> None:
        """Make a finished temporary file visible, then drop the oldest snapshots."""
        with self._lock:
            publish(self._fs, temporary_path(path), path)
            self._verified[path.name] = meta
            self._names = sorted((*self._names, path.name), reverse=True)
            self._drop_oldest()

    def _chunks(self, path: Path) -> Iterator[bytes]:
        """First an empty chunk, when the file is open; then the state bytes."""
        with self._fuse.guard(f"reading {path}"), reading(self._fs, path) as handle:
            reader = SnapshotReader(self._fs, handle, path)
            reader.meta()
            yield b""
            yield from reader.chunks()

    def _verify(self, name: str) -> SnapshotMeta | None:
        if name not in self._verified:
            try:
                self._verified[name] = self._read_through(self._directory / name)
            except CorruptionError as error:
                _logger.warning("passing over a damaged snapshot: %s", error)
                self._verified[name] = None
        return self._verified[name]

    def _read_through(self, path: Path) -> SnapshotMeta:
        with reading(self._fs, path) as handle:
            reader = SnapshotReader(self._fs, handle, path)
            meta = reader.meta()
            return msgspec.structs.replace(meta, size=sum(map(len, reader.chunks())))

    def _drop_oldest(self) -> None:
        good = 0
        for name in self._names.copy():
            if good >= self._retain:
                self._fs.unlink(self._directory / name)
                self._names.remove(name)
                self._verified.pop(name, None)
            elif self._verified.get(name, True) is not None:
                good += 1
        self._fs.fsync_dir(self._directory)


class FileSink:
    """A :class:`~matchengine.storage.contracts.SnapshotSink` for one file."""

    def __init__(self, store: SnapshotFiles, fs: FileSystem, path: Path, fuse: Fuse, meta: SnapshotMeta) -> None:
        self._store = store
        self._fs = fs
        self._path = path
        self._fuse = fuse
        self._meta = meta
        with fuse.guard(f"creating {path}"):
            self._handle: int | None = fs.create(temporary_path(path))
            self._writer = SnapshotWriter(fs, self._handle, meta)

    def write(self, chunk: bytes) -> None:
        """See :class:`~matchengine.storage.contracts.SnapshotSink`."""
        self._check_open()
        with self._fuse.guard(f"writing {self._path}"):
            self._writer.write(chunk)

    def commit(self) -> SnapshotMeta:
        """See :class:`~matchengine.storage.contracts.SnapshotSink`.

        A size other than the announced one ends this snapshot only, not the storage: the bytes
        may come from a peer that broke off.
        """
        self._check_open()
        size = self._writer.size
        if self._meta.size not in (0, size):
            self.abort()
            raise StorageError(f"{self._path}: the snapshot has {size} bytes, {self._meta.size} were announced")
        meta = msgspec.structs.replace(self._meta, size=size)
        with self._fuse.guard(f"committing {self._path}"):
            self._writer.finish()
            self._close()
            self._store.publish(self._path, meta)
        return meta

    def abort(self) -> None:
        """See :class:`~matchengine.storage.contracts.SnapshotSink`; does nothing after a commit."""
        if self._handle is None:
            return
        with self._fuse.guard(f"removing {self._path}"):
            self._close()
            self._fs.unlink(temporary_path(self._path))

    def _check_open(self) -> None:
        if self._handle is None:
            raise ValueError("the snapshot is already committed or aborted")

    def _close(self) -> None:
        if self._handle is not None:
            self._fs.close(self._handle)
            self._handle = None
