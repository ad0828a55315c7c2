"""Clusters of the word tracker whose nodes run on HashiCorp Raft ("go", "go-1.5.0") or on ours ("py")."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc

from matchengine.cluster.processes import free_addresses
from matchengine.raft.types import EntryType
from matchengine.storage.storage import open_storage
from matchengine.v1.cluster_pb2 import StatusRequest
from matchengine.v1.cluster_pb2_grpc import ClusterStub
from matchengine.wire import raft_admin_pb2 as admin
from matchengine.wire.example_pb2 import AddWordRequest, GetWordsRequest
from matchengine.wire.example_pb2_grpc import ExampleStub
from matchengine.wire.raft_admin_pb2_grpc import RaftAdminStub

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
PATIENCE_S = 60
CALL_S = 10
SNAPSHOT_ENTRIES = 100_000  # only when asked for
TRAILING_ENTRIES = 20
HAMMERS = 4
PAUSE = "20ms"  # a load all the while, not as much as the machine can bear
CHANNEL_OPTIONS = [
    *(("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100)),
    *(("grpc.max_reconnect_backoff_ms", 200), ("grpc.use_local_subchannel_pool", 1)),
]


def until(check, what):
    """Poll ``check`` until it gives something true, which is returned."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(grpc.RpcError):
            found = check()
            if found:
                return found
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.05)


class OperationError(Exception):
    """What the body of an AwaitResponse says."""


class WordsNode:
    """One process of the word tracker, and the calls to it."""

    def __init__(self, kind, raft_id, folder, programs):
        self.kind, self.id, self.folder, self.programs = kind, raft_id, folder, programs
        self.address = free_addresses(1)[0].replace("127.0.0.1", "localhost")
        self.audit = folder / f"{raft_id}.audit"
        self.log = folder / f"{raft_id}.log"
        self.process = None
        self.channel = grpc.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        self.admin, self.example = RaftAdminStub(self.channel), ExampleStub(self.channel)

    @property
    def data_dir(self):
        return self.folder / self.id

    def start(self, *, bootstrap=False):
        more = ["--raft_bootstrap"] if bootstrap else []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*self.command(), *more], env=ENVIRONMENT, stdout=log, stderr=log)
        return self

    def command(self):
        if self.kind == "py":
            flags = [self.id, self.address, self.folder, self.audit, SNAPSHOT_ENTRIES, TRAILING_ENTRIES]
            return [sys.executable, str(HERE / "words_node.py"), *map(str, flags)]
        return [
            str(self.programs[self.kind] / "wordtracker"),
            f"--raft_id={self.id}",
            f"--address={self.address}",
            f"--raft_data_dir={self.folder}",
            f"--audit={self.audit}",
            f"--snapshot_threshold={SNAPSHOT_ENTRIES}",
            f"--trailing_logs={TRAILING_ENTRIES}",
        ]

    def end(self, number=signal.SIGKILL):
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE_S)

    def close(self):
        self.end()
        self.channel.close()

    def last_words(self):
        return f"--- {self.id} ---\n" + self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    # --- calls -----------------------------------------------------------------------------

    def state(self):
        names = admin.StateResponse.State
        return names.Name(self.admin.State(admin.StateRequest(), timeout=CALL_S).state)

    def stats(self):
        return dict(self.admin.Stats(admin.StatsRequest(), timeout=CALL_S).stats)

    def servers(self):
        """Id to suffrage, as this node has it."""
        answer = self.admin.GetConfiguration(admin.GetConfigurationRequest(), timeout=CALL_S)
        return {server.id: server.suffrage for server in answer.servers}

    def applied(self):
        return self.admin.AppliedIndex(admin.AppliedIndexRequest(), timeout=CALL_S).index

    def last(self):
        return self.admin.LastIndex(admin.LastIndexRequest(), timeout=CALL_S).index

    def forgets(self, index):
        """Take a snapshot; whether the log now begins after ``index``."""
        last = self.last()
        self.operate("Snapshot")
        if self.kind == "py":
            return ClusterStub(self.channel).Status(StatusRequest(), timeout=CALL_S).first_index > index
        # It keeps just the trailing ones, and does not say where its log begins.
        return min(int(self.stats()["last_snapshot_index"]), last - TRAILING_ENTRIES) >= index

    def words(self):
        return list(self.example.GetWords(GetWordsRequest(), timeout=CALL_S).best_words)

    def add_word(self, word):
        return self.example.AddWord(AddWordRequest(word=word), timeout=CALL_S).commit_index

    def add_word_later(self, word):
        """A call that goes on."""
        return self.example.AddWord.future(AddWordRequest(word=word), timeout=CALL_S)

    def operate(self, method, **fields):
        """Run an operation of RaftAdmin to its end; its index, or OperationError."""
        request = getattr(admin, f"{method}Request")(**fields)
        future = getattr(self.admin, method)(request, timeout=CALL_S)
        answer = self.admin.Await(future, timeout=CALL_S)
        self.admin.Forget(future, timeout=CALL_S)
        if answer.error:
            raise OperationError(answer.error)
        return answer.index

    # --- what it left behind ---------------------------------------------------------------

    def applied_commands(self):
        """Index to (term, data) of every command that this node ever applied, which a restart may not contradict."""
        found = {}
        for line in self.audit.read_text().splitlines() if self.audit.exists() else ():
            index, term, data = (*line.split(" "), "")[:3]
            entry = (int(term), bytes.fromhex(data))
            assert found.setdefault(int(index), entry) == entry, f"{self.id} applied two commands at {index}"
        return found

    def entries(self):
        """Index to (term, type, data) of the log of a node that does not run."""
        if self.kind == "py":
            storage = open_storage(self.data_dir, self.id, create=False)
            try:
                return {e.index: (e.term, EntryType(e.type).name, e.data) for e in storage.restore().entries}
            finally:
                storage.close()
        command = [self.programs[self.kind] / "raftlog", self.data_dir]
        out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout
        lines = [json.loads(line) for line in out.splitlines()]
        found = {
            line["index"]: (line["term"], line["kind"].removeprefix("Log").upper(), bytes.fromhex(line["data"]))
            for line in lines
            if line["kind"] != "snapshot"
        }
        return unbroken_end(found)


def unbroken_end(entries):
    """What follows the last hole: before it HashiCorp Raft leaves what a snapshot has replaced, be it stale."""
    holes = [index for index in entries if index + 1 not in entries]
    start = max(holes[:-1], default=0)
    return {index: entry for index, entry in entries.items() if index > start}


class Hammer:
    """The Go hammer, adding words until it is told to stop."""

    def __init__(self, cluster, prefix):
        self.journal = cluster.folder / f"{prefix}.acknowledged"
        self.process = subprocess.Popen(
            [
                *(cluster.programs["go"] / "hammer", "--addresses", cluster.target, "--workers", str(HAMMERS)),
                *("--count", "0", "--pause", PAUSE, "--prefix", prefix, "--acknowledged", self.journal),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def acknowledged(self):
        return self.journal.read_text().split() if self.journal.exists() else []

    def goes_on(self):
        """Wait until ten more words are acknowledged."""
        before = len(self.acknowledged())
        until(lambda: self.process.poll() is not None or len(self.acknowledged()) >= before + 10, "the hammer goes on")
        assert self.process.poll() is None, self.process.communicate()

    def stop(self):
        """Its report; it must have noticed nothing."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, err
        return json.loads(out.splitlines()[-1])


class WordsCluster:
    """Nodes that have run, those that run as members, and every word that was acknowledged."""

    def __init__(self, folder, programs):
        self.folder, self.programs = folder, programs
        self.all = []
        self.members = []
        self.promised = []

    # --- life ------------------------------------------------------------------------------

    def found(self, kinds):
        """Start a node of each kind; the first founds the cluster, the others become voters."""
        for number, kind in enumerate(kinds, 1):
            self.new_node(kind, f"{kind.replace('.', '')}{number}").start(bootstrap=number == 1)
        founder, *others = self.all
        self.members.append(founder)
        until(lambda: founder.state() == "LEADER", "the founder leads")
        for node in others:
            self.join(node)
        self.settle()
        return self

    def new_node(self, kind, raft_id):
        node = WordsNode(kind, raft_id, self.folder, self.programs)
        self.all.append(node)
        return node

    def join(self, node, method="AddVoter"):
        until(lambda: node.state() == "FOLLOWER", f"{node.id} answers")
        self.change(method, id=node.id, address=node.address)
        self.members.append(node)

    def leave(self, node):
        self.change("RemoveServer", id=node.id)
        self.members.remove(node)
        node.end()

    def change(self, method, **fields):
        """A change of membership by whoever leads."""
        return self.insist(lambda: self.leader().operate(method, **fields), method)

    def insist(self, act, what, again=lambda: None):
        """What ``act`` gives; after ``again``, anew where leadership moves meanwhile: without processor time it may."""

        def done():
            try:
                return (act(),)
            except OperationError as error:
                if "leader" not in str(error):
                    raise
            except grpc.RpcError:
                pass
            again()
            return None

        return until(done, what)[0]

    def led_by(self, node, act, what):
        """Let ``node`` act as the leader."""
        return self.insist(lambda: act(node), f"{what} by {node.id}", lambda: self.let_lead(node))

    def removes_itself(self, node):
        """Have ``node`` lead, and remove itself."""

        def gone():
            leader = self.leader()
            if node.id not in leader.servers():
                return True
            if leader is node:
                node.operate("RemoveServer", id=node.id)
            else:
                self.let_lead(node)
            return False

        until(lambda: self.insist(gone, "its own removal"), f"{node.id} removes itself")
        self.members.remove(node)

    def writes_alone(self, node, words):
        """Stop all others, and have ``node`` write words that it cannot commit; the index of the last.

        0, with the others running again, where it noticed too soon that nobody follows it.
        """
        others = [each for each in self.members if each is not node]
        self.let_lead(node)
        self.settle()
        for each in others:
            each.end()
        before = node.last()
        calls = [node.add_word_later(word) for word in words]

        def decided():
            all_refused = all(call.done() for call in calls)
            return node.last() == before + len(words) or all_refused

        until(decided, "the leader has written what nobody else has, or may not")
        if node.last() == before + len(words):
            return before + len(words)
        for each in others:
            each.start()
        return 0

    def forget(self, nodes, index, prefix):
        """Add words and take snapshots until no log of these nodes goes back to ``index``.

        A leader of ours does not forget at once what a follower needs that was heard lately.
        """
        self.add_words(self.leader(), prefix, TRAILING_ENTRIES)
        for node in nodes:
            number = itertools.count()

            def forgotten(node=node, number=number):
                self.add_words(self.leader(), f"{prefix}{node.id}-{next(number)}-", 1)  # nothing new, no snapshot
                self.catches_up(node)
                return node.forgets(index)

            until(forgotten, f"{node.id} has no entry {index} any more")

    def close(self):
        for node in self.all:
            node.close()

    def last_words(self):
        return "\n".join(node.last_words() for node in self.all)

    # --- who is who ------------------------------------------------------------------------

    @property
    def target(self):
        return "multi:///" + ",".join(node.address for node in self.all)

    def of_kind(self, kind):
        return [node for node in self.members if node.kind == kind]

    def leader(self, among=None):
        """The member that leads, and has committed an entry in its term."""

        def look():
            for node in among or self.members:
                with contextlib.suppress(grpc.RpcError):
                    if node.state() == "LEADER" and node.operate("Barrier"):
                        return node
            return None

        def found():
            with contextlib.suppress(OperationError):
                return look()

        return until(found, "a member leads")

    def let_lead(self, node):
        """Hand leadership over until ``node`` has it."""

        def leads():
            leader = self.leader()
            if leader is node:
                return True
            with contextlib.suppress(OperationError):
                leader.operate("LeadershipTransferToServer", id=node.id, address=node.address)
            return False

        until(leads, f"{node.id} leads")
        return node

    def add_words(self, node, prefix, count):
        """Words by this node as the leader."""
        for number in range(count):
            word = f"{prefix}{number}"
            self.led_by(node, lambda leader, word=word: leader.add_word(word), word)
            self.promised.append(word)

    @contextlib.contextmanager
    def hammered(self, prefix):
        """Words are added all the while, and all of them arrive."""
        hammer = Hammer(self, prefix)
        try:
            hammer.goes_on()
            yield hammer
            hammer.goes_on()
            hammer.stop()
        finally:
            hammer.process.kill()
            hammer.process.communicate()
            self.promised += hammer.acknowledged()

    # --- what must hold --------------------------------------------------------------------

    def settle(self):
        """Wait until every member has applied all that the leader has."""

        leader = self.leader()

        def same():
            last = leader.last()
            return all(node.applied() == last for node in self.members)

        until(same, "all members have applied the same")

    def catches_up(self, node):
        """Wait until ``node`` has applied what the leader has now, though more comes."""
        last = self.leader().last()
        until(lambda: node.applied() >= last, f"{node.id} catches up")

    def check(self):
        """Same words everywhere, nothing lost, nothing applied that another node has otherwise."""
        self.settle()
        words = {node.id: tuple(self.insist(node.words, f"words of {node.id}")) for node in self.members}
        assert len(set(words.values())) == 1, f"best words differ: {words}"
        applied = {}
        for node in self.all:
            for index, entry in node.applied_commands().items():
                assert applied.setdefault(index, entry) == entry, f"{node.id} applied another command at {index}"
        lost = set(self.promised) - {data.decode() for _, data in applied.values()}
        assert not lost, f"acknowledged, but not applied: {sorted(lost)[:9]}"
        return applied

    def check_logs(self):
        """:meth:`check`, then stop all: same log, and nothing was applied that is not in it; what was applied."""
        applied = self.check()
        snapshots = {node.id: int(node.stats()["last_snapshot_index"]) for node in self.members}
        for node in self.all:
            node.end()
        logs = {node.id: node.entries() for node in self.members}
        ends = {raft_id: max(log) for raft_id, log in logs.items()}
        assert len(set(ends.values())) == 1, f"logs end differently: {ends}"
        merged = {}
        for raft_id, log in logs.items():
            for index, entry in log.items():
                assert merged.setdefault(index, entry) == entry, f"{raft_id} has another entry at {index}"
        # A log may have a hole where a snapshot skipped entries; what is in any log was applied, and nothing else.
        for index, (term, kind, data) in merged.items():
            applied_here = applied.get(index)
            wanted = (term, data) if kind == "COMMAND" else None
            assert applied_here == wanted, f"entry {index} is {kind} {term} {data!r}, applied was {applied_here}"
        # What some node applied says nothing of the others: each has applied all that no snapshot of its own holds.
        for node in self.members:
            own, log = node.applied_commands(), logs[node.id]
            skipped = [i for i in log if i > snapshots[node.id] and log[i][1] == "COMMAND" and i not in own]
            assert not skipped, f"{node.id} passed over {skipped[:9]}"
        assert max(applied) <= max(merged), f"entry {max(applied)} was applied, the logs end at {max(merged)}"
        return applied
