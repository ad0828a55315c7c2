"""The nouns of the Raft paper: terms, indexes, entries, servers, configurations.

Everything here is immutable data.  Indexes are contiguous and start at 1; index 0 and
term 0 mean "before the log".  Times are integers: nanoseconds since the Unix epoch.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

import msgspec

Term: TypeAlias = int
Index: TypeAlias = int
ServerId: TypeAlias = str

#: Largest ``Entry.data`` plus ``Entry.extensions`` that a leader accepts, in bytes: 64 such
#: entries stay under the 4 MiB that a stock gRPC peer receives.
MAX_ENTRY_BYTES = 60 * 1024


class EntryType(IntEnum):
    """What an entry is for; the numbers are HashiCorp Raft's and appear on the wire."""

    COMMAND = 0
    NOOP = 1
    ADD_PEER_DEPRECATED = 2
    REMOVE_PEER_DEPRECATED = 3
    BARRIER = 4
    CONFIGURATION = 5


class Suffrage(IntEnum):
    """Whether a server votes.  STAGING is deprecated and behaves as NONVOTER."""

    VOTER = 0
    NONVOTER = 1
    STAGING = 2


class Role(IntEnum):
    """The paper's server states (figure 4), with the pre-vote round told apart (section 9.6 of the thesis)."""

    FOLLOWER = 0
    PRE_CANDIDATE = 1
    CANDIDATE = 2
    LEADER = 3


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One slot of the replicated log.

    ``data`` and ``extensions`` are opaque.  ``appended_at`` is the leader's wall clock at
    append (0: not stamped); it is information for the state machine, not part of the protocol.
    ``level`` is the cluster's feature level for the state machine at this entry; whoever executes the entry
    fills it in, and it is neither stored nor sent.
    """

    index: Index
    term: Term
    type: EntryType = EntryType.COMMAND
    data: bytes = b""
    extensions: bytes = b""
    appended_at: int = 0
    level: int = 0

    @property
    def size(self) -> int:
        """Payload bytes, for bounds on batches and windows."""
        return len(self.data) + len(self.extensions)


class HardState(msgspec.Struct, frozen=True, gc=False):
    """What must survive a crash before any message that relies on it leaves (figure 2).

    ``voted_for`` is the server id that got this node's vote in ``term``, or ``""``.
    """

    term: Term = 0
    voted_for: ServerId = ""


class Server(msgspec.Struct, frozen=True, gc=False):
    """One member: its id, the address at which peers reach it, and whether it votes."""

    id: ServerId
    address: str
    suffrage: Suffrage = Suffrage.VOTER


class Configuration(msgspec.Struct, frozen=True, gc=False):
    """The members of the cluster, in the order in which they were added."""

    servers: tuple[Server, ...] = ()

    def get(self, server_id: ServerId) -> Server | None:
        """The member with this id, or None."""
        for server in self.servers:
            if server.id == server_id:
                return server
        return None

    def voters(self) -> tuple[ServerId, ...]:
        """Ids of the voting members."""
        return tuple(s.id for s in self.servers if s.suffrage is Suffrage.VOTER)

    def is_voter(self, server_id: ServerId) -> bool:
        """Whether this id is a voting member."""
        server = self.get(server_id)
        return server is not None and server.suffrage is Suffrage.VOTER


class SnapshotMeta(msgspec.Struct, frozen=True, gc=False):
    """What a snapshot replaces: the log up to and including ``index``, whose entry had ``term``.

    ``configuration`` is the committed configuration at ``index`` and ``configuration_index``
    the entry that wrote it.  ``size`` is the number of state bytes (0 while unknown).
    """

    index: Index
    term: Term
    configuration: Configuration
    configuration_index: Index = 0
    size: int = 0


class Restored(msgspec.Struct, frozen=True):
    """What storage found at start: the durable state from which ``Raft`` resumes.

    ``entries`` are contiguous; either they start at or before ``snapshot.index + 1``, or they
    are empty.  Storage has already dropped a log that conflicts with the snapshot.
    """

    hard_state: HardState = HardState()
    snapshot: SnapshotMeta | None = None
    entries: tuple[Entry, ...] = ()
