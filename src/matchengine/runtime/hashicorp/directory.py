"""The data directory of a node on this engine."""

from __future__ import annotations

import time
from typing import Final

from matchengine.runtime.config import NodeConfig
from matchengine.storage.contracts import DataDirInUseError, RecoveryError
from matchengine.storage.data_dir import DataDir

ENGINE: Final = "hashicorp"
_ORPHAN_S: Final = 5.0
_PAUSE_S: Final = 0.05


def open_directory(config: NodeConfig) -> DataDir:
    """Take the directory, with a little patience: the Raft half of a killed node may outlive it by a moment."""
    deadline = time.monotonic() + _ORPHAN_S
    while True:
        try:
            return _without_forced_members(DataDir.open(config.data_dir, config.id, engine=ENGINE))
        except DataDirInUseError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_PAUSE_S)


def _without_forced_members(data_dir: DataDir) -> DataDir:
    """Nobody who put a peers.json there may believe that it was applied."""
    if data_dir.peers_path.exists():
        data_dir.close()
        raise RecoveryError(
            f"{data_dir.peers_path}: a node on engine {ENGINE!r} takes no members by force; nothing was changed: "
            "remove the file, and see docs/operations.md"
        )
    return data_dir
