"""What the other half says of a server's standing, in the words of the contract."""

from __future__ import annotations

from typing import Final

from matchengine.node.engine import EngineStatus
from matchengine.raft.types import Configuration, Index, Role, Server, Suffrage
from matchengine.runtime.config import NodeConfig
from matchengine.runtime.hashicorp.frames import Standing, StatusReport

_ROLES: Final = {"Leader": Role.LEADER, "Candidate": Role.CANDIDATE}


def role_of(standing: Standing) -> Role:
    """Whoever shuts down follows."""
    return _ROLES.get(standing.role, Role.FOLLOWER)


def status_of(config: NodeConfig, report: StatusReport, *, applied: Index, terms_seen: int) -> EngineStatus:
    """The report, and what only this half knows."""
    servers = tuple(Server(m.id, m.address, Suffrage(m.suffrage)) for m in report.configuration or ())
    return EngineStatus(
        id=config.id,
        address=config.address,
        role=role_of(report),
        term=report.term,
        leader_id=report.leader_id,
        leader_address=report.leader_address,
        first_index=report.first_index,
        last_index=report.last_index,
        last_term=report.last_term,
        commit_index=report.commit_index,
        applied=applied,
        snapshot_index=report.snapshot_index,
        snapshot_term=report.snapshot_term,
        configuration=Configuration(servers),
        configuration_index=report.configuration_index,
        fsync_us=report.sync_us,
        terms_seen=terms_seen,
        last_contact_ms=report.contact_ms,
        is_shut_down=False,
    )
