"""A node's standing under the keys and in the words of HashiCorp Raft's ``Stats``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matchengine.raft.types import Role, Server

if TYPE_CHECKING:
    from matchengine.node.engine import EngineStatus

_STATES: Final = {
    Role.FOLLOWER: "Follower",
    Role.PRE_CANDIDATE: "Candidate",
    Role.CANDIDATE: "Candidate",
    Role.LEADER: "Leader",
}


def stats_of(status: EngineStatus) -> dict[str, str]:
    """All its keys.  ``fsm_pending`` counts entries that are committed and not yet applied."""
    numbers = {
        "term": status.term,
        "last_log_index": status.last_index,
        "last_log_term": status.last_term,
        "commit_index": status.commit_index,
        "applied_index": status.applied,
        "fsm_pending": max(0, status.commit_index - status.applied),
        "last_snapshot_index": status.snapshot_index,
        "last_snapshot_term": status.snapshot_term,
        "latest_configuration_index": status.configuration_index,
        "num_peers": _peers(status),
        "protocol_version": 3,
        "protocol_version_min": 0,
        "protocol_version_max": 3,
        "snapshot_version_min": 0,
        "snapshot_version_max": 1,
    }
    return {
        "state": "Shutdown" if status.is_shut_down else _STATES[status.role],
        **{key: str(number) for key, number in numbers.items()},
        "latest_configuration": f"[{' '.join(map(_server, status.configuration.servers))}]",
        "last_contact": "0" if status.role is Role.LEADER else _last_contact(status.last_contact_ms),
    }


def _peers(status: EngineStatus) -> int:
    voters = status.configuration.voters()
    return len(voters) - 1 if status.id in voters else 0


def _server(server: Server) -> str:
    return f"{{Suffrage:{server.suffrage.name.capitalize()} ID:{server.id} Address:{server.address}}}"


def _last_contact(age_ms: int | None) -> str:
    return "never" if age_ms is None else f"{age_ms}ms"
