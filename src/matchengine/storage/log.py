"""The log store on disk: segments in a directory, one frame and one ``fdatasync`` per sync.

Appended entries wait in memory until :meth:`SegmentedLog.sync`, which writes them as one frame
(more only beyond ``FRAME_BODY_BYTES``) and syncs it.  So there is never more than one frame that
is not durable, and a damaged frame with an intact one behind it cannot come from a crash.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from matchengine.raft.types import Entry, Index
from matchengine.storage import frames
from matchengine.storage.contracts import CorruptionError
from matchengine.storage.files import FileSystem, Fuse, open_directory
from matchengine.storage.segment import REMEDY, SUFFIX, Segment

SEGMENT_BYTES = 16 * 1024 * 1024
FRAME_BODY_BYTES = 4 * 1024 * 1024
_SYNCS_REMEMBERED = 1024

_logger = logging.getLogger(__name__)


def random_salt() -> int:
    """A number that no client can guess, for the checksums of a new segment."""
    return secrets.randbits(32)


def is_absent(fs: FileSystem, directory: Path) -> bool:
    """Whether ``directory`` holds no segment, so that opening the log makes an empty one."""
    return not fs.exists(directory) or not any(name.endswith(SUFFIX) for name in fs.listdir(directory))


class SegmentedLog:
    """A :class:`~matchengine.storage.contracts.LogStore`; not for use by several threads at once.

    ``segment_bytes`` is the length of a segment file; a frame that is longer gets a file of its
    own size.  ``sync_ns`` holds the durations of the last syncs in nanoseconds.
    """

    def __init__(
        self,
        fs: FileSystem,
        directory: Path,
        fuse: Fuse,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        new_salt: Callable[[], int] = random_salt,
    ) -> None:
        self._fs = fs
        self._directory = directory
        self._fuse = fuse
        self._segment_bytes = segment_bytes
        self._new_salt = new_salt
        self._pending: list[Entry] = []
        self._handle: int | None = None
        self.sync_ns: deque[int] = deque(maxlen=_SYNCS_REMEMBERED)
        with fuse.guard(f"opening the log in {directory}"):
            self._segments = self._load() or [self._create(1)]
            self._handle = fs.open(self._segments[-1].path, writable=True)
            self._segments[-1].rewrite_last(self._handle)

    # --- opening ---

    def _load(self) -> list[Segment]:
        open_directory(self._fs, self._directory)
        names = sorted(name for name in self._fs.listdir(self._directory) if name.endswith(SUFFIX))
        segments: list[Segment] = []
        for number, name in enumerate(names, 1):
            segment, damage = Segment.load(self._fs, self._directory / name)
            if segments and segment.first != segments[-1].last + 1:
                self._refuse_gap(segments[-1], segment)
            if damage is not None:
                segment = self._cut_torn_tail(segment, damage, is_last=number == len(names))
            segments.append(segment)
        if segments and segments[-1].version < frames.FORMAT_VERSION:
            segments[-1] = segments[-1].cut(segments[-1].last + 1)
        return segments

    def _refuse_gap(self, before: Segment, behind: Segment) -> None:
        raise CorruptionError(
            f"{before.path}, offset {before.end}: the segment ends with entry {before.last}, "
            f"but {behind.path.name} begins with entry {behind.first}; {REMEDY}"
        )

    def _cut_torn_tail(self, segment: Segment, damage: frames.Damage, *, is_last: bool) -> Segment:
        where = f"{segment.path}, offset {segment.end}"
        if not is_last or damage is frames.Damage.ROTTEN:
            raise CorruptionError(f"{where}: {frames.Damage.ROTTEN.value}, after entry {segment.last}; {REMEDY}")
        _logger.warning("%s: cut off %s, after entry %d", where, damage.value, segment.last)
        return segment.cut(segment.last + 1)

    # --- LogStore ---

    @property
    def first_index(self) -> Index:
        """See :class:`~matchengine.storage.contracts.LogStore`."""
        return self._segments[0].first

    @property
    def last_index(self) -> Index:
        """See :class:`~matchengine.storage.contracts.LogStore`."""
        return self._segments[-1].last + len(self._pending)

    def append(self, entries: Sequence[Entry]) -> None:
        """See :class:`~matchengine.storage.contracts.LogStore`; nothing reaches the disk before ``sync``."""
        for index, entry in enumerate(entries, self.last_index + 1):
            if entry.index != index:
                raise ValueError(f"entry {entry.index} cannot follow entry {index - 1}")
        self._pending.extend(entries)

    def sync(self) -> None:
        """See :class:`~matchengine.storage.contracts.LogStore`; without new entries, nothing to do."""
        with self._fuse.guard(f"writing the log in {self._directory}"):
            for batch in _batches(self._pending):
                self._write(batch)
            self._pending.clear()

    def truncate_from(self, index: Index) -> None:
        """See :class:`~matchengine.storage.contracts.LogStore`; durable on return."""
        kept = max(0, index - self._segments[-1].last - 1)
        del self._pending[kept:]
        if index > self._segments[-1].last:
            return
        with self._fuse.guard(f"truncating the log in {self._directory}"):
            self._close_handle()
            while len(self._segments) > 1 and self._segments[-1].first >= index:
                self._remove(self._segments.pop())
            self._segments[-1] = self._segments[-1].cut(max(index, self.first_index))
            self._open_handle()

    def compact_to(self, index: Index) -> None:
        """See :class:`~matchengine.storage.contracts.LogStore`; drops whole segments, never the last one."""
        with self._fuse.guard(f"compacting the log in {self._directory}"):
            while len(self._segments) > 1 and self._segments[0].last <= index:
                self._remove(self._segments.pop(0))

    def reset(self, index: Index) -> None:
        """See :class:`~matchengine.storage.contracts.LogStore`; durable on return."""
        self._pending.clear()
        with self._fuse.guard(f"resetting the log in {self._directory}"):
            self._close_handle()
            while len(self._segments) > 1:
                self._remove(self._segments.pop())
            self._remove(self._segments[0])
            self._segments[0] = self._create(index)
            self._open_handle()

    def read(self, first: Index, last: Index) -> Iterator[Entry]:
        """See :class:`~matchengine.storage.contracts.LogStore`."""
        if first < self.first_index or last > self.last_index:
            raise IndexError(f"entries {first} to {last} are not in {self.first_index} to {self.last_index}")
        for segment in self._segments:
            if segment.first <= last and segment.last >= first:
                yield from self._read_segment(segment, max(first, segment.first), min(last, segment.last))
        synced = self._segments[-1].last
        yield from self._pending[max(0, first - synced - 1) : max(0, last - synced)]

    def close(self) -> None:
        """See :class:`~matchengine.storage.contracts.LogStore`; entries that were not synced are lost."""
        self._close_handle()

    # --- segments ---

    def _read_segment(self, segment: Segment, first: Index, last: Index) -> Iterator[Entry]:
        with self._fuse.guard(f"reading {segment.path}"):
            yield from segment.read(first, last)

    def _write(self, batch: Sequence[Entry]) -> None:
        frame = self._segments[-1].encode(batch)
        if self._segments[-1].end + len(frame) > self._segments[-1].capacity:
            self._rotate(batch[0].index, len(frame))
            frame = self._segments[-1].encode(batch)
        assert self._handle is not None
        self._segments[-1].write(self._handle, batch, frame)
        started = time.perf_counter_ns()
        self._fs.fdatasync(self._handle)
        self.sync_ns.append(time.perf_counter_ns() - started)

    def _rotate(self, first: Index, frame_bytes: int) -> None:
        self._close_handle()
        created = self._create(first, frames.SEGMENT_HEADER_BYTES + frame_bytes)
        if self._segments[-1].last < self._segments[-1].first:
            self._segments.pop()
        self._segments.append(created)
        self._open_handle()

    def _create(self, first: Index, needed: int = 0) -> Segment:
        capacity = max(self._segment_bytes, needed)
        return Segment.create(self._fs, self._directory, first, self._new_salt(), capacity)

    def _remove(self, segment: Segment) -> None:
        # One directory sync per file: removals that became durable out of order would leave a gap.
        self._fs.unlink(segment.path)
        self._fs.fsync_dir(self._directory)

    def _open_handle(self) -> None:
        self._handle = self._fs.open(self._segments[-1].path, writable=True)

    def _close_handle(self) -> None:
        if self._handle is not None:
            self._fs.close(self._handle)
            self._handle = None


def _batches(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Cut into runs of at most FRAME_BODY_BYTES, of one entry at least."""
    start = size = 0
    for number, entry in enumerate(entries):
        size += frames.entry_bytes(entry)
        if size > FRAME_BODY_BYTES and number > start:
            yield entries[start:number]
            start, size = number, frames.entry_bytes(entry)
    if start < len(entries):
        yield entries[start:]
