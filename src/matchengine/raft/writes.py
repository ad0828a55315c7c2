"""Writes to the local disk: what the next one will hold, and what the pending ones will make true.

Rules of this file.  Numbers rise by one; the *current* write is the one that has not been handed
out yet, and gathers changes until it is.  A pending write vouches for the entries up to its
``upto``; a truncation lowers that, so a late completion never vouches for entries that stand at
the same index but came after it.
"""

from __future__ import annotations

from collections import deque

from matchengine.raft.log import RaftLog
from matchengine.raft.ready import Write
from matchengine.raft.types import HardState, Index, SnapshotMeta


class _Pending:
    __slots__ = ("number", "since", "upto")

    def __init__(self, number: int, upto: Index, since: int) -> None:
        self.number = number
        self.upto = upto
        self.since = since


class Writes:
    """The current write and the pending ones of one log."""

    __slots__ = (
        "_compact_to",
        "_finished_at",
        "_handed_upto",
        "_hard_number",
        "_hard_state",
        "_log",
        "_pending",
        "_reset",
        "_term_number",
        "_truncate_from",
        "current",
    )

    def __init__(self, log: RaftLog) -> None:
        self._log = log
        #: Number of the write that is being gathered.
        self.current = 1
        self._pending: deque[_Pending] = deque()
        self._finished_at = 0
        self._handed_upto: Index = log.last_index
        self._hard_state: HardState | None = None
        self._hard_number = 0
        self._term_number = 0
        self._reset: SnapshotMeta | None = None
        self._truncate_from: Index | None = None
        self._compact_to: Index | None = None

    # --- gathering -------------------------------------------------------------------------

    def save(self, hard_state: HardState, *, new_term: bool) -> None:
        """Term or vote changed."""
        self._hard_state = hard_state
        self._hard_number = self.current
        if new_term:
            self._term_number = self.current

    def truncate_from(self, index: Index) -> None:
        """The log lost ``index`` and all after it; call before new entries take their place."""
        for pending in self._pending:
            pending.upto = min(pending.upto, index - 1)
        if index <= self._handed_upto:
            self._truncate_from = index if self._truncate_from is None else min(index, self._truncate_from)
            self._handed_upto = index - 1

    def reset(self, snapshot: SnapshotMeta) -> None:
        """The log was dropped and goes on after ``snapshot``."""
        for pending in self._pending:
            pending.upto = 0
        self._reset = snapshot
        self._truncate_from = self._compact_to = None
        self._handed_upto = snapshot.index

    def compact_to(self, index: Index) -> None:
        """The disk may drop entries up to ``index``."""
        self._compact_to = index

    # --- handing out -----------------------------------------------------------------------

    @property
    def is_due(self) -> bool:
        """Whether the current write holds anything."""
        return (
            self._handed_upto < self._log.last_index
            or self._hard_state is not None
            or self._truncate_from is not None
            or self._reset is not None
            or self._compact_to is not None
        )

    def take(self, now: int) -> Write | None:
        """The current write, which becomes pending; None when there is nothing to write."""
        if not self.is_due:
            return None
        log = self._log
        entries = log.slice(self._handed_upto + 1, log.last_index)
        write = Write(self.current, self._hard_state, self._reset, self._truncate_from, entries, self._compact_to)
        self._pending.append(_Pending(self.current, log.last_index, now))
        self._handed_upto = log.last_index
        self._hard_state = self._reset = None
        self._truncate_from = self._compact_to = None
        self.current += 1
        return write

    # --- completing ------------------------------------------------------------------------

    def written(self, number: int, now: int) -> None:
        """The write ``number`` and all before it are durable."""
        self._finished_at = now
        while self._pending and self._pending[0].number <= number:
            self._log.durable = max(self._log.durable, self._pending.popleft().upto)
        if self._hard_number <= number:
            self._hard_number = 0
        if self._term_number <= number:
            self._term_number = 0

    def number_of_vote(self) -> int:
        """The write that makes term and vote durable; 0 when they are."""
        return self._hard_number

    def number_of_term(self) -> int:
        """The write that makes the term durable; 0 when it is."""
        return self._term_number

    def number_of_entry(self, index: Index) -> int:
        """The write that makes the log up to ``index`` durable; 0 when it is."""
        if index <= self._log.durable:
            return 0
        for pending in self._pending:
            if pending.upto >= index:
                return pending.number
        return self.current

    def stalled_for(self, now: int) -> int:
        """For how many ticks the disk has had a write to do and has finished none; 0 without a pending one.

        A write's own age would say less: behind others in the queue it grows old on a disk that is only slow.
        """
        return now - max(self._pending[0].since, self._finished_at) if self._pending else 0
