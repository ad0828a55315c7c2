"""The contract between the log and whatever it replicates (HashiCorp calls it the FSM)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from matchengine.raft.types import Entry


class NewerVersionError(Exception):
    """A committed command has a layout that this program is too old for: the node must stop.

    Guessing would make this replica differ from the others; stopping loses nothing.
    """


@runtime_checkable
class StateMachine(Protocol):
    """A deterministic machine: equal entries in equal order give equal results and equal state.

    The node calls one method at a time.  ``apply`` runs on the node's own thread and should
    return within milliseconds; ``snapshot`` and ``restore`` run on a worker thread while no
    ``apply`` runs.  No method may read a clock (use ``entry.appended_at``), a random source, or
    anything else that differs between replicas.
    """

    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        """Process committed commands in order and return one answer for each.

        Entries have type COMMAND and rising, not necessarily adjacent, indexes.  Bytes that
        cannot be understood are answered with a deterministic reject of the machine's own
        making; the only exception that may leave is :class:`NewerVersionError`.  Any
        exception stops the node.
        """
        ...

    def snapshot(self) -> Iterator[bytes]:
        """Freeze the state and return its bytes in chunks of at most about 1 MiB.

        The call itself takes the copy; the iterator is drained later, on another thread,
        while ``apply`` goes on.
        """
        ...

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the whole state by a snapshot's; the chunk bounds are arbitrary.

        May raise ``ValueError`` for bytes that are not a snapshot; the node then stops.
        """
        ...


class Execution(Protocol):
    """One command that is being executed in bounded steps."""

    def step(self) -> tuple[bytes, ...] | None:
        """Work for at most a few milliseconds; None while there is more to do.

        The last step returns the answer in chunks of at most about 1 MiB; their concatenation is what ``apply``
        would have returned.  How much one step does is counted in work, never measured by a clock.
        """
        ...


@runtime_checkable
class Interruptible(Protocol):
    """A state machine that can execute one command in steps, so that a large one does not hold the node's thread.

    Between two steps the node serves its network but calls no other method of the machine: the state may be
    half-way through the command.  A command that is never finished is followed by ``restore`` only, or by nothing.
    """

    def begin(self, entry: Entry) -> Execution:
        """Begin to execute one committed command; the rules for errors are those of ``apply``."""
        ...


def finish(execution: Execution) -> tuple[bytes, ...]:
    """Take all steps that are left, one after the other; the chunks of the answer."""
    while (chunks := execution.step()) is None:
        pass
    return chunks


@runtime_checkable
class Leveled(Protocol):
    """A state machine whose commands differ between versions of its program.

    ``apply`` finds the cluster's level for the machine in ``entry.level`` and must behave at each level as the
    first program with that level did.
    """

    @property
    def newest_level(self) -> int:
        """The highest level that this program can execute; a machine without the attribute has level 0."""
        ...


@runtime_checkable
class Queryable(Protocol):
    """A state machine that also answers reads.  A query must not change the state."""

    def query(self, request: bytes) -> bytes:
        """Answer ``request`` from the current state; raise ``ValueError`` for a malformed one."""
        ...


@runtime_checkable
class Hashable(Protocol):
    """A state machine whose replicas can be compared by a digest."""

    def state_hash(self) -> bytes:
        """A digest of the state: equal on all replicas at the same log index."""
        ...
