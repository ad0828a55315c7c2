"""Snapshot files: damage, crashes, temporary files, failing disks."""

import errno
import os
import random
from itertools import count
from pathlib import Path

import pytest

from matchengine.storage.contracts import CorruptionError, StorageError
from matchengine.storage.files import Fuse, OsFileSystem
from matchengine.storage.simulated import PowerLoss, SimulatedFileSystem
from matchengine.storage.snapshot_file import CHUNK_BYTES
from matchengine.storage.snapshots import SnapshotFiles

DIRECTORY = Path("/data/snapshots")


@pytest.fixture
def reopen(tmp_path):
    return lambda: SnapshotFiles(OsFileSystem(), tmp_path, Fuse())


def write(store, meta, data=b"state"):
    sink = store.create(meta)
    sink.write(data)
    return sink.commit()


def newest_file(tmp_path):
    return max(tmp_path.glob("*.snap"))


def test_a_snapshot_with_any_bit_flipped_is_passed_over(reopen, tmp_path, meta, caplog):
    store = reopen()
    write(store, meta(1))
    write(store, meta(2), b"other state")
    path = newest_file(tmp_path)
    whole = path.read_bytes()
    for offset in range(len(whole)):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1 << offset % 8]) + whole[offset + 1 :])
        caplog.clear()
        assert reopen().newest() == meta(1, size=5), offset
        assert f"passing over a damaged snapshot: {path}" in caplog.text


def test_a_snapshot_of_another_length_is_passed_over(reopen, tmp_path, meta):
    store = reopen()
    write(store, meta(1))
    write(store, meta(2), bytes(CHUNK_BYTES + 100))
    path = newest_file(tmp_path)
    whole = path.read_bytes()
    for data in (b"", whole[:30], whole[:-1], whole[: CHUNK_BYTES // 2], whole[:-120] + whole[-20:], whole + b"\0"):
        path.write_bytes(data)
        assert reopen().newest() == meta(1, size=5)


def test_chunks_cannot_change_places(reopen, tmp_path, meta):
    data = b"a" * CHUNK_BYTES + b"b" * CHUNK_BYTES
    write(reopen(), meta(1), data)
    path = newest_file(tmp_path)
    whole = path.read_bytes()
    a, b = whole.index(b"aaaa") - 8, whole.index(b"bbbb") - 8
    step = CHUNK_BYTES + 8
    path.write_bytes(whole[:a] + whole[b : b + step] + whole[a : a + step] + whole[b + step :])
    assert reopen().newest() is None
    store = reopen()
    with pytest.raises(CorruptionError, match="trailer is damaged, or chunks are missing"):
        b"".join(store.open(meta(1)))


def test_damage_is_found_while_reading(reopen, tmp_path, meta):
    store = reopen()
    committed = write(store, meta(1), bytes(3 * CHUNK_BYTES))
    path = newest_file(tmp_path)
    whole = bytearray(path.read_bytes())
    whole[2 * CHUNK_BYTES] ^= 1
    path.write_bytes(whole)
    chunks = store.open(committed)
    assert next(chunks) == bytes(CHUNK_BYTES)
    with pytest.raises(CorruptionError, match=f"{path}, before offset .*: the chunk is damaged; .*move the file away"):
        list(chunks)


def test_damaged_snapshots_do_not_push_out_good_ones(reopen, tmp_path, meta):
    store = reopen()
    for index in (1, 2, 3):
        write(store, meta(index))
    path = newest_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    store = reopen()
    assert store.newest() == meta(2, size=5)
    write(store, meta(4))
    assert [int(name.name[21:41]) for name in sorted(tmp_path.iterdir())] == [1, 2, 3, 4]
    for index in (5, 6):
        write(store, meta(index))
    assert [int(name.name[21:41]) for name in sorted(tmp_path.iterdir())] == [4, 5, 6]


def test_an_unknown_format_version_is_passed_over(reopen, meta, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        patch.setattr("matchengine.storage.snapshot_file.FORMAT_VERSION", 4)
        write(reopen(), meta(1))
    assert reopen().newest() is None
    assert "format version 4, this program reads 1" in caplog.text


def test_unfinished_files_are_removed_and_others_left_alone(reopen, tmp_path, meta):
    store = reopen()
    store.create(meta(9)).write(b"half")
    (tmp_path / "notes.txt").write_text("an operator's")
    reopen()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_snapshot_being_read_outlives_its_removal(reopen, meta):
    store = reopen()
    committed = write(store, meta(1), bytes(2 * CHUNK_BYTES))
    chunks = store.open(committed)
    for index in range(2, 6):
        write(store, meta(index))
    assert sum(map(len, chunks)) == 2 * CHUNK_BYTES


def test_files_are_for_their_owner_alone(reopen, tmp_path, meta):
    write(reopen(), meta(1))
    assert newest_file(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_committed_snapshot_takes_no_more(reopen, meta):
    sink = reopen().create(meta(1))
    sink.commit()
    sink.abort()
    for call in (sink.commit, lambda: sink.write(b"more")):
        with pytest.raises(ValueError, match="already committed or aborted"):
            call()


def test_a_large_snapshot_is_synced_little_by_little(simulated, meta):
    store = SnapshotFiles(simulated, DIRECTORY, Fuse())
    calls = []
    simulated.fault = lambda operation, _path: calls.append(operation)
    write(store, meta(1), bytes(20 * 1024 * 1024))
    assert calls.count("fdatasync") == 2
    assert calls[-4:] == ["fsync", "rename", "fsync_dir", "fsync_dir"]


@pytest.mark.parametrize("operation", ["create", "pwrite", "fsync", "rename", "fsync_dir"])
def test_a_failing_disk_is_final(simulated, meta, operation):
    store = SnapshotFiles(simulated, DIRECTORY, Fuse())
    write(store, meta(1))

    def fault(called, path):
        if called == operation:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    simulated.fault = fault
    with pytest.raises(StorageError, match="free disk space"):
        write(store, meta(2))
    simulated.fault = lambda *_: None
    with pytest.raises(StorageError, match="out of use"):
        write(store, meta(3))
    assert SnapshotFiles(simulated, DIRECTORY, Fuse()).newest() in (meta(1, size=5), meta(2, size=5))


@pytest.mark.parametrize("chunks_read", [0, 1, 2])
def test_a_snapshot_is_closed_however_little_of_it_is_read(simulated, meta, chunks_read):
    store = SnapshotFiles(simulated, DIRECTORY, Fuse())
    write(store, meta(1), bytes(3 * CHUNK_BYTES))
    before = len(simulated._handles)
    chunks = store.open(meta(1))
    for _ in range(chunks_read):
        next(chunks)
    assert len(simulated._handles) == before + 1
    del chunks
    assert len(simulated._handles) == before


def test_power_lost_at_every_call_leaves_a_good_snapshot(meta):
    for call in count():
        finished = [lose_power_in_commit(meta, call, seed) for seed in range(20)]
        if finished[0]:
            return


def lose_power_in_commit(meta, call, seed):
    fs = SimulatedFileSystem()
    store = SnapshotFiles(fs, DIRECTORY, Fuse())
    for index in (1, 2, 3):
        write(store, meta(index))
    calls = count()

    def fault(_operation, _path):
        if next(calls) == call:
            raise PowerLoss

    fs.fault = fault
    allowed = [meta(3, size=5), meta(4, size=CHUNK_BYTES + 9)]
    try:
        write(store, meta(4), bytes(CHUNK_BYTES + 9))
        allowed.pop(0)
    except PowerLoss:
        pass
    fs.fault = lambda *_: None
    fs.lose_power(random.Random(seed))
    store = SnapshotFiles(fs, DIRECTORY, Fuse())
    newest = store.newest()
    assert newest in allowed
    assert sum(map(len, store.open(newest))) == newest.size
    return len(allowed) == 1
