"""What an observer may know about one server."""

from __future__ import annotations

import msgspec

from matchengine.raft.core import Core
from matchengine.raft.leadership import Leadership
from matchengine.raft.progress import Mode
from matchengine.raft.types import Configuration, Index, Role, ServerId, Term


class PeerStatus(msgspec.Struct, frozen=True):
    """A leader's view of one follower; ``last_contact`` in ticks ago.

    ``unanswered_for`` is for how many ticks appends have been under way and none came back.
    """

    id: ServerId
    match: Index
    next: Index
    mode: Mode
    session: int
    inflight_requests: int
    inflight_bytes: int
    last_contact: int
    unanswered_for: int


class Status(msgspec.Struct, frozen=True):
    """One server's standing.

    ``last_contact`` is how many ticks ago a leader was heard (0 for the leader itself),
    ``disk_stalled_for`` for how many ticks the disk has had a write and finished none,
    ``contradictions`` how many requests came that no correct cluster sends.
    """

    id: ServerId
    role: Role
    term: Term
    leader_id: ServerId
    leader_address: str
    first_index: Index
    last_index: Index
    last_term: Term
    commit_index: Index
    durable_index: Index
    applied_index: Index
    snapshot_index: Index
    snapshot_term: Term
    configuration: Configuration
    configuration_index: Index
    committed_configuration: Configuration
    committed_configuration_index: Index
    last_contact: int
    disk_stalled_for: int
    contradictions: int
    peers: tuple[PeerStatus, ...] = ()
    uncommitted_bytes: int = 0
    waiting_changes: int = 0
    transfer_target: ServerId = ""


def status_of(core: Core, leadership: Leadership | None) -> Status:
    """Take a picture of a server."""
    log, membership = core.log, core.membership
    status = Status(
        id=core.id,
        role=core.role,
        term=core.term,
        leader_id=core.leader_id,
        leader_address=core.leader_address,
        first_index=log.first_index,
        last_index=log.last_index,
        last_term=log.last_term,
        commit_index=log.commit,
        durable_index=log.durable,
        applied_index=log.applied,
        snapshot_index=log.snapshot.index if log.snapshot else 0,
        snapshot_term=log.snapshot.term if log.snapshot else 0,
        configuration=membership.latest,
        configuration_index=membership.latest_index,
        committed_configuration=membership.committed,
        committed_configuration_index=membership.committed_index,
        last_contact=0 if leadership else core.now - core.contact,
        disk_stalled_for=core.disk_stall,
        contradictions=core.contradictions,
    )
    return status if leadership is None else _with_leadership(status, core, leadership)


def _with_leadership(status: Status, core: Core, leadership: Leadership) -> Status:
    peers = tuple(
        PeerStatus(
            p.server.id,
            p.match,
            p.next,
            p.mode,
            p.session,
            p.inflight_requests,
            p.inflight_bytes,
            core.now - p.last_contact,
            p.unanswered_for(core.now),
        )
        for p in leadership.peers.values()
    )
    return msgspec.structs.replace(
        status,
        peers=peers,
        uncommitted_bytes=leadership.uncommitted_bytes,
        waiting_changes=len(leadership.waiting_changes),
        transfer_target=leadership.transfer.target if leadership.transfer else "",
    )
