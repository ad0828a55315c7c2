"""The Go programs, built once for all tests, and clusters that end with their test."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from words_cluster import ENVIRONMENT, PATIENCE_S, WordsCluster

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "engines" / "hashicorp"
BUILT = ROOT / "build" / "engine"
OUR_RAFTADMIN = [sys.executable, "-m", "matchengine.cli.main", "raftadmin"]


def build(folder, *arguments):
    """``go build`` into ``folder``; one process at a time, and only once when nothing has changed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            ["go", "build", "-o", f"{folder}/", *arguments], cwd=MODULE, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def go_programs():
    """Folders of the Go programs by kind of node; without Go a test is skipped, or fails where Go is required."""
    if shutil.which("go") is None:
        reason = "Go is not installed; it builds the nodes on HashiCorp Raft"
        if os.environ.get("MATCHENGINE_REQUIRE_GO") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    current = build(BUILT, "./cmd/...", "github.com/Jille/raftadmin/cmd/raftadmin")
    return {"go": current, "go-1.7.0": build(BUILT / "v1.7.0", "-modfile=go.v1.7.0.mod", "./cmd/...")}


@pytest.fixture
def cluster(tmp_path, go_programs):
    """No node yet; what was started is killed at the end."""
    cluster = WordsCluster(tmp_path, go_programs)
    yield cluster
    cluster.close()


@pytest.fixture
def raftadmins(go_programs):
    """By kind of leader, the ``raftadmin`` of the other kind: runs one command at that leader, which must succeed."""
    commands = {"go": OUR_RAFTADMIN, "py": [str(go_programs["go"] / "raftadmin")]}

    def runner(command):
        def run(node, *arguments):
            done = subprocess.run(
                [*command, node.address, *arguments],
                env=ENVIRONMENT,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert "error:" not in done.stderr
            return done.stderr

        return run

    return {kind: runner(command) for kind, command in commands.items()}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that fails shows the end of its nodes' logs."""
    outcome = yield
    cluster = getattr(item, "funcargs", {}).get("cluster")
    if cluster is not None and call.when == "call" and call.excinfo is not None:
        outcome.get_result().sections.append(("logs of the nodes", cluster.last_words()))
