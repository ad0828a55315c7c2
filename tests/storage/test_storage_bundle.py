"""Log, term and snapshots together: what a node finds when it starts."""

import errno
import random
from itertools import count
from pathlib import Path

import pytest

from matchengine.raft.ready import Write
from matchengine.raft.types import HardState, Restored
from matchengine.storage.contracts import CorruptionError, DataDirError, StorageError
from matchengine.storage.simulated import PowerLoss, SimulatedFileSystem
from matchengine.storage.storage import open_storage

PATH = Path("/data/node")


@pytest.fixture
def reopen(simulated):
    storages = []

    def reopen():
        while storages:
            storages.pop().close()
        storages.append(open_storage(PATH, "node-a", segment_bytes=2048, fs=simulated))
        return storages[-1]

    return reopen


def take_snapshot(storage, meta, data=b"state"):
    sink = storage.snapshots.create(meta)
    sink.write(data)
    return sink.commit()


def damage(fs, path):
    handle = fs.open(path, writable=True)
    size = fs.size(handle)
    fs.pwrite(handle, b"\xff" * 8, size // 2)
    fs.close(handle)


def newest_snapshot(fs):
    return max(PATH / "snapshots" / name for name in fs.listdir(PATH / "snapshots"))


def test_a_new_node_finds_nothing(reopen):
    assert reopen().restore() == Restored()


def test_what_was_performed_is_restored(reopen, make_entries):
    storage = reopen()
    storage.perform([Write(1, hard_state=HardState(1, "a"), entries=tuple(make_entries(1, 5)))])
    storage.perform(
        [
            Write(2, entries=tuple(make_entries(6, 9))),
            Write(3, hard_state=HardState(2, "b"), truncate_from=8, entries=tuple(make_entries(8, 8, term=2))),
            Write(4, hard_state=HardState(3)),
        ]
    )
    expected = Restored(HardState(3), None, tuple(make_entries(1, 7) + make_entries(8, 8, term=2)))
    assert reopen().restore() == expected


def test_a_log_that_is_gone_is_not_begun_anew(reopen, simulated, make_entries):
    reopen().perform([Write(1, hard_state=HardState(3, "a"), entries=tuple(make_entries(1, 5)))])
    for name in simulated.listdir(PATH / "log"):
        simulated.unlink(PATH / "log" / name)
    for _ in range(2):
        with pytest.raises(CorruptionError, match=r"log: there is no segment, but log-end says that entry 5 of term 1"):
            reopen()


def test_a_crash_while_a_snapshot_replaces_the_log_is_no_loss(reopen, simulated, make_entries, meta):
    storage = reopen()
    storage.perform([Write(1, hard_state=HardState(1, "a"), entries=tuple(make_entries(1, 5)))])
    taken = take_snapshot(storage, meta(9))
    for name in simulated.listdir(PATH / "log"):
        simulated.unlink(PATH / "log" / name)
    assert reopen().restore() == Restored(HardState(1, "a"), taken, ())


def test_several_writes_take_one_sync_and_one_save(reopen, simulated, make_entries):
    storage = reopen()
    calls = []
    simulated.fault = lambda operation, _path: calls.append(operation)
    storage.perform(
        [Write(n, hard_state=HardState(n), entries=tuple(make_entries(n, n)), compact_to=n - 1) for n in range(1, 9)]
    )
    assert (calls.count("fdatasync"), calls.count("fsync"), calls.count("fsync_dir")) == (1, 1, 1)
    assert storage.fsync_us_median() > 0


def test_the_term_is_durable_before_the_entries_are(reopen, simulated, make_entries):
    storage = reopen()
    calls = []
    simulated.fault = lambda operation, path: calls.append((operation, path.name))
    storage.perform([Write(1, hard_state=HardState(1), entries=tuple(make_entries(1, 1)))])
    assert calls.index(("rename", "stable")) < calls.index(("pwrite", f"{1:020d}.log"))


def test_compaction_hints_are_followed_after_the_sync(reopen, make_entries):
    storage = reopen()
    storage.perform([Write(1, hard_state=HardState(1))])
    for index in range(1, 20):
        storage.perform([Write(index + 1, entries=tuple(make_entries(index, index, size=500)))])
    storage.perform([Write(30, compact_to=12)])
    assert 1 < storage.log.first_index <= 13


def test_a_log_that_contains_the_snapshot_is_kept_whole(reopen, make_entries, meta):
    storage = reopen()
    entries = tuple(make_entries(1, 9))
    storage.perform([Write(1, hard_state=HardState(1), entries=entries)])
    snapshot = take_snapshot(storage, meta(5))
    for _ in range(2):
        assert reopen().restore() == Restored(HardState(1), snapshot, entries)


@pytest.mark.parametrize(("index", "term"), [(5, 2), (10, 1), (50, 2)])
def test_a_conflicting_or_short_log_is_dropped(reopen, make_entries, meta, index, term):
    storage = reopen()
    storage.perform([Write(1, hard_state=HardState(2, "a"), entries=tuple(make_entries(1, 9)))])
    snapshot = take_snapshot(storage, meta(index, term))
    assert reopen().restore() == Restored(HardState(2, "a"), snapshot, ())
    storage = reopen()
    storage.restore()
    storage.perform([Write(2, entries=tuple(make_entries(index + 1, index + 2, term=2)))])
    assert reopen().restore().entries == tuple(make_entries(index + 1, index + 2, term=2))


def test_a_reset_goes_on_behind_the_snapshot(reopen, make_entries, meta):
    storage = reopen()
    storage.perform([Write(1, hard_state=HardState(3), entries=tuple(make_entries(1, 9)))])
    snapshot = take_snapshot(storage, meta(20, 3))
    new = tuple(make_entries(21, 22, term=3))
    storage.perform([Write(2, reset=snapshot, entries=new)])
    assert reopen().restore() == Restored(HardState(3), snapshot, new)


def test_a_snapshot_newer_than_the_term_raises_the_term_without_a_vote(reopen, meta):
    """A received snapshot may become durable before the term in which it came."""
    storage = reopen()
    storage.perform([Write(1, hard_state=HardState(3, "a"))])
    snapshot = take_snapshot(storage, meta(20, 5))
    assert reopen().restore() == Restored(HardState(5, ""), snapshot, ())


def test_an_older_snapshot_is_used_while_the_log_reaches_back_to_it(reopen, simulated, make_entries, meta):
    storage = reopen()
    entries = tuple(make_entries(1, 9))
    storage.perform([Write(1, hard_state=HardState(1), entries=entries)])
    older = take_snapshot(storage, meta(3))
    take_snapshot(storage, meta(6))
    damage(simulated, newest_snapshot(simulated))
    assert reopen().restore() == Restored(HardState(1), older, entries)


@pytest.mark.parametrize("behind", [0, 2])
def test_a_gap_between_snapshot_and_log_is_refused(reopen, simulated, make_entries, meta, behind):
    """The node has acknowledged what is missing: going on without it could lose committed entries."""
    storage = reopen()
    storage.perform([Write(1, hard_state=HardState(1))])
    take_snapshot(storage, meta(5))
    snapshot = take_snapshot(storage, meta(20))
    storage.perform([Write(2, reset=snapshot, entries=tuple(make_entries(21, 20 + behind)))])
    damage(simulated, newest_snapshot(simulated))
    storage = reopen()
    with pytest.raises(
        StorageError, match=r"log begins with entry 21, .* snapshot ends with entry 5; restore the miss"
    ):
        storage.restore()
    with pytest.raises(StorageError, match="out of use"):
        storage.perform([Write(3, hard_state=HardState(2))])


def test_a_missing_record_of_the_term_is_noticed(reopen, simulated, make_entries):
    reopen().perform([Write(1, hard_state=HardState(4, "a"), entries=tuple(make_entries(1, 1, term=4)))])
    simulated.unlink(PATH / "stable")
    with pytest.raises(StorageError, match=r"stable: the record of term and vote is gone; .*vote twice"):
        reopen()


def test_a_record_of_an_older_term_is_noticed(reopen, simulated, make_entries):
    reopen().perform([Write(1, hard_state=HardState(3, "a"))])
    older = simulated.peek(PATH / "stable")
    reopen().perform([Write(1, hard_state=HardState(4, "a"), entries=tuple(make_entries(1, 1, term=4)))])
    simulated.poke(PATH / "stable", older)
    with pytest.raises(StorageError, match=r"holds term 3, but the log has entries of term 4; .*vote twice"):
        reopen().restore()


def test_damage_to_the_log_refuses_the_start_and_frees_the_lock(reopen, simulated, make_entries):
    storage = reopen()
    storage.perform([Write(1, hard_state=HardState(1), entries=tuple(make_entries(1, 3)))])
    handle = simulated.open(PATH / "log" / f"{1:020d}.log", writable=True)
    simulated.pwrite(handle, b"\xff\xff", 100)
    for _ in range(2):
        with pytest.raises(CorruptionError):
            reopen()


def test_bootstrapping_twice_is_refused_and_harms_nothing(reopen, make_entries):
    storage = reopen()
    first = Restored(HardState(1), None, tuple(make_entries(1, 1)))
    storage.bootstrap(first)
    with pytest.raises(DataDirError, match="already holds a node's state"):
        storage.bootstrap(first)
    storage.perform([Write(1, entries=tuple(make_entries(2, 2)))])
    assert reopen().restore().entries == tuple(make_entries(1, 2))


def test_a_node_with_a_vote_cannot_be_bootstrapped(reopen, make_entries):
    storage = reopen()
    storage.perform([Write(1, hard_state=HardState(1, "b"))])
    with pytest.raises(DataDirError, match="already holds a node's state"):
        storage.bootstrap(Restored(HardState(1), None, tuple(make_entries(1, 1))))


def test_an_interrupted_bootstrap_can_be_repeated(make_entries):
    first = Restored(HardState(1), None, tuple(make_entries(1, 1)))
    for call in count():
        fs = SimulatedFileSystem()
        storage = open_storage(PATH, "node-a", fs=fs)
        calls = count()

        def fault(_operation, _path, calls=calls, call=call):
            if next(calls) == call:
                raise PowerLoss

        fs.fault = fault
        try:
            storage.bootstrap(first)
            finished = True
        except PowerLoss:
            finished = False
        fs.fault = lambda *_: None
        fs.lose_power(random.Random(call))
        storage = open_storage(PATH, "node-a", fs=fs)
        if not storage.restore().entries:
            assert not finished
            storage.bootstrap(first)
        assert storage.restore() == first
        if finished:
            return


@pytest.mark.parametrize("operation", ["pwrite", "fdatasync", "fsync", "rename", "fsync_dir", "create"])
def test_after_any_failure_everything_is_refused(reopen, simulated, make_entries, meta, operation):
    storage = reopen()

    def fault(called, _path):
        if called == operation:
            raise OSError(errno.EIO, "Input/output error")

    simulated.fault = fault
    with pytest.raises(StorageError, match="Input/output error"):
        storage.perform([Write(1, hard_state=HardState(1), entries=tuple(make_entries(1, 1)))])
    simulated.fault = lambda *_: None
    for call in (
        lambda: storage.perform([Write(2, hard_state=HardState(1))]),
        lambda: storage.perform([]),
        storage.restore,
        lambda: storage.snapshots.create(meta(1)),
        lambda: storage.stable.save(HardState(2)),
    ):
        with pytest.raises(StorageError, match="out of use since an earlier failure"):
            call()


def test_a_write_that_does_not_fit_the_log_is_never_half_performed_later(reopen, make_entries):
    storage = reopen()
    with pytest.raises(ValueError, match="cannot follow"):
        storage.perform([Write(1, entries=tuple(make_entries(1, 2))), Write(2, entries=tuple(make_entries(9, 9)))])
    with pytest.raises(StorageError, match="out of use"):
        storage.perform([Write(3, hard_state=HardState(1))])
    assert reopen().restore().entries == ()


def history(meta, make_entries):
    """A node's life: writes, with the snapshot to take before each."""
    return [
        (None, Write(1, hard_state=HardState(1, "a"), entries=tuple(make_entries(1, 4, size=300)))),
        (None, Write(2, entries=tuple(make_entries(5, 12, size=300)))),
        (None, Write(3, hard_state=HardState(2), truncate_from=7, entries=tuple(make_entries(7, 9, term=2)))),
        (meta(8, 2), Write(4, compact_to=8)),
        (meta(30, 3), Write(5, hard_state=HardState(3, "b"), reset=meta(30, 3))),
        (None, Write(6, entries=tuple(make_entries(31, 33, term=3)))),
    ]


def test_power_lost_at_every_call_of_a_history_loses_nothing_performed(meta, make_entries):
    steps = history(meta, make_entries)
    for call in count():
        performed = [live_and_lose_power(steps, call, seed) for seed in range(4)]
        if performed[0] == len(steps):
            return


def live_and_lose_power(steps, call, seed):
    """Run the history until power is lost at ``call``; returns how many writes were performed."""
    fs = SimulatedFileSystem()
    calls = count()

    def fault(_operation, _path):
        if next(calls) == call:
            raise PowerLoss

    fs.fault = fault
    performed = 0
    try:
        storage = open_storage(PATH, "node-a", segment_bytes=2048, fs=fs)
        for snapshot, write in steps:
            if snapshot is not None:
                take_snapshot(storage, snapshot)
            storage.perform([write])
            performed += 1
    except PowerLoss:
        pass
    fs.fault = lambda *_: None
    fs.lose_power(random.Random(seed))
    restored = open_storage(PATH, "node-a", segment_bytes=2048, fs=fs).restore()
    check_restored(restored, [write for _, write in steps], performed)
    return performed


def check_restored(restored, writes, performed):
    state, entries = {}, {}
    for write in writes[:performed]:
        state, entries = play(state, entries, write)
    next_state, next_entries = play(state, entries, writes[performed]) if performed < len(writes) else (state, entries)
    assert restored.hard_state.term in (state.get("term", 0), next_state.get("term", 0))
    found = {entry.index: entry for entry in restored.entries}
    covered = restored.snapshot.index if restored.snapshot else 0
    for index, entry in entries.items():
        assert index <= covered or found.get(index) == entry or next_entries.get(index) != entry
    for index, entry in found.items():
        assert entry in (entries.get(index), next_entries.get(index))


def play(state, entries, write):
    """What a write means, without a disk; compaction forgets nothing here."""
    if write.hard_state is not None:
        state = {"term": write.hard_state.term}
    entries = {} if write.reset is not None else dict(entries)
    if write.truncate_from is not None:
        entries = {index: entry for index, entry in entries.items() if index < write.truncate_from}
    return state, entries | {entry.index: entry for entry in write.entries}


def test_a_term_that_only_a_snapshot_brought_is_durable_before_entries_of_it(reopen, make_entries, meta):
    storage = reopen()
    storage.perform([Write(1, hard_state=HardState(2, "a"), entries=tuple(make_entries(1, 5, term=2)))])
    take_snapshot(storage, meta(9, term=3))  # and before the term is written, the power is lost
    storage = reopen()
    assert storage.restore().hard_state == HardState(3)
    storage.perform([Write(1, entries=tuple(make_entries(10, 12, term=3)))])
    assert reopen().restore().hard_state == HardState(3)


def test_whoever_watches_hears_of_the_first_failure_once(reopen, simulated, meta):
    storage, heard = reopen(), []
    storage.watch(heard.append)

    def full(operation, path):
        if operation == "create":
            raise OSError(errno.ENOSPC, "no space left on device", str(path))

    simulated.fault = full
    for _ in range(2):
        with pytest.raises(StorageError, match="free disk space"):
            storage.snapshots.create(meta(9))
    with pytest.raises(StorageError, match="out of use"):
        storage.perform([])
    assert [str(error).partition(" ")[0] for error in heard] == ["creating"]
    storage.watch(heard.append)
    assert heard[1:] == heard[:1]
