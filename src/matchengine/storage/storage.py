"""All that one node keeps on disk, opened together, and the order in which it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import msgspec

from matchengine.raft.ready import Write
from matchengine.raft.types import Entry, HardState, Index, Restored, SnapshotMeta
from matchengine.storage.contracts import REJOIN, CorruptionError, DataDirError, StorageError
from matchengine.storage.data_dir import DataDir
from matchengine.storage.files import FileSystem, Fuse, OsFileSystem
from matchengine.storage.log import FRAME_BODY_BYTES, SEGMENT_BYTES, SegmentedLog, is_absent, random_salt
from matchengine.storage.log_end import LogEnd
from matchengine.storage.peers_file import PeersFile
from matchengine.storage.snapshots import RETAIN, SnapshotFiles
from matchengine.storage.stable import StableFile


class Storage:
    """Log, stable store, snapshots and forced members of one data directory, under one fuse.

    ``restore``, ``bootstrap``, ``finish_recovery``, ``perform`` and ``close`` are for one thread at a time;
    ``snapshots`` may be used beside them.  After a StorageError of a write or sync everything is
    refused; whoever runs the node has to :meth:`watch` for it.
    """

    def __init__(
        self,
        data_dir: DataDir,
        log: SegmentedLog,
        stable: StableFile,
        snapshots: SnapshotFiles,
        peers: PeersFile,
        fuse: Fuse,
    ) -> None:
        self.log = log
        self.stable = stable
        self.snapshots = snapshots
        self.peers = peers
        self._data_dir = data_dir
        self._fuse = fuse

    def watch(self, failed: Callable[[StorageError], None]) -> None:
        """Call ``failed`` with the failure that puts the storage out of use: the node has to stop.

        Any thread that uses the storage may call it, once; it is called now if the failure is already there.
        """
        self._fuse.watch(failed)

    def restore(self) -> Restored:
        """Reconcile log and snapshots and return the state to resume from.

        Raises StorageError when entries are missing between the newest good snapshot and the log,
        or when the term on disk is older than the log.
        """
        with self._fuse.guard("restoring"):
            state = self.stable.load()  # before anything is changed: it may be one that this program must not use
            snapshot = self.snapshots.newest()
            self._reconcile(snapshot)
            entries = tuple(self.log.read(self.log.first_index, self.log.last_index))
            current = self._hard_state(state, snapshot, entries)
            if current != state:  # nobody would write it again, and entries of its term may come
                self.stable.save(current)
            return Restored(current, snapshot, entries)

    def bootstrap(self, restored: Restored) -> None:
        """Write the first state of a new cluster; DataDirError when the directory already has one.

        A bootstrap that a crash interrupted after the hard state may be done again.
        """
        fresh = self.stable.load() in (HardState(), restored.hard_state)
        if not fresh or self.log.last_index or self.snapshots.newest():
            raise DataDirError(f"{self._data_dir.path}: already holds a node's state; bootstrap an empty one only")
        self.stable.save(restored.hard_state)
        self.log.append(restored.entries)
        self.log.sync()

    def finish_recovery(self, snapshot: SnapshotMeta) -> None:
        """Drop the log, all of which ``snapshot`` holds, and then the members' file, which is done with.

        Whatever a crash leaves undone is done by the next start, which still finds the file.
        """
        self.log.reset(snapshot.index + 1)
        self.peers.retire()

    def perform(self, writes: Sequence[Write]) -> None:
        """Make these writes durable, in their order, with one save of the hard state and one sync of the log."""
        with self._fuse.guard("performing writes"):
            states = [write.hard_state for write in writes if write.hard_state is not None]
            if states:
                self.stable.save(states[-1])
            for write in writes:
                self._change_log(write)
            self.log.sync()
            self.log.compact_to(max((write.compact_to or 0 for write in writes), default=0))

    def fsync_us_median(self) -> float:
        """Median of the last syncs of the log in microseconds; 0.0 before the first."""
        return median(self.log.sync_ns) / 1000 if self.log.sync_ns else 0.0

    def close(self) -> None:
        """Release files and lock; what was not performed is lost."""
        self.log.close()
        self._data_dir.close()

    def _change_log(self, write: Write) -> None:
        if write.reset is not None:
            self.log.reset(write.reset.index + 1)
        if write.truncate_from is not None:
            self.log.truncate_from(write.truncate_from)
        self.log.append(write.entries)

    def _reconcile(self, snapshot: SnapshotMeta | None) -> None:
        """Drop a log that conflicts with the snapshot or ends before it; refuse a gap."""
        covered = snapshot.index if snapshot is not None else 0
        if self.log.first_index > covered + 1:
            raise StorageError(
                f"{self._data_dir.path}: the log begins with entry {self.log.first_index}, but the newest good "
                f"snapshot ends with entry {covered}; restore the missing snapshot from a copy, or {REJOIN}"
            )
        if snapshot is not None and self.log.first_index <= covered and not self._log_contains(snapshot):
            self.log.reset(covered + 1)

    def _log_contains(self, snapshot: SnapshotMeta) -> bool:
        if snapshot.index > self.log.last_index:
            return False
        return next(self.log.read(snapshot.index, snapshot.index)).term == snapshot.term

    def _hard_state(self, state: HardState, snapshot: SnapshotMeta | None, entries: Sequence[Entry]) -> HardState:
        if entries and entries[-1].term > state.term:
            raise StorageError(
                f"{self._data_dir.stable_path}: holds term {state.term}, but the log has entries of term "
                f"{entries[-1].term}; the record is missing or stale and the node could vote twice: {REJOIN}"
            )
        if snapshot is not None and snapshot.term > state.term:
            # A received snapshot can become durable before the term in which it came: no vote was cast in it.
            return msgspec.structs.replace(state, term=snapshot.term, voted_for="")
        return state


def open_storage(
    path: Path,
    node_id: str,
    *,
    create: bool = True,
    segment_bytes: int = SEGMENT_BYTES,
    frame_bytes: int = FRAME_BODY_BYTES,
    retain_snapshots: int = RETAIN,
    new_salt: Callable[[], int] = random_salt,
    fs: FileSystem | None = None,
) -> Storage:
    """Open and lock the data directory of node ``node_id``.

    Raises DataDirError when it is not this node's to use, CorruptionError for damage that no crash
    explains, StorageError when the disk fails.
    """
    fs = fs if fs is not None else OsFileSystem()
    data_dir = DataDir.open(path, node_id, create=create, fs=fs)
    fuse = Fuse()
    try:
        snapshots = SnapshotFiles(fs, data_dir.snapshots_path, fuse, retain=retain_snapshots)
        stable = StableFile(fs, data_dir.stable_path, fuse, must_exist=data_dir.is_complete)
        end = LogEnd(fs, data_dir.log_end_path)
        with fuse.guard(f"looking for what {path} has lost"):
            state = stable.load()  # before anything is changed
            if data_dir.is_complete:
                end.load()
            else:
                _refuse_lost_log(fs, data_dir, state, snapshots)
        log = SegmentedLog(
            fs,
            data_dir.log_path,
            fuse,
            end,
            covered=lambda: _covered(snapshots),
            segment_bytes=segment_bytes,
            frame_bytes=frame_bytes,
            new_salt=new_salt,
        )
        if not data_dir.is_complete:
            with fuse.guard(f"completing {path}"):
                stable.begin()
                data_dir.complete()
    except BaseException:
        data_dir.close()
        raise
    return Storage(data_dir, log, stable, snapshots, PeersFile(fs, data_dir.peers_path, fuse), fuse)


def _covered(snapshots: SnapshotFiles) -> Index:
    newest = snapshots.newest()
    return newest.index if newest is not None else 0


def _refuse_lost_log(fs: FileSystem, data_dir: DataDir, state: HardState, snapshots: SnapshotFiles) -> None:
    """Refuse to begin an empty log where one has been, in a directory that has no record of the log's end.

    No crash explains it: the log was there before the first term was saved, and as a whole it was only ever replaced
    when a snapshot held all of it.
    """
    lost = is_absent(fs, data_dir.log_path) and fs.exists(data_dir.stable_path)
    if lost and snapshots.newest() is None:
        raise CorruptionError(
            f"{data_dir.log_path}: there is no segment, but {data_dir.stable_path.name} holds term {state.term}; "
            f"restore the files from a copy, or {REJOIN}"
        )
