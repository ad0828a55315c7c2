"""One file of the log: created whole, filled frame by frame, never changed in place."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

from matchengine.raft.types import Entry, Index
from matchengine.storage import frames
from matchengine.storage.contracts import REJOIN, CorruptionError
from matchengine.storage.files import FileSystem, publish, reading, temporary_path, write_all

SUFFIX = ".log"
#: Far above the segments and frames that the log makes: what is longer is not read into memory.
LARGEST_SEGMENT_BYTES = 256 * 1024 * 1024
#: Syncing over written zeros takes a third less time than syncing into space that was only reserved.
_BLANK_BYTES = 256 * 1024
_COPY_BYTES = 1024 * 1024
REMEDY = f"do not delete it by hand: {REJOIN}, or restore the file from a copy"


def segment_path(directory: Path, first: Index) -> Path:
    """The file of the segment whose oldest entry is ``first``."""
    return directory / f"{first:020d}{SUFFIX}"


class Segment:
    """The index of one file: which frames it has and where.

    ``first`` is the segment's oldest entry (or the next one to come), ``last`` its newest or
    ``first - 1``, ``end`` the offset behind its last frame, ``capacity`` the file's length, ``version`` that of
    its format: into an older one nothing is written.
    """

    def __init__(self, fs: FileSystem, path: Path, first: Index, salt: int, capacity: int, version: int) -> None:
        self._fs = fs
        self.path = path
        self.first = first
        self.last = first - 1
        self.end = frames.SEGMENT_HEADER_BYTES
        self.capacity = capacity
        self.version = version
        self._blanked = self.end
        self._salt = salt
        self._firsts = array("Q")
        self._offsets = array("Q")

    @classmethod
    def create(cls, fs: FileSystem, directory: Path, first: Index, salt: int, capacity: int) -> Segment:
        """A new, empty, durable segment of ``capacity`` bytes; replaces the one of the same index."""
        segment = cls(fs, segment_path(directory, first), first, salt, capacity, frames.FORMAT_VERSION)
        segment._build(())
        return segment

    @classmethod
    def load(cls, fs: FileSystem, path: Path) -> tuple[Segment, frames.Damage | None]:
        """Read and check every frame; the damage, if any, is at the segment's ``end``."""
        with reading(fs, path) as handle:
            size = fs.size(handle)
            if size > LARGEST_SEGMENT_BYTES:
                raise CorruptionError(f"{path}: {size} bytes are more than {LARGEST_SEGMENT_BYTES}; {REMEDY}")
            data = memoryview(fs.pread(handle, size, 0))
        try:
            first, salt, version = frames.decode_segment_header(bytes(data[: frames.SEGMENT_HEADER_BYTES]))
        except frames.FormatError as error:
            raise CorruptionError(f"{path}, offset 0: {error}; {REMEDY}") from error
        segment = cls(fs, path, first, salt, len(data), version)
        if path != segment_path(path.parent, first):
            raise CorruptionError(f"{path}: the segment inside begins with entry {first}; {REMEDY}")
        return segment, segment._scan(data)

    def _scan(self, data: memoryview) -> frames.Damage | None:
        while (header := frames.decode_header(data, self.end, self._salt)) is not None:
            if frames.body_of(data, header, self._salt) is None:
                break
            if header.first != self.last + 1:
                raise self._corruption(self.end, f"entry {header.first} follows entry {self.last}")
            self._note(header.first, header.count, header.end)
        if frames.is_blank(data, self.end):
            return None
        return frames.diagnose(data, self.end, self._salt)

    def _note(self, first: Index, count: int, end: int) -> None:
        self._firsts.append(first)
        self._offsets.append(self.end)
        self.last = first + count - 1
        self.end = end

    def _corruption(self, offset: int, what: str) -> CorruptionError:
        return CorruptionError(f"{self.path}, offset {offset}: {what}; {REMEDY}")

    def encode(self, entries: Sequence[Entry]) -> bytes:
        """The frame with which these entries would stand next in this segment."""
        return frames.encode_frame(entries, self._salt, self.end)

    def write(self, handle: int, entries: Sequence[Entry], frame: bytes) -> None:
        """Put the encoded frame behind the last one; the caller has made sure that it fits, and syncs."""
        end = self.end + len(frame)
        if end > self._blanked:
            self._blanked = min(end + _BLANK_BYTES, self.capacity)
            write_all(self._fs, handle, bytes(self._blanked - end), end)
        write_all(self._fs, handle, frame, self.end)
        self._note(entries[0].index, len(entries), end)

    def rewrite_last(self, handle: int) -> None:
        """Write the last frame once more, and sync it.

        The process that wrote it may have been killed before its sync, or have ended because the sync failed; then the
        frame can be read, but a power loss takes it, and a sync alone would not save it (Rebello et al., ATC 2020).
        """
        if self._offsets:
            start = self._offsets[-1]
            write_all(self._fs, handle, self._fs.pread(handle, self.end - start, start), start)
            self._fs.fdatasync(handle)

    def read(self, first: Index, last: Index) -> Iterator[Entry]:
        """The entries from ``first`` to ``last``, both in this segment; checksums verified again."""
        with reading(self._fs, self.path) as handle:
            number = bisect_right(self._firsts, first) - 1
            while number < len(self._firsts) and self._firsts[number] <= last:
                for entry in self._read_frame(handle, number):
                    if first <= entry.index <= last:
                        yield entry
                number += 1

    def _read_frame(self, handle: int, number: int) -> Iterator[Entry]:
        start = self._offsets[number]
        stop = self._offsets[number + 1] if number + 1 < len(self._offsets) else self.end
        data = memoryview(self._fs.pread(handle, stop - start, start))
        header = frames.decode_header(data, 0, self._salt)
        body = frames.body_of(data, header, self._salt) if header is not None else None
        if header is None or body is None:
            raise self._corruption(start, "the frame was intact before and is not any more")
        try:
            yield from frames.decode_entries(body, header.first, header.count)
        except frames.FormatError as error:
            raise self._corruption(start, str(error)) from error

    def cut(self, index: Index) -> Segment:
        """A copy in the newest format that ends before ``index`` and takes this one's place, durably and all at once.

        Cutting in place could lose entries of the same frame that must stay, and could let
        frames behind the cut come back.  The last frame is written anew: it is the one of which a
        start may have to tell why it is damaged, and that of an older format says too little.
        """
        kept = Segment(self._fs, self.path, self.first, self._salt, self.capacity, frames.FORMAT_VERSION)
        number = bisect_right(self._firsts, index - 1) - 1
        shared: tuple[Entry, ...] = ()
        if number >= 0:
            kept._adopt(self, number)
            shared = tuple(self.read(self._firsts[number], index - 1))
        kept._build(shared)
        return kept

    def _adopt(self, other: Segment, frames_kept: int) -> None:
        self._firsts = other._firsts[:frames_kept]
        self._offsets = other._offsets[:frames_kept]
        self.end = other._offsets[frames_kept]
        self.last = other._firsts[frames_kept] - 1

    def _build(self, entries: Sequence[Entry]) -> None:
        """Write header, adopted frames (still under our name) and ``entries`` to a new file, and publish it."""
        temporary = temporary_path(self.path)
        handle = self._fs.create(temporary)
        try:
            self._fs.fallocate(handle, self.capacity)
            write_all(self._fs, handle, frames.encode_segment_header(self.first, self._salt), 0)
            self._copy_frames(handle)
            if entries:
                self.write(handle, entries, self.encode(entries))
            self._fs.fsync(handle)
        finally:
            self._fs.close(handle)
        publish(self._fs, temporary, self.path)

    def _copy_frames(self, handle: int) -> None:
        if not self._firsts:
            return
        with reading(self._fs, self.path) as source:
            for at in range(frames.SEGMENT_HEADER_BYTES, self.end, _COPY_BYTES):
                data = self._fs.pread(source, min(_COPY_BYTES, self.end - at), at)
                write_all(self._fs, handle, data, at)
