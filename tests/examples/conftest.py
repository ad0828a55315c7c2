"""The examples: loaded as modules, and as processes of their own."""

import contextlib
import importlib.util
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from matchengine.cluster.processes import free_addresses
from matchengine.wire.example_pb2 import GetWordsRequest
from matchengine.wire.example_pb2_grpc import ExampleStub
from matchengine.wire.raft_admin_pb2 import StatsRequest
from matchengine.wire.raft_admin_pb2_grpc import RaftAdminStub

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
PATIENCE_S = 90
MOST_ATTEMPTS = 5


def start(program, *arguments, **streams):
    command = [sys.executable, *map(str, (*program, *arguments))]
    return subprocess.Popen(command, env=ENVIRONMENT, text=True, **streams)


def example(name):
    return (ROOT / "examples" / name,)


class WordsNode:
    """``examples/words.py`` with the original's flags."""

    def __init__(self, raft_id, address, folder, *more):
        self.id, self.address = raft_id, address
        (folder / raft_id).mkdir()
        self.flags = [f"--raft_id={raft_id}", f"--address={address}", "--raft_data_dir", folder, *more]
        self.channel = grpc.insecure_channel(address)
        self.start()

    def start(self):
        self.process = start(example("words.py"), *self.flags)

    def words(self):
        """Asks again while nobody leads."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return ExampleStub(self.channel).GetWords(GetWordsRequest(), timeout=PATIENCE_S, wait_for_ready=True)
            except grpc.RpcError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def until_healthy(self, service):
        watch = HealthStub(self.channel).Watch(
            HealthCheckRequest(service=service), wait_for_ready=True, timeout=PATIENCE_S
        )
        next(answer for answer in watch if answer.status == HealthCheckResponse.SERVING)
        watch.cancel()

    def health(self, service):
        try:
            return HealthStub(self.channel).Check(HealthCheckRequest(service=service), timeout=PATIENCE_S).status
        except grpc.RpcError:
            return HealthCheckResponse.UNKNOWN

    def term(self):
        return int(RaftAdminStub(self.channel).Stats(StatsRequest(), timeout=PATIENCE_S).stats["term"])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.kill()
        self.channel.close()


#: Engines of the three nodes.
CLUSTERS = {
    "matchengine": ("matchengine",) * 3,
    "hashicorp": ("hashicorp",) * 3,
    "mixed": ("matchengine", "hashicorp", "hashicorp"),
}


@pytest.fixture(params=CLUSTERS)
def words_nodes(tmp_path, request):
    """Three nodes that run; the first has founded a cluster, which the others are yet to join."""
    engines = CLUSTERS[request.param]
    if "hashicorp" in engines:
        request.getfixturevalue("go_programs")
    with contextlib.ExitStack() as stack:
        nodes = []
        for raft_id, address, engine in zip(("nodeA", "nodeB", "nodeC"), free_addresses(3), engines, strict=True):
            more = ("--engine", engine, *(() if nodes else ("--raft_bootstrap",)))
            nodes.append(WordsNode(raft_id, address.replace("127.0.0.1", "localhost"), tmp_path, *more))
            stack.callback(nodes[-1].close)
        for node in nodes:
            node.until_healthy("")
        nodes[0].until_healthy("Example")
        yield nodes


@pytest.fixture
def raftadmin():
    """Runs one ``raftadmin`` command, which must succeed; again where a busy machine has lost its leader meanwhile."""

    def run(*arguments):
        for attempt in itertools.count():
            process = start(("-m", "matchengine.cli.main", "raftadmin"), *arguments, stderr=subprocess.PIPE)
            _, err = process.communicate(timeout=PATIENCE_S)
            if process.returncode == 0:
                return
            assert attempt < MOST_ATTEMPTS, err
            assert "leader" in err, err

    return run


@pytest.fixture
def start_hammer():
    """Starts ``examples/hammer.py`` on a target."""
    running = []

    def hammer(target, *more):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        running.append(start(example("hammer.py"), "--addresses", target, *more, **pipes))
        return running[-1]

    yield hammer
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def words_module():
    """``examples/words.py`` as a module."""
    spec = importlib.util.spec_from_file_location("words", ROOT / "examples" / "words.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
