"""Term and vote in one checksummed file that is replaced as a whole."""

from __future__ import annotations

import struct
from pathlib import Path

from google_crc32c import extend

from matchengine.raft.types import HardState
from matchengine.storage.contracts import REJOIN, CorruptionError
from matchengine.storage.files import FileSystem, Fuse, read_file, replace_file

FORMAT_VERSION = 1
_MAGIC = b"MESTABLE"
_RECORD = struct.Struct("<8sIQH")  # magic, format version, term, bytes of the vote; then the vote and a CRC32C
_CHECKSUM = struct.Struct("<I")
_LONGEST = _RECORD.size + 0xFFFF + _CHECKSUM.size
_GONE = f"without it the node could vote twice: {REJOIN}"
_REMEDY = f"do not delete it, the node could vote twice: {REJOIN}"


class StableFile:
    """A :class:`~matchengine.storage.contracts.StableStore` in the file ``path``.

    Where it ``must_exist``, a file that is not there was lost.
    """

    def __init__(self, fs: FileSystem, path: Path, fuse: Fuse, *, must_exist: bool = False) -> None:
        self._fs = fs
        self._path = path
        self._fuse = fuse
        self._must_exist = must_exist

    def begin(self) -> None:
        """Make the first record unless there is one: from then on it must exist."""
        with self._fuse.guard(f"writing {self._path}"):
            if not self._fs.exists(self._path):
                replace_file(self._fs, self._path, encode(HardState()))
            self._must_exist = True

    def load(self) -> HardState:
        """See :class:`~matchengine.storage.contracts.StableStore`; CorruptionError for a record damaged or gone."""
        with self._fuse.guard(f"reading {self._path}"):
            if not self._fs.exists(self._path):
                if self._must_exist:
                    raise CorruptionError(f"{self._path}: the record of term and vote is gone; {_GONE}")
                return HardState()
            return self._decode(read_file(self._fs, self._path, _LONGEST + 1))

    def save(self, state: HardState) -> None:
        """See :class:`~matchengine.storage.contracts.StableStore`."""
        with self._fuse.guard(f"writing {self._path}"):
            replace_file(self._fs, self._path, encode(state))

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


def encode(state: HardState) -> bytes:
    """The record, which is all that the file holds."""
    vote = state.voted_for.encode("utf-8", "surrogateescape")
    checked = _RECORD.pack(_MAGIC, FORMAT_VERSION, state.term, len(vote)) + vote
    return checked + _CHECKSUM.pack(extend(0, checked))
