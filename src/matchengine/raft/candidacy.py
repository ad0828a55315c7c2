"""Standing for election (section 5.2): first a pre-vote that disturbs nobody, then the real one."""

from __future__ import annotations

from matchengine.raft.core import Core
from matchengine.raft.messages import (
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from matchengine.raft.quorum import is_quorum
from matchengine.raft.types import Role, ServerId


class Candidacy:
    """The ballot under way, if any; the role says which kind it is."""

    __slots__ = ("_asked_at", "_core", "_granted", "_request", "_vote_write")

    def __init__(self, core: Core) -> None:
        self._core = core
        self._request: RequestPreVote | RequestVote | None = None
        self._granted: set[ServerId] = set()
        self._vote_write = 0
        self._asked_at = 0

    def timer_fired(self) -> None:
        """No leader for too long, or the last ballot led nowhere: start over."""
        core = self._core
        if core.role is Role.CANDIDATE:
            core.tell(f"the election of term {core.term} was not won within {core.ms(core.timeout)} ms")
            core.pace.election_failed()
        elif core.role is Role.FOLLOWER and (core.leader_id or self.is_electable):
            core.tell(self._alarm())  # once: from now on it is a candidate, or knows of no leader
        core.set_leader("")
        if self.is_electable:
            self._ask_first()
        else:
            core.restart_timer()

    def _alarm(self) -> str:
        """Why a follower's timer has fired, and what it does about it."""
        core = self._core
        leader = core.leader_id
        why = (
            f"nothing was heard of leader {leader} for {core.ms(core.now - core.contact)} ms" if leader else "no leader"
        )
        if self.is_electable:
            return f"{why}: asks the voters whether to stand for election"
        if core.write_hangs:
            return f"{why}: does not stand, its disk finishes no write since {core.ms(core.disk_stall)} ms"
        return f"{why}: does not stand, as it has no vote"

    @property
    def is_electable(self) -> bool:
        """Whether this server may lead and its disk works."""
        return self._core.membership.may_stand(self._core.id) and not self._core.write_hangs

    # --- pre-vote --------------------------------------------------------------------------

    def _ask_first(self) -> None:
        core = self._core
        core.become_pre_candidate()
        request = RequestPreVote(core.term + 1, core.log.last_index, core.log.last_term)
        self._request = request
        self._granted = {core.id}
        self._send_to_voters(request, 0)
        self._stand_if_welcome()

    def pre_vote_answered(self, peer: ServerId, request: RequestPreVote, response: RequestPreVoteResponse) -> None:
        """Count a pre-vote.  A term beyond the one proposed means that we are behind."""
        if response.term > max(self._core.term, request.term):
            self._core.follow(response.term)
        elif response.granted:
            self.pre_vote_granted(peer, request)

    def pre_vote_granted(self, peer: ServerId, request: RequestPreVote) -> None:
        """``peer`` would vote for us, or does not know the question."""
        if self._core.role is Role.PRE_CANDIDATE and request is self._request:
            self._granted.add(peer)
            self._stand_if_welcome()

    def _stand_if_welcome(self) -> None:
        if is_quorum(self._granted, self._core.membership.voters):
            self.stand(leadership_transfer=False)

    # --- vote ------------------------------------------------------------------------------

    def stand(self, *, leadership_transfer: bool) -> None:
        """Enter the next term; the requests leave once the own vote is durable, which also counts it."""
        core = self._core
        core.become_candidate()
        core.tell(
            f"stands for election in term {core.term}" + (": the leader hands over" if leadership_transfer else "")
        )
        request = RequestVote(core.term, core.log.last_index, core.log.last_term, leadership_transfer)
        self._request = request
        self._granted = set()
        self._vote_write = core.writes.number_of_vote()
        self._send_to_voters(request, self._vote_write)

    def written(self, number: int) -> None:
        """Our own vote counts once it cannot be forgotten."""
        if self._core.role is Role.CANDIDATE and number >= self._vote_write:
            if self._core.id not in self._granted:
                self._asked_at = self._core.now
            self._granted.add(self._core.id)

    def vote_answered(self, peer: ServerId, request: RequestVote, response: RequestVoteResponse) -> None:
        """Count a vote."""
        if response.term > self._core.term:
            self._core.follow(response.term)
        elif response.granted and response.term == request.term and request is self._request:
            self._core.pace.voted(self._core.now - self._asked_at)
            self._granted.add(peer)

    @property
    def is_won(self) -> bool:
        """Whether a majority of voters chose us in the current term."""
        return self._core.role is Role.CANDIDATE and is_quorum(self._granted, self._core.membership.voters)

    def _send_to_voters(self, request: RequestPreVote | RequestVote, after_write: int) -> None:
        core = self._core
        for server in core.membership.latest.servers:
            if server.id != core.id and server.id in core.membership.voters:
                core.outbox.send(server, request, after_write)
