"""Linearizable reads without the log (ReadIndex, thesis section 6.4).

Rules of this file.  A read is bound to a round that begins after the read arrived; a round is
confirmed by a majority of voters that answered, in the current term, requests made after the
round began.  Many reads share a round; a lost heartbeat is made good by any later request, since
each carries the newest round.
"""

from __future__ import annotations

from collections import deque

import msgspec

from matchengine.raft.types import Index

_MAX_ROUNDS = 2


class _Round(msgspec.Struct, frozen=True, gc=False):
    number: int
    index: Index
    keys: tuple[int, ...]


class ReadRounds:
    """The reads of one leader.  ``newest`` is the number of the round that began last."""

    __slots__ = ("_rounds", "_waiting", "newest")

    def __init__(self) -> None:
        self.newest = 0
        self._waiting: list[int] = []
        self._rounds: deque[_Round] = deque()

    def add(self, key: int) -> None:
        """A read arrived."""
        self._waiting.append(key)

    @property
    def can_begin(self) -> bool:
        """Whether reads wait for a round and one more may begin."""
        return bool(self._waiting) and len(self._rounds) < _MAX_ROUNDS

    @property
    def are_unconfirmed(self) -> bool:
        """Whether a round is under way."""
        return bool(self._rounds)

    def begin(self, commit: Index) -> None:
        """Begin a round for all waiting reads; they may be served once ``commit`` was applied."""
        self.newest += 1
        self._rounds.append(_Round(self.newest, commit, tuple(self._waiting)))
        self._waiting.clear()

    def confirm(self, number: int) -> list[tuple[int, Index]]:
        """Rounds up to ``number`` are confirmed; returns their reads as (key, index)."""
        ready: list[tuple[int, Index]] = []
        while self._rounds and self._rounds[0].number <= number:
            done = self._rounds.popleft()
            ready += [(key, done.index) for key in done.keys]
        return ready

    def give_up(self) -> list[int]:
        """Leadership is lost; returns the keys of all reads that were not confirmed."""
        return [key for done in self._rounds for key in done.keys] + self._waiting
