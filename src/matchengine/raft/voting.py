"""How a server answers those who stand for election (section 5.2, 5.4.1; pre-vote: thesis section 9.6)."""

from __future__ import annotations

from typing import TypeAlias

from matchengine.raft.core import Core
from matchengine.raft.messages import (
    Received,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from matchengine.raft.senders import ballot_name
from matchengine.raft.types import ServerId

Ballot: TypeAlias = RequestVote | RequestPreVote


def answer_vote(core: Core, received: Received, request: RequestVote) -> None:
    """Grant or refuse a vote; a higher term is adopted only from a candidate that may disturb us."""
    candidate = received.sender
    granted = False
    if _may_disturb(core, candidate, request, override=request.leadership_transfer) and request.term >= core.term:
        if request.term > core.term:
            core.follow(request.term)
        granted = core.voted_for in ("", ballot_name(received)) and _deserves_vote(core, candidate, request)
    if granted:
        core.vote(ballot_name(received))
        core.hear()
    core.respond(received.token, RequestVoteResponse(core.term, granted))


def answer_pre_vote(core: Core, received: Received, request: RequestPreVote) -> None:
    """Say whether a vote would be granted; changes nothing."""
    candidate = received.sender
    granted = (
        _may_disturb(core, candidate, request, override=False)
        and request.term >= core.term
        and _deserves_vote(core, candidate, request)
    )
    core.respond(received.token, RequestPreVoteResponse(max(request.term, core.term), granted))


def _may_disturb(core: Core, candidate: ServerId, request: Ballot, *, override: bool) -> bool:
    """Strangers may not, nor may anybody else while a leader is heard of (thesis section 4.2.3)."""
    if not candidate or not (core.membership.knows(candidate) or _may_know_better(core, request)):
        return False
    return override or not core.hears_leader or core.leader_id == candidate


def _deserves_vote(core: Core, candidate: ServerId, request: Ballot) -> bool:
    is_voter = not core.membership.latest.servers or candidate in core.membership.voters
    return (is_voter or _may_know_better(core, request)) and core.log.is_up_to_date(
        request.last_log_index, request.last_log_term
    )


def _may_know_better(core: Core, request: Ballot) -> bool:
    """Whether the candidate's log is newer than ours, and so may hold a configuration that lets it stand.

    HashiCorp Raft refuses such candidates, too, and then a cluster can be left without any server
    that may win: the paper (thesis section 4.1) does not ask the voter's configuration at all.
    """
    return (request.last_log_term, request.last_log_index) > (core.log.last_term, core.log.last_index)
