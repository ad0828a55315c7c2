"""The door of the Raft core: events, time and proposals in, ``Ready`` out.

The core does nothing by itself: no IO, no clock, no thread, no chance but the injected one.  Each
call of :meth:`Raft.step`, :meth:`Raft.tick` or :meth:`Raft.propose` changes the state at once and gathers
what has to be done; :meth:`Raft.ready` says it, :meth:`Raft.advance` tells that it was taken over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from matchengine.raft.candidacy import Candidacy
from matchengine.raft.config import RaftConfig
from matchengine.raft.configuration import check_configuration, encode_configuration
from matchengine.raft.core import Core, Rng
from matchengine.raft.follower import receive_append
from matchengine.raft.install import Installer
from matchengine.raft.leadership import Leadership
from matchengine.raft.messages import (
    Answered,
    AppendEntries,
    AppendEntriesResponse,
    Applied,
    Event,
    InstallSnapshot,
    InstallSnapshotResponse,
    Received,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    SnapshotReceived,
    SnapshotTaken,
    TimeoutNow,
    TimeoutNowResponse,
    Unanswered,
    Written,
)
from matchengine.raft.proposals import (
    AbortTransfer,
    Barrier,
    ChangeMembership,
    Command,
    Proposal,
    Read,
    Reason,
    TransferLeadership,
)
from matchengine.raft.ready import Done, Ready
from matchengine.raft.senders import identified, may_hand_over
from matchengine.raft.status import Status, status_of
from matchengine.raft.types import Configuration, Entry, EntryType, HardState, Restored, Role
from matchengine.raft.voting import answer_pre_vote, answer_vote

__all__ = ["Raft", "Rng", "Status", "bootstrap"]

# Asked after every event: to look an enum's member up costs Python 3.11 several times as much as a global.
_CANDIDATE: Final = Role.CANDIDATE
_LEADER: Final = Role.LEADER


def bootstrap(configuration: Configuration) -> Restored:
    """The state in which every server of a new cluster starts: the configuration as entry 1 of term 1.

    Raises ValueError for a configuration without a voter, or with empty or doubled names.
    """
    check_configuration(configuration)
    entry = Entry(1, 1, EntryType.CONFIGURATION, encode_configuration(configuration))
    return Restored(HardState(term=1), None, (entry,))


class Raft:
    """One server.  Raises ValueError when ``restored`` contradicts itself."""

    def __init__(self, config: RaftConfig, restored: Restored, rng: Rng) -> None:
        self._core = Core(config, restored, rng)
        self._candidacy = Candidacy(self._core)
        self._installer = Installer(self._core)
        self._leadership: Leadership | None = None
        self._ready: Ready | None = None
        self._events: dict[type, Callable[[Any], None]] = {
            Received: self._received,
            Answered: self._answered,
            Unanswered: self._unanswered,
            Written: self._written,
            Applied: self._applied,
            SnapshotReceived: self._snapshot_received,
            SnapshotTaken: self._snapshot_taken,
        }

    # --- in --------------------------------------------------------------------------------

    def step(self, event: Event) -> None:
        """Something happened."""
        self._events[type(event)](event)
        self._settle()

    def tick(self) -> None:
        """One tick of the timing profile has passed."""
        core = self._core
        core.now += 1
        core.pace.tick(core.now)
        if self._leadership is not None:
            self._leadership.tick()
        elif core.now - core.timer_from >= core.timeout:
            self._candidacy.timer_fired()
        self._settle()

    def propose(self, key: int, proposal: Proposal) -> None:
        """Ask for something; what becomes of it is told under ``key`` by ``Ready``."""
        leadership = self._leadership
        if leadership is None:
            self._propose_elsewhere(key, proposal)
            return
        match proposal:
            case Command():
                leadership.command(key, proposal)
            case Read():
                leadership.read(key, proposal)
            case Barrier():
                leadership.barrier(key, proposal)
            case ChangeMembership():
                leadership.change(key, proposal)
            case TransferLeadership():
                leadership.start_transfer(key, proposal)
            case AbortTransfer():
                leadership.end_transfer(Reason.TRANSFER_ABORTED)
                self._core.outbox.done.append(Done(key))

    def _propose_elsewhere(self, key: int, proposal: Proposal) -> None:
        if isinstance(proposal, AbortTransfer):
            self._core.outbox.done.append(Done(key))
        else:
            self._core.outbox.refuse(key, Reason.NOT_LEADER)

    # --- out -------------------------------------------------------------------------------

    def has_ready(self) -> bool:
        """Whether :meth:`ready` holds anything; cheap."""
        core = self._core
        return (
            self._ready is not None
            or not core.outbox.is_empty
            or core.writes.is_due
            or core.log.can_apply
            or core.soft_state_changed
            or (self._leadership is not None and self._leadership.has_requests)
        )

    def ready(self) -> Ready:
        """What to do now; the same again until :meth:`advance`."""
        if self._ready is None:
            self._ready = self._gather()
        return self._ready

    def advance(self) -> None:
        """The last ``Ready`` was taken over: nothing in it is given again."""
        self._ready = None

    def _gather(self) -> Ready:
        core, outbox = self._core, self._core.outbox
        if self._leadership is not None:
            self._leadership.flush()
        ready = Ready(
            core.writes.take(core.now),
            tuple(outbox.requests),
            tuple(outbox.responses),
            core.log.take_apply(),
            outbox.restore,
            outbox.receive,
            tuple(outbox.accepted),
            tuple(outbox.refused),
            tuple(outbox.done),
            tuple(outbox.reads),
            core.take_soft_state(),
            outbox.wants_snapshot,
            tuple(outbox.notices),
        )
        outbox.clear()
        return ready

    def status(self) -> Status:
        """A picture of this server for observers."""
        return status_of(self._core, self._leadership)

    @property
    def core(self) -> Core:
        """The state itself, for checkers that look after every step; not to be changed."""
        return self._core

    # --- roles -----------------------------------------------------------------------------

    def _settle(self) -> None:
        """After every event: an election may be won, a leadership lost."""
        core = self._core
        if core.role is _CANDIDATE and self._candidacy.is_won:
            core.become_leader()
            self._leadership = Leadership(core)
        elif self._leadership is not None and core.role is not _LEADER:
            self._leadership.resign()
            self._leadership = None

    # --- events ----------------------------------------------------------------------------

    def _received(self, event: Received) -> None:
        event = identified(self._core, event)
        request = event.request
        if event.sender_address == self._core.config.address and (event.is_nameless or event.sender != self._core.id):
            # To HashiCorp Raft the address is the server; clients would be sent from here to here.
            self._core.contradict(event.token, f"{event.sender_address} is the address of {self._core.id}")
            return
        if event.sender == self._core.id:
            # It would be followed as if we led, and be given the vote that we gave ourselves.
            self._core.contradict(event.token, f"another server calls itself {event.sender}, too")
            return
        match request:
            case AppendEntries():
                receive_append(self._core, event, request)
            case RequestVote():
                answer_vote(self._core, event, request)
            case RequestPreVote():
                answer_pre_vote(self._core, event, request)
            case InstallSnapshot():
                self._installer.receive(event, request)
            case TimeoutNow():
                self._timeout_now(event)

    def _timeout_now(self, event: Received) -> None:
        """Stand at once if the leader says so (thesis section 3.10), unless this server does already.

        Another's call would only cost the cluster its leader.  One that is late, of a leader of an earlier term, is no
        contradiction.
        """
        core = self._core
        if not may_hand_over(core, event):
            text = f"{event.sender!r} does not lead term {core.term}, so it cannot hand leadership over"
            core.outbox.fail(event.token, text)
            return
        if core.role in (Role.FOLLOWER, Role.PRE_CANDIDATE) and self._candidacy.is_electable:
            self._candidacy.stand(leadership_transfer=True)
        core.respond(event.token, TimeoutNowResponse())

    def _answered(self, event: Answered) -> None:
        peer, response = event.peer, event.response
        match event.request, response:
            case AppendEntries() as request, AppendEntriesResponse():
                leadership = self._leadership_of(request.term, response.term)
                if leadership is not None:
                    leadership.append_answered(peer, request, response)
                else:
                    self._unanswered(Unanswered(peer, request))
            case RequestVote() as request, RequestVoteResponse():
                self._candidacy.vote_answered(peer, request, response)
            case RequestPreVote() as request, RequestPreVoteResponse():
                self._candidacy.pre_vote_answered(peer, request, response)
            case InstallSnapshot() as request, InstallSnapshotResponse():
                leadership = self._leadership_of(request.term, response.term)
                if leadership is not None:
                    leadership.snapshot_answered(peer, request, response)
                else:
                    self._unanswered(Unanswered(peer, request))

    def _leadership_of(self, asked: int, answered: int) -> Leadership | None:
        """The leadership to which an answer belongs, if it still lasts; a newer term in the answer ends it.

        A term below the one asked in is no answer: whoever took the request is in its term at least.
        """
        core = self._core
        if answered > core.term:
            core.follow(answered)
        return self._leadership if asked == core.term == answered else None

    def _unanswered(self, event: Unanswered) -> None:
        request, leadership = event.request, self._leadership
        match request:
            case RequestPreVote():
                if event.too_old:
                    self._candidacy.pre_vote_granted(event.peer, request)
            case AppendEntries() | InstallSnapshot():
                if leadership is not None and request.term == leadership.term:
                    leadership.unanswered(event.peer, request)
            case TimeoutNow():
                if leadership is not None:
                    leadership.timeout_now_failed(event.peer)

    def _written(self, event: Written) -> None:
        core = self._core
        took = core.writes.stalled_for(core.now)
        if took > core.pace.slowest:
            core.pace.written(took)
        core.writes.written(event.number, core.now)
        core.outbox.release(event.number)
        self._candidacy.written(event.number)
        self._installer.written(event.number)
        if self._leadership is not None:
            self._leadership.written()

    def _applied(self, event: Applied) -> None:
        self._core.log.applied_to(event.index)
        self._installer.settle()
        if self._leadership is not None:
            self._leadership.applied()

    def _snapshot_received(self, event: SnapshotReceived) -> None:
        self._installer.received(event.token, event.error)

    def _snapshot_taken(self, event: SnapshotTaken) -> None:
        core = self._core
        needed = self._leadership.needed_from() if self._leadership else core.log.last_index + 1
        upto = core.log.compact(event.snapshot, core.config, needed)
        if upto is not None:
            core.writes.compact_to(upto)
