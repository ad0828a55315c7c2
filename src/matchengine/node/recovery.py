"""Forcing a configuration upon a node whose quorum is lost for good (HashiCorp Raft calls it RecoverCluster).

A configuration entry of its own would conflict with what other survivors hold.  So everything that the node has,
committed or not, goes into a snapshot that carries the new configuration, and no log remains behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from matchengine.node.machine_room import write_snapshot
from matchengine.raft.types import Configuration, Entry, EntryType, Index, Restored, SnapshotMeta, Term
from matchengine.state_machine import StateMachine
from matchengine.storage.contracts import SnapshotStore

_BATCH: Final = 1024
#: The place that a founded cluster's first configuration has.
_CONFIGURATION_INDEX: Final = 1


def last_position(restored: Restored) -> tuple[Index, Term]:
    """Index and term of the newest entry that the node has, be it in the log or behind a snapshot; (0, 0): none."""
    if restored.entries:
        return restored.entries[-1].index, restored.entries[-1].term
    if restored.snapshot is not None:
        return restored.snapshot.index, restored.snapshot.term
    return 0, 0


def recover(
    restored: Restored, configuration: Configuration, machine: StateMachine, snapshots: SnapshotStore
) -> SnapshotMeta:
    """Write the snapshot that makes ``configuration`` the committed one, behind all that ``restored`` holds.

    The rest, to drop the log, is for the caller.  Again with what a crash left of both, it does the same again.
    ``machine`` must be fresh, and is left at the snapshot's state.  Raises ValueError when there is nothing to recover.
    """
    index, term = last_position(restored)
    if index == 0:
        raise ValueError("the node has neither entries nor a snapshot")
    start = 0
    if restored.snapshot is not None:
        start = restored.snapshot.index
        machine.restore(snapshots.open(restored.snapshot))
    for commands in _batches(e for e in restored.entries if e.index > start and e.type is EntryType.COMMAND):
        machine.apply(commands)
    return write_snapshot(snapshots, SnapshotMeta(index, term, configuration, _CONFIGURATION_INDEX), machine.snapshot())


def _batches(entries: Iterator[Entry]) -> Iterable[list[Entry]]:
    while batch := list(islice(entries, _BATCH)):
        yield batch
