"""The word tracker on HashiCorp Raft and on ours, three nodes each, driven by the same Go client in one run.

Both kinds have the same timeouts: HashiCorp's defaults, which the example has, and for the failover those of the
profile ``fast`` as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc

from matchengine.cluster.folders import work_folder
from matchengine.cluster.processes import free_addresses
from matchengine.raft.config import FAST, HASHICORP, Timing
from matchengine.wire.raft_admin_pb2 import StateRequest, StateResponse
from matchengine.wire.raft_admin_pb2_grpc import RaftAdminStub

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "build" / "engine"
KINDS = ("HashiCorp", "ours")
#: Workers to words: long enough for a steady rate, short enough for several rounds.
LOOPS = {1: 2_000, 10: 6_000, 64: 20_000, 256: 30_000}
_PATIENCE_S = 60.0


class Trackers:
    """Three processes of one kind, one cluster."""

    def __init__(self, kind: str, folder: Path, timing: Timing) -> None:
        self.kind, self.folder, self.timing = kind, folder, timing
        self.ids = [f"node{number}" for number in range(1, 4)]
        self.addresses = [address.replace("127.0.0.1", "localhost") for address in free_addresses(3)]
        self.processes: list[subprocess.Popen[bytes] | None] = [None] * 3

    @property
    def target(self) -> str:
        return "multi:///" + ",".join(self.addresses)

    def start(self) -> None:
        for number in range(3):
            self.start_node(number, bootstrap=number == 0)
        while self.leader() is None:
            time.sleep(0.05)
        for raft_id, address in zip(self.ids[1:], self.addresses[1:], strict=True):
            self.raftadmin("add_voter", raft_id, address, "0")

    def start_node(self, number: int, *, bootstrap: bool = False) -> None:
        command = self._ours(number, bootstrap) if self.kind == "ours" else self._hashicorp(number, bootstrap)
        with (self.folder / "log").open("ab") as log:
            self.processes[number] = subprocess.Popen(command, stdout=log, stderr=log)

    def _ours(self, number: int, bootstrap: bool) -> list[str]:
        command = [sys.executable, str(ROOT / "benchmarks" / "timed_words.py")]
        command += [self.ids[number], self.addresses[number], str(self.folder), self.timing.name]
        return [*command, "bootstrap"] if bootstrap else command

    def _hashicorp(self, number: int, bootstrap: bool) -> list[str]:
        command = [str(PROGRAMS / "wordtracker"), f"--raft_id={self.ids[number]}"]
        command += [f"--address={self.addresses[number]}", f"--raft_data_dir={self.folder}"]
        command += [f"--heartbeat_timeout={self.timing.heartbeat_timeout_ms}ms"]
        command += [f"--election_timeout={self.timing.election_timeout_ms}ms"]
        command += [f"--leader_lease_timeout={self.timing.leader_lease_timeout_ms}ms"]
        command += [f"--commit_timeout={self.timing.commit_interval_ms}ms"]
        return [*command, "--raft_bootstrap"] if bootstrap else command

    def raftadmin(self, *arguments: str) -> None:
        """By Go's own command, at the leader."""
        command = [PROGRAMS / "raftadmin", "--leader", self.target, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
        if "error:" in done.stderr:
            raise RuntimeError(done.stderr)

    def leader(self) -> int | None:
        for number, address in enumerate(self.addresses):
            with grpc.insecure_channel(address) as channel:
                try:
                    state = RaftAdminStub(channel).State(StateRequest(), timeout=1, wait_for_ready=True).state
                except grpc.RpcError:
                    continue
            if state == StateResponse.LEADER:
                return number
        return None

    def hammer(self, workers: int, words: int, prefix: str) -> dict[str, float]:
        flags = ["--addresses", self.target, "--workers", str(workers), "--count", str(words), "--prefix", prefix]
        done = subprocess.run([PROGRAMS / "hammer", *flags], capture_output=True, text=True, timeout=600, check=True)
        return dict(json.loads(done.stdout))

    def failover_ms(self, prefix: str) -> float:
        """Kill the leader under the load of ten workers: the longest time between two acknowledged words."""
        journal = self.folder / f"{prefix}.acknowledged"
        flags = ["--addresses", self.target, "--count", "0", "--prefix", prefix, "--acknowledged", journal]
        hammer = subprocess.Popen([PROGRAMS / "hammer", *flags], stdout=subprocess.PIPE, text=True)
        _until_longer(journal, 1_000)
        number = self.leader()
        assert number is not None
        self._end(number)
        _until_longer(journal, journal.stat().st_size + 10_000)
        hammer.send_signal(signal.SIGINT)
        out, _ = hammer.communicate(timeout=_PATIENCE_S)
        self.start_node(number)
        time.sleep(2)  # the node that was killed catches up
        return float(json.loads(out)["longest_gap_ms"])

    def stop(self) -> None:
        for number in range(3):
            self._end(number)

    def _end(self, number: int) -> None:
        process = self.processes[number]
        if process is not None:
            process.kill()
            process.wait()


def _until_longer(file: Path, size: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not file.exists() or file.stat().st_size < size:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{file} does not grow; is there a leader?")
        time.sleep(0.05)


def main(rounds: int, kills: int) -> None:
    """Print rates, latencies and failover of both kinds, and ours divided by HashiCorp's; needs Go."""
    if shutil.which("go") is None:
        sys.exit("side_by_side: needs Go, to build the nodes that ours are compared with")
    subprocess.run(["make", "--quiet", "engine"], cwd=ROOT, check=True)
    with work_folder(None) as folder:
        with _clusters(folder, HASHICORP) as clusters:
            _loops(clusters, rounds)
            _failover(clusters, kills)
        with _clusters(folder, FAST) as clusters:
            _failover(clusters, kills)


@contextlib.contextmanager
def _clusters(folder: Path, timing: Timing) -> Iterator[list[Trackers]]:
    """One of each kind, which run."""
    clusters = []
    for kind in KINDS:
        place = folder / f"{kind}-{timing.name}"
        os.mkdir(place)
        clusters.append(Trackers(kind, place, timing))
    try:
        for cluster in clusters:
            cluster.start()
        yield clusters
    finally:
        for cluster in clusters:
            cluster.stop()


def _loops(clusters: list[Trackers], rounds: int) -> None:
    """Both clusters run, but only one is driven at a time; rounds alternate."""
    print(f"workers | {'words/s, p50, p99 in ms: ' + KINDS[0]:>44} | {KINDS[1]:>28} | ours / HashiCorp")
    for workers, words in LOOPS.items():
        found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
        for number in range(rounds):
            for cluster in clusters:
                found[cluster.kind].append(cluster.hammer(workers, words, f"w{workers}r{number}-"))
        middle = {kind: sorted(runs, key=lambda run: run["per_second"])[rounds // 2] for kind, runs in found.items()}
        said = [f"{r['per_second']:,.0f}/s, {r['p50_ms']:.2f}, {r['p99_ms']:.2f}" for r in middle.values()]
        ratio = middle["ours"]["per_second"] / middle["HashiCorp"]["per_second"]
        print(f"{workers:7} | {said[0]:>44} | {said[1]:>28} | {ratio:.2f}", flush=True)


def _failover(clusters: list[Trackers], kills: int) -> None:
    medians = []
    for cluster in clusters:
        gaps = sorted(cluster.failover_ms(f"kill{number}-") for number in range(kills))
        medians.append(statistics.median(gaps))
        timeouts = f"timeouts of {cluster.timing.election_timeout_ms} ms"
        print(
            f"failover, {cluster.kind}, {timeouts}, {kills} kills: "
            f"least {gaps[0]:.0f} ms, median {medians[-1]:.0f} ms, worst {gaps[-1]:.0f} ms",
            flush=True,
        )
    print(f"failover, {timeouts}, ours / HashiCorp: {medians[1] / medians[0]:.2f}", flush=True)
