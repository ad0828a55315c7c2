"""The rules of library level 1: the leader gives ids, names and answers are bounded, and expiry trusts no stamps.

A session ends for others' sake only if it holds more than its allowance, and it is known afterwards which one ended and
why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from operator import itemgetter

import msgspec

from matchengine.answers import Answer
from matchengine.sessions.envelopes import LastEntry, SessionStatus, answered_at
from matchengine.sessions.table import Session, SessionLimits, SessionTable


class EndReason(IntEnum):
    """Why a session ended without its client; the numbers are in snapshots."""

    EVICTED = 1
    EXPIRED = 2
    ENDED_BY_OPERATOR = 3


_STATUS = {
    EndReason.EVICTED: SessionStatus.EVICTED,
    EndReason.EXPIRED: SessionStatus.EXPIRED,
    EndReason.ENDED_BY_OPERATOR: SessionStatus.ENDED_BY_OPERATOR,
}


class Ending(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A session that ended without its client, by the entry at ``index``; ``answer_bytes`` is what it held then."""

    id: int
    number: int
    name: str
    reason: EndReason
    index: int
    answer_bytes: int


class BoundedTable(SessionTable):
    """The table from library level 1 on."""

    def __init__(self, limits: SessionLimits) -> None:
        super().__init__(limits)
        #: How many sessions there are of each name.
        self.names: dict[str, int] = {}
        #: Of the sessions that ended last, by id, in the order of their ends.
        self.endings: dict[int, Ending] = {}

    def adopt(self, table: SessionTable, index: int) -> None:
        """Take over the sessions of level 0; the entry at ``index`` counts as the last one of each."""
        self.now = table.now
        self.answer_bytes = table.answer_bytes
        for session_id, session in table.sessions.items():
            session.last_entry = index
            self.add(session_id, session)

    def add(self, session_id: int, session: Session) -> None:
        """Put a session into the table, whose answers are counted already."""
        self.sessions[session_id] = session
        self.names[session.name] = self.names.get(session.name, 0) + 1

    # --- reading ---------------------------------------------------------------------------

    def missing(self, session_id: int) -> SessionStatus:
        """What to say of a session that is not open: why it ended, if that is known."""
        ending = self.endings.get(session_id)
        return SessionStatus.UNKNOWN_SESSION if ending is None else _STATUS[ending.reason]

    def room(self, name: str) -> SessionStatus:
        """OK if there is room for one more session of this name, else why not."""
        if self.names.get(name, 0) >= self.limits.sessions_per_name:
            return SessionStatus.TOO_MANY_OF_NAME
        return super().room(name)

    def is_full(self, session: Session) -> bool:
        """Whether the session may not execute a command until it has acknowledged: nothing that others hold matters."""
        return self.is_full_with(len(session.answers), session.answer_bytes)

    def last_entries(self) -> Iterator[LastEntry]:
        """Every session with its last entry."""
        return (LastEntry(session_id, s.last_entry) for session_id, s in self.sessions.items())

    # --- changing --------------------------------------------------------------------------

    def open(self, session_id: int, name: str, index: int) -> tuple[SessionStatus, int]:
        """One more session, with this id."""
        if session_id == 0 or session_id in self.sessions or session_id in self.endings:
            return SessionStatus.ID_TAKEN, 0
        status = self.room(name)
        if status is not SessionStatus.OK:
            return status, 0
        self.add(session_id, Session(name, index, self.now))
        return status, session_id

    def close(self, session_id: int) -> SessionStatus:
        """Forget the session and its answers."""
        session = self.sessions.get(session_id)
        if session is not None:
            left = self.names.pop(session.name) - 1
            if left:
                self.names[session.name] = left
        return super().close(session_id)

    def expire(self, idle_ns: int) -> int:
        """Nothing: this level does not trust the stamps of entries."""
        del idle_ns
        return 0

    def expire_sessions(self, idle: Iterable[LastEntry], index: int) -> int:
        """Close those of ``idle`` whose last entry is still that one; returns how many there were."""
        ended = 0
        for each in idle:
            session = self.sessions.get(each.session_id)
            if session is not None and session.last_entry == each.entry:
                self._end(each.session_id, session, EndReason.EXPIRED, index)
                ended += 1
        return ended

    def end_number(self, number: int, index: int) -> int:
        """Close the session that the entry ``number`` opened; returns how many there were."""
        return self._end_all([(i, s) for i, s in self.sessions.items() if s.number == number], index)

    def end_named(self, name: str, index: int) -> int:
        """Close all sessions of this name; returns how many there were."""
        return self._end_all([(i, s) for i, s in self.sessions.items() if s.name == name], index)

    def keep(self, session: Session, answer: Answer) -> None:
        """The session's next command was executed; others make room for the answer, if that is needed."""
        super().keep(session, answer)
        if self.answer_bytes > self.limits.answer_bytes:
            self._make_room(session)

    def _make_room(self, executing: Session) -> None:
        """Close sessions that hold more than their allowance, the one that waits for its client longest first.

        The one that has just executed stays, or its client would never see the answer.
        """
        allowance = self.limits.allowance
        holders = [
            (answered_at(next(iter(s.answers.values()))), session_id)
            for session_id, s in self.sessions.items()
            if s.answer_bytes > allowance and s is not executing
        ]
        for _, session_id in sorted(holders, key=itemgetter(0)):
            if self.answer_bytes <= self.limits.answer_bytes:
                return
            self._end(session_id, self.sessions[session_id], EndReason.EVICTED, executing.last_entry)

    def _end_all(self, sessions: list[tuple[int, Session]], index: int) -> int:
        for session_id, session in sessions:
            self._end(session_id, session, EndReason.ENDED_BY_OPERATOR, index)
        return len(sessions)

    def _end(self, session_id: int, session: Session, reason: EndReason, index: int) -> None:
        self.note(Ending(session_id, session.number, session.name, reason, index, session.answer_bytes))
        self.close(session_id)

    def note(self, ending: Ending) -> None:
        """Remember why a session ended, and forget the oldest if there are too many."""
        self.endings[ending.id] = ending
        if len(self.endings) > self.limits.endings:
            del self.endings[next(iter(self.endings))]
