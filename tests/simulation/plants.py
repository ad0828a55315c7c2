"""The small patches of the product that plant known bugs in it; `planted.py` has the table of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from functools import wraps
from itertools import count
from operator import itemgetter
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from matchengine.client.commands import CommandQueue, LoneCommand, Patience, Suspicion
from matchengine.client.contracts import Failure
from matchengine.client.search import LeaderSearch
from matchengine.errors import RefusedError
from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.layout import BATCH_HEADER, COMMAND
from matchengine.exchange.snapshot import ORDER
from matchengine.node.replica import Replica
from matchengine.raft import follower, replication
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
    SnapshotReceived,
)
from matchengine.raft.progress import Progress
from matchengine.raft.quorum import majority, reached_by_majority
from matchengine.raft.ready import ReadReady, ReceiveSnapshot
from matchengine.raft.types import Entry, EntryType, HardState, SnapshotMeta
from matchengine.sessions import ANSWER, SessionMachine
from matchengine.storage import frames
from matchengine.storage.files import replace_file
from matchengine.storage.log import SegmentedLog
from matchengine.storage.segment import Segment
from matchengine.storage.snapshot_file import SnapshotWriter
from matchengine.storage.stable import StableFile, encode
from matchengine.testing.simulator.witness import Witness

Patch = pytest.MonkeyPatch
#: Puts a bug into the product.
Plant = Callable[[Patch], None]


def replaced(owner: object, name: str, value: object) -> Plant:
    """A plant that puts ``value`` in the place of ``owner.name``."""
    return lambda patch: patch.setattr(owner, name, value)


def around(owner: Any, name: str, wrapper: Callable[..., Any]) -> Plant:
    """A plant that calls ``wrapper(original, *args)`` in the place of ``owner.name(*args)``."""
    original = getattr(owner, name)

    @wraps(original)
    def wrapped(*args: Any, **more: Any) -> Any:
        return wrapper(original, *args, **more)

    return replaced(owner, name, wrapped)


def several(*plants: Plant) -> Plant:
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


# --- term and vote ------------------------------------------------------------------------


def vote_before_term(self: StableFile, state: HardState) -> None:
    old = self.load()
    if old.term != state.term:
        replace_file(self._fs, self._path, encode(HardState(old.term, state.voted_for)))
    replace_file(self._fs, self._path, encode(state))


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


def matched_too_far(original: Callable[..., bool], self: Progress, index: int, request: object) -> bool:
    return original(self, max(index, self.next - 1), request)


def never_below_match(original: Callable[..., bool], self: Progress, *answer: Any) -> bool:
    """Where a match is taken for certain, as etcd does: what is below it is never sent again."""
    mattered = original(self, *answer)
    self.next = max(self.next, self.match + 1)
    return mattered


def commit_whatever(original: Callable[..., None], core: Core, token: int, request: AppendEntries) -> None:
    agrees = follower._agrees(core, request)
    original(core, token, request)
    if agrees:
        advance_commit(core, request.leader_commit)


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


def stop_at_broken_snapshot(self: Replica, token: int, meta: SnapshotMeta) -> None:
    def received(error: str) -> None:
        if error:
            self.stop(ValueError(error))
        else:
            self.step(SnapshotReceived(token, error))

    self._calls[token].receive_snapshot(meta, received)


def keep_members(original: Callable[..., None], self: Core, snapshot: SnapshotMeta) -> None:
    history = self.membership._history
    original(self, snapshot)
    self.membership._history = history
    self.membership._choose_latest()


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


LEFT: WeakKeyDictionary[Core, Any] = WeakKeyDictionary()


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


def upgrade_without_sync(original: Callable[..., Segment], self: Segment, index: int) -> Segment:
    """Only what stands in the place of a segment of an older version lacks its sync."""
    if self.version == frames.FORMAT_VERSION:
        return original(self, index)
    fs: Any = self._fs
    fs.fsync = nothing
    try:
        return original(self, index)
    finally:
        del fs.fsync


def finish_without_sync(self: SnapshotWriter) -> None:
    if self._buffer:
        self._put_chunk(bytes(self._buffer))
    from matchengine.storage.snapshot_file import _END, _TRAILER, extend

    self._put(_END + _TRAILER.pack(extend(self._chain, _END)))


# --- state machines -----------------------------------------------------------------------


def expire_by_own_clock(original: Callable[..., bytes], self: SessionMachine, idle_ns: int) -> bytes:
    now, host = self._table.now, HOSTS.get(self)
    if host is not None:
        self._table.now = host.now_ns()
    try:
        return original(self, idle_ns)
    finally:
        self._table.now = now


def remember_host(original: Callable[..., None], self: Witness, checkers: Any, process: Any, machine: Any) -> None:
    original(self, checkers, process, machine)
    HOSTS[machine] = process.host


HOSTS: WeakKeyDictionary[SessionMachine, Any] = WeakKeyDictionary()
SALTS = count(1)


def execute_as_a_set(original: Callable[..., Any], self: MatchingEngine, batch: bytes) -> Any:
    """As a set of byte strings would give them: every process has its own hash seed."""
    salt = self.__dict__.setdefault("salt", next(SALTS))
    head, body = batch[: BATCH_HEADER.size], batch[BATCH_HEADER.size :]
    records = {body[at : at + COMMAND.size] for at in range(0, len(body), COMMAND.size)}
    return original(self, head + b"".join(sorted(records, key=lambda r: zlib.crc32(r, salt))))


def orders_by_name(frozen: Any) -> Iterator[bytes]:
    """Each level of a snapshot in the order of the clients' names."""
    while (block := frozen.next_block()) is not None:
        orders = sorted(ORDER.iter_unpack(block[4:]), key=itemgetter(3, 1))
        yield block[:4] + b"".join(ORDER.pack(*order) for order in orders)


def execute_again(original: Callable[..., bytes], self: SessionMachine, entry: Entry, *numbers: int) -> bytes:
    session_id, sequence, acknowledged = numbers
    session = self._table.sessions.get(session_id)
    if session is not None and session.acknowledged < sequence <= session.last:
        session.last = sequence - 1
    return original(self, entry, session_id, sequence, acknowledged)


def answer_shortly(original: Callable[..., bytes], self: SessionMachine, entry: Entry, *numbers: int) -> bytes:
    """A retry is told that its command was executed, and where, but not with which result."""
    session_id, sequence, acknowledged = numbers
    session = self._table.sessions.get(session_id)
    is_known = session is not None and session.acknowledged < sequence <= session.last
    answer = original(self, entry, session_id, sequence, acknowledged)
    return answer[: ANSWER.size] if is_known else answer


def renumber(self: CommandQueue[Any, Any]) -> None:
    self._written = 0
    for numbered in self._queue:
        numbered.sequence = self.take_sequence()


def give_back_anyway(self: LoneCommand[Any, Any], failed: Failure) -> None:
    """Whatever has failed, the command counts as refused."""
    self._commands.give_back(self.sequence)
    raise RefusedError(failed.text)


def believe_in_silence(self: Patience, in_flight: int, acknowledged: int) -> Suspicion:
    del self, in_flight, acknowledged
    return Suspicion.NONE


def ask_those_given(original: Callable[..., None], self: LeaderSearch, address: str, found: Any) -> None:
    if address in self.addresses:
        original(self, address, found)


def acknowledge_early(original: Callable[..., None], self: Replica, accepted: Any) -> None:
    """The proposer hears of its command as soon as it is in the leader's own log."""
    original(self, accepted)
    waiting = self._waiting.pop(accepted.index)
    waiting.done(_outcome(accepted.index), None)


def _outcome(index: int) -> Any:
    from matchengine.node.engine import Outcome
    from matchengine.sessions import SessionStatus, encode_answer

    return Outcome(index, encode_answer(SessionStatus.OK, index))
