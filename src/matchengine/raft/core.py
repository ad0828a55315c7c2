"""What every role shares: term and vote, the log, the membership, the timer, the way out.

Rules of this file.  Only ``_adopt`` changes the term, and only upwards; a vote is given once per
term; both are gathered for the disk in the same step (one record, so no crash can come between).
"""

from __future__ import annotations

from typing import Protocol

from matchengine.raft.config import RaftConfig, Ticks
from matchengine.raft.log import RaftLog
from matchengine.raft.membership import Membership
from matchengine.raft.messages import RequestVoteResponse, Response, TimeoutNowResponse
from matchengine.raft.outbox import Outbox
from matchengine.raft.pace import Pace
from matchengine.raft.ready import SoftState
from matchengine.raft.types import HardState, Index, Restored, Role, ServerId, SnapshotMeta, Term
from matchengine.raft.writes import Writes


class Rng(Protocol):
    """Injected randomness; ``random.Random`` has this shape."""

    def randrange(self, start: int, stop: int) -> int:
        """A number in [start, stop), uniformly."""
        ...


class Core:
    """One server's state.  ``now`` counts ticks; ``contact`` is the last word of a leader in ticks."""

    def __init__(self, config: RaftConfig, restored: Restored, rng: Rng) -> None:
        self.config = config
        self.id = config.id
        self.ticks = Ticks.of(config.timing)
        self.log = RaftLog(restored)
        self.membership = Membership(restored)
        self.writes = Writes(self.log)
        self.outbox = Outbox()
        self.term = restored.hard_state.term
        self.voted_for = restored.hard_state.voted_for
        self.role = Role.FOLLOWER
        self.leader_id: ServerId = ""
        self.leader_address = ""
        #: Who leads the current term, also after this server has given it up; ``""`` when it was never told.
        self.leader_of_term: ServerId = ""
        #: Whether that leader announces an address but no id.
        self.leader_is_nameless = False
        self.now = 0
        self.contact = 0
        #: Requests that no correct cluster sends, for example a second leader of one term.
        self.contradictions = 0
        self._rng = rng
        self._sessions = 0
        self._reported = SoftState(Role.FOLLOWER, self.term, "", "")
        self._reason = ""
        self.pace = Pace(config.timing, self._pace_changed)
        self.restart_timer()
        if self.log.last_term > self.term:
            # A crash between a received snapshot and the record of its term.  Nobody got our vote
            # in that term, so to enter it is safe.
            self._adopt(self.log.last_term, "")

    # --- term, vote, role ------------------------------------------------------------------

    def _adopt(self, term: Term, voted_for: ServerId) -> None:
        self.writes.save(HardState(term, voted_for), new_term=term != self.term)
        if term != self.term:
            self.leader_of_term = ""
        self.term = term
        self.voted_for = voted_for

    def follow(self, term: Term, leader_id: ServerId = "", leader_address: str = "") -> None:
        """Be a follower in ``term``, which is not below the own one, of this leader (unknown: ``""``)."""
        if term > self.term:
            self._adopt(term, "")
        if self.role is not Role.FOLLOWER:
            self.role = Role.FOLLOWER
            self.restart_timer()
        if leader_id:
            self.pace.election_over()
        self.set_leader(leader_id, leader_address)

    def step_down(self, reason: str) -> None:
        """Be a follower of nobody in the same term: as a leader it is of no use, for ``reason``."""
        self.follow(self.term)
        self._reason = reason

    def set_leader(self, leader_id: ServerId, leader_address: str = "") -> None:
        """Remember who leads."""
        self.leader_id = leader_id
        if leader_id:
            self.leader_of_term = leader_id
            self.leader_is_nameless = False
        if leader_id and not leader_address:
            server = self.membership.latest.get(leader_id)
            leader_address = server.address if server else ""
        self.leader_address = leader_address

    def vote(self, candidate: ServerId) -> None:
        """Give this term's vote."""
        self._adopt(self.term, candidate)

    def become_pre_candidate(self) -> None:
        """Ask whether an election would succeed, in the current term."""
        self.role = Role.PRE_CANDIDATE
        self.set_leader("")
        self.restart_timer()

    def become_candidate(self) -> None:
        """Enter the next term with the own vote."""
        self.role = Role.CANDIDATE
        self.set_leader("")
        self._adopt(self.term + 1, self.id)
        self.restart_timer()

    def become_leader(self) -> None:
        """Lead the current term."""
        self.role = Role.LEADER
        self.pace.election_over()
        self.set_leader(self.id, self.config.address)

    # --- timer -----------------------------------------------------------------------------

    def restart_timer(self) -> None:
        """Start over with a timeout drawn from [t, 2 * t) ticks (section 9.3)."""
        self.timer_from = self.now
        self._draw_timeout()

    def _draw_timeout(self) -> None:
        shortest = self.pace.heartbeat_timeout if self.role is Role.FOLLOWER else self.pace.election_timeout
        self.timeout = self._rng.randrange(shortest, 2 * shortest)

    def _pace_changed(self, text: str) -> None:
        """Timeouts are others from now on, the one that runs included."""
        self.tell(text)
        if self.role is not Role.LEADER:
            self._draw_timeout()

    def hear(self) -> None:
        """The leader spoke, or a vote was given: no election soon."""
        self.contact = self.timer_from = self.now

    @property
    def hears_leader(self) -> bool:
        """Whether a leader is known and was heard of within the shortest timeout (thesis section 4.2.3)."""
        if not self.leader_id:
            return False
        return self.role is Role.LEADER or self.now - self.contact < self.pace.heartbeat_timeout

    @property
    def write_hangs(self) -> bool:
        """Whether the disk has finished nothing for longer than an election takes."""
        return self.disk_stall > self.pace.election_timeout

    @property
    def disk_stall(self) -> int:
        """For how many ticks the disk has had a write and finished none."""
        return self.writes.stalled_for(self.now)

    # --- log -------------------------------------------------------------------------------

    def commit_to(self, index: Index) -> int:
        """Everything up to ``index`` is committed; returns the payload bytes of what has come to it."""
        size = self.log.commit_to(index)
        self.membership.commit(index)
        return size

    @property
    def is_flooded(self) -> bool:
        """Whether the state machine is so far behind that nothing more is taken from a leader."""
        log, config = self.log, self.config
        return (
            log.commit - log.applied >= config.max_unapplied_entries
            or log.unapplied_bytes >= config.max_unapplied_bytes
        )

    def truncate_from(self, index: Index) -> None:
        """Drop ``index``, which is not committed, and all after it."""
        self.log.truncate_from(index)
        self.membership.truncate_from(index)
        self.writes.truncate_from(index)
        self.outbox.revoke(index)

    def reset_log(self, snapshot: SnapshotMeta) -> None:
        """Replace log, membership and state machine by a snapshot that is durable here."""
        self.log.reset(snapshot)
        self.membership.reset(snapshot.configuration_index, snapshot.configuration)
        self.writes.reset(snapshot)
        self.outbox.revoke(1)
        self.outbox.restore = snapshot

    # --- way out ---------------------------------------------------------------------------

    def respond(self, token: int, response: Response, upto: Index = 0) -> None:
        """Answer a call once all that the answer claims is durable: the term, a vote, the log up to ``upto``."""
        number = self.writes.number_of_entry(upto)
        if isinstance(response, RequestVoteResponse) and response.granted:
            number = self.writes.number_of_vote()
        elif not isinstance(response, TimeoutNowResponse) and response.term == self.term:
            number = max(number, self.writes.number_of_term())
        self.outbox.respond(token, response, number, upto)

    def tell(self, text: str) -> None:
        """One sentence for the log of the operator."""
        self.outbox.notices.append(text)

    def ms(self, ticks: int) -> int:
        """Ticks in milliseconds."""
        return ticks * self.config.timing.tick_ms

    def contradict(self, token: int, error: str) -> None:
        """Fail a call that breaks the protocol."""
        self.contradictions += 1
        self.outbox.fail(token, error)

    def next_session(self) -> int:
        """A number for a replication session, never used before."""
        self._sessions += 1
        return self._sessions

    @property
    def soft_state_changed(self) -> bool:
        """Whether :meth:`take_soft_state` has news."""
        reported = self._reported
        return (
            reported.role is not self.role
            or reported.term != self.term
            or reported.leader_id != self.leader_id
            or reported.leader_address != self.leader_address
        )

    def take_soft_state(self) -> SoftState | None:
        """Role, term and leader when they changed since the last call."""
        if not self.soft_state_changed:
            return None
        self._reported = SoftState(self.role, self.term, self.leader_id, self.leader_address, self._reason)
        self._reason = ""
        return self._reported
