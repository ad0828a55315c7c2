"""Mistakes in the stores, one at a time: each is a patch of the production code, for tests alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from matchengine.raft.types import Entry, HardState
from matchengine.storage import data_dir, files, frames, log, log_end, snapshots, stable, storage
from matchengine.storage.files import FileSystem, write_all
from matchengine.storage.log import SegmentedLog
from matchengine.storage.log_end import LogEnd
from matchengine.storage.segment import Segment
from matchengine.storage.snapshot_file import SnapshotWriter
from matchengine.storage.snapshots import FileSink, SnapshotFiles
from matchengine.storage.stable import StableFile
from matchengine.storage.storage import Storage

Plant: TypeAlias = Callable[[pytest.MonkeyPatch], None]


class _Deaf:
    """A file system that takes some calls and does nothing."""

    def __init__(self, fs: FileSystem, *ignored: str) -> None:
        self._fs = fs
        self._ignored = ignored

    def __getattr__(self, name: str) -> object:
        return (lambda *_: None) if name in self._ignored else getattr(self._fs, name)


def _without(patch: pytest.MonkeyPatch, owner: type, method: str, *ignored: str) -> None:
    """The method does not make these calls."""
    original = getattr(owner, method)

    def deaf(self, *args, **kwargs):
        heard = self._fs
        self._fs = _Deaf(heard, *ignored)
        try:
            return original(self, *args, **kwargs)
        finally:
            self._fs = heard

    patch.setattr(owner, method, deaf)


def _function_without(patch: pytest.MonkeyPatch, module: object, name: str, *ignored: str) -> None:
    original = getattr(module, name)
    patch.setattr(module, name, lambda fs, *args: original(_Deaf(fs, *ignored), *args))


def _write_in_place(fs: FileSystem, path: Path, data: bytes) -> None:
    handle = fs.open(path, writable=True) if fs.exists(path) else fs.create(path)
    write_all(fs, handle, data, 0)
    fs.fsync(handle)
    fs.close(handle)
    fs.fsync_dir(path.parent)


def _create_segment_in_place(patch: pytest.MonkeyPatch) -> None:
    def build(self: Segment, entries: tuple[Entry, ...]) -> None:
        handle = self._fs.create(self.path)
        self._fs.fallocate(handle, self.capacity)
        write_all(self._fs, handle, frames.encode_segment_header(self.first, self._salt), 0)
        self._fs.fsync_dir(self.path.parent)
        self._fs.close(handle)

    original = Segment._build
    patch.setattr(Segment, "_build", lambda self, new: (original if new or self._firsts else build)(self, new))


def _cut_in_place(patch: pytest.MonkeyPatch) -> None:
    """Overwrite what goes with zeros, and write back what shared a frame with it."""

    def cut(self: Segment, index: int) -> Segment:
        keep = tuple(self.read(self.first, index - 1)) if index > self.first else ()
        short = Segment(self._fs, self.path, self.first, self._salt, self.capacity, frames.FORMAT_VERSION)
        handle = self._fs.open(self.path, writable=True)
        write_all(self._fs, handle, bytes(self.capacity - short.end), short.end)
        if keep:
            short.write(handle, keep, short.encode(keep))
        self._fs.fdatasync(handle)
        self._fs.close(handle)
        return short

    patch.setattr(Segment, "cut", cut)


def _truncate_in_memory(patch: pytest.MonkeyPatch) -> None:
    """The next frame overwrites what was cut off; until then it is there."""

    def cut(self: Segment, index: int) -> Segment:
        kept = Segment(self._fs, self.path, self.first, self._salt, self.capacity, frames.FORMAT_VERSION)
        number = sum(first < index for first in self._firsts)
        if number and (self._firsts[number] if number < len(self._firsts) else self.last + 1) == index:
            kept._firsts, kept._offsets = self._firsts[:number], self._offsets[:number]
            kept.last, kept.end = index - 1, self._offsets[number] if number < len(self._offsets) else self.end
            return kept
        return original(self, index)

    original = Segment.cut
    patch.setattr(Segment, "cut", cut)


def _retention_first(patch: pytest.MonkeyPatch) -> None:
    original = SnapshotFiles.publish

    def publish(self: SnapshotFiles, path: Path, meta: object) -> None:
        self._names = sorted((*self._names, path.name), reverse=True)
        self._verified[path.name] = meta
        self._drop_oldest()
        self._names.remove(path.name)
        original(self, path, meta)

    patch.setattr(SnapshotFiles, "publish", publish)


def _retention_of_the_newest(patch: pytest.MonkeyPatch) -> None:
    original = SnapshotFiles._drop_oldest

    def drop(self: SnapshotFiles) -> None:
        self._names.reverse()
        original(self)
        self._names.reverse()

    patch.setattr(SnapshotFiles, "_drop_oldest", drop)


def _publish_before_finish(patch: pytest.MonkeyPatch) -> None:
    def commit(self: FileSink) -> object:
        meta = snapshots.msgspec.structs.replace(self._meta, size=self._writer.size)
        self._store.publish(self._path, meta)
        self._writer.finish()
        self._close()
        return meta

    patch.setattr(FileSink, "commit", commit)


def _log_before_term(patch: pytest.MonkeyPatch) -> None:
    def perform(self: Storage, writes: object) -> None:
        for write in writes:
            self._change_log(write)
        self.log.sync()
        for write in writes:
            if write.hard_state is not None:
                self.stable.save(write.hard_state)
        self.log.compact_to(max((write.compact_to or 0 for write in writes), default=0))

    patch.setattr(Storage, "perform", perform)


def _body_unchecked(patch: pytest.MonkeyPatch) -> None:
    def body_of(data: memoryview, header: frames.FrameHeader, _salt: int) -> bytes:
        start = header.offset + frames.FRAME_OVERHEAD_BYTES - 8
        return bytes(data[start : start + header.body_bytes])

    patch.setattr(frames, "body_of", body_of)


def _torn_tail_stays(patch: pytest.MonkeyPatch) -> None:
    """The next frame is written over it."""
    original = SegmentedLog._renew

    def renew(self: SegmentedLog, segment: Segment, torn: frames.Damage | None) -> Segment:
        return segment if torn is not None else original(self, segment, torn)

    patch.setattr(SegmentedLog, "_renew", renew)


def _removal_from_the_front(patch: pytest.MonkeyPatch) -> None:
    def truncate_from(self: SegmentedLog, index: int) -> None:
        if index > self._segments[-1].last:
            original(self, index)
            return
        self._close_handle()
        gone = [each for each in self._segments[1:] if each.first >= index]
        for each in gone:
            self._segments.remove(each)
            self._remove(each)
        self._segments[-1] = self._segments[-1].cut(max(index, self.first_index))
        self._open_handle()

    original = SegmentedLog.truncate_from
    patch.setattr(SegmentedLog, "truncate_from", truncate_from)


def _reset_makes_first(patch: pytest.MonkeyPatch) -> None:
    def reset(self: SegmentedLog, index: int) -> None:
        self._close_handle()
        old, self._segments = self._segments, [self._create(index)]
        for each in old:
            self._remove(each)
        self._open_handle()

    patch.setattr(SegmentedLog, "reset", reset)


def _compaction_too_far(patch: pytest.MonkeyPatch) -> None:
    """Before the snapshot that allows it is visible."""
    original = FileSink.commit

    def commit(self: FileSink) -> object:
        self._store.log.compact_to(self._meta.index)
        return original(self)

    def opened(self: Storage, *args: object) -> None:
        first(self, *args)
        self.snapshots.log = self.log

    first = Storage.__init__
    patch.setattr(Storage, "__init__", opened)
    patch.setattr(FileSink, "commit", commit)


def _start_does_not_sync_names(patch: pytest.MonkeyPatch) -> None:
    """What a killed process left is taken for durable."""

    def open_directory(fs: FileSystem, path: Path) -> None:
        files.make_directory(fs, path)
        for name in fs.listdir(path):
            if name.endswith(".tmp"):
                fs.unlink(path / name)

    patch.setattr(log, "open_directory", open_directory)
    patch.setattr(snapshots, "open_directory", open_directory)


def _frame_not_rewritten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Segment, "rewrite_last", lambda _self, _handle: None)


def _temporaries_stay(patch: pytest.MonkeyPatch) -> None:
    """And are taken for segments."""

    def load(self: SegmentedLog) -> list[Segment]:
        files.make_directory(self._fs, self._directory)
        for name in self._fs.listdir(self._directory):
            if name.endswith(".log.tmp"):
                self._fs.rename(self._directory / name, self._directory / name.removesuffix(".tmp"))
        return original(self)

    original = SegmentedLog._load
    patch.setattr(SegmentedLog, "_load", load)


def _end_before_entries(patch: pytest.MonkeyPatch) -> None:
    def write(self: SegmentedLog, batch: tuple[Entry, ...]) -> None:
        self._end.note(batch[-1].index, batch[-1].term)
        original(self, batch)

    original = SegmentedLog._write
    patch.setattr(SegmentedLog, "_write", write)


def _end_never_moved_back(patch: pytest.MonkeyPatch) -> None:
    def settle(self: LogEnd, index: int, term: int) -> None:
        if index >= self.index:
            original(self, index, term)

    original = LogEnd.settle
    patch.setattr(LogEnd, "settle", settle)


def _end_moved_back_late(patch: pytest.MonkeyPatch) -> None:
    """When the entries are gone."""

    def late(name: str) -> None:
        original = getattr(SegmentedLog, name)

        def drop(self: SegmentedLog, index: int) -> None:
            settled, settle = [], self._end.settle
            self._end.settle = lambda *end: settled.append(end)
            original(self, index)
            self._end.settle = settle
            for end in settled:
                settle(*end)

        patch.setattr(SegmentedLog, name, drop)

    late("truncate_from")
    late("reset")


def _end_moved_back_in_one_slot(patch: pytest.MonkeyPatch) -> None:
    def write(self: LogEnd, record: bytes) -> None:
        write_all(self._fs, self._opened(), record, log_end._SLOT_BYTES)
        self._fs.fdatasync(self._opened())

    patch.setattr(LogEnd, "_write_both", write)


def _lost_end_without_segments(patch: pytest.MonkeyPatch) -> None:
    """Only a log that has a segment is compared with the record."""
    original = SegmentedLog._refuse_lost_end
    patch.setattr(SegmentedLog, "_refuse_lost_end", lambda self, found: original(self, found) if found else None)


def _no_record_needed(patch: pytest.MonkeyPatch) -> None:
    original = LogEnd.load
    patch.setattr(LogEnd, "load", lambda self: original(self) if self._fs.exists(self.path) else None)


def _no_vote_needed(patch: pytest.MonkeyPatch) -> None:
    original = StableFile.load
    patch.setattr(StableFile, "load", lambda self: original(self) if self._fs.exists(self._path) else HardState())


def _never_complete(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(data_dir.DataDir, "complete", lambda _self: None)


#: What is wrong, how, and the workloads in which it shows.
BUGS: dict[str, tuple[Plant, tuple[str, ...]]] = {
    "record of term and vote renamed before its sync": (
        lambda patch: _function_without(patch, stable, "replace_file", "fsync"),
        ("stable store",),
    ),
    "record of term and vote renamed, its directory not synced": (
        lambda patch: _function_without(patch, stable, "replace_file", "fsync_dir"),
        ("stable store",),
    ),
    "record of term and vote written in place": (
        lambda patch: patch.setattr(stable, "replace_file", _write_in_place),
        ("stable store",),
    ),
    "node.json written in place": (
        lambda patch: patch.setattr(data_dir, "replace_file", _write_in_place),
        ("creation",),
    ),
    "data directory made, its parent not synced": (
        lambda patch: _function_without(patch, data_dir, "make_directory", "fsync_dir"),
        ("creation",),
    ),
    "entries acknowledged before their sync": (
        lambda patch: _without(patch, SegmentedLog, "_write", "fdatasync"),
        ("append",),
    ),
    "log written before term and vote": (_log_before_term, ("append", "truncate within a frame")),
    "torn last frame taken for whole": (_body_unchecked, ("append", "append over segments")),
    "torn last frame left standing": (_torn_tail_stays, ("append", "append over segments")),
    "segment made under its own name, header not synced": (
        _create_segment_in_place,
        ("creation", "append over segments"),
    ),
    "new segment's name not synced": (
        lambda patch: _without(patch, Segment, "_build", "fsync_dir"),
        ("append over segments",),
    ),
    "new segment renamed before its sync": (
        lambda patch: _without(patch, Segment, "_build", "fsync"),
        ("append over segments", "truncate within a frame"),
    ),
    "unfinished segment taken for one": (_temporaries_stay, ("truncate within a frame", "append over segments")),
    "truncation in memory only": (_truncate_in_memory, ("truncate between frames",)),
    "truncation in place": (_cut_in_place, ("truncate within a frame",)),
    "truncation from the front": (_removal_from_the_front, ("truncate over segments",)),
    "removed segments' names not synced": (
        lambda patch: _without(patch, SegmentedLog, "_remove", "fsync_dir"),
        ("truncate over segments", "snapshot install", "compaction"),
    ),
    "reset makes the new segment before it removes the old": (_reset_makes_first, ("snapshot install",)),
    "compaction before the snapshot is durable": (_compaction_too_far, ("compaction",)),
    "snapshot renamed before its sync": (
        lambda patch: _without(patch, SnapshotWriter, "finish", "fsync"),
        ("snapshot retention", "compaction"),
    ),
    "snapshot renamed before its end is written": (_publish_before_finish, ("snapshot retention",)),
    "snapshot's name not synced": (
        lambda patch: _function_without(patch, snapshots, "publish", "fsync_dir"),
        ("snapshot retention", "compaction"),
    ),
    "retention before the new snapshot is there": (_retention_first, ("snapshot retention",)),
    "retention of the oldest": (_retention_of_the_newest, ("snapshot retention",)),
    "end of the log recorded before it is durable": (_end_before_entries, ("append", "append over segments")),
    "end of the log not moved back": (_end_never_moved_back, ("truncate between frames",)),
    "end of the log moved back after the truncation": (_end_moved_back_late, ("truncate between frames",)),
    "end of the log moved back after the reset": (_end_moved_back_late, ("snapshot install over a conflict",)),
    "end of the log moved back in one slot only": (_end_moved_back_in_one_slot, ("truncate within a frame",)),
    "end of the log moved back, not synced": (
        lambda patch: _without(patch, LogEnd, "_write_both", "fdatasync"),
        ("truncate between frames", "truncate over segments"),
    ),
    "record of the log's end renamed before its sync": (
        lambda patch: _function_without(patch, log_end, "replace_file", "fsync"),
        ("creation",),
    ),
    "directory complete before the record of term and vote has its name": (
        lambda patch: _function_without(patch, stable, "replace_file", "fsync_dir"),
        ("creation",),
    ),
    "log compared with the record, snapshots not": (
        lambda patch: patch.setattr(storage, "_covered", lambda _snapshots: 0),
        ("snapshot install",),
    ),
    "names left by a killed process not synced": (_start_does_not_sync_names, ("truncate between frames",)),
    "frame left by a killed process not synced": (_frame_not_rewritten, ("append",)),
}

#: Mistakes by which a loss passes in silence.
LOSSES: dict[str, tuple[Plant, tuple[str, ...]]] = {
    "end of the log not recorded": (lambda patch: patch.setattr(LogEnd, "note", lambda *_: None), ("append",)),
    "log without a segment not compared with the record": (_lost_end_without_segments, ("append",)),
    "record of the log's end not missed": (_no_record_needed, ("append", "append over segments")),
    "record of term and vote not missed": (_no_vote_needed, ("stable store",)),
    "directory never complete": (_never_complete, ("stable store", "append")),
}
