"""Clusters that end with their test, and the Go tools."""

import subprocess
import sys

import pytest
from words_cluster import ENVIRONMENT, PATIENCE_S, OperationError, WordsCluster

OUR_RAFTADMIN = [sys.executable, "-m", "matchengine.cli.main", "raftadmin"]


@pytest.fixture
def cluster(tmp_path, go_programs):
    """No node yet; what was started is killed at the end."""
    cluster = WordsCluster(tmp_path, go_programs)
    yield cluster
    cluster.close()


@pytest.fixture
def raftadmins(go_programs):
    """By kind of leader, the ``raftadmin`` of the other kind: runs one command at that leader; OperationError."""
    return _raftadmins(go_programs["go"])


@pytest.fixture
def raftadmins_of_the_day(go_programs):
    """The same with Go's of the version that raft-grpc-example has pinned all the time."""
    return _raftadmins(go_programs["raftadmin-1.2.0"])


def _raftadmins(folder):
    commands = {"go": OUR_RAFTADMIN, "py": [str(folder / "raftadmin")]}

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
            if done.returncode or "error:" in done.stderr:
                raise OperationError(done.stderr)
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
