"""What the stores must hold, without a disk: the state after each step, and what a crash within a step may leave."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

import msgspec

from matchengine.raft.ready import Write
from matchengine.raft.types import Entry, HardState, Restored, SnapshotMeta


class Model(msgspec.Struct, frozen=True):
    """Term and vote, the log, and the snapshots with their bytes, oldest first.

    ``droppable`` is the greatest index up to which the log was allowed to forget.
    """

    hard_state: HardState = HardState()
    entries: tuple[Entry, ...] = ()
    snapshots: tuple[tuple[SnapshotMeta, bytes], ...] = ()
    droppable: int = 0

    def after(self, write: Write) -> Model:
        """The state once ``write`` was performed."""
        entries = () if write.reset is not None else self.entries
        if write.truncate_from is not None:
            entries = tuple(entry for entry in entries if entry.index < write.truncate_from)
        droppable = max(self.droppable, write.compact_to or 0, write.reset.index if write.reset else 0)
        hard_state = self.hard_state if write.hard_state is None else write.hard_state
        return msgspec.structs.replace(
            self, hard_state=hard_state, entries=(*entries, *write.entries), droppable=droppable
        )

    def with_snapshot(self, meta: SnapshotMeta, data: bytes) -> Model:
        """The state once a snapshot was committed."""
        return msgspec.structs.replace(self, snapshots=tuple(sorted([*self.snapshots, (meta, data)], key=_age)))

    @property
    def newest(self) -> SnapshotMeta | None:
        return self.snapshots[-1][0] if self.snapshots else None


def _age(snapshot: tuple[SnapshotMeta, bytes]) -> tuple[int, int]:
    return snapshot[0].term, snapshot[0].index


class Found(msgspec.Struct, frozen=True):
    """What a process that opened the files was told; ``snapshots`` are those that can be read to their end."""

    restored: Restored
    snapshots: tuple[tuple[SnapshotMeta, bytes], ...]

    def as_model(self, after: Model) -> Model:
        """What must be found from now on."""
        snapshots = tuple(sorted(self.snapshots, key=_age))
        return Model(self.restored.hard_state, self.restored.entries, snapshots, after.droppable)


def complaint(found: Found, before: Model, after: Model, retain: int) -> str:
    """Why ``found`` cannot be what a crash between ``before`` (reported durable) and ``after`` left, or ``""``."""
    return (
        _wrong_snapshots(found, before, after, retain)
        or _wrong_hard_state(found, before, after)
        or _wrong_entries(found, before, after)
    )


def loss(found: Found, before: Model, after: Model) -> str:
    """What of all that was reported durable ``before`` is gone, or ``""``: entries up to a snapshot are there in it."""
    covered = found.restored.snapshot.index if found.restored.snapshot else 0
    kept = before.entries[: _common(before, after)]
    missing = tuple(entry for entry in kept if entry.index > covered and entry not in found.restored.entries)
    if missing:
        return f"{_runs(missing)} are gone"
    last = found.restored.entries[-1].index if found.restored.entries else covered
    if before.newest is not None and before.newest.index > last:
        return f"the snapshot at {before.newest.index} is gone"
    return _wrong_hard_state(found, before, after)


def _wrong_snapshots(found: Found, before: Model, after: Model, retain: int) -> str:
    for meta, data in found.snapshots:
        if (meta, data) not in after.snapshots and (meta, data) not in before.snapshots:
            return f"a snapshot that nobody took: {meta}"
    newest = found.restored.snapshot
    if newest not in (before.newest, after.newest):
        return f"the newest snapshot is {newest}"
    kept = after.snapshots if newest == after.newest else before.snapshots
    missing = [meta for meta, data in kept[-retain:] if (meta, data) not in found.snapshots]
    return f"snapshots that had to stay are gone: {missing}" if missing else ""


def _wrong_hard_state(found: Found, before: Model, after: Model) -> str:
    if found.restored.hard_state in (_raised(before, found), _raised(after, found)):
        return ""
    return f"term and vote are {found.restored.hard_state}"


def _raised(model: Model, found: Found) -> HardState:
    """A snapshot of a later term raises the term, without a vote."""
    snapshot = found.restored.snapshot
    if snapshot is not None and snapshot.term > model.hard_state.term:
        return HardState(snapshot.term)
    return model.hard_state


def _wrong_entries(found: Found, before: Model, after: Model) -> str:
    entries, snapshot = found.restored.entries, found.restored.snapshot
    covered = snapshot.index if snapshot else 0
    if entries and entries[0].index > covered + 1:
        return f"nothing covers what is before entry {entries[0].index}"
    if _is_end_of(entries, _reconciled(before.entries, snapshot), after.droppable):
        return ""
    if not any(_is_end_of(entries, log, after.droppable) for log in _legal_logs(before, after, snapshot)):
        return f"the log holds {_runs(entries)}; it must begin with {_runs(before.entries[: _common(before, after)])}"
    if found.restored.hard_state != _raised(after, found):
        return f"the log has changed, but term and vote are still {found.restored.hard_state}"
    return ""


def _legal_logs(before: Model, after: Model, snapshot: SnapshotMeta | None) -> Iterator[tuple[Entry, ...]]:
    """What both have, and any number of those that only one has."""
    for log in (before.entries, after.entries):
        for length in range(_common(before, after), len(log) + 1):
            yield _reconciled(log[:length], snapshot)


def _common(before: Model, after: Model) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before.entries, after.entries, strict=False)))


def _reconciled(log: tuple[Entry, ...], snapshot: SnapshotMeta | None) -> tuple[Entry, ...]:
    """A log that conflicts with the snapshot, or ends before it, is of no use."""
    if snapshot is None or not log or log[0].index > snapshot.index:
        return log
    return log if any((e.index, e.term) == (snapshot.index, snapshot.term) for e in log) else ()


def _is_end_of(entries: tuple[Entry, ...], log: tuple[Entry, ...], droppable: int) -> bool:
    """Whether ``entries`` are ``log`` without a beginning that may go."""
    if not entries:
        return not log
    missing = len(log) - len(entries)
    return missing >= 0 and log[missing:] == entries and all(entry.index <= droppable for entry in log[:missing])


def _runs(entries: tuple[Entry, ...]) -> str:
    return " ".join(f"{entry.index}/{entry.term}" for entry in entries) or "nothing"
