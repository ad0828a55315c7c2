"""How a server answers those who stand for election (section 5.2, 5.4.1; pre-vote: thesis section 9.6)."""

from __future__ import annotations

from matchengine.raft.core import Core
from matchengine.raft.messages import (
    Received,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)


def answer_vote(core: Core, received: Received, request: RequestVote) -> None:
    """Grant or refuse a vote; a higher term is adopted only from a member that may disturb us."""
    candidate = received.sender
    if not _may_disturb(core, candidate, override=request.leadership_transfer) or request.term < core.term:
        granted = False
    else:
        if request.term > core.term:
            core.follow(request.term)
        granted = _deserves_vote(core, candidate, request)
    if granted:
        core.vote(candidate)
        core.hear()
    core.respond(received.token, RequestVoteResponse(core.term, granted))


def _may_disturb(core: Core, candidate: str, *, override: bool) -> bool:
    """Strangers may not, nor may anybody else while a leader is heard of (thesis section 4.2.3)."""
    if not candidate or not core.membership.knows(candidate):
        return False
    return override or not core.hears_leader or core.leader_id == candidate


def _deserves_vote(core: Core, candidate: str, request: RequestVote | RequestPreVote) -> bool:
    return (
        _may_vote_for(core, candidate)
        and core.voted_for in ("", candidate)
        and core.log.is_up_to_date(request.last_log_index, request.last_log_term)
    )


def _may_vote_for(core: Core, candidate: str) -> bool:
    return not core.membership.latest.servers or candidate in core.membership.voters


def answer_pre_vote(core: Core, received: Received, request: RequestPreVote) -> None:
    """Say whether a vote would be granted; changes nothing."""
    candidate = received.sender
    granted = (
        _may_disturb(core, candidate, override=False)
        and request.term >= core.term
        and _may_vote_for(core, candidate)
        and core.log.is_up_to_date(request.last_log_index, request.last_log_term)
    )
    term = max(request.term, core.term)
    core.respond(received.token, RequestPreVoteResponse(term, granted))
