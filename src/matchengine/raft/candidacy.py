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

    __slots__ = ("_core", "_granted", "_request", "_vote_write")

    def __init__(self, core: Core) -> None:
        self._core = core
        self._request: RequestPreVote | RequestVote | None = None
        self._granted: set[ServerId] = set()
        self._vote_write = 0

    def timer_fired(self) -> None:
        """No leader for too long, or the last ballot led nowhere: start over."""
        core = self._core
        core.set_leader("")
        if self.is_electable:
            self._ask_first()
        else:
            core.restart_timer(core.ticks.heartbeat_timeout)

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
        request = RequestVote(core.term, core.log.last_index, core.log.last_term, leadership_transfer)
        self._request = request
        self._granted = set()
        self._vote_write = core.writes.number_of_vote()
        self._send_to_voters(request, self._vote_write)

    def written(self, number: int) -> None:
        """Our own vote counts once it cannot be forgotten."""
        if self._core.role is Role.CANDIDATE and number >= self._vote_write:
            self._granted.add(self._core.id)

    def vote_answered(self, peer: ServerId, request: RequestVote, response: RequestVoteResponse) -> None:
        """Count a vote."""
        if response.term > self._core.term:
            self._core.follow(response.term)
        elif response.granted and response.term == request.term and request is self._request:
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
