"""The log in memory: entries, how far they are committed, durable and applied.

Rules of this file.  ``applied <= handed <= min(commit, durable)`` and ``commit <= last_index``.
A committed entry is never replaced.  ``durable`` counts only what is on disk in the form in which
it stands here: a truncation takes it back, and the write that brings it forward again is found by
``writes.py``, not here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from matchengine.raft.config import RaftConfig
from matchengine.raft.types import Entry, Index, Restored, SnapshotMeta, Term

#: What one ``Ready`` may hold for the state machine, and how many such batches may be unapplied.
APPLY_ENTRIES = 64
APPLY_BYTES = 256 * 1024
APPLY_BATCHES = 4


class RaftLog:
    """Entries from ``first_index`` to ``last_index`` behind the newest snapshot."""

    __slots__ = (
        "_base",
        "_base_term",
        "_entries",
        "_unapplied",
        "applied",
        "commit",
        "durable",
        "handed",
        "last_index",
        "last_term",
        "restoring",
        "snapshot",
        "unapplied_bytes",
    )

    def __init__(self, restored: Restored) -> None:
        self.snapshot = restored.snapshot
        start = restored.snapshot.index if restored.snapshot else 0
        self._entries: list[Entry] = list(restored.entries)
        self._base: Index = self._entries[0].index - 1 if self._entries else start
        self._base_term = self._term_before_first()
        self._check(start)
        self.last_index: Index = self._base + len(self._entries)
        self.last_term: Term = self._entries[-1].term if self._entries else self._base_term or 0
        self.commit = self.handed = self.applied = start
        self.durable = self.last_index
        self.restoring = False
        #: Payload of the entries that are committed and not applied; of a snapshot that is restored, none.
        self.unapplied_bytes = 0
        self._unapplied: deque[Index] = deque()

    def _term_before_first(self) -> Term | None:
        if self._base == 0:
            return 0
        if self.snapshot is not None and self.snapshot.index == self._base:
            return self.snapshot.term
        return None

    def _check(self, start: Index) -> None:
        if self._base > start or (self._entries and self._base + len(self._entries) < start):
            raise ValueError(f"log: starts after {self._base}, snapshot ends at {start}")
        for index, entry in enumerate(self._entries, self._base + 1):
            if entry.index != index:
                raise ValueError(f"log: entry {entry.index} stands where {index} belongs")

    # --- reading ---------------------------------------------------------------------------

    @property
    def first_index(self) -> Index:
        """Index of the oldest entry kept, or of the next one when there are none."""
        return self._base + 1

    @property
    def first_offered(self) -> Index:
        """The oldest entry that a follower can be sent: the term before it is known."""
        return self.first_index + (self._base_term is None)

    def term(self, index: Index) -> Term | None:
        """The term at ``index``; None when it is compacted away or not there yet."""
        at = index - self._base - 1
        if 0 <= at < len(self._entries):
            return self._entries[at].term
        if at == -1:
            return self._base_term
        return None

    def matches(self, index: Index, term: Term) -> bool:
        """Whether the log holds ``index`` with ``term`` (the consistency check of section 5.3)."""
        return self.term(index) == term

    def may_hold(self, index: Index, term: Term) -> bool:
        """Whether ``index`` has ``term`` or, where it is compacted away, can have had it: terms never fall."""
        known = self.term(index)
        if known is not None or index > self._base:
            return known == term
        return term <= (self._entries[0].term if self._base_term is None else self._base_term)

    def is_up_to_date(self, last_index: Index, last_term: Term) -> bool:
        """Whether a log that ends so is at least as up to date as this one (section 5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def slice(self, first: Index, last: Index) -> tuple[Entry, ...]:
        """Entries from ``first`` to ``last`` inclusive."""
        return tuple(self._entries[first - self._base - 1 : last - self._base])

    def batch(self, first: Index, max_entries: int, max_bytes: int, last: Index | None = None) -> tuple[Entry, ...]:
        """Entries from ``first`` within both bounds, at least one if there is any, none after ``last``."""
        at = first - self._base - 1
        end = len(self._entries) if last is None else last - self._base
        chosen = self._entries[at : min(end, at + max_entries)]
        room = max_bytes
        for count, entry in enumerate(chosen):
            room -= len(entry.data) + len(entry.extensions)
            if room < 0:
                return tuple(chosen[: max(count, 1)])
        return tuple(chosen)

    # --- changing --------------------------------------------------------------------------

    def append(self, entry: Entry) -> None:
        """Add the next entry."""
        self._entries.append(entry)
        self.last_index = entry.index
        self.last_term = entry.term

    def extend(self, entries: Sequence[Entry]) -> None:
        """Add entries that follow ``last_index``."""
        if entries:
            self._entries.extend(entries)
            self.last_index = entries[-1].index
            self.last_term = entries[-1].term

    def truncate_from(self, index: Index) -> None:
        """Drop ``index``, which is not committed, and all after it."""
        del self._entries[index - self._base - 1 :]
        self.last_index = index - 1
        self.last_term = self.term(index - 1) or 0
        self.durable = min(self.durable, index - 1)

    def reset(self, snapshot: SnapshotMeta) -> None:
        """Drop everything; the log goes on after ``snapshot``, which the state machine has to restore first."""
        self._entries.clear()
        self.snapshot = snapshot
        self._base = self.last_index = self.commit = self.durable = self.handed = snapshot.index
        self._base_term = self.last_term = snapshot.term
        self.restoring = True
        self.unapplied_bytes = 0
        self._unapplied.clear()

    def compact(self, snapshot: SnapshotMeta, config: RaftConfig, needed: Index) -> Index | None:
        """Note a snapshot of our own and drop what it replaces, but for the trailing rest.

        The rest is longer, within its own bound, where a follower still needs entries from ``needed`` on.
        Returns the last index dropped, or None when nothing was.
        """
        if self.snapshot is not None and snapshot.index <= self.snapshot.index:
            return None
        self.snapshot = snapshot
        upto = self._trailing_from(snapshot.index, config.trailing_entries, config.trailing_bytes) - 1
        if needed <= upto:
            upto = max(needed, self._trailing_from(snapshot.index, snapshot.index, config.max_trailing_bytes)) - 1
        if upto <= self._base:
            return None
        self._base_term = self.term(upto)
        del self._entries[: upto - self._base]
        self._base = upto
        return upto

    def _trailing_from(self, index: Index, max_entries: int, max_bytes: int) -> Index:
        """The oldest index to keep when ``index`` and older may go."""
        room = max_bytes
        oldest = max(index - max_entries, self._base) + 1
        for at in range(index, oldest - 1, -1):
            room -= self._entries[at - self._base - 1].size
            if room < 0:
                return at + 1
        return oldest

    # --- committing and applying -----------------------------------------------------------

    def commit_to(self, index: Index) -> int:
        """Everything up to ``index`` is committed; returns the payload bytes of what has come to it."""
        size = self._size(self.commit, index)
        self.commit = index
        self.unapplied_bytes += size
        return size

    def _size(self, after: Index, upto: Index) -> int:
        kept = max(after, self._base)
        return sum([entry.size for entry in self.slice(kept + 1, upto)]) if upto > kept else 0

    @property
    def can_apply(self) -> bool:
        """Whether :meth:`take_apply` would return anything."""
        return (
            self.handed < self.commit
            and self.handed < self.durable
            and len(self._unapplied) < APPLY_BATCHES
            and not self.restoring
        )

    def take_apply(self) -> tuple[Entry, ...]:
        """The next committed and durable entries for the state machine, each once."""
        if not self.can_apply:
            return ()
        entries = self.batch(self.handed + 1, APPLY_ENTRIES, APPLY_BYTES, min(self.commit, self.durable))
        self.handed = entries[-1].index
        self._unapplied.append(self.handed)
        return entries

    def applied_to(self, index: Index) -> None:
        """The state machine stands at ``index``."""
        if self.restoring:
            if self.snapshot is None or index < self.snapshot.index:
                return
            self.restoring = False
        before = self.applied
        self.applied = max(before, min(index, self.handed))
        self.unapplied_bytes -= self._size(before, self.applied)
        while self._unapplied and self._unapplied[0] <= self.applied:
            self._unapplied.popleft()
