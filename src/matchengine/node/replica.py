"""One server of the cluster: the Raft core, a state machine, and the loop between them.

Rules of this file: it does what ``Ready`` says (persist, send, apply, then advance) and turns the
core's verdicts into callbacks for whoever proposed.  It holds no asyncio, file, socket or clock, so
the same code runs under a simulator.  Everything happens on one thread; ``wake`` is how the
owner learns that :meth:`Replica.pump` has work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import TypeVar

import msgspec

from matchengine.answers import Answer
from matchengine.errors import (
    BusyError,
    MatchEngineError,
    NotLeaderError,
    RefusedError,
    StoppedError,
    UnknownOutcomeError,
)
from matchengine.node.contracts import Clock, Disk, InboundCall, Network, Worker
from matchengine.node.engine import Done, Outcome, Settle
from matchengine.node.machine_room import MachineRoom
from matchengine.node.policy import SnapshotPolicy
from matchengine.raft.config import RaftConfig
from matchengine.raft.messages import (
    Answered,
    Applied,
    Received,
    Request,
    Response,
    SnapshotReceived,
    SnapshotTaken,
    Unanswered,
    Written,
)
from matchengine.raft.proposals import (
    Barrier,
    ChangeKind,
    ChangeMembership,
    Command,
    Proposal,
    Read,
    Reason,
    TransferLeadership,
)
from matchengine.raft.raft import Raft, Rng, Status
from matchengine.raft.ready import Accepted, ReadReady, Ready, Refused, Respond, Send, SoftState, Write
from matchengine.raft.types import Entry, Index, Restored, Role, ServerId, SnapshotMeta, Term
from matchengine.state_machine import StateMachine
from matchengine.storage.contracts import SnapshotStore

T = TypeVar("T")


_ROUNDS_PER_PUMP = range(8)


class _Waiting(msgspec.Struct, frozen=True):
    """A proposal that has become an entry."""

    term: Term
    done: Done


class _Delivery:
    """Brings the outcome of one request back to the core."""

    __slots__ = ("_peer", "_replica", "_request")

    def __init__(self, replica: Replica, peer: ServerId, request: Request) -> None:
        self._replica = replica
        self._peer = peer
        self._request = request

    def answered(self, response: Response) -> None:
        self._replica.step(Answered(self._peer, self._request, response))

    def unanswered(self, *, too_old: bool = False) -> None:
        self._replica.step(Unanswered(self._peer, self._request, too_old))


class Replica:
    """Drives one server.

    ``on_soft_state`` hears of role and leader, ``on_notice`` why elections are held and timeouts changed, in sentences
    for the log; ``on_stop`` hears of the fatal error, once.
    """

    def __init__(
        self,
        config: RaftConfig,
        restored: Restored,
        machine: StateMachine,
        *,
        rng: Rng,
        disk: Disk,
        network: Network,
        worker: Worker,
        clock: Clock,
        snapshots: SnapshotStore,
        policy: SnapshotPolicy,
        wake: Callable[[], None],
        on_soft_state: Callable[[SoftState], None],
        on_stop: Callable[[Exception], None],
        on_notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._raft = Raft(config, restored, rng)
        #: The core's state itself, for checkers that look after every step; not to be changed.
        self.core = self._raft.core
        self._disk = disk
        self._network = network
        self._clock = clock
        self._wake = wake
        self._on_soft_state = on_soft_state
        self._on_stop = on_stop
        self._on_notice = on_notice
        self._keys = count(1)
        self._tokens = count(1)
        self._proposed: dict[int, Done] = {}
        self._waiting: dict[Index, _Waiting] = {}
        self._reads: deque[tuple[Index, Done]] = deque()
        self._calls: dict[int, InboundCall] = {}
        #: Role, term and known leader.
        self.soft_state = SoftState(Role.FOLLOWER, restored.hard_state.term, "", "")
        self._stopped: Exception | None = None
        self.terms_seen = 0
        self._room = MachineRoom(
            machine,
            restored.snapshot,
            worker=worker,
            snapshots=snapshots,
            policy=policy.staggered(config.id),
            on_applied=self._applied,
            on_snapshot=lambda meta: self.step(SnapshotTaken(meta)),
            on_error=self.stop,
            on_more=wake,
        )

    # --- the world's side ------------------------------------------------------------------

    def tick(self) -> None:
        """One tick of the timing profile has passed."""
        if self._stopped is None:
            self._raft.tick()
            self._wake()

    def receive(self, call: InboundCall, request: Request) -> None:
        """A peer's request arrived; ``call`` gets its answer later."""
        if self._stopped is not None:
            call.fail(f"node has stopped: {self._stopped}")
            return
        token = next(self._tokens)
        self._calls[token] = call
        self.step(Received(token, call.sender, call.sender_address, request))

    def step(
        self, event: Received | Answered | Unanswered | Written | Applied | SnapshotReceived | SnapshotTaken
    ) -> None:
        """Tell the core what happened."""
        if self._stopped is None:
            self._raft.step(event)
            self._wake()

    def pump(self) -> bool:
        """Do what the core asks for; returns True when there is more to do.

        Stops after a round that applied something, or after one step of a long command, so that the owner can
        serve its sockets between two rounds.
        """
        for _ in _ROUNDS_PER_PUMP:
            if self._stopped is not None or not self._raft.has_ready():
                break
            ready = self._raft.ready()
            self._raft.advance()
            self._perform(ready)
            if ready.apply:
                break
        if self._room.has_more:
            self._room.go_on()
        return self._stopped is None and (self._room.has_more or self._raft.has_ready())

    def stop(self, error: Exception) -> None:
        """Stop for good: everything that waits fails, and nothing more is done."""
        if self._stopped is not None:
            return
        self._stopped = error
        self._fail_everything(error)
        self._on_stop(error)

    # --- the user's side -------------------------------------------------------------------

    def apply(self, data: bytes, done: Done, extensions: bytes = b"") -> None:
        """Propose a command; ``done`` gets its index and result once it was applied here."""
        self._propose(Command(data, self._clock.now_ns(), extensions), done)

    def barrier(self, done: Done) -> None:
        """Append an entry that does nothing and wait until it was applied here."""
        self._propose(Barrier(self._clock.now_ns()), done)

    def change_membership(
        self, kind: ChangeKind, server_id: ServerId, address: str, prev_index: Index, done: Done
    ) -> None:
        """Change one server of the configuration; done when the entry was applied here."""
        change = ChangeMembership(kind, server_id, address, prev_index, self._clock.now_ns())
        self._propose(change, done)

    def transfer_leadership(self, target: ServerId | None, done: Done) -> None:
        """Hand leadership over; done when this node has lost it."""
        self._propose(TransferLeadership(target), done)

    def read_index(self, done: Done) -> None:
        """Leader only: done with an index from which a read is linearizable, without waiting for it to be applied."""
        self._propose(Read(), done)

    def wait_applied(self, index: Index, done: Done) -> None:
        """Done once ``index`` was applied here and the machine is not half-way through a later command."""
        if self._stopped is not None:
            done(None, StoppedError(str(self._stopped)))
        elif self._room.applied >= index and self._room.is_readable:
            done(Outcome(self._room.applied), None)
        else:
            self._reads.append((index, done))

    def snapshot(self, done: Settle[SnapshotMeta]) -> None:
        """Take a snapshot now; NothingNewError when there is nothing new."""
        if self._stopped is not None:
            done(None, StoppedError(str(self._stopped)))
        else:
            self._room.take_snapshot(done)

    def examine(self, look: Callable[[], T], done: Settle[tuple[Index, T]]) -> None:
        """Run ``look()``, which may take long and changes nothing, on the machine as it stands at the index told."""
        if self._stopped is not None:
            done(None, StoppedError(str(self._stopped)))
        else:
            self._room.examine(look, done)

    def status(self) -> Status:
        """The core's view."""
        return self._raft.status()

    @property
    def applied(self) -> Index:
        """Index of the newest entry that the state machine has processed."""
        return self._room.applied

    @property
    def machine_is_readable(self) -> bool:
        """False while a command is half executed, or a snapshot replaces the state."""
        return self._room.is_readable

    # --- Ready -----------------------------------------------------------------------------

    def _perform(self, ready: Ready) -> None:
        for notice in ready.notices:
            self._on_notice(notice)
        for accepted in ready.accepted:
            self._accepted(accepted)
        if ready.soft_state is not None:  # after the accepted ones: they are lost with the leadership
            self._change_soft_state(ready.soft_state)
        for refused in ready.refused:
            self._refused(refused)
        if ready.write is not None:
            self._submit(ready.write)
        for send in ready.requests:
            self._send(send)
        for respond in ready.responses:
            self._respond(respond)
        for finished in ready.done:
            self._proposed.pop(finished.key)(Outcome(0), None)
        for read in ready.reads:
            self._read_ready(read)
        if ready.receive is not None:
            self._receive_snapshot(ready.receive.token, ready.receive.snapshot)
        self._use_machine(ready)

    def _use_machine(self, ready: Ready) -> None:
        if ready.restore is not None:
            self._room.restore(ready.restore)
        if ready.apply:
            self._room.apply(ready.apply)
        if ready.wants_snapshot:
            self._room.take_snapshot(lambda *_: None)  # with nothing new, there will be one later

    def _submit(self, write: Write) -> None:
        number = write.number

        def done(error: Exception | None) -> None:
            if error is None:
                self.step(Written(number))
            else:
                self.stop(error)

        self._disk.submit(write, done)

    def _send(self, send: Send) -> None:
        self._network.send(send.to, send.request, _Delivery(self, send.to.id, send.request))

    def _respond(self, respond: Respond) -> None:
        call = self._calls.pop(respond.token)
        if respond.response is not None:
            call.answer(respond.response)
        else:
            call.fail(respond.error)

    def _receive_snapshot(self, token: int, meta: SnapshotMeta) -> None:
        self._calls[token].receive_snapshot(meta, lambda error: self.step(SnapshotReceived(token, error)))

    # --- proposals -------------------------------------------------------------------------

    def _propose(self, proposal: Proposal, done: Done) -> None:
        if self._stopped is not None:
            done(None, StoppedError(str(self._stopped)))
            return
        key = next(self._keys)
        self._proposed[key] = done
        self._raft.propose(key, proposal)
        self._wake()

    def _accepted(self, accepted: Accepted) -> None:
        self._waiting[accepted.index] = _Waiting(accepted.term, self._proposed.pop(accepted.key))

    def _refused(self, refused: Refused) -> None:
        self._proposed.pop(refused.key)(None, self._error_of(refused))

    def _error_of(self, refused: Refused) -> MatchEngineError:
        text = f"{refused.reason.value}: {refused.detail}" if refused.detail else refused.reason.value
        match refused.reason:
            case Reason.NOT_LEADER:
                return NotLeaderError(self.soft_state.leader_id, self.soft_state.leader_address)
            case Reason.LEADERSHIP_LOST:
                return UnknownOutcomeError(text)
            case Reason.BUSY | Reason.TRANSFER_IN_PROGRESS | Reason.CHANGE_PENDING:
                return BusyError(text)
            case _:
                return RefusedError(text)

    def _read_ready(self, read: ReadReady) -> None:
        self._proposed.pop(read.key)(Outcome(read.index), None)

    def _change_soft_state(self, state: SoftState) -> None:
        lost = self.soft_state.role is Role.LEADER and (
            state.role is not Role.LEADER or state.term != self.soft_state.term
        )
        if state.term != self.soft_state.term:
            self.terms_seen += 1
        self.soft_state = state
        if lost:
            self._fail_waiting(UnknownOutcomeError(Reason.LEADERSHIP_LOST.value))
        self._on_soft_state(state)

    # --- applied ---------------------------------------------------------------------------

    def _applied(self, entries: tuple[Entry, ...], results: Iterable[Answer], index: Index) -> None:
        """The machine room has processed ``entries`` (none after a restore); ``index`` is where it stands."""
        waiting = self._waiting
        if waiting:
            for entry, result in zip(entries, results, strict=True):
                waiter = waiting.pop(entry.index, None)
                if waiter is not None:
                    self._settle(waiter, entry, result)
        self.step(Applied(index))
        self._release_reads(index)

    def _settle(self, waiter: _Waiting, entry: Entry, result: Answer) -> None:
        if waiter.term == entry.term:
            waiter.done(Outcome(entry.index, result), None)
        else:
            waiter.done(None, NotLeaderError(self.soft_state.leader_id, self.soft_state.leader_address))

    def _release_reads(self, applied: Index) -> None:
        if not self._room.is_readable:
            return  # they would see the half of a later command
        for _ in range(len(self._reads)):
            index, done = self._reads.popleft()
            if index <= applied:
                done(Outcome(applied), None)
            else:
                self._reads.append((index, done))

    # --- the end ---------------------------------------------------------------------------

    def _fail_waiting(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting.values():
            waiter.done(None, error)

    def _fail_everything(self, error: Exception) -> None:
        stopped = StoppedError(str(error))
        self._fail_waiting(UnknownOutcomeError(f"node stopped: {error}"))
        self._room.stop(stopped)
        proposed, self._proposed = self._proposed, {}
        for done in proposed.values():
            done(None, stopped)
        reads, self._reads = self._reads, deque()
        for _, done in reads:
            done(None, stopped)
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.fail(f"node has stopped: {error}")
