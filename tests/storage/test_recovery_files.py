"""A recovery from a lost quorum on disk: power may fail at any moment, and no slip of the pen changes anything."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path

import pytest

from matchengine.node.recovery import recover
from matchengine.raft.ready import Write
from matchengine.raft.types import Configuration, Entry, HardState, Restored, Server, SnapshotMeta
from matchengine.storage.contracts import RecoveryError
from matchengine.storage.simulated import PowerLoss, SimulatedFileSystem
from matchengine.storage.storage import open_storage

PATH = Path("/data/node")
FORCED = Configuration((Server("node-a", "h:1"),))
STATE = Restored(HardState(2, "b"), None, tuple(Entry(n, 1 + n // 5, data=b"%d" % n * 200) for n in range(1, 10)))


class Sum:
    total = 0

    def apply(self, entries):
        self.total += sum(entry.index for entry in entries)
        return [b""] * len(entries)

    def snapshot(self):
        return iter([b"%d" % self.total])

    def restore(self, chunks):
        self.total = int(b"".join(chunks))


def put(fs, data):
    handle = fs.create(PATH / "peers.json")
    fs.pwrite(handle, data, 0)
    fs.fsync(handle)
    fs.close(handle)
    fs.fsync_dir(PATH)


def names(fs):
    return {name for name in fs.listdir(PATH) if name.startswith("peers")}


def reopen(fs):
    return open_storage(PATH, "node-a", segment_bytes=1024, fs=fs)


def go_through(fs):
    """What a node does when it starts."""
    storage = reopen(fs)
    forced = storage.peers.read()
    restored = storage.restore()
    if forced is not None:
        storage.finish_recovery(recover(restored, forced, Sum(), storage.snapshots))
    return storage


@pytest.fixture
def node_with_state():
    fs = SimulatedFileSystem()
    storage = reopen(fs)
    storage.perform([Write(1, hard_state=STATE.hard_state, entries=STATE.entries[:4])])
    storage.perform([Write(2, entries=STATE.entries[4:])])
    storage.close()
    return fs


def state_of(storage):
    restored = storage.restore()
    data = b"".join(storage.snapshots.open(restored.snapshot)) if restored.snapshot else b""
    return restored, data


def check_recovered(storage):
    assert state_of(storage) == (Restored(HardState(2, "b"), SnapshotMeta(9, 2, FORCED, 1, 2), ()), b"45")
    assert storage.log.first_index == 10


def test_the_log_is_gone_and_the_file_has_another_name(node_with_state):
    put(node_with_state, b'[{"id": "node-a", "address": "h:1"}]')
    go_through(node_with_state).close()
    assert names(node_with_state) == {"peers.json.applied"}
    storage = go_through(node_with_state)
    check_recovered(storage)
    storage.perform([Write(1, hard_state=HardState(3, "a"), entries=(Entry(10, 3),))])
    storage.close()
    assert go_through(node_with_state).restore().entries == (Entry(10, 3),)


def test_power_lost_at_every_call_leaves_the_old_state_or_the_new():
    for call in count():
        finished = [lose_power_at(call, seed) for seed in range(4)]
        if finished[0]:
            assert call > 20
            return


def lose_power_at(call, seed):
    """Whether the recovery came to its end before its ``call``-th call."""
    fs = SimulatedFileSystem()
    storage = reopen(fs)
    storage.perform([Write(1, hard_state=STATE.hard_state, entries=STATE.entries)])
    storage.close()
    put(fs, b'[{"id": "node-a", "address": "h:1"}]')
    calls = count()

    def fault(_operation, _path):
        if next(calls) == call:
            raise PowerLoss

    fs.fault = fault
    finished = True
    try:
        go_through(fs)
    except PowerLoss:
        finished = False
    fs.fault = lambda *_: None
    fs.lose_power(random.Random(seed))
    still_asked = "peers.json" in names(fs)
    storage = reopen(fs)
    restored = storage.restore()
    if restored.snapshot is None:
        assert still_asked
        assert restored == STATE
    else:
        assert state_of(storage)[1] == b"45"
        assert restored.snapshot.configuration == FORCED
    assert still_asked or not restored.entries
    storage.close()
    fs.lose_power(random.Random(seed))
    check_recovered(go_through(fs))
    assert names(fs) == {"peers.json.applied"}
    return finished


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"[", r"/data/node/peers.json: Expecting value.*; nothing was changed: correct the file, or remove it"),
        (b" " * (1024 * 1024 + 1), "longer than 1048576 bytes"),
        (b'["h:1", "h:1"]', "duplicate ID"),
    ],
)
def test_a_file_that_means_nothing_changes_nothing(node_with_state, data, text):
    put(node_with_state, data)
    with pytest.raises(RecoveryError, match=text):
        go_through(node_with_state)
    node_with_state.lose_power(random.Random(1))
    assert reopen(node_with_state).restore() == STATE
    assert names(node_with_state) == {"peers.json"}
