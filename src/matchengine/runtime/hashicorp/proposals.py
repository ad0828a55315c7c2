"""Commands under way, and the answers to them.

Rules of this file: an answer stays here until the other half says at which index its command ended up, and never
travels.  Outcomes come in the order of indexes, and answers are kept only while a command of ours is under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from matchengine.answers import Answer
from matchengine.errors import BusyError, EngineError, MatchEngineError, RefusedError
from matchengine.node.engine import Done, Outcome
from matchengine.raft.proposals import Reason
from matchengine.raft.types import MAX_ENTRY_BYTES, Entry, EntryType, Index, Term

#: What one node may have under way, as with the engine of our own.
_MOST: Final = 64 * 1024
_MOST_BYTES: Final = 64 * 1024 * 1024


class _Proposal(msgspec.Struct, frozen=True):
    """A command under way, first proposed when ``term`` was known."""

    done: Done
    size: int
    term: Term


class Proposals:
    """By the number under which the other half knows each."""

    def __init__(self) -> None:
        self._under_way: dict[int, _Proposal] = {}
        self._bytes = 0
        self._answers: deque[tuple[Index, Answer]] = deque()

    def __contains__(self, number: int) -> bool:
        return number in self._under_way

    def refusal(self, size: int) -> MatchEngineError | None:
        """Why a command of ``size`` bytes is not taken, or None."""
        if size > MAX_ENTRY_BYTES:
            return RefusedError(f"{Reason.TOO_LARGE.value}: {size} bytes, limit {MAX_ENTRY_BYTES}")
        if len(self._under_way) >= _MOST or self._bytes + size > _MOST_BYTES:
            return BusyError(Reason.BUSY.value)
        return None

    def begin(self, number: int, size: int, term: Term, done: Done) -> None:
        """One more is under way."""
        self._under_way[number] = _Proposal(done, size, term)
        self._bytes += size

    def keep(self, entries: tuple[Entry, ...], answers: Iterable[Answer]) -> None:
        """Keep answers that a command of ours may wait for: not those to entries of older leaderships."""
        if not self._under_way:
            return
        term = next(iter(self._under_way.values())).term
        for entry, answer in zip(entries, answers, strict=True):
            if entry.term >= term and entry.type is EntryType.COMMAND:
                self._answers.append((entry.index, answer))

    def settle(self, number: int, index: Index, error: MatchEngineError | None) -> None:
        """The command with this number was committed and applied at ``index``, or failed with ``error``.

        Raises EngineError when nothing was applied at ``index``.
        """
        # First: where it is missing, all that wait end together.
        answer = b"" if error is not None else self._answer(index)
        proposal = self._under_way.pop(number)
        self._bytes -= proposal.size
        proposal.done(None if error is not None else Outcome(index, answer), error)
        if not self._under_way:
            self._answers.clear()

    def _answer(self, index: Index) -> Answer:
        answers = self._answers
        while answers and answers[0][0] < index:  # of others
            answers.popleft()
        if not answers or answers[0][0] != index:
            raise EngineError(f"bridge: entry {index} was committed, but not applied here")
        return answers.popleft()[1]

    def give_up(self, error: Exception) -> None:
        """All of them end with ``error``."""
        given_up, self._under_way = self._under_way, {}
        for proposal in given_up.values():
            proposal.done(None, error)
