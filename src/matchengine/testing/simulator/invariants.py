"""What a simulation has seen, and the error that says that something in it must not be."""

from __future__ import annotations

from copy import copy
from typing import Final

from matchengine.raft.ready import Write
from matchengine.raft.types import Entry, HardState, Index, Restored, Role, ServerId, Term

#: Rules that belong to no checker: the run itself, or whoever takes part in it, sees them broken.
PROGRESS: Final = "progress"
AGREEMENT: Final = "agreement"
CLEAR_STOP: Final = "clear stop"
COMMITTED_IN_ORDER: Final = "committed in order"
STEPS_END: Final = "steps end"
IDLE_SESSIONS: Final = "idle sessions end"
MEMORY: Final = "bounded memory"
#: No rule that could be left out: whatever raised an error is at fault, and the run cannot go on.
UNEXPECTED: Final = "unexpected error"


class InvariantError(AssertionError):
    """The checker ``invariant`` has seen something that must not be."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant
        self.text = text

    def __reduce__(self) -> tuple[type[InvariantError], tuple[str, str]]:
        """Failures travel between the processes of a campaign."""
        return type(self), (self.invariant, self.text)


class View:
    """What the checkers saw of a process's core when they looked last."""

    __slots__ = ("commit", "last_index", "last_term", "role", "term")

    def __init__(self) -> None:
        self.role = Role.FOLLOWER
        self.term: Term = 0
        self.last_index: Index = 0
        self.last_term: Term = 0
        self.commit: Index = 0


class Claims:
    """What a server's disk has been said to hold: its storage reported these writes as durable.

    ``floor`` is the newest index of which a reset or compaction may have left only a snapshot.
    """

    def __init__(self, restored: Restored) -> None:
        self.hard_state = restored.hard_state
        snapshot = restored.snapshot
        self.floor: Index = restored.entries[0].index - 1 if restored.entries else snapshot.index if snapshot else 0
        self.terms: list[Term] = [entry.term for entry in restored.entries]
        self.pending: list[Write] = []

    @property
    def last_index(self) -> Index:
        """The newest entry."""
        return self.floor + len(self.terms)

    def holds(self, index: Index, term: Term) -> bool:
        """Whether the disk has the entry, or a snapshot that covers it."""
        if index <= self.floor:
            return True
        return index <= self.last_index and self.terms[index - self.floor - 1] == term

    def written(self, write: Write) -> None:
        """``write`` is durable."""
        self.pending.remove(write)
        if write.hard_state is not None:
            self.hard_state = write.hard_state
        if write.reset is not None:
            self.floor, self.terms = write.reset.index, []
        if write.truncate_from is not None:
            del self.terms[max(0, write.truncate_from - self.floor - 1) :]
        self.terms += [entry.term for entry in write.entries]
        if write.compact_to is not None and write.compact_to > self.floor:
            del self.terms[: write.compact_to - self.floor]
            self.floor = write.compact_to

    def after_crash(self) -> Claims:
        """What would still be claimed if the process ended now."""
        twin = copy(self)
        twin.terms, twin.pending = self.terms.copy(), self.pending.copy()
        twin.crash()
        return twin

    def crash(self) -> None:
        """Writes that were under way may have been done or not: what they take away is claimed no more."""
        for write in self.pending:
            if write.reset is not None:
                self.terms = []
            if write.truncate_from is not None:
                del self.terms[max(0, write.truncate_from - self.floor - 1) :]
        self.pending.clear()


class Seen:
    """What all checkers share: everything that was ever committed, and what every disk claims to hold."""

    def __init__(self) -> None:
        self.committed: list[Entry] = []
        #: In which term each entry of ``committed`` was first known as such.
        self.committed_in: list[Term] = []
        self.first_committed: Index = 1
        self.claims: dict[ServerId, Claims] = {}
        #: Durable votes: who got the vote of (term, voter), ever.
        self.votes: dict[tuple[Term, ServerId], set[ServerId]] = {}

    @property
    def last_committed(self) -> Index:
        """The newest index known to be committed."""
        return self.first_committed + len(self.committed) - 1

    def entry(self, index: Index) -> Entry:
        """The committed entry at ``index``."""
        return self.committed[index - self.first_committed]

    def vote(self, voter: ServerId, state: HardState) -> None:
        """A vote is durable."""
        if state.voted_for:
            self.votes.setdefault((state.term, voter), set()).add(state.voted_for)
