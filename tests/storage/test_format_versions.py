"""Files of a version that is not known are refused by name, and nothing is changed; those of the first are upgraded."""

import re
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from version_1 import directory_1, version_1, write_version_1

from matchengine.raft.ready import Write
from matchengine.raft.types import Entry, HardState
from matchengine.storage import data_dir, frames, log_end, snapshot_file, stable
from matchengine.storage.contracts import StorageError
from matchengine.storage.simulated import SimulatedFileSystem
from matchengine.storage.storage import open_storage
from matchengine.testing.simulator.version_1 import as_version_1


@pytest.fixture
def node(tmp_path, make_entries, meta):
    """A closed data directory whose log ends before its snapshot, so that a start would change it."""
    with pytest.MonkeyPatch.context() as patch:
        yield tmp_path / "node", lambda **versions: fill(tmp_path / "node", patch, make_entries, meta, versions)


def fill(path, patch, make_entries, meta, versions):
    for module, version in versions.items():
        patch.setattr(f"matchengine.storage.{module}.FORMAT_VERSION", version)
    storage = open_storage(path, "node-a", segment_bytes=4096)
    storage.perform([Write(1, hard_state=HardState(2, "node-a"), entries=tuple(make_entries(1, 5)))])
    for index in (3, 9):
        sink = storage.snapshots.create(meta(index, 2))
        sink.write(b"state")
        sink.commit()
    storage.close()
    patch.undo()


def restore(path):
    with closing(open_storage(path, "node-a", segment_bytes=4096)) as storage:
        return storage.restore()


def contents(path):
    return {file: file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


#: One entry, salt 77.
VERSION_1 = (
    "f546524d280000000500000000000000010000009181339670267c51484452af020000000000000000f153650000000015cd"
    "5b07070000000100000000000000636f6d6d616e6478a5454e442d4f465a"
)
REFUSALS = {
    "data_dir": r"node\.json: format version {}, this program reads 1 to 2; use the program that wrote it",
    "frames": r"\.log, offset 0: the segment has format version {}, this program reads 1 to 2;",
    "log_end": r"log-end, offset 0: the record has format version {}, this program reads 1; use the program",
    "stable": r"stable, offset 0: the record has format version {}, this program reads 1;",
}


@pytest.mark.parametrize("version", [0, 3, 2**32 - 1])
@pytest.mark.parametrize("module", REFUSALS)
def test_another_version_is_named_and_left_as_it_is(node, module, version):
    path, make = node
    make(**{module: version})
    before = contents(path)
    for _ in range(2):
        with pytest.raises(StorageError, match=REFUSALS[module].format(version)):
            restore(path)
        assert contents(path) == before


@pytest.mark.parametrize("version", [0, 2])
def test_snapshots_of_another_version_are_passed_over_and_stay(node, version, caplog):
    path, make = node
    make(snapshot_file=version)
    before = contents(path)
    restored = restore(path)
    assert restored.snapshot is None
    assert len(restored.entries) == 5
    assert len(re.findall(f"format version {version}, this program reads 1", caplog.text)) == 2
    changed = {file.name for file, data in contents(path).items() if data != before[file]}
    assert changed <= {"log-end"}  # a start brings both of its slots to the newest record


def test_all_versions_but_two_are_the_first():
    """A new one needs a way from the one before, and tests of it, crashes included."""
    modules = (data_dir, frames, log_end, snapshot_file, stable)
    assert [module.FORMAT_VERSION for module in modules] == [2, 2, 1, 1, 1]


def restored_by(path, run):
    with pytest.MonkeyPatch.context() as patch:
        run(patch)
        return restore(path)


def test_a_log_of_the_first_version_is_read_and_upgraded(tmp_path, make_entries):
    """Its newest segment at once; an older one is never written to, and stays until it is compacted."""
    path = tmp_path / "node"
    with pytest.MonkeyPatch.context() as patch:
        write_version_1(patch)
        with closing(open_storage(path, "node-a", segment_bytes=4096)) as storage:
            storage.perform([Write(1, hard_state=HardState(2, "node-a"))])
            for first in range(1, 13, 3):
                storage.perform([Write(2, entries=tuple(make_entries(first, first + 2, size=400)))])
    older, newest = sorted(path.glob("log/*.log"))
    before = older.read_bytes()
    assert {version_of(older), version_of(newest)} == {1}
    assert list(restore(path).entries) == make_entries(1, 12, size=400)
    assert (version_of(older), version_of(newest)) == (1, 2)
    with closing(open_storage(path, "node-a", segment_bytes=4096)) as storage:
        storage.perform([Write(3, entries=tuple(make_entries(13, 20, size=400)))])
    assert list(restore(path).entries) == make_entries(1, 20, size=400)
    assert older.read_bytes() == before
    upgraded = contents(path)
    with pytest.raises(StorageError, match=r"node.json: format version 2, this program reads 1 to 1;"):
        restored_by(path, write_version_1)
    assert contents(path) == upgraded


PROGRAMS = {"the log's first version": version_1, "the directory's first version": directory_1}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("votes", [False, True])
def test_a_directory_of_the_first_version_is_completed(tmp_path, make_entries, program, votes):
    """From then on each file has to be there, and the program before refuses the directory and touches nothing."""
    path = tmp_path / "node"
    entries = tuple(make_entries(1, 9)) if votes else ()
    with program(), closing(open_storage(path, "node-a")) as storage:
        if votes:
            storage.perform([Write(1, hard_state=HardState(2, "node-a"), entries=entries)])
    assert not (path / "log-end").exists()
    assert (path / "stable").exists() == votes
    assert restore(path).entries == entries
    with (
        program(),
        pytest.raises(StorageError, match=r"node.json: format version 2, this program reads 1 to 1; use the p"),
    ):
        open_storage(path, "node-a")
    for name in ("stable", "log-end"):
        data = (path / name).read_bytes()
        (path / name).unlink()
        with pytest.raises(StorageError, match=f"{name}: the record of .* is gone; .* under a new id"):
            restore(path)
        (path / name).write_bytes(data)
    assert restore(path).entries == entries


def test_a_record_that_an_interrupted_upgrade_left_counts_for_nothing(tmp_path, make_entries):
    """An older program may have gone on, and have cut the log."""
    path = tmp_path / "node"
    with directory_1(), closing(open_storage(path, "node-a")) as storage:
        storage.perform([Write(1, hard_state=HardState(2, "node-a"), entries=tuple(make_entries(1, 9)))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_dir.DataDir, "complete", fail)
        with pytest.raises(StorageError, match="completing"):
            open_storage(path, "node-a")
    assert (path / "log-end").exists()
    with directory_1(), closing(open_storage(path, "node-a")) as storage:
        storage.perform([Write(1, truncate_from=4)])
    assert restore(path).entries == tuple(make_entries(1, 3))


def fail(_self):
    raise OSError("a failure")


def written(make_entries):
    """A log of two segments, with sectors that are blank, and a last frame that is not synced."""
    fs = SimulatedFileSystem()
    with closing(open_storage(Path("/node"), "node-a", segment_bytes=4096, new_salt=lambda: 77, fs=fs)) as storage:
        for first in range(1, 13, 3):
            storage.perform([Write(2, entries=tuple(make_entries(first, first + 2, size=400)))])
        storage.perform([Write(3, entries=(Entry(13, 2, data=bytes(1500)),))])
        fs.fault = interrupt_sync
        with pytest.raises(StorageError):
            storage.perform([Write(4, entries=tuple(make_entries(14, 14)))])
    return fs


def interrupt_sync(operation, _path):
    if operation == "fdatasync":
        raise OSError("a failure")


def test_a_simulated_disk_can_be_made_that_of_the_first_version(make_entries):
    """Byte for byte, what is durable and what is not."""
    with version_1():
        right = written(make_entries)
    made = written(make_entries)
    directory = Path("/node")
    assert disk(made, directory) != disk(right, directory)
    assert made.recast(directory, as_version_1)
    assert disk(made, directory) == disk(right, directory)
    assert not made.recast(directory, as_version_1)
    (newest, *_) = sorted((path for path in disk(made, directory) if path.suffix == ".log"), reverse=True)
    data, durable = disk(made, directory)[newest]
    assert data != durable


def test_what_the_first_version_had_not_made_does_not_come_back_with_a_crash():
    """The name of the record is not durable yet."""
    fs, node = SimulatedFileSystem(), Path("/node")

    def interrupt(operation, path):
        if (operation, path) == ("fsync_dir", node) and fs.exists(node / "stable"):
            raise OSError("a failure")

    fs.fault = interrupt
    with pytest.raises(StorageError):
        open_storage(node, "node-a", fs=fs)
    fs.fault = lambda *_: None
    assert {"stable", "log-end"} <= set(fs.listdir(node))
    assert fs.recast(node, as_version_1)
    fs.lose_power(Random(1))
    assert not {"stable", "log-end"} & set(fs.listdir(node))
    assert b'"format":1' in fs.peek(node / "node.json")


def disk(fs, directory):
    return {path: (bytes(f.data), f.durable) for path, f in fs._names.items() if directory in path.parents}


def version_of(path):
    return int.from_bytes(path.read_bytes()[8:12], "little")


def test_the_first_version_keeps_its_bytes():
    """As they were written before there was a second one."""
    entries = [Entry(5, 2, data=b"command", extensions=b"x", appended_at=1_700_000_000_123_456_789)]
    with pytest.MonkeyPatch.context() as patch:
        write_version_1(patch)
        assert frames.encode_frame(entries, 77, 32).hex() == VERSION_1
    header = frames.decode_header(memoryview(bytes.fromhex(VERSION_1)), 0, 77)
    body = frames.body_of(memoryview(bytes.fromhex(VERSION_1)), header, 77)
    assert list(frames.decode_entries(body, 5, 1)) == entries
