"""Known bugs, each as a small patch of the product: the simulator has to find every one of them.

Where a bug was reported for another implementation, ``known`` says where.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from itertools import count
from typing import Any, NamedTuple

import pytest

from matchengine.client.commands import CommandQueue
from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.layout import COMMAND
from matchengine.exchange.order_book import LEAVES, OrderBook
from matchengine.node.policy import SnapshotPolicy
from matchengine.node.replica import Replica
from matchengine.raft import follower, raft, replication
from matchengine.raft.core import Core
from matchengine.raft.follower import advance_commit
from matchengine.raft.install import Installer
from matchengine.raft.leadership import Leadership
from matchengine.raft.log import RaftLog
from matchengine.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshotResponse,
    RequestVoteResponse,
)
from matchengine.raft.progress import Progress
from matchengine.raft.quorum import majority, reached_by_majority
from matchengine.raft.ready import ReadReady, ReceiveSnapshot
from matchengine.raft.types import Entry, EntryType, HardState
from matchengine.raft.writes import Writes
from matchengine.sessions import SessionMachine
from matchengine.storage import frames
from matchengine.storage.files import replace_file
from matchengine.storage.log import SegmentedLog
from matchengine.storage.snapshot_file import SnapshotWriter
from matchengine.storage.stable import StableFile, _encode
from matchengine.testing.simulator.faults import Fault
from matchengine.testing.simulator.simulation import Plan, Result, run
from matchengine.testing.simulator.witness import Witness
from matchengine.testing.simulator.world import World

Patch = pytest.MonkeyPatch
F = Fault
ELECTIONS = (F.PARTITION, F.KILL, F.PAUSE, F.ONE_WAY)
LAGGING = (F.PARTITION, F.KILL, F.SNAPSHOT)
READING = (F.PARTITION, F.PAUSE, F.DRIFT)
LOSING = (F.POWER, F.KILL)
MEMBERS = (F.MEMBERSHIP, F.PARTITION, F.KILL)


class Planted(NamedTuple):
    """A bug; ``faults`` and ``nodes`` of the runs that look for it, ``caught_by`` the rule that it breaks."""

    name: str
    known: str
    caught_by: str
    plant: Callable[[Patch], None]
    faults: tuple[Fault, ...]
    nodes: int = 3
    steps: int = 8000
    seeds: int = 40
    habits: Callable[[World], None] = lambda _world: None


def find(planted: Planted, seeds: Iterable[int] | None = None, without: tuple[str, ...] = ()) -> Result:
    """The first run that fails with the bug planted, or the last one that does not."""
    with pytest.MonkeyPatch.context() as patch:
        planted.plant(patch)
        around(World, "_choose_habits", lambda choose, world, nodes: (choose(world, nodes), planted.habits(world)))(
            patch
        )
        for seed in seeds if seeds is not None else range(planted.seeds):
            result = run(Plan(seed, planted.steps, planted.nodes, planted.faults, without=without))
            if result.failure is not None:
                break
    return result


def table() -> Iterator[str]:
    """The rows of the table in docs/simulation.md."""
    yield "| bug | known from | seed | CPU time | found by |"
    yield "| --- | --- | --- | --- | --- |"
    for planted in PLANTED:
        started = time.process_time()
        result = find(planted)
        took = time.process_time() - started
        rule = result.failure.invariant if result.failure else "NOT FOUND"
        yield f"| {planted.name} | {planted.known} | {result.plan.seed} | {took:.1f} s | {rule} |"


def print_table() -> None:
    for line in table():
        print(line, flush=True)


def replaced(owner: object, name: str, value: object) -> Callable[[Patch], None]:
    """A plant that puts ``value`` in the place of ``owner.name``."""
    return lambda patch: patch.setattr(owner, name, value)


def around(owner: Any, name: str, wrapper: Callable[..., Any]) -> Callable[[Patch], None]:
    """A plant that calls ``wrapper(original, *args)`` in the place of ``owner.name(*args)``."""
    original = getattr(owner, name)

    @wraps(original)
    def wrapped(*args: Any, **more: Any) -> Any:
        return wrapper(original, *args, **more)

    return replaced(owner, name, wrapped)


def several(*plants: Callable[[Patch], None]) -> Callable[[Patch], None]:
    """All of these together."""

    def plant(patch: Patch) -> None:
        for each in plants:
            each(patch)

    return plant


def always(*_args: object, **_more: object) -> bool:
    return True


def never(*_args: object, **_more: object) -> bool:
    return False


def nothing(*_args: object, **_more: object) -> None:
    return None


def zero(*_args: object, **_more: object) -> int:
    return 0


# --- clusters in which some bugs show sooner -----------------------------------------------


def busy(world: World) -> None:
    world.think_us = 60_000


def small_appends(world: World) -> None:
    busy(world)
    world.limits["max_append_entries"] = 1


def short_logs(world: World) -> None:
    busy(world)
    world.policy = SnapshotPolicy(entries=10)
    world.limits |= {"trailing_entries": 0, "max_trailing_bytes": 0}


def tiny_logs(world: World) -> None:
    short_logs(world)
    world.policy = SnapshotPolicy(entries=2)


def short_sessions(world: World) -> None:
    world.session_idle_us = 20_000_000


# --- term and vote ------------------------------------------------------------------------


def vote_before_term(self: StableFile, state: HardState) -> None:
    old = self.load()
    if old.term != state.term:
        replace_file(self._fs, self._path, _encode(HardState(old.term, state.voted_for)))
    replace_file(self._fs, self._path, _encode(state))


def vote_for_everybody(core: Core, received: Any, request: Any) -> None:
    if request.term > core.term:
        core.follow(request.term)
    granted = request.term == core.term and core.log.is_up_to_date(request.last_log_index, request.last_log_term)
    if granted:
        core.vote(received.sender)
    core.respond(received.token, RequestVoteResponse(core.term, granted))


# --- replication --------------------------------------------------------------------------


def send_the_whole_commit(core: Core, progress: Progress, prev: int, prev_term: int, read_round: int) -> None:
    entries = core.log.batch(prev + 1, core.config.max_append_entries, core.config.max_append_bytes)
    request = AppendEntries(core.term, prev, prev_term, entries, core.log.commit, progress.session, read_round)
    progress.sent(request, core.now)
    core.outbox.send(progress.server, request)


def commit_all_that_is_there(original: Callable[..., None], core: Core, token: int, request: AppendEntries) -> None:
    agrees = follower._agrees(core, request)
    original(core, token, request)
    if agrees:
        advance_commit(core, min(request.leader_commit, core.log.last_index))


def truncate_without_clipping(self: Writes, index: int) -> None:
    if index <= self._handed_upto:
        self._truncate_from = index if self._truncate_from is None else min(index, self._truncate_from)
        self._handed_upto = index - 1


def matched_too_far(original: Callable[..., bool], self: Progress, index: int, request: object) -> bool:
    return original(self, max(index, self.next - 1), request)


def stamp_no_ops(original: Callable[..., None], self: RaftLog, entries: Any) -> None:
    original(self, tuple(_stamped(entry) for entry in entries))


def _stamped(entry: Entry) -> Entry:
    if entry.type is not EntryType.NOOP:
        return entry
    return Entry(entry.index, entry.term, entry.type, entry.data, b"stamp", 1)


def take_back(original: Callable[..., None], self: Leadership) -> None:
    """A leader takes back what nobody has been sent, once it has waited."""
    core = self._core
    log = core.log
    sent = max((p.next for p in self.peers.values()), default=0)
    last = log.last_index
    if last > max(sent, log.commit) and last > self.first_index and last == self.__dict__.get("last"):
        core.truncate_from(last)
    self.__dict__["last"] = log.last_index
    original(self)


def count_themselves(self: Leadership) -> None:
    log, core = self._core.log, self._core
    counted = {*core.membership.voters, core.id}
    index = reached_by_majority([self._match(v) for v in sorted(counted)])
    if index > log.commit and self._may_commit(index):
        core.commit_to(index)
        self._make_changes()


# --- snapshots ----------------------------------------------------------------------------


def consider_any(original: Callable[..., None], self: Installer, token: int, request: Any) -> None:
    if self._running is None and request.snapshot.index <= self._core.log.commit:
        self._running = _running(token, request)
        self._core.outbox.receive = ReceiveSnapshot(token, request.snapshot)
    else:
        original(self, token, request)


def _running(token: int, request: Any) -> Any:
    from matchengine.raft.install import _Running

    return _Running(token, request)


def receive_any(original: Callable[..., None], self: Installer, token: int, error: str) -> None:
    running = self._running
    old = running is not None and running.token == token and running.request.snapshot.index <= self._core.log.commit
    if old and not error and not running.write and running.request.term >= self._core.term:
        self._running = None
        self._install(token, running.request)
    else:
        original(self, token, error)


def keep_suffix(original: Callable[..., None], self: Installer, token: int, request: Any) -> None:
    core, snapshot = self._core, request.snapshot
    if core.log.last_index >= snapshot.index:
        advance_commit(core, snapshot.index)
        core.respond(token, InstallSnapshotResponse(core.term, True), snapshot.index)
    else:
        original(self, token, request)


# --- leadership ---------------------------------------------------------------------------


def heartbeat_at_the_door(original: Callable[..., None], self: Replica, call: Any, request: Any) -> None:
    stale = isinstance(request, AppendEntries) and request.is_heartbeat and request.term < self._raft.core.term
    if stale and self._stopped is None:
        call.answer(AppendEntriesResponse(request.term, self._raft.core.log.last_index, True))
    else:
        original(self, call, request)


def remember_transfer(original: Callable[..., None], self: Leadership) -> None:
    transfer = self.transfer
    original(self)
    if transfer is not None:
        LEFT[self._core] = transfer


def recall_transfer(original: Callable[..., None], self: Leadership, core: Core) -> None:
    original(self, core)
    left = LEFT.pop(core, None)
    if left is not None and left.target in self.peers:
        left.deadline = 10**9
        left._asked_at = 10**9
        self.transfer = left


LEFT: dict[Core, Any] = {}


# --- reads --------------------------------------------------------------------------------


def begin_reads_everywhere(self: Leadership) -> None:
    self.reads.begin(self._core.log.commit)
    for progress in self.peers.values():
        replication.send_heartbeat(self._core, progress, self.reads.newest)
    self._confirm_reads()


def confirm_with_non_voters(self: Leadership) -> None:
    rounds = sorted([self.reads.newest, *(p.acked_round for p in self.peers.values())], reverse=True)
    confirmed = rounds[majority(len(self._core.membership.voters)) - 1]
    for key, index in self.reads.confirm(confirmed):
        self._core.outbox.reads.append(ReadReady(key, index))


def read_by_lease(original: Callable[..., None], self: Leadership, key: int, read: object) -> None:
    if self.has_committed and self._hears_quorum():
        self._core.outbox.reads.append(ReadReady(key, self._core.log.commit))
    else:
        original(self, key, read)


# --- disk ---------------------------------------------------------------------------------


def write_frame(self: SegmentedLog, batch: Any) -> None:
    frame = self._segments[-1].encode(batch)
    if self._segments[-1].end + len(frame) > self._segments[-1].capacity:
        self._rotate(batch[0].index, len(frame))
        frame = self._segments[-1].encode(batch)
    self._segments[-1].write(self._handle, batch, frame)


def write_and_try_again(self: SegmentedLog, batch: Any) -> None:
    write_frame(self, batch)
    try:
        self._fs.fdatasync(self._handle)
    except OSError:
        self._fs.fdatasync(self._handle)


def body_unchecked(data: memoryview, header: Any, _salt: int) -> bytes | None:
    start = header.offset + frames._HEADER.size
    body = bytes(data[start : start + header.body_bytes])
    return body if len(body) == header.body_bytes else None


def finish_without_sync(self: SnapshotWriter) -> None:
    if self._buffer:
        self._put_chunk(bytes(self._buffer))
    from matchengine.storage.snapshot_file import _END, _TRAILER, extend

    self._put(_END + _TRAILER.pack(extend(self._chain, _END)))


# --- state machines -----------------------------------------------------------------------


def expire_by_own_clock(original: Callable[..., bytes], self: SessionMachine, idle_ns: int) -> bytes:
    now, host = self._now, HOSTS.get(id(self))
    if host is not None:
        self._now = host.now_ns()
    try:
        return original(self, idle_ns)
    finally:
        self._now = now


def remember_host(original: Callable[..., None], self: Witness, checkers: Any, process: Any, machine: Any) -> None:
    original(self, checkers, process, machine)
    HOSTS[id(machine)] = process.host


HOSTS: dict[int, Any] = {}
SALTS = count(1)


def execute_as_a_set(original: Callable[..., Any], self: MatchingEngine, body: bytes) -> Any:
    """As a set of byte strings would give them: every process has its own hash seed."""
    salt = self.__dict__.setdefault("salt", next(SALTS))
    records = {body[at : at + COMMAND.size] for at in range(0, len(body), COMMAND.size)}
    return original(self, b"".join(sorted(records, key=lambda r: zlib.crc32(r, salt))))


def orders_by_name(self: OrderBook) -> Any:
    for key in sorted(self.levels):
        yield from sorted((o for o in self.levels[key] if o[LEAVES]), key=lambda order: order[3])


def execute_again(original: Callable[..., bytes], self: SessionMachine, entry: Entry, *numbers: int) -> bytes:
    session_id, sequence, acknowledged = numbers
    session = self._sessions.get(session_id)
    if session is not None and session.acknowledged < sequence <= session.last:
        session.last = sequence - 1
    return original(self, entry, session_id, sequence, acknowledged)


def renumber(self: CommandQueue[Any, Any]) -> None:
    self._written = 0
    for numbered in self._queue:
        numbered.sequence = self.take_sequence()


def acknowledge_early(original: Callable[..., None], self: Replica, accepted: Any) -> None:
    """The proposer hears of its command as soon as it is in the leader's own log."""
    original(self, accepted)
    waiting = self._waiting.pop(accepted.index)
    waiting.done(_outcome(accepted.index), None)


def _outcome(index: int) -> Any:
    from matchengine.node.engine import Outcome
    from matchengine.sessions import SessionStatus, _answer

    return Outcome(index, _answer(SessionStatus.OK, index))


PLANTED = (
    Planted("a vote is answered before it is durable", "PySyncObj#84", "election safety",
            replaced(Writes, "number_of_vote", zero), ELECTIONS),
    Planted("term and vote are never written", "PySyncObj#84, #201", "election safety",
            replaced(Writes, "save", nothing), ELECTIONS),
    Planted("term and vote in two writes, the vote first", "hashicorp/raft#661", "durability",
            replaced(StableFile, "save", vote_before_term), (F.KILL, F.PARTITION, F.PAUSE)),
    Planted("two votes in one term", "thesis 3.4", "election safety",
            replaced(raft, "answer_vote", vote_for_everybody), ELECTIONS, 5),
    Planted("votes go to logs that are behind", "thesis 3.6.1", "leader completeness",
            replaced(RaftLog, "is_up_to_date", always), ELECTIONS),
    Planted("an earlier term's entry is committed by counting", "figure 8 of the paper", "real majorities",
            replaced(Leadership, "_may_commit", always), ELECTIONS),
    Planted("commit past the last new entry of an append", "seen in hashicorp/raft v1.7.1", "state-machine safety",
            several(replaced(replication, "_send_entries", send_the_whole_commit),
                    around(follower, "_receive_entries", commit_all_that_is_there)),
            (F.PARTITION, F.DRIFT), habits=small_appends),
    Planted("the consistency check is skipped", "thesis 3.5", "log matching",
            replaced(follower, "_agrees", always), ELECTIONS),
    Planted("conflicting entries stay", "thesis 3.5", "log matching",
            replaced(follower, "_first_conflict", zero), ELECTIONS),
    Planted("entries are acknowledged before they are durable", "thesis 3.8", "real majorities",
            replaced(Writes, "number_of_entry", zero), ELECTIONS),
    Planted("a leader counts itself before its own write", "thesis 10.2.1", "real majorities",
            replaced(Leadership, "_match", lambda self, v: self._core.log.last_index if v == self._core.id
                     else self.peers[v].match), (F.HANGING_DISK, F.KILL)),
    Planted("a follower is credited with all that was sent", "raftos#25", "real majorities",
            around(Progress, "matched", matched_too_far), ELECTIONS),
    Planted("followers stamp no-ops themselves", "", "log matching",
            around(RaftLog, "extend", stamp_no_ops), ()),
    Planted("a leader takes back what nobody was sent", "thesis 3.5", "leader append-only",
            around(Leadership, "tick", take_back), (F.DELAY, F.PARTITION, F.SLOW_LINK)),
    Planted("heartbeats are answered outside the state machine", "hashicorp/raft#695", "linearizable reads",
            around(Replica, "receive", heartbeat_at_the_door), READING),
    Planted("the flag of a transfer is left set", "hashicorp/raft#696", "progress",
            several(around(Leadership, "resign", remember_transfer), around(Leadership, "__init__", recall_transfer)),
            (F.TRANSFER, F.PARTITION, F.KILL)),
    Planted("a read is answered before an own-term commit", "thesis 6.4", "linearizable reads",
            replaced(Leadership, "_can_begin_reads", property(lambda self: self.reads.can_begin)),
            (F.KILL, F.DELAY, F.PARTITION, F.HANGING_DISK), habits=busy),
    Planted("a lease without a bound on clocks", "thesis 6.4.1", "linearizable reads",
            around(Leadership, "read", read_by_lease), READING, habits=busy),
    Planted("a leader with a hanging disk keeps its followers", "hashicorp/raft#503", "hanging leader makes way",
            replaced(Core, "write_hangs", property(never)), (F.HANGING_DISK,)),
    Planted("a failed sync is tried again", "fsync failures, ATC 2020", "durability",
            replaced(SegmentedLog, "_write", write_and_try_again), (F.SYNC_ERROR, F.POWER)),
    Planted("the log is acknowledged before it is synced", "PySyncObj#84", "durability",
            replaced(SegmentedLog, "_write", write_frame), LOSING),
    Planted("a torn tail is taken as good", "ALICE, OSDI 2014", "log matching",
            replaced(frames, "body_of", body_unchecked), LOSING, habits=busy),
    Planted("a snapshot gets its name before it is synced", "ALICE, OSDI 2014", "clear stop",
            replaced(SnapshotWriter, "finish", finish_without_sync), (F.POWER, F.SNAPSHOT), habits=short_logs),
    Planted("the session table is missing from the snapshot", "thesis 6.3", "state-machine safety",
            replaced(SessionMachine, "_frozen_sessions", lambda self: iter(())), LAGGING, habits=short_logs),
    Planted("sessions expire by each node's own clock", "thesis 6.3", "state-machine safety",
            several(around(SessionMachine, "_expire", expire_by_own_clock), around(Witness, "__init__", remember_host)),
            (F.CLOCK_JUMP,), 3, 20000, habits=short_sessions),
    Planted("two membership changes at once", "thesis 4.1, 2015 correction", "real majorities",
            replaced(Leadership, "_may_change", always), MEMBERS, 5),
    Planted("a leader that removes itself still counts", "thesis 4.2.2", "real majorities",
            replaced(Leadership, "_advance_commit", count_themselves), (F.MEMBERSHIP, F.PARTITION)),
    Planted("apply iterates over a set", "", "state-machine safety",
            around(MatchingEngine, "_execute_orders", execute_as_a_set), ()),
    Planted("the order of a queue is lost in the snapshot", "", "state-machine safety",
            replaced(OrderBook, "orders", orders_by_name), LAGGING, habits=short_logs),
    Planted("a repeated command is executed again", "hashicorp/raft#128", "exactly once",
            around(SessionMachine, "_command", execute_again), ELECTIONS),
    Planted("a command is answered when the leader has it", "Redis-Raft, Jepsen 2020", "acknowledged commands kept",
            around(Replica, "_accepted", acknowledge_early), ELECTIONS),
)  # fmt: skip

#: Planted as well, and not found yet: chance makes their histories too seldom.
SOUGHT = (
    Planted("an old snapshot is accepted", "seen in hashicorp/raft v1.7.1", "state-machine safety",
            several(around(Installer, "_consider", consider_any), around(Installer, "received", receive_any)),
            (F.PARTITION, F.KILL, F.DUPLICATION, F.DELAY), habits=tiny_logs),
    Planted("a conflicting suffix is kept after a snapshot", "hashicorp/raft#697", "state-machine safety",
            around(Installer, "_install", keep_suffix), (F.PARTITION, F.DRIFT), habits=tiny_logs),
    Planted("late replies of a member that was removed and added again", "raft-rejoin-bug survey", "progress",
            replaced(Leadership, "_progress", lambda self, peer, session: self.peers.get(peer)),
            (F.REJOIN, F.DELAY, F.SLOW_LINK), habits=busy),
    Planted("non-voters are counted in a read", "seen in hashicorp/raft v1.7.1", "linearizable reads",
            several(replaced(Leadership, "_begin_reads", begin_reads_everywhere),
                    replaced(Leadership, "_confirm_reads", confirm_with_non_voters)),
            (F.MEMBERSHIP, F.PARTITION, F.PAUSE), habits=busy),
    Planted("a client numbers a command anew when it repeats it", "hashicorp/raft#128", "progress",
            replaced(CommandQueue, "stream_ended", renumber), ELECTIONS),
)  # fmt: skip
