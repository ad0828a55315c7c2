"""Throw-away folders and node processes, without nodes."""

import contextlib
import socket

import pytest

from matchengine.cluster import folders, local, processes
from matchengine.cluster.folders import file_system, work_folder
from matchengine.cluster.local import LocalCluster
from matchengine.cluster.processes import ClusterError, NodeProcess, free_addresses


def test_a_work_folder_is_new_and_goes_away(tmp_path):
    with work_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        (folder / "data").mkdir()
        (folder / "data" / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_a_work_folder_is_on_a_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(folders.tempfile, "gettempdir", lambda: "/dev/shm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folders, "file_system", lambda path: "tmpfs" if str(path) == "/dev/shm" else "ext4")
    with work_folder(None) as folder:
        assert folder.parent == tmp_path
    monkeypatch.setattr(folders, "file_system", lambda path: "tmpfs")
    with pytest.raises(ClusterError, match="--work-dir"), work_folder(None):
        pass


def test_a_named_work_folder_must_be_usable(monkeypatch, tmp_path):
    with pytest.raises(ClusterError, match="none: No such file or directory"), work_folder(tmp_path / "none"):
        pass
    monkeypatch.setattr(folders, "file_system", lambda path: "tmpfs")
    with pytest.raises(ClusterError, match=r"is in memory \(tmpfs\)"), work_folder(tmp_path):
        pass


def test_the_innermost_mount_decides(monkeypatch, tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"a / ext4 rw 0 0\nb {tmp_path}/in tmpfs rw 0 0\nc {tmp_path}/inner xfs rw 0 0\n")
    monkeypatch.setattr(folders, "_MOUNTS", mounts)
    assert file_system(tmp_path) == "ext4"
    assert file_system(tmp_path / "in" / "side") == "tmpfs"
    monkeypatch.setattr(folders, "_MOUNTS", tmp_path / "none")
    assert file_system(tmp_path) == ""


def test_no_address_is_given_out_twice():
    one_by_one = [free_addresses(1)[0] for _ in range(300)]
    assert len(set(one_by_one)) == 300


def test_an_address_in_use_is_passed_over():
    with contextlib.ExitStack() as taken:
        for address in free_addresses(20):
            following = int(address.rpartition(":")[2]) + 20
            with contextlib.suppress(OSError):
                taken.enter_context(socket.socket()).bind(("127.0.0.1", following))
        found = free_addresses(5)
        for address in found:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", int(address.rpartition(":")[2])))


def test_free_addresses_are_free_and_different():
    addresses = free_addresses(5)
    assert len(set(addresses)) == 5
    for address in addresses:
        host, port = address.split(":")
        with socket.socket() as one:
            one.bind((host, int(port)))


def test_a_process_that_was_never_started_can_be_killed(tmp_path):
    process = NodeProcess("a", "127.0.0.1:1", tmp_path, bootstrap=True)
    assert not process.running
    assert process.last_words() == ""
    process.kill()


def test_a_node_that_ends_by_itself_is_an_error_with_its_last_words(tmp_path, monkeypatch):
    import asyncio

    monkeypatch.setattr(processes, "node_command", lambda *_, **__: ["/bin/sh", "-c", "echo no luck >&2; exit 3"])

    async def scenario():
        cluster = LocalCluster(2, tmp_path)
        try:
            with pytest.raises(ClusterError, match=r"(?s)node\d has ended by itself.*no luck"):
                await cluster.start()
        finally:
            await cluster.stop()

    asyncio.run(scenario())


def test_waiting_ends(tmp_path, monkeypatch):
    import asyncio

    monkeypatch.setattr(local, "STEP_S", 0.05)
    monkeypatch.setattr(processes, "node_command", lambda *_, **__: ["/bin/sleep", "60"])

    async def scenario():
        cluster = LocalCluster(1, tmp_path)
        try:
            with pytest.raises(ClusterError, match="in vain until the first node leads"):
                await cluster.start()
        finally:
            await cluster.stop()
        assert not cluster.nodes[0].running

    asyncio.run(scenario())
