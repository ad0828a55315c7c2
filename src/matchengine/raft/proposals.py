"""What the local user asks of ``Raft.propose``, and the reasons for which it may refuse."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TypeAlias

import msgspec

from matchengine.raft.types import Index, ServerId


class Command(msgspec.Struct, frozen=True, gc=False):
    """Append one entry for the state machine; ``appended_at`` in ns since the epoch (0: none)."""

    data: bytes
    appended_at: int = 0
    extensions: bytes = b""


class Barrier(msgspec.Struct, frozen=True, gc=False):
    """Append an entry that does nothing; once applied, everything before it has been, too."""

    appended_at: int = 0


class Read(msgspec.Struct, frozen=True, gc=False):
    """Ask for a read index (thesis section 6.4): the answer comes in ``Ready.reads``."""


class ChangeKind(IntEnum):
    """One-server membership changes; HashiCorp's names and meanings."""

    ADD_VOTER = 0
    ADD_NONVOTER = 1
    DEMOTE_VOTER = 2
    REMOVE_SERVER = 3


class ChangeMembership(msgspec.Struct, frozen=True, gc=False):
    """Change one server.  ``prev_index`` != 0 must be the latest configuration's index.

    Waits until the latest configuration is committed and an entry of this leader's own term
    is (the single-server rule with its 2015 correction).
    """

    kind: ChangeKind
    server_id: ServerId
    address: str = ""
    prev_index: Index = 0
    appended_at: int = 0


class TransferLeadership(msgspec.Struct, frozen=True, gc=False):
    """Hand leadership to ``target`` (None: the voter that is furthest ahead)."""

    target: ServerId | None = None


class AbortTransfer(msgspec.Struct, frozen=True, gc=False):
    """Give up a running transfer and accept proposals again; no-op without one."""


Proposal: TypeAlias = Command | Barrier | Read | ChangeMembership | TransferLeadership | AbortTransfer


class Reason(StrEnum):
    """Why a proposal was refused or abandoned.  ``LEADERSHIP_LOST`` alone leaves the outcome unknown."""

    NOT_LEADER = "node is not the leader"
    LEADERSHIP_LOST = "leadership lost while committing log"
    TRANSFER_IN_PROGRESS = "leadership transfer in progress"
    TRANSFER_TIMEOUT = "leadership transfer timeout"
    TRANSFER_ABORTED = "leadership transfer aborted"
    NO_TRANSFER_TARGET = "cannot find peer"
    BUSY = "too many uncommitted entries or bytes"
    TOO_LARGE = "entry is larger than the limit"
    CONFIGURATION_CHANGED = "configuration changed since prev_index"
    INVALID_CHANGE = "invalid membership change"
    CHANGE_PENDING = "too many membership changes are waiting"
