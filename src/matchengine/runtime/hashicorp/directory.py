"""The data directory of a node on this engine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from matchengine.runtime.config import NodeConfig
from matchengine.storage.contracts import REJOIN, CorruptionError, DataDirInUseError, RecoveryError, StorageError
from matchengine.storage.data_dir import DataDir

ENGINE: Final = "hashicorp"
_ORPHAN_S: Final = 5.0
_PAUSE_S: Final = 0.05
#: Has term and vote, and names the log's segments; without it HashiCorp Raft would begin as if new.
_META: Final = Path("wal", "wal-meta.db")


def open_directory(config: NodeConfig) -> DataDir:
    """Take the directory, with a little patience: the Raft half of a killed node may outlive it by a moment."""
    deadline = time.monotonic() + _ORPHAN_S
    while True:
        try:
            return _checked(DataDir.open(config.data_dir, config.id, engine=ENGINE))
        except DataDirInUseError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_PAUSE_S)


def raft_path(data_dir: DataDir) -> Path:
    """Where HashiCorp Raft keeps its files."""
    return data_dir.path / "raft"


def complete(data_dir: DataDir) -> None:
    """HashiCorp Raft has made its files: from now on they have to be there.  Raises StorageError."""
    if data_dir.is_complete:
        return
    try:
        data_dir.complete()
    except OSError as error:
        raise StorageError(f"completing {data_dir.path}: {error}; check the disk, then restart the node") from error


def _checked(data_dir: DataDir) -> DataDir:
    try:
        _refuse_forced_members(data_dir)
        _refuse_lost_files(data_dir)
    except BaseException:
        data_dir.close()
        raise
    return data_dir


def _refuse_lost_files(data_dir: DataDir) -> None:
    file = raft_path(data_dir) / _META
    if data_dir.is_complete and not file.is_file():
        raise CorruptionError(f"{file}: the file is gone; without it the node could vote twice: {REJOIN}")


def _refuse_forced_members(data_dir: DataDir) -> None:
    """Nobody who put a peers.json there may believe that it was applied."""
    if data_dir.peers_path.exists():
        raise RecoveryError(
            f"{data_dir.peers_path}: a node on engine {ENGINE!r} takes no members by force; nothing was changed: "
            "remove the file, and see docs/operations.md"
        )
