"""How far the log was durable, recorded beside it.

A crash may tear the last write to the log, and then the log ends earlier.  Without this record, a log whose
acknowledged end was lost looks the same.  The record is a lower bound: it names an entry only when that entry is
durable, and before entries are cut off it is moved back durably.  So whichever of its states a power loss leaves,
the log reaches at least as far, and a log that does not has lost something.

It is written after every sync of the log, without a sync of its own: it outlives the process, and a power loss may
leave an older record.  In Raft, index and term name an entry and all before it: they say more than a length.

The file has two slots, written in turns, so that a torn sector leaves one of them.  The newest is the one with
the greatest index, since both are written, and synced, where the index falls.
"""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Final

from google_crc32c import extend

from matchengine.raft.types import Index, Term
from matchengine.storage.contracts import REJOIN, CorruptionError
from matchengine.storage.files import FileSystem, read_file, replace_file, write_all

FORMAT_VERSION = 1
_MAGIC: Final = b"MELOGEND"
_RECORD: Final = struct.Struct("<8sIQQ")  # magic, format version, index, term; then a CRC32C
_CHECKSUM: Final = struct.Struct("<I")
_RECORD_BYTES: Final = _RECORD.size + _CHECKSUM.size
#: A sector of today's disks, so that no write touches both slots.
_SLOT_BYTES: Final = 4096
_FILE_BYTES: Final = 2 * _SLOT_BYTES
#: So many records are left to the system before one is synced: a power loss forgets no more than these.
SYNC_EVERY = 1024

_logger = logging.getLogger(__name__)


class LogEnd:
    """The record in the file ``path``: the newest entry that is known to be durable, 0 for none.

    ``term`` is 0 where the entry is not in the log.  Its methods raise ``OSError``; the log guards them.
    """

    def __init__(self, fs: FileSystem, path: Path) -> None:
        self._fs = fs
        self.path = path
        self.index: Index = 0
        self.term: Term = 0
        self._handle: int | None = None
        #: One that was not loaded is of no meaning: an upgrade was interrupted, and an older program may have gone on.
        self._exists = False
        self._slot = 0
        self._unsynced = 0

    def load(self) -> None:
        """Read the record, which must be there; CorruptionError when it is not, or is damaged in both slots."""
        if not self._fs.exists(self.path):
            raise CorruptionError(f"{self.path}: the record of the log's end is gone; {REJOIN}")
        data = read_file(self._fs, self.path, _FILE_BYTES + 1)
        if len(data) != _FILE_BYTES:
            raise CorruptionError(f"{self.path}: {len(data)} bytes or more instead of {_FILE_BYTES}; {REJOIN}")
        slots = [slot for start in (0, _SLOT_BYTES) if (slot := self._decode(data, start)) is not None]
        if not slots:
            raise CorruptionError(f"{self.path}, offset 0: the record of the log's end is damaged; {REJOIN}")
        if len(slots) == 1:
            _logger.warning("%s: one of the two records of the log's end is damaged; the other counts", self.path)
        self.index, self.term = max(slots)
        self._exists = True

    def settle(self, index: Index, term: Term) -> None:
        """The log ends with ``index`` from now on, before or behind what was noted: durable on return."""
        record = _encode(index, term)
        if not self._exists:
            replace_file(self._fs, self.path, record.ljust(_SLOT_BYTES, b"\0") * 2)
            self._exists = True
        else:
            self._write_both(record)
        self._unsynced = 0
        self.index, self.term = index, term

    def _write_both(self, record: bytes) -> None:
        """Also what is there already: the sync of the process before may have failed; another would save nothing."""
        handle = self._opened()
        for start in (0, _SLOT_BYTES):
            write_all(self._fs, handle, record, start)
        self._fs.fdatasync(handle)

    def note(self, index: Index, term: Term) -> None:
        """The log is durable up to ``index``, which is greater than before."""
        self._slot = _SLOT_BYTES - self._slot
        write_all(self._fs, self._opened(), _encode(index, term), self._slot)
        self.index, self.term = index, term
        self._unsynced += 1
        if self._unsynced >= SYNC_EVERY:
            self.sync()

    def sync(self) -> None:
        """Make the record durable; without a new one, nothing to do."""
        if self._handle is not None and self._unsynced:
            self._fs.fdatasync(self._handle)
            self._unsynced = 0

    def close(self) -> None:
        """Release the file."""
        if self._handle is not None:
            self._fs.close(self._handle)
            self._handle = None

    def _opened(self) -> int:
        if self._handle is None:
            self._handle = self._fs.open(self.path, writable=True)
        return self._handle

    def _decode(self, data: bytes, start: int) -> tuple[Index, Term] | None:
        """Index and term in an intact slot; CorruptionError for one of a version that this program does not know."""
        record = data[start : start + _RECORD_BYTES]
        magic, version, index, term = _RECORD.unpack_from(record)
        if magic != _MAGIC or record[_RECORD.size :] != _CHECKSUM.pack(extend(0, record[: _RECORD.size])):
            return None
        if version != FORMAT_VERSION:
            raise CorruptionError(
                f"{self.path}, offset {start}: the record has format version {version}, "
                f"this program reads {FORMAT_VERSION}; use the program that wrote it"
            )
        return index, term


def _encode(index: Index, term: Term) -> bytes:
    checked = _RECORD.pack(_MAGIC, FORMAT_VERSION, index, term)
    return checked + _CHECKSUM.pack(extend(0, checked))
