"""The contract of an engine: what replicates commands and applies them to a state machine, whoever wrote it.

A node, its services and everything above know an engine by this contract only.  There are two: ours
(``runtime/native.py``) and HashiCorp Raft behind a bridge (``runtime/hashicorp``).  Calls return at once;
the outcome comes later through a callback, on the node's own thread.  Every callback is called exactly
once, also when the engine stops.

Errors have one meaning on both engines: NotLeaderError, BusyError, RefusedError and StoppedError say that
nothing was executed and nothing will be; UnknownOutcomeError says that the command may still take effect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec

from matchengine.answers import Answer
from matchengine.raft.proposals import ChangeMembership
from matchengine.raft.ready import SoftState
from matchengine.raft.types import Configuration, Index, Role, ServerId, Term

T = TypeVar("T")


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """A proposal's entry was applied at ``index`` with this ``result`` (empty unless a command)."""

    index: Index
    result: Answer = b""


#: Called once with the result, or with the error.
Settle: TypeAlias = Callable[[T | None, Exception | None], None]
Done: TypeAlias = Settle[Outcome]


class EngineStatus(msgspec.Struct, frozen=True):
    """A server's standing.

    ``applied`` is the newest index that the state machine has passed, ``fsync_us`` the median of the last log syncs.
    ``last_contact_ms`` is how long ago a leader was heard: 0 on the leader itself, None when none ever was.
    """

    id: ServerId
    address: str
    role: Role
    term: Term
    leader_id: ServerId
    leader_address: str
    first_index: Index
    last_index: Index
    last_term: Term
    commit_index: Index
    applied: Index
    snapshot_index: Index
    snapshot_term: Term
    configuration: Configuration
    configuration_index: Index
    fsync_us: float
    terms_seen: int
    last_contact_ms: int | None
    is_shut_down: bool


class Listener(Protocol):
    """Whoever runs an engine, and hears from it on the node's own thread."""

    def soft_state_changed(self, state: SoftState) -> None:
        """Role, term or known leader have changed."""
        ...

    def stopped(self, error: Exception) -> None:
        """The engine has stopped for good: StoppedError if it was asked to, else what went wrong.  Called once."""
        ...


class Engine(Protocol):
    """One server's part of a replicated log, with the state machine on top of it."""

    # --- life ------------------------------------------------------------------------------

    async def open(self) -> None:
        """Take the data directory, restore what it holds, and take part in the cluster.

        Raises StorageError for a directory that is not usable, OSError for an address that is not.
        Nothing is left behind when it raises.
        """
        ...

    @property
    def has_founded(self) -> bool:
        """Whether this start has founded a cluster in an empty directory; known before the engine ever leads."""
        ...

    @property
    def service_address(self) -> str:
        """Where the node's own gRPC server has to listen; others reach it at the node's address all the same."""
        ...

    def add_to(self, server: Any) -> None:
        """Add to the node's gRPC server what peers call, if this engine takes their calls there."""
        ...

    def stop(self, error: Exception) -> None:
        """Stop for good: everything that waits fails, and nothing more is done."""
        ...

    async def close(self) -> None:
        """After :meth:`stop`: give everything back, the data directory last."""
        ...

    # --- proposals -------------------------------------------------------------------------

    def propose(self, data: bytes, done: Done, extensions: bytes = b"") -> None:
        """Replicate a command; done with its index and result once it was applied here.

        Commands proposed one after the other are applied in this order, unless one of them fails.
        A leader that is replaced reports UnknownOutcomeError for what it had begun.
        """
        ...

    def barrier(self, done: Done) -> None:
        """Append an entry that does nothing; done once it and all before it have been applied here."""
        ...

    def change_membership(self, change: ChangeMembership, done: Done) -> None:
        """Change one server of the configuration; done when the change is committed."""
        ...

    def transfer_leadership(self, target: ServerId | None, done: Done) -> None:
        """Hand leadership to a voter (None: the one that is furthest ahead); done when this node has lost it."""
        ...

    # --- reads -----------------------------------------------------------------------------

    def read_index(self, done: Done) -> None:
        """Leader only: done with an index from which a read that was asked for before this call is linearizable.

        The proof is of a quorum of voters, begun after the call.  The index may not be applied here yet.
        """
        ...

    def wait_applied(self, index: Index, done: Done) -> None:
        """Done, with where the state machine stands, once it has passed ``index`` and no command is half executed."""
        ...

    def examine(self, look: Callable[[], T], done: Settle[tuple[Index, T]]) -> None:
        """Run ``look()``, which may take long and changes nothing; done with the index that it saw, and its result.

        BusyError while the machine is being replaced by a snapshot.
        """
        ...

    # --- the rest --------------------------------------------------------------------------

    def snapshot(self, done: Done) -> None:
        """Take a snapshot now; done with its index once it is durable; NothingNewError when there is nothing new."""
        ...

    def status(self, done: Settle[EngineStatus]) -> None:
        """How this server stands; after a stop, how it stood last."""
        ...

    @property
    def soft_state(self) -> SoftState:
        """Role, term and known leader, as far as this server knows."""
        ...

    @property
    def machine_is_readable(self) -> bool:
        """False while a command is half executed, or a snapshot replaces the state."""
        ...
