"""Term and vote in one checksummed file that is replaced as a whole."""

from __future__ import annotations

import struct
from pathlib import Path

from google_crc32c import extend

from matchengine.raft.types import HardState
from matchengine.storage.contracts import CorruptionError
from matchengine.storage.files import FileSystem, Fuse, read_file, replace_file

FORMAT_VERSION = 1
_MAGIC = b"MESTABLE"
_RECORD = struct.Struct("<8sIQH")  # magic, format version, term, bytes of the vote; then the vote and a CRC32C
_CHECKSUM = struct.Struct("<I")
_LONGEST = _RECORD.size + 0xFFFF + _CHECKSUM.size
_REMEDY = (
    "do not delete it, the node could vote twice: remove this node from the cluster, give it an empty "
    "data directory and join it again under a new id"
)


class StableFile:
    """A :class:`~matchengine.storage.contracts.StableStore` in the file ``path``."""

    def __init__(self, fs: FileSystem, path: Path, fuse: Fuse) -> None:
        self._fs = fs
        self._path = path
        self._fuse = fuse

    def load(self) -> HardState:
        """See :class:`~matchengine.storage.contracts.StableStore`; CorruptionError for a damaged record."""
        with self._fuse.guard(f"reading {self._path}"):
            if not self._fs.exists(self._path):
                return HardState()
            return self._decode(read_file(self._fs, self._path, _LONGEST + 1))

    def save(self, state: HardState) -> None:
        """See :class:`~matchengine.storage.contracts.StableStore`."""
        with self._fuse.guard(f"writing {self._path}"):
            replace_file(self._fs, self._path, _encode(state))

    def _decode(self, data: bytes) -> HardState:
        checked, checksum = data[: -_CHECKSUM.size], data[-_CHECKSUM.size :]
        if len(checked) < _RECORD.size or checksum != _CHECKSUM.pack(extend(0, checked)):
            raise CorruptionError(f"{self._path}, offset 0: the record of term and vote is damaged; {_REMEDY}")
        magic, version, term, vote_bytes = _RECORD.unpack_from(checked)
        vote = checked[_RECORD.size :]
        if magic != _MAGIC or len(vote) != vote_bytes:
            raise CorruptionError(f"{self._path}, offset 0: not a record of term and vote; {_REMEDY}")
        if version != FORMAT_VERSION:
            raise CorruptionError(
                f"{self._path}, offset 0: the record has format version {version}, "
                f"this program reads {FORMAT_VERSION}; {_REMEDY}"
            )
        return HardState(term, vote.decode("utf-8", "surrogateescape"))


def _encode(state: HardState) -> bytes:
    vote = state.voted_for.encode("utf-8", "surrogateescape")
    checked = _RECORD.pack(_MAGIC, FORMAT_VERSION, state.term, len(vote)) + vote
    return checked + _CHECKSUM.pack(extend(0, checked))
