"""The log store on disk: segments in a directory, one frame and one ``fdatasync`` per sync.

Appended entries wait in memory until :meth:`SegmentedLog.sync`, which writes them as one frame
(more only beyond ``FRAME_BODY_BYTES``) and syncs it.  So there is never more than one frame that
is not durable, and a damaged frame with an intact one behind it cannot come from a crash.  Nor can a log that
ends before the entry that the record of its end names: see ``log_end.py``.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from matchengine.raft.types import Entry, Index, Term
from matchengine.storage import frames
from matchengine.storage.contracts import CorruptionError, StorageError
from matchengine.storage.files import FileSystem, Fuse, open_directory
from matchengine.storage.log_end import LogEnd
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
    own size.  ``frame_bytes`` bounds what one frame holds, one entry at least.  ``sync_ns`` holds the durations of
    the last syncs in nanoseconds.

    ``end`` was loaded, unless the log is new; an entry that it names and that is not there was lost, and opening
    raises CorruptionError, but for one up to ``covered()``, which a snapshot holds.
    """

    def __init__(
        self,
        fs: FileSystem,
        directory: Path,
        fuse: Fuse,
        end: LogEnd,
        *,
        covered: Callable[[], Index],
        segment_bytes: int = SEGMENT_BYTES,
        frame_bytes: int = FRAME_BODY_BYTES,
        new_salt: Callable[[], int] = random_salt,
    ) -> None:
        self._fs = fs
        self._directory = directory
        self._fuse = fuse
        self._end = end
        self._covered = covered
        self._segment_bytes = segment_bytes
        self._frame_bytes = frame_bytes
        self._new_salt = new_salt
        self._pending: list[Entry] = []
        self._handle: int | None = None
        self.sync_ns: deque[int] = deque(maxlen=_SYNCS_REMEMBERED)
        with fuse.guard(f"opening the log in {directory}"):
            self._segments = self._load() or [self._create(1)]
            self._handle = fs.open(self._segments[-1].path, writable=True)
            self._segments[-1].rewrite_last(self._handle)
            self._settle(self._segments[-1].last)

    # --- opening ---

    def _load(self) -> list[Segment]:
        open_directory(self._fs, self._directory)
        names = sorted(name for name in self._fs.listdir(self._directory) if name.endswith(SUFFIX))
        segments: list[Segment] = []
        torn: frames.Damage | None = None
        for number, name in enumerate(names, 1):
            segment, damage = Segment.load(self._fs, self._directory / name)
            if segments and segment.first != segments[-1].last + 1:
                self._refuse_gap(segments[-1], segment)
            if damage is not None:
                torn = self._check_torn(segment, damage, is_last=number == len(names))
            segments.append(segment)
        self._refuse_lost_end(segments)
        if segments and (torn is not None or segments[-1].version < frames.FORMAT_VERSION):
            segments[-1] = self._renew(segments[-1], torn)
        return segments

    def _refuse_gap(self, before: Segment, behind: Segment) -> None:
        raise CorruptionError(
            f"{before.path}, offset {before.end}: the segment ends with entry {before.last}, "
            f"but {behind.path.name} begins with entry {behind.first}; {REMEDY}"
        )

    def _check_torn(self, segment: Segment, damage: frames.Damage, *, is_last: bool) -> frames.Damage:
        """Refuse damage that no crash explains."""
        if not is_last or damage is frames.Damage.ROTTEN:
            raise CorruptionError(
                f"{segment.path}, offset {segment.end}: {frames.Damage.ROTTEN.value}, "
                f"after entry {segment.last}; {REMEDY}"
            )
        return damage

    def _refuse_lost_end(self, segments: Sequence[Segment]) -> None:
        """Refuse a log that ends before what was durable, or holds another entry there."""
        end = self._end
        last = segments[-1].last if segments else 0
        if not end.index or (end.index <= last and self._is_known(segments, end.index, end.term)):
            return
        if end.index <= self._covered():
            return
        where = f"{segments[-1].path}, offset {segments[-1].end}" if segments else str(self._directory)
        what = f"the log ends with entry {last}" if segments else "there is no segment"
        if segments and end.index <= last:
            what = f"entry {end.index} is not of term {end.term}"
        raise CorruptionError(
            f"{where}: {what}, but {end.path.name} says that entry {end.index} of term {end.term} was durable: "
            f"acknowledged entries are lost; {REMEDY}"
        )

    def _is_known(self, segments: Sequence[Segment], index: Index, term: Term) -> bool:
        """Whether the entry may be the one that was recorded: one that the log begins behind is a snapshot's."""
        for segment in segments:
            if segment.first <= index <= segment.last:
                return term in (0, next(segment.read(index, index)).term)
        return True

    def _renew(self, segment: Segment, torn: frames.Damage | None) -> Segment:
        """Cut off a torn tail, and bring the segment to the newest format."""
        if torn is not None:
            where = f"{segment.path}, offset {segment.end}"
            _logger.warning("%s: cut off %s, after entry %d", where, torn.value, segment.last)
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
            for batch in _batches(self._pending, self._frame_bytes):
                self._write(batch)
            self._pending.clear()

    def truncate_from(self, index: Index) -> None:
        """See :class:`~matchengine.storage.contracts.LogStore`; durable on return."""
        kept = max(0, index - self._segments[-1].last - 1)
        del self._pending[kept:]
        if index > self._segments[-1].last:
            return
        with self._fuse.guard(f"truncating the log in {self._directory}"):
            self._settle(max(index, self.first_index) - 1)
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
                self._end.sync()

    def reset(self, index: Index) -> None:
        """See :class:`~matchengine.storage.contracts.LogStore`; durable on return."""
        self._pending.clear()
        with self._fuse.guard(f"resetting the log in {self._directory}"):
            self._end.settle(index - 1, 0)
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
        if not self._fuse.is_blown:
            self._sync_end()
        self._end.close()

    def _sync_end(self) -> None:
        try:
            with self._fuse.guard(f"writing {self._end.path}"):
                self._end.sync()
        except StorageError as error:
            # The entries are durable, and the record was written: only a loss of power can still make it an older one.
            _logger.warning("%s", error)

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
        self._end.note(batch[-1].index, batch[-1].term)

    def _rotate(self, first: Index, frame_bytes: int) -> None:
        self._close_handle()
        created = self._create(first, frames.SEGMENT_HEADER_BYTES + frame_bytes)
        if self._segments[-1].last < self._segments[-1].first:
            self._segments.pop()
        self._segments.append(created)
        self._open_handle()
        self._end.sync()

    def _create(self, first: Index, needed: int = 0) -> Segment:
        capacity = max(self._segment_bytes, needed)
        return Segment.create(self._fs, self._directory, first, self._new_salt(), capacity)

    def _remove(self, segment: Segment) -> None:
        # One directory sync per file: removals that became durable out of order would leave a gap.
        self._fs.unlink(segment.path)
        self._fs.fsync_dir(self._directory)

    def _settle(self, last: Index) -> None:
        """Record that the log ends with ``last``, an entry of it or the one before its first."""
        term = next(self.read(last, last)).term if last >= self.first_index else 0
        self._end.settle(last, term)

    def _open_handle(self) -> None:
        self._handle = self._fs.open(self._segments[-1].path, writable=True)

    def _close_handle(self) -> None:
        if self._handle is not None:
            self._fs.close(self._handle)
            self._handle = None


def _batches(entries: Sequence[Entry], frame_bytes: int) -> Iterator[Sequence[Entry]]:
    """Cut into runs of at most ``frame_bytes``, of one entry at least."""
    start = size = 0
    for number, entry in enumerate(entries):
        size += frames.entry_bytes(entry)
        if size > frame_bytes and number > start:
            yield entries[start:number]
            start, size = number, frames.entry_bytes(entry)
    if start < len(entries):
        yield entries[start:]
