"""A simulated cluster around the pure core: memory disks, an unreliable network, one seeded order of events.

Each server's disk performs its writes in order and late; a crash loses the writes that were not
performed.  The network delays, reorders, drops and doubles requests, drops answers, and can be
cut.  After every event the :class:`Invariants` look at all servers.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable
from itertools import count

from matchengine.raft.config import RaftConfig, Timing
from matchengine.raft.log import RaftLog
from matchengine.raft.membership import configurations_in
from matchengine.raft.messages import (
    Answered,
    Applied,
    Event,
    InstallSnapshot,
    Received,
    Request,
    RequestPreVote,
    Response,
    SnapshotReceived,
    SnapshotTaken,
    TimeoutNow,
    Unanswered,
    Written,
)
from matchengine.raft.proposals import Command, Proposal
from matchengine.raft.raft import Raft, bootstrap
from matchengine.raft.ready import Ready, Write
from matchengine.raft.types import (
    Configuration,
    Entry,
    Restored,
    Role,
    Server,
    SnapshotMeta,
)

#: One tick is 10 units of simulated time; a hop takes 1 to 5 units, a call waits at most 100.
TIMING = Timing("test", 1, 4, 20, 20, 20, 1)
TICK = 10
DEADLINE = 100


class InvariantError(AssertionError):
    """A safety property of figure 3 does not hold."""


class Disk:
    """What a server would find after a crash."""

    def __init__(self, restored: Restored) -> None:
        self.hard_state = restored.hard_state
        self.snapshot = restored.snapshot
        self.entries = list(restored.entries)

    def perform(self, write: Write) -> None:
        if write.hard_state is not None:
            self.hard_state = write.hard_state
        if write.reset is not None:
            self.entries = []
        if write.truncate_from is not None:
            self.entries = [e for e in self.entries if e.index < write.truncate_from]
        self._append(write)
        if write.compact_to is not None:
            self.entries = [e for e in self.entries if e.index > write.compact_to]

    def _append(self, write: Write) -> None:
        for entry in write.entries:
            last = self.entries[-1].index if self.entries else (self.snapshot.index if self.snapshot else 0)
            if entry.index != last + 1:
                raise InvariantError(f"a write puts {entry.index} after {last}")
            self.entries.append(entry)

    def install(self, snapshot: SnapshotMeta) -> None:
        if self.snapshot is None or snapshot.index > self.snapshot.index:
            self.snapshot = snapshot

    def restore(self) -> Restored:
        """Drops a log that contradicts the snapshot or leaves a gap behind it, like the real storage."""
        snapshot, entries = self.snapshot, self.entries
        if snapshot is not None and entries:
            at = snapshot.index - entries[0].index
            fits = -1 <= at < len(entries) and (at == -1 or entries[at].term == snapshot.term)
            if not fits:
                entries = []
        self.entries = list(entries)
        return Restored(self.hard_state, snapshot, tuple(entries))


def entry_at(log: RaftLog, index: int) -> Entry:
    """The entry at an index between first and last."""
    found = log.slice(index, index)
    if not found or found[0].index != index:
        raise InvariantError(f"a log has no entry {index} although it ends at {log.last_index}")
    return found[0]


class Invariants:
    """Figure 3 of the paper, checked over everything that ever happened."""

    def __init__(self) -> None:
        self.leaders: dict[int, str] = {}
        self.committed: dict[int, Entry] = {}
        self.committed_in: dict[int, int] = {}
        self.applied: dict[int, Entry] = {}

    def check(self, cluster: Cluster, server: SimServer) -> None:
        status = server.raft.status()
        if status.role is Role.LEADER:
            self._one_leader(status.term, server.id)
            self._complete(server)
        self._matching(cluster, server)
        self._durably_committed(cluster, server)

    def _one_leader(self, term: int, leader: str) -> None:
        if self.leaders.setdefault(term, leader) != leader:
            raise InvariantError(f"election safety: {leader} and {self.leaders[term]} lead term {term}")

    def _complete(self, server: SimServer) -> None:
        log, term = server.raft._core.log, server.raft._core.term
        for index in range(max(log.first_index, len(self.committed) - 20), len(self.committed) + 1):
            entry = self.committed.get(index)
            if entry is not None and self.committed_in[index] < term and log.term(index) != entry.term:
                raise InvariantError(f"leader completeness: {server.id} leads without entry {index}")

    def _matching(self, cluster: Cluster, server: SimServer) -> None:
        log = server.raft._core.log
        for other in cluster.servers.values():
            if other is server or other.raft is None:
                continue
            theirs = other.raft._core.log
            agreed = 0
            for index in range(
                min(log.last_index, theirs.last_index), max(log.first_index, theirs.first_index) - 1, -1
            ):
                mine, yours = entry_at(log, index), entry_at(theirs, index)
                if mine.term == yours.term:
                    agreed += 1
                    if mine != yours:
                        raise InvariantError(f"log matching: {server.id} and {other.id} differ at {index}")
                    if agreed > 12:
                        break
                elif agreed:
                    raise InvariantError(f"log matching: {server.id} and {other.id} agree after {index}, not at it")

    def _durably_committed(self, cluster: Cluster, server: SimServer) -> None:
        """Whoever says that an index is committed says the same entry, and a majority's disks have had it."""
        log = server.raft._core.log
        if log.commit > log.last_index:
            raise InvariantError(f"{server.id} commits {log.commit} and holds only {log.last_index}")
        for index in range(max(server.checked + 1, log.first_index), log.commit + 1):
            entry = entry_at(log, index)
            self.committed_in.setdefault(index, server.raft._core.term)
            if self.committed.setdefault(index, entry) != entry:
                raise InvariantError(f"state machine safety: {server.id} commits another entry {index}")
        server.checked = log.commit

    def note_applied(self, server: SimServer, entry: Entry) -> None:
        if entry.index != server.applied + 1:
            raise InvariantError(f"{server.id} applies {entry.index} after {server.applied}")
        if self.applied.setdefault(entry.index, entry) != entry:
            raise InvariantError(f"state machine safety: {server.id} applies another entry {entry.index}")


class SimServer:
    """One server: the core, its disk, its state machine (which is the list of what it applied)."""

    def __init__(self, cluster: Cluster, server_id: str, restored: Restored) -> None:
        self.cluster = cluster
        self.id = server_id
        self.disk = Disk(restored)
        self.epoch = 0
        self.alive = False
        self.raft: Raft = None  # type: ignore[assignment]  # set by start()
        self.applied = 0
        self.checked = 0
        self.disk_free_at = 0
        self.disk_hangs = False
        self.clock_stands = False
        self.written_after_hang: list[Callable[[], None]] = []
        self.configuration = (0, Configuration())

    def start(self) -> None:
        self.epoch += 1
        self.alive = True
        restored = self.disk.restore()
        self.raft = Raft(self.cluster.config(self.id), restored, self.cluster.rng)
        self.applied = self.checked = restored.snapshot.index if restored.snapshot else 0
        if restored.snapshot:
            self.configuration = (restored.snapshot.configuration_index, restored.snapshot.configuration)
        self.disk_free_at = self.cluster.now
        self.disk_hangs = False
        self.written_after_hang = []

    def crash(self) -> None:
        self.epoch += 1
        self.alive = False

    def later(self, delay: int, action: Callable[[], None]) -> None:
        """Do something unless the server crashes before."""
        epoch = self.epoch
        self.cluster.at(delay, lambda: action() if self.epoch == epoch else None)

    def step(self, event: Event) -> None:
        self.raft.step(event)
        self.cluster.invariants.check(self.cluster, self)
        self.pump()

    def tick(self) -> None:
        self.raft.tick()
        self.pump()

    def propose(self, proposal: Proposal) -> int:
        key = next(self.cluster.keys)
        self.raft.propose(key, proposal)
        self.pump()
        return key

    def pump(self) -> None:
        for _ in range(10_000):
            if not (self.alive and self.raft.has_ready()):
                return
            ready = self.raft.ready()
            self.raft.advance()
            self.perform(ready)
            self.cluster.invariants.check(self.cluster, self)
        raise InvariantError("the core always has work, although nothing happens")

    def perform(self, ready: Ready) -> None:
        self.cluster.note(self, ready)
        if ready.write is not None:
            self._write(ready.write)
        for send in ready.requests:
            self.cluster.send(self, send.to.id, send.request)
        for respond in ready.responses:
            self.cluster.respond(self, respond.token, respond.response)
        if ready.receive is not None:
            self._receive(ready.receive.token, ready.receive.snapshot)
        if ready.restore is not None:
            snapshot = ready.restore
            self.later(self.cluster.rng.randrange(1, 40), lambda: self._restored(snapshot))
        for entry in ready.apply:
            self._apply(entry)
        if ready.apply:
            index = ready.apply[-1].index
            self.later(self.cluster.rng.randrange(0, 3), lambda: self._applied(index))

    def _write(self, write: Write) -> None:
        now = self.cluster.now
        self.disk_free_at = max(now, self.disk_free_at) + self.cluster.rng.randrange(1, self.cluster.disk_delay + 1)
        self.later(self.disk_free_at - now, lambda: self._perform_write(write))

    def _perform_write(self, write: Write) -> None:
        if self.disk_hangs:
            self.written_after_hang.append(lambda: self._perform_write(write))
            return
        self.disk.perform(write)
        self.step(Written(write.number))

    def recover_disk(self) -> None:
        self.disk_hangs = False
        waiting, self.written_after_hang = self.written_after_hang, []
        for perform in waiting:
            perform()

    def _receive(self, token: int, snapshot: SnapshotMeta) -> None:
        if self.cluster.chance(self.cluster.loss):
            self.later(30, lambda: self.step(SnapshotReceived(token, "the stream broke")))
            return

        def durable() -> None:
            self.disk.install(snapshot)
            self.step(SnapshotReceived(token))

        self.later(self.cluster.rng.randrange(5, 40), durable)

    def _restored(self, snapshot: SnapshotMeta) -> None:
        if snapshot.index < self.applied:
            raise InvariantError(f"{self.id} is taken back from {self.applied} to {snapshot.index}")
        self.applied = snapshot.index
        self.configuration = (snapshot.configuration_index, snapshot.configuration)
        self.step(Applied(snapshot.index))

    def _apply(self, entry: Entry) -> None:
        if all(e.index != entry.index or e.term != entry.term for e in self.disk.entries[-400:]):
            raise InvariantError(f"{self.id} applies {entry.index}, which is not on its disk")
        self.cluster.invariants.note_applied(self, entry)
        self.applied = entry.index
        for index, configuration in configurations_in((entry,)):
            self.configuration = (index, configuration)
        if self.cluster.snapshot_every and entry.index % self.cluster.snapshot_every == 0:
            index, configuration = self.configuration
            meta = SnapshotMeta(entry.index, entry.term, configuration, index, 1)
            self.later(self.cluster.rng.randrange(1, 30), lambda: self._snapshot(meta))

    def _snapshot(self, meta: SnapshotMeta) -> None:
        self.disk.install(meta)
        self.step(SnapshotTaken(meta))

    def _applied(self, index: int) -> None:
        self.step(Applied(index))


class Cluster:
    """``size`` voters (and ``spares`` servers that nobody has told of the cluster) on one clock.

    Servers in ``old`` are like HashiCorp Raft before 1.3.7: they announce an address but no id, nothing at all in
    TimeoutNow, and they neither ask for pre-votes nor know the question.
    """

    def __init__(
        self,
        size: int = 3,
        seed: int = 0,
        *,
        spares: int = 0,
        loss: float = 0.0,
        duplication: float = 0.0,
        disk_delay: int = 3,
        snapshot_every: int = 0,
        old: Iterable[str] = (),
        **limits: int,
    ) -> None:
        self.rng = random.Random(seed)
        self.loss = loss
        self.duplication = duplication
        self.disk_delay = disk_delay
        self.snapshot_every = snapshot_every
        self.old = frozenset(old)
        # More requests under way than a node allows by itself: what they can do to each other is looked for here.
        self.limits = {"max_partial_requests": 3, **limits}
        self.now = 0
        self.keys = count(1)
        self.tokens = count(1)
        self._order = count()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._calls: dict[int, Callable[[Response | None], None]] = {}
        self.cut: set[frozenset[str]] = set()
        self.invariants = Invariants()
        self.outcomes: dict[int, object] = {}
        self.ids = [f"n{i}" for i in range(1, size + spares + 1)]
        members = tuple(Server(i, f"{i}:1") for i in self.ids[:size])
        first = bootstrap(Configuration(members))
        self.servers = {i: SimServer(self, i, first if i in self.ids[:size] else Restored()) for i in self.ids}
        for server in self.servers.values():
            server.start()
            self.at(self.rng.randrange(1, TICK), lambda s=server: self._tick(s))

    def config(self, server_id: str) -> RaftConfig:
        return RaftConfig(server_id, f"{server_id}:1", TIMING, **self.limits)

    # --- clock -----------------------------------------------------------------------------

    def at(self, delay: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._order), action))

    def run(self, duration: int) -> None:
        """Let time pass."""
        end = self.now + duration
        while self._queue[0][0] <= end:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit: int = 8_000, step: int = TICK) -> None:
        """Let time pass, but no longer than until something is so; AssertionError when it never is."""
        end = self.now + limit
        while not condition():
            assert self.now < end, f"not within {limit} units"
            self.run(step)

    def _tick(self, server: SimServer) -> None:
        if server.alive and not server.clock_stands:
            server.tick()
        self.at(TICK, lambda: self._tick(server))

    def chance(self, probability: float) -> bool:
        return probability > 0 and self.rng.random() < probability

    # --- network ---------------------------------------------------------------------------

    def send(self, sender: SimServer, to: str, request: Request) -> None:
        """One call: it comes back exactly once, answered or not."""
        open_call = [True]

        def finish(response: Response | None, *, too_old: bool = False) -> None:
            if open_call[0]:
                open_call[0] = False
                event = Unanswered(to, request, too_old) if response is None else Answered(to, request, response)
                sender.step(event)

        if isinstance(request, RequestPreVote) and (
            sender.id in self.old or (to in self.old and self._reach(sender, to))
        ):
            sender.later(self._hop(), lambda: finish(None, too_old=True))
            return
        deadline = 400 if isinstance(request, InstallSnapshot) else DEADLINE
        sender.later(deadline, lambda: finish(None))
        copies = 2 if self.chance(self.duplication) else 1
        for _ in range(copies):
            self._deliver(sender, to, request, lambda response: sender.later(self._hop(), lambda: finish(response)))

    def _deliver(self, sender: SimServer, to: str, request: Request, answer: Callable[[Response | None], None]) -> None:
        epoch = sender.epoch

        def arrive() -> None:
            if not self._reach(sender, to) or self.chance(self.loss):
                return
            token = next(self.tokens)
            self._calls[token] = lambda response: answer(response) if sender.epoch == epoch else None
            self.servers[to].step(self._received(token, sender.id, request))

        self.at(self._hop(), arrive)

    def _reach(self, sender: SimServer, to: str) -> bool:
        return self.servers[to].alive and frozenset((sender.id, to)) not in self.cut

    def _received(self, token: int, sender: str, request: Request) -> Received:
        address = f"{sender}:1"
        if sender not in self.old:
            return Received(token, sender, address, request)
        return Received(token, "", "" if isinstance(request, TimeoutNow) else address, request)

    def respond(self, server: SimServer, token: int, response: Response | None) -> None:
        answer = self._calls.pop(token)
        if not self.chance(self.loss):
            answer(response)

    def _hop(self) -> int:
        return self.rng.randrange(1, 6) if not self.chance(self.loss) else self.rng.randrange(1, 60)

    def partition(self, *groups: Iterable[str]) -> None:
        """Servers of different groups no longer reach each other."""
        group_of = {i: g for g, members in enumerate(groups) for i in members}
        self.cut = {frozenset((a, b)) for a in self.ids for b in self.ids if group_of.get(a) != group_of.get(b)}

    def heal(self) -> None:
        """Everybody reaches everybody, and nothing is lost any more."""
        self.cut = set()
        self.loss = self.duplication = 0.0
        for server in self.servers.values():
            server.clock_stands = False
            if not server.alive:
                server.start()
            elif server.disk_hangs:
                server.recover_disk()

    # --- users -----------------------------------------------------------------------------

    def note(self, server: SimServer, ready: Ready) -> None:
        for outcome in (*ready.accepted, *ready.refused, *ready.done, *ready.reads):
            self.outcomes[outcome.key] = outcome

    def leader(self) -> SimServer | None:
        """The live leader of the highest term."""
        leaders = [s for s in self.servers.values() if s.alive and s.raft.status().role is Role.LEADER]
        return max(leaders, key=lambda s: s.raft.status().term, default=None)

    def elect(self) -> SimServer:
        """Wait for a leader that has committed its no-op."""
        self.run_until(lambda: (s := self.leader()) is not None and s.raft._leadership.has_committed)
        leader = self.leader()
        assert leader is not None
        return leader

    def commit(self, data: bytes) -> None:
        """Propose until everybody who is alive has applied it."""
        leader = self.elect()
        leader.propose(Command(data))
        self.run_until(lambda: all(self.has_applied(s, data) for s in self.servers.values() if s.alive))

    def has_applied(self, server: SimServer, data: bytes) -> bool:
        """Whether a command has reached this server's state machine (or is covered by its snapshot)."""
        found = [i for i, e in self.invariants.applied.items() if e.data == data]
        return bool(found) and server.applied >= found[0]
