"""The data directory: one owner, one node id, one format version.

``lock`` is held for as long as the process lives; ``node.json`` says whose directory it is.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from matchengine.storage.contracts import DataDirError, DataDirInUseError
from matchengine.storage.files import FileSystem, OsFileSystem, make_directory, read_file, replace_file, temporary_path

FORMAT_VERSION = 1
ENGINE = "matchengine"
_NODE_FILE_LIMIT = 64 * 1024
_NODE_ID_LIMIT = 255


class _NodeFile(msgspec.Struct):
    engine: str
    format: int
    node_id: str


class DataDir:
    """An opened, locked data directory."""

    def __init__(self, fs: FileSystem, path: Path, lock: int) -> None:
        self.path = path
        self._fs = fs
        self._lock: int | None = lock

    @property
    def log_path(self) -> Path:
        """Directory of the log's segments."""
        return self.path / "log"

    @property
    def snapshots_path(self) -> Path:
        """Directory of the snapshots."""
        return self.path / "snapshots"

    @property
    def stable_path(self) -> Path:
        """File of term and vote."""
        return self.path / "stable"

    @property
    def peers_path(self) -> Path:
        """File in which an operator forces members upon the node."""
        return self.path / "peers.json"

    @classmethod
    def open(
        cls, path: Path, node_id: str, *, create: bool = True, fs: FileSystem | None = None, engine: str = ENGINE
    ) -> DataDir:
        """Lock the directory of node ``node_id``, and make it when ``create`` allows.

        Raises DataDirError, also for a directory of another engine: none can read the other's log.
        """
        fs = fs if fs is not None else OsFileSystem()
        if not 0 < len(node_id.encode()) <= _NODE_ID_LIMIT:
            raise DataDirError(f"node id {node_id!r}: must have 1 to {_NODE_ID_LIMIT} bytes")
        try:
            return cls._open(fs, path, _NodeFile(engine, FORMAT_VERSION, node_id), create)
        except OSError as error:
            raise DataDirError(f"{path}: {error}; choose a directory that this user can read and write") from error

    @classmethod
    def _open(cls, fs: FileSystem, path: Path, owner: _NodeFile, create: bool) -> DataDir:
        if create and not fs.exists(_node_file(path)):
            make_directory(fs, path)
        _refuse_foreign(fs, path, create)
        handle = fs.create(path / "lock")
        try:
            _take_lock(fs, handle, path)
            _claim(fs, path, owner)
            # A process that was killed may have named files without syncing their names.
            fs.fsync_dir(path)
        except BaseException:
            fs.close(handle)
            raise
        return cls(fs, path, handle)

    @property
    def lock(self) -> int:
        """The descriptor of the lock; a process that inherits it holds the directory as well."""
        assert self._lock is not None
        return self._lock

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._fs.close(self._lock)
            self._lock = None


def _node_file(path: Path) -> Path:
    return path / "node.json"


def _refuse_foreign(fs: FileSystem, path: Path, create: bool) -> None:
    """Refuse a directory that is not ours before anything is written to it."""
    if fs.exists(_node_file(path)):
        return
    if not create:
        raise DataDirError(f"{path}: there is no node here (no node.json); check the path")
    ours = {"lock", temporary_path(_node_file(path)).name}
    foreign = sorted(set(fs.listdir(path)) - ours)
    if foreign:
        kind, advice = _judge(set(foreign))
        raise DataDirError(f"{path}: {kind} (found {', '.join(foreign[:5])}); {advice}")


def _judge(found: set[str]) -> tuple[str, str]:
    """What a directory without node.json seems to be, and what to do."""
    if {"log", "stable"} <= found:  # HashiCorp's has snapshots, too, but neither of these
        return "looks like a node's directory that lost its node.json", "restore the file from a copy"
    if {"raft.db", "logs.dat", "stable.dat", "snapshots"} & found:
        return "looks like a HashiCorp Raft directory", "choose an empty directory"
    return "is not empty and has no node.json", "choose an empty directory"


def _take_lock(fs: FileSystem, handle: int, path: Path) -> None:
    if not fs.lock(handle):
        raise DataDirInUseError(f"{path}: another process uses this directory; stop it, or choose another directory")


def _claim(fs: FileSystem, path: Path, owner: _NodeFile) -> None:
    file = _node_file(path)
    if not fs.exists(file):
        replace_file(fs, file, msgspec.json.encode(owner) + b"\n")
        return
    try:
        found = msgspec.json.decode(read_file(fs, file, _NODE_FILE_LIMIT), type=_NodeFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataDirError(f"{file}: {error}; restore the file from a copy, or choose an empty directory") from error
    if found.engine != owner.engine:
        raise DataDirError(
            f"{file}: the directory belongs to engine {found.engine!r}, not {owner.engine!r}; "
            "start it with that engine, or join with a new id and an empty directory"
        )
    if found.format != FORMAT_VERSION:
        raise DataDirError(
            f"{file}: format version {found.format}, this program reads {FORMAT_VERSION}; "
            "use the program that wrote it, or choose an empty directory"
        )
    if found.node_id != owner.node_id:
        raise DataDirError(
            f"{file}: the directory belongs to node {found.node_id!r}, not {owner.node_id!r}; "
            "start with that id, or choose another directory"
        )
