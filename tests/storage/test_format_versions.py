"""There is one version of each file; a file of another one is refused by name, and nothing is changed."""

import re
from contextlib import closing

import pytest

from matchengine.raft.ready import Write
from matchengine.raft.types import HardState
from matchengine.storage import frames, snapshot_file, stable
from matchengine.storage.contracts import StorageError
from matchengine.storage.storage import open_storage


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


REFUSALS = {
    "data_dir": r"node\.json: format version {}, this program reads 1; use the program that wrote it",
    "frames": r"\.log, offset 0: the segment has format version {}, this program reads 1;",
    "stable": r"stable, offset 0: the record has format version {}, this program reads 1;",
}


@pytest.mark.parametrize("version", [0, 2, 2**32 - 1])
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
    assert contents(path) == before


def test_the_versions_are_the_first():
    """A second one needs a way from the first, and tests of it, crashes included."""
    assert (frames.FORMAT_VERSION, snapshot_file.FORMAT_VERSION, stable.FORMAT_VERSION) == (1, 1, 1)
