"""The command line as its users run it: in processes of their own."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import grpc
import pytest

from matchengine.cluster.processes import free_addresses
from matchengine.v1.cluster_pb2 import StatusRequest
from matchengine.v1.cluster_pb2_grpc import ClusterStub

SOURCES = Path(__file__).resolve().parents[2] / "src"
COMMAND = [sys.executable, "-m", "matchengine.cli.main"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCES)}
PATIENCE_S = 120
#: The last commit without feature levels.
OLD = "2d6f9aa912c35c814527625b097a97467e63c33f"


class Finished:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def last(self):
        return json.loads(self.out.splitlines()[-1])


def run(*arguments):
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False
    )
    return Finished(done)


def until(check, what):
    """Poll ``check`` until it gives something, or fail."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {PATIENCE_S} s: {what}")


class RunningNode:
    """``matchengine node`` on a free port."""

    def __init__(self, folder, node_id, address, *more):
        self.id, self.address, self.folder = node_id, address, folder
        self.log = folder / f"{node_id}.err"
        arguments = ["node", "--id", node_id, "--address", address, "--data-dir", str(folder / node_id), *more]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*COMMAND, *arguments], env=ENVIRONMENT, stderr=log)

    def role(self):
        with grpc.insecure_channel(self.address) as channel:
            try:
                return ClusterStub(channel).Status(StatusRequest(), timeout=1).role
            except grpc.RpcError:
                return ""

    def leads(self):
        until(lambda: self.role() == "leader", f"{self.id} leads\n{self.log.read_text()}")
        return self

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.ended()

    def ended(self):
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def start_node(tmp_path):
    """Starts nodes; whatever still runs is killed at the end."""
    running = []

    def start(node_id="nodeA", *more, address=None):
        node = RunningNode(tmp_path, node_id, address or free_addresses(1)[0], *more)
        running.append(node)
        return node

    yield start
    for node in running:
        node.process.kill()
        node.process.wait()


@pytest.fixture
def matchengine():
    """Runs one command to its end."""
    return run


@pytest.fixture(scope="session")
def old_program(tmp_path_factory):
    """The sources of the older program; without history a test is skipped, or fails where history is required."""
    reason = "git is not installed"
    if shutil.which("git") is not None:
        command = ["git", "archive", "--format=zip", OLD, "src"]
        archive = subprocess.run(command, cwd=SOURCES.parent, capture_output=True, check=False)
        if archive.returncode == 0:
            folder = tmp_path_factory.mktemp("old")
            zipfile.ZipFile(io.BytesIO(archive.stdout)).extractall(folder)
            return folder / "src"
        reason = f"commit {OLD[:7]} is not in the repository's history: {archive.stderr.decode().strip()}"
    if os.environ.get("MATCHENGINE_REQUIRE_HISTORY") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
