"""The file in which an operator forces members upon a node, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from matchengine.raft.peers_json import parse_peers
from matchengine.raft.types import Configuration
from matchengine.storage.contracts import RecoveryError
from matchengine.storage.files import FileSystem, Fuse, publish, read_file

_LIMIT: Final = 1024 * 1024


class PeersFile:
    """``peers.json`` of one data directory.  Nothing but an operator ever makes one."""

    def __init__(self, fs: FileSystem, path: Path, fuse: Fuse) -> None:
        self._fs = fs
        self._fuse = fuse
        self.path = path

    def read(self) -> Configuration | None:
        """The members that it names; None without a file, RecoveryError for one that is not usable."""
        with self._fuse.guard(f"reading {self.path}"):
            if not self._fs.exists(self.path):
                return None
            data = read_file(self._fs, self.path, _LIMIT + 1)
        if len(data) > _LIMIT:
            raise self.refusal(f"longer than {_LIMIT} bytes")
        try:
            return parse_peers(data)
        except ValueError as error:
            raise self.refusal(str(error)) from error

    def retire(self) -> None:
        """Give it another name, under which it is not applied again: durable on return."""
        with self._fuse.guard(f"renaming {self.path}"):
            publish(self._fs, self.path, self.applied_path)

    @property
    def applied_path(self) -> Path:
        """Its name when it has been applied."""
        return self.path.with_name(f"{self.path.name}.applied")

    def refusal(self, why: str) -> RecoveryError:
        """What to raise when the members cannot be taken."""
        return RecoveryError(
            f"{self.path}: {why}; nothing was changed: correct the file, or remove it to start without"
        )
