"""The way out of the core: what one ``Raft.ready()`` asks its driver to do.

Order of duties.  ``requests`` and ``responses`` may leave at once: whatever had to be durable
before them already is, because the core holds a message back until the ``Written`` event of the
write that it depends on.  ``write`` goes to the disk in the order of its numbers; several may
be pending.  ``apply`` holds entries that are committed and durable here; each entry appears
exactly once, in order.  ``restore`` (never together with ``apply``) replaces the state
machine's state; no ``apply`` follows before ``Applied(restore.index)`` came in.  ``wants_snapshot`` asks for a snapshot
of the state machine as it stands, if anything was applied since the last one: a follower waits for it.
``notices`` are sentences for the operator's log: why timeouts change, and why an election is held.
"""

from __future__ import annotations

import msgspec

from matchengine.raft.messages import Request, Response
from matchengine.raft.proposals import Reason
from matchengine.raft.types import Entry, HardState, Index, Role, Server, ServerId, SnapshotMeta, Term


class Write(msgspec.Struct, frozen=True):
    """One atomic step for the disk; its parts are performed in the order of the fields.

    ``reset`` drops the whole log, which goes on after the (already durable) snapshot.
    ``truncate_from`` drops that index and all after it.  ``compact_to`` allows, but does not
    oblige, storage to drop entries up to and including that index.
    """

    number: int
    hard_state: HardState | None = None
    reset: SnapshotMeta | None = None
    truncate_from: Index | None = None
    entries: tuple[Entry, ...] = ()
    compact_to: Index | None = None


class Send(msgspec.Struct, frozen=True, gc=False):
    """Call ``to`` with ``request``; report the outcome as ``Answered`` or ``Unanswered``, once."""

    to: Server
    request: Request


class Respond(msgspec.Struct, frozen=True, gc=False):
    """The answer to the call named ``token``; ``error`` set: fail the call with that text."""

    token: int
    response: Response | None
    error: str = ""


class ReceiveSnapshot(msgspec.Struct, frozen=True, gc=False):
    """Stream the bytes that belong to the call ``token`` to the snapshot store, then step ``SnapshotReceived``."""

    token: int
    snapshot: SnapshotMeta


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The proposal ``key`` became the entry (``index``, ``term``); it may still be lost."""

    key: int
    index: Index
    term: Term


class Refused(msgspec.Struct, frozen=True, gc=False):
    """The proposal ``key`` ended without success; ``detail`` adds what the reason alone does not say."""

    key: int
    reason: Reason
    detail: str = ""


class Done(msgspec.Struct, frozen=True, gc=False):
    """A proposal without an entry (transfer, abort) ended well."""

    key: int


class ReadReady(msgspec.Struct, frozen=True, gc=False):
    """The read ``key`` is linearizable once the state machine has applied ``index``."""

    key: int
    index: Index


class SoftState(msgspec.Struct, frozen=True, gc=False):
    """Role, term and known leader; volatile, for observers.  ``leader_id`` is ``""`` when unknown.

    ``reason`` is the text why a leader gave up by itself, once, when it did.
    """

    role: Role
    term: Term
    leader_id: ServerId
    leader_address: str
    reason: str = ""


class Ready(msgspec.Struct, frozen=True):
    """Everything that the driver has to do now.  ``soft_state`` is None when it did not change."""

    write: Write | None = None
    requests: tuple[Send, ...] = ()
    responses: tuple[Respond, ...] = ()
    apply: tuple[Entry, ...] = ()
    restore: SnapshotMeta | None = None
    receive: ReceiveSnapshot | None = None
    accepted: tuple[Accepted, ...] = ()
    refused: tuple[Refused, ...] = ()
    done: tuple[Done, ...] = ()
    reads: tuple[ReadReady, ...] = ()
    soft_state: SoftState | None = None
    wants_snapshot: bool = False
    notices: tuple[str, ...] = ()
