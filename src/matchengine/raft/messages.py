"""What servers say to each other: five requests with their responses.

The shapes are HashiCorp Raft's protocol version 3.  A response means nothing without its
request (the wire carries no request id), so whoever sends a request hands the pair back to
``Raft.step`` as :class:`Answered`.  Fields marked *local* never travel: they are the sender's
own notes, read again when the answer comes back.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from matchengine.raft.types import Entry, Index, ServerId, SnapshotMeta, Term


class AppendEntries(msgspec.Struct, frozen=True, gc=False):
    """Replicate ``entries`` after (``prev_log_index``, ``prev_log_term``); section 5.3.

    With everything but ``term`` zero it is a heartbeat: contact and proof of leadership, no
    statement about the log.  ``session`` (local) tags the replication session of the follower,
    ``round`` (local) is the newest read round that had begun when the request was made.
    """

    term: Term
    prev_log_index: Index = 0
    prev_log_term: Term = 0
    entries: tuple[Entry, ...] = ()
    leader_commit: Index = 0
    session: int = 0
    round: int = 0

    @property
    def is_heartbeat(self) -> bool:
        """Whether this request carries nothing but the term."""
        return not (self.prev_log_index or self.entries or self.leader_commit)


class AppendEntriesResponse(msgspec.Struct, frozen=True, gc=False):
    """``last_log`` is the follower's last index before the append: a hint for back-off only.

    ``no_retry_backoff`` tells the leader that the log did not match and a retry may come at once.
    """

    term: Term
    last_log: Index
    success: bool
    no_retry_backoff: bool = False


class RequestVote(msgspec.Struct, frozen=True, gc=False):
    """Ask for a vote in ``term``; section 5.2.  ``leadership_transfer`` overrides leader stickiness."""

    term: Term
    last_log_index: Index
    last_log_term: Term
    leadership_transfer: bool = False


class RequestVoteResponse(msgspec.Struct, frozen=True, gc=False):
    """The answer to :class:`RequestVote`."""

    term: Term
    granted: bool


class RequestPreVote(msgspec.Struct, frozen=True, gc=False):
    """Ask whether a vote in ``term`` would be granted; nobody's term changes (thesis section 9.6)."""

    term: Term
    last_log_index: Index
    last_log_term: Term


class RequestPreVoteResponse(msgspec.Struct, frozen=True, gc=False):
    """The answer to :class:`RequestPreVote`."""

    term: Term
    granted: bool


class TimeoutNow(msgspec.Struct, frozen=True, gc=False):
    """Tell the target of a leadership transfer to stand for election at once (thesis section 3.10)."""


class TimeoutNowResponse(msgspec.Struct, frozen=True, gc=False):
    """The answer to :class:`TimeoutNow`."""


class InstallSnapshot(msgspec.Struct, frozen=True, gc=False):
    """Offer a snapshot to a follower that is too far behind (section 7).

    The state bytes travel beside this message, by the transport.  ``session`` is local.
    """

    term: Term
    snapshot: SnapshotMeta
    session: int = 0


class InstallSnapshotResponse(msgspec.Struct, frozen=True, gc=False):
    """The answer to :class:`InstallSnapshot`, sent once the state machine has been restored."""

    term: Term
    success: bool


Request: TypeAlias = AppendEntries | RequestVote | RequestPreVote | TimeoutNow | InstallSnapshot
Response: TypeAlias = (
    AppendEntriesResponse | RequestVoteResponse | RequestPreVoteResponse | TimeoutNowResponse | InstallSnapshotResponse
)


# --- events: what Raft.step accepts -------------------------------------------------------


class Received(msgspec.Struct, frozen=True, gc=False):
    """A peer's request arrived.  ``token`` names the call; exactly one ``Respond`` carries it back.

    ``sender`` and ``sender_address`` are the id and the address that the peer announced (may be ``""``).
    ``is_nameless`` (local) is set where it announced no id and ``sender`` was found by its address.
    """

    token: int
    sender: ServerId
    sender_address: str
    request: Request
    is_nameless: bool = False


class Answered(msgspec.Struct, frozen=True, gc=False):
    """``peer`` answered ``request``, the very object that ``Ready`` gave to the sender."""

    peer: ServerId
    request: Request
    response: Response


class Unanswered(msgspec.Struct, frozen=True, gc=False):
    """The call failed or its deadline passed.

    ``too_old`` is set when the peer says that it does not know pre-votes ("unexpected command", or gRPC's
    UNIMPLEMENTED), which counts as a grant.
    """

    peer: ServerId
    request: Request
    too_old: bool = False


class Written(msgspec.Struct, frozen=True, gc=False):
    """The write with this number, and every write before it, is durable."""

    number: int


class Applied(msgspec.Struct, frozen=True, gc=False):
    """The state machine has processed every entry up to ``index`` (after a restore: the snapshot's)."""

    index: Index


class SnapshotReceived(msgspec.Struct, frozen=True, gc=False):
    """The bytes of the snapshot announced by ``Ready.receive`` are durable, or (``error``) never will be."""

    token: int
    error: str = ""


class SnapshotTaken(msgspec.Struct, frozen=True, gc=False):
    """A snapshot of our own state machine is durable; the log before it may be compacted."""

    snapshot: SnapshotMeta


Event: TypeAlias = Received | Answered | Unanswered | Written | Applied | SnapshotReceived | SnapshotTaken
