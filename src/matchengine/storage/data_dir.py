"""The data directory: one owner, one node id, one format version.

``lock`` is held for as long as the process lives; ``node.json`` says whose directory it is, and whether it is complete:
then the node's other files were all made, before any of them had a state, and one that is not there was lost.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from matchengine.storage.contracts import DataDirError, DataDirInUseError
from matchengine.storage.files import (
    FileSystem,
    NotRegularError,
    OsFileSystem,
    advice,
    make_directory,
    read_file,
    replace_file,
    temporary_path,
)

FORMAT_VERSION = 2
_FIRST_VERSION = 1  # without ``complete``
ENGINE = "matchengine"
_NODE_FILE_LIMIT = 64 * 1024
_NODE_ID_LIMIT = 255


class _NodeFile(msgspec.Struct, omit_defaults=True):
    engine: str
    format: int
    node_id: str
    complete: bool | None = None


class DataDir:
    """An opened, locked data directory."""

    def __init__(self, fs: FileSystem, path: Path, lock: int, owner: _NodeFile) -> None:
        self.path = path
        self._fs = fs
        self._lock: int | None = lock
        self._owner = owner

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
    def log_end_path(self) -> Path:
        """File of the log's durable end."""
        return self.path / "log-end"

    @property
    def is_complete(self) -> bool:
        """Whether all files were made: not so in a new directory, and in one of the first format version."""
        return self._owner.complete is True

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
            return cls._open(fs, path, _NodeFile(engine, FORMAT_VERSION, node_id, complete=False), create)
        except (NotRegularError, IsADirectoryError) as error:
            raise DataDirError(f"{path}: {error}; {advice(error)}") from error
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
            found = _claim(fs, path, owner)
            # A process that was killed may have named files without syncing their names.
            fs.fsync_dir(path)
        except BaseException:
            fs.close(handle)
            raise
        return cls(fs, path, handle, found)

    def complete(self) -> None:
        """All files are there and durable: from now on each has to be, and programs of before refuse the directory."""
        owner = _NodeFile(self._owner.engine, FORMAT_VERSION, self._owner.node_id, complete=True)
        replace_file(self._fs, _node_file(self.path), _encode(owner))
        self._owner = owner

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
    if {"log", "log-end", "stable"} & found:  # HashiCorp's has snapshots, too, but none of these
        return "looks like a node's directory that lost its node.json", "restore the file from a copy"
    if {"raft.db", "logs.dat", "stable.dat", "snapshots"} & found:
        return "looks like a HashiCorp Raft directory", "choose an empty directory"
    return "is not empty and has no node.json", "choose an empty directory"


def _take_lock(fs: FileSystem, handle: int, path: Path) -> None:
    if not fs.lock(handle):
        raise DataDirInUseError(f"{path}: another process uses this directory; stop it, or choose another directory")


def _encode(owner: _NodeFile) -> bytes:
    return msgspec.json.encode(owner) + b"\n"


def _claim(fs: FileSystem, path: Path, owner: _NodeFile) -> _NodeFile:
    """Write who the owner is, or check it; returns what the file says."""
    file = _node_file(path)
    if not fs.exists(file):
        replace_file(fs, file, _encode(owner))
        return owner
    try:
        found = msgspec.json.decode(read_file(fs, file, _NODE_FILE_LIMIT), type=_NodeFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataDirError(f"{file}: {error}; restore the file from a copy, or choose an empty directory") from error
    if found.engine != owner.engine:
        raise DataDirError(
            f"{file}: the directory belongs to engine {found.engine!r}, not {owner.engine!r}; "
            "start it with that engine, or join with a new id and an empty directory"
        )
    _check_format(file, found)
    if found.node_id != owner.node_id:
        raise DataDirError(
            f"{file}: the directory belongs to node {found.node_id!r}, not {owner.node_id!r}; "
            "start with that id, or choose another directory"
        )
    return found


def _check_format(file: Path, found: _NodeFile) -> None:
    if not _FIRST_VERSION <= found.format <= FORMAT_VERSION:
        raise DataDirError(
            f"{file}: format version {found.format}, this program reads {_FIRST_VERSION} to {FORMAT_VERSION}; "
            "use the program that wrote it, or choose an empty directory"
        )
    if (found.complete is None) is not (found.format == _FIRST_VERSION):
        raise DataDirError(
            f"{file}: format version {found.format} {'lacks' if found.complete is None else 'has no'} `complete`; "
            "restore the file from a copy, or choose an empty directory"
        )
