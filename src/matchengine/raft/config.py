"""Settings of the core, in ticks, and the two timing profiles."""

from __future__ import annotations

import msgspec

from matchengine.raft.types import MAX_ENTRY_BYTES, ServerId


class Timing(msgspec.Struct, frozen=True):
    """Timeouts in milliseconds.  Randomised ones are drawn from [t, 2t).

    ``tick_ms`` is the length of one ``tick()``.  A follower stands for election when it had no
    contact for ``heartbeat_timeout_ms``; a candidate tries again after ``election_timeout_ms``; a
    leader steps down without a quorum's contact within ``leader_lease_timeout_ms``.
    """

    name: str
    tick_ms: int
    heartbeat_interval_ms: int
    heartbeat_timeout_ms: int
    election_timeout_ms: int
    leader_lease_timeout_ms: int
    commit_interval_ms: int


class Ticks(msgspec.Struct, frozen=True):
    """The timing profile in ticks, rounded up."""

    heartbeat_interval: int
    heartbeat_timeout: int
    election_timeout: int
    lease: int
    commit_interval: int

    @classmethod
    def of(cls, timing: Timing) -> Ticks:
        """Translate a profile."""
        return cls(
            *(
                -(-ms // timing.tick_ms)
                for ms in (
                    timing.heartbeat_interval_ms,
                    timing.heartbeat_timeout_ms,
                    timing.election_timeout_ms,
                    timing.leader_lease_timeout_ms,
                    timing.commit_interval_ms,
                )
            )
        )


#: For clusters of our own nodes on one machine or one network.
FAST = Timing("fast", 10, 40, 200, 200, 200, 10)
#: HashiCorp Raft's defaults, for clusters that its nodes share.
HASHICORP = Timing("hashicorp", 10, 100, 1000, 1000, 500, 50)
PROFILES = {FAST.name: FAST, HASHICORP.name: HASHICORP}


class RaftConfig(msgspec.Struct, frozen=True):
    """One server's settings.

    ``max_append_entries``/``max_append_bytes`` bound one request, ``max_inflight_requests``/
    ``max_inflight_bytes`` what may be unanswered per follower.  While ``max_partial_requests`` are
    unanswered, only full requests leave: what arrives meanwhile leaves together.
    ``max_uncommitted_entries``/``max_uncommitted_bytes`` are what ``propose`` accepts beyond the
    commit index, ``max_unapplied_entries``/``max_unapplied_bytes`` what may wait here for the state machine before
    more is taken from a leader, ``trailing_entries``/``trailing_bytes`` what stays in the log behind a snapshot for
    followers that lag a little, ``max_trailing_bytes`` what stays there for one that is catching up.
    """

    id: ServerId
    address: str
    timing: Timing = FAST
    max_append_entries: int = 64
    max_append_bytes: int = 1024 * 1024
    max_inflight_requests: int = 32
    max_inflight_bytes: int = 8 * 1024 * 1024
    max_partial_requests: int = 1
    max_uncommitted_entries: int = 64 * 1024
    max_uncommitted_bytes: int = 64 * 1024 * 1024
    max_entry_bytes: int = MAX_ENTRY_BYTES
    max_waiting_changes: int = 16
    max_unapplied_entries: int = 64 * 1024
    max_unapplied_bytes: int = 64 * 1024 * 1024
    trailing_entries: int = 10240
    trailing_bytes: int = 8 * 1024 * 1024
    max_trailing_bytes: int = 48 * 1024 * 1024

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("id: '' is empty; a server needs an id")
        if not self.address:
            raise ValueError("address: '' is empty; peers must be able to reach this server")
        t = self.timing
        for name in Timing.__struct_fields__[1:]:
            _check_at_least(1, f"timing.{name}", getattr(t, name))
        for name in self.__struct_fields__[3:]:
            _check_at_least(0 if "trailing" in name else 1, name, getattr(self, name))
        if t.tick_ms > t.heartbeat_interval_ms:
            raise ValueError(
                f"timing.tick_ms: {t.tick_ms} is above the heartbeat interval of {t.heartbeat_interval_ms}"
            )
        if t.heartbeat_timeout_ms < 2 * t.heartbeat_interval_ms:
            raise ValueError(
                f"timing.heartbeat_timeout_ms: {t.heartbeat_timeout_ms} is below twice the "
                f"heartbeat interval of {t.heartbeat_interval_ms}"
            )
        if t.election_timeout_ms < t.heartbeat_timeout_ms:
            raise ValueError(
                f"timing.election_timeout_ms: {t.election_timeout_ms} is below the heartbeat "
                f"timeout of {t.heartbeat_timeout_ms}"
            )
        if t.leader_lease_timeout_ms > t.heartbeat_timeout_ms:
            raise ValueError(
                f"timing.leader_lease_timeout_ms: {t.leader_lease_timeout_ms} is above the "
                f"heartbeat timeout of {t.heartbeat_timeout_ms}"
            )


def _check_at_least(lowest: int, name: str, value: int) -> None:
    if value < lowest:
        raise ValueError(f"{name}: {value} is below {lowest}")
