"""One owner, one id, one version: whoever else comes is refused by name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from matchengine.raft.types import HardState
from matchengine.storage.contracts import DataDirError
from matchengine.storage.data_dir import DataDir
from matchengine.storage.storage import open_storage


def test_a_new_directory_gets_id_version_and_strict_permissions(tmp_path):
    storage = open_storage(tmp_path / "deep" / "node", "node-a")
    storage.close()
    path = tmp_path / "deep" / "node"
    assert json.loads((path / "node.json").read_text()) == {
        "engine": "matchengine",
        "format": 2,
        "node_id": "node-a",
        "complete": True,
    }
    for found in (path, *path.rglob("*")):
        assert found.stat().st_mode & 0o777 == (0o700 if found.is_dir() else 0o600), found


def test_the_owner_may_come_back(tmp_path):
    for _ in range(2):
        DataDir.open(tmp_path / "node", "node-a").close()


def test_a_second_owner_is_refused_until_the_first_has_gone(tmp_path, any_fs):
    first = DataDir.open(tmp_path / "node", "node-a", fs=any_fs)
    with pytest.raises(DataDirError, match=r"node: another process uses this directory; stop it"):
        DataDir.open(tmp_path / "node", "node-a", fs=any_fs)
    first.close()
    DataDir.open(tmp_path / "node", "node-a", fs=any_fs).close()


def test_another_process_is_refused(tmp_path):
    first = DataDir.open(tmp_path / "node", "node-a")
    program = (
        "import sys; from pathlib import Path; from matchengine.storage.data_dir import DataDir\n"
        "DataDir.open(Path(sys.argv[1]), 'node-a')"
    )
    second = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "node"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        check=False,
    )
    assert "DataDirInUseError" in second.stderr
    assert "another process uses this directory" in second.stderr
    first.close()


def test_another_id_is_refused(tmp_path):
    DataDir.open(tmp_path / "node", "node-a").close()
    with pytest.raises(DataDirError, match="belongs to node 'node-a', not 'node-b'; start with that id"):
        DataDir.open(tmp_path / "node", "node-b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"engine": "matchengine", "format": 3, "node_id": "node-a"}', "format version 3, this program reads 1 to 2"),
        ('{"engine": "matchengine", "format": 2, "node_id": "node-a"}', "format version 2 lacks `complete`"),
        (
            '{"engine": "matchengine", "format": 1, "node_id": "node-a", "complete": false}',
            "format version 1 has no `complete`",
        ),
        ('{"engine": "other", "format": 1, "node_id": "node-a"}', "belongs to engine 'other'"),
        ('{"engine": "matchengine", "format": "1", "node_id": "node-a"}', "Expected `int`"),
        ('{"engine": "matchengine", "format": 1}', "missing required field"),
        ("", "restore the file from a copy"),
        ("[" * 100_000, "restore the file from a copy"),
    ],
)
def test_a_foreign_or_damaged_node_file_is_refused(tmp_path, content, message):
    DataDir.open(tmp_path, "node-a").close()
    (tmp_path / "node.json").write_text(content)
    for _ in range(2):
        with pytest.raises(DataDirError, match=f"node.json: .*{message}"):
            DataDir.open(tmp_path, "node-a")
    assert (tmp_path / "node.json").read_text() == content


@pytest.mark.parametrize("name", ["raft.db", "logs.dat", "stable.dat", "snapshots"])
def test_a_hashicorp_directory_is_refused_untouched(tmp_path, name):
    (tmp_path / name).mkdir() if name == "snapshots" else (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataDirError, match=f"looks like a HashiCorp Raft directory .found {name}.; choose"):
        DataDir.open(tmp_path, "node-a")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_node_that_lost_its_node_file_is_not_taken_for_hashicorps(tmp_path):
    storage = open_storage(tmp_path, "node-a")
    storage.stable.save(HardState(1))
    storage.close()
    (tmp_path / "node.json").unlink()
    with pytest.raises(DataDirError, match=r"lost its node\.json .found log.*; restore the file from a copy"):
        DataDir.open(tmp_path, "node-a")


def test_a_directory_with_other_files_is_refused_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("hours of work")
    with pytest.raises(DataDirError, match=r"is not empty and has no node\.json"):
        DataDir.open(tmp_path, "node-a")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_crash_left_before_the_node_file_was_written_is_no_obstacle(tmp_path):
    (tmp_path / "lock").touch()
    (tmp_path / "node.json.tmp").write_text("{")
    DataDir.open(tmp_path, "node-a").close()


@pytest.mark.parametrize("make", [False, True])
def test_without_create_there_must_be_a_node(tmp_path, make):
    if make:
        (tmp_path / "node").mkdir()
    with pytest.raises(DataDirError):
        DataDir.open(tmp_path / "node", "node-a", create=False)
    assert (tmp_path / "node").exists() == make
    DataDir.open(tmp_path / "node", "node-a").close()
    DataDir.open(tmp_path / "node", "node-a", create=False).close()


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "node").write_text("not a directory")
    with pytest.raises(DataDirError, match="choose a directory that this user can read and write"):
        DataDir.open(tmp_path / "node", "node-a")


@pytest.mark.parametrize("node_id", ["", "x" * 256])
def test_an_id_must_have_a_sensible_length(tmp_path, node_id):
    with pytest.raises(DataDirError, match="must have 1 to 255 bytes"):
        DataDir.open(tmp_path / "node", node_id)
    assert not (tmp_path / "node").exists()


def test_a_node_file_with_a_turned_bit_is_refused_by_name(simulated):
    DataDir.open(Path("/d"), "n1", fs=simulated).close()
    file = Path("/d/node.json")
    simulated.rot(file, simulated.peek(file).index(b"i"), 7)
    with pytest.raises(DataDirError, match=r"node\.json"):
        DataDir.open(Path("/d"), "n1", fs=simulated)
