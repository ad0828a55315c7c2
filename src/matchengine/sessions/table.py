"""The table of open sessions and the rules of library level 0; there are no bytes of entries here."""

from __future__ import annotations

from typing import Final

import msgspec

from matchengine.answers import Answer, size_of
from matchengine.sessions.envelopes import SessionStatus

#: The greatest time that a snapshot can hold; a leader's clock may say anything.
LAST_STAMP: Final = 2**63 - 1


class SessionLimits(msgspec.Struct, frozen=True):
    """Bounds on the session table.  They are replicated behaviour: a level's own, :data:`LIMITS`, never change.

    ``answer_bytes`` bounds what all sessions hold together.  At library level 0 a session may hold one answer at a time
    beyond it.  From level 1 on sessions are closed that hold more than ``allowance``.  ``sessions_per_name`` and
    ``endings``, the sessions of which it is known why they ended, are of level 1.
    """

    sessions: int = 4096
    answers_per_session: int = 1024
    answer_bytes_per_session: int = 32 * 1024 * 1024
    answer_bytes: int = 128 * 1024 * 1024
    sessions_per_name: int = 1024
    endings: int = 4096

    @property
    def allowance(self) -> int:
        """The bytes that a session may hold without ever being closed to make room.

        If every session holds as much, and one of them as much as it may before it executes, that is ``answer_bytes``.
        """
        return max(0, self.answer_bytes - self.answer_bytes_per_session) // self.sessions


#: The limits of each library level.  At level 1 an answer to a sweep of 1,000,000 orders, 176 MB, has room beside
#: others of its kind.
LIMITS: Final = (SessionLimits(), SessionLimits(answer_bytes=512 * 1024 * 1024))


class Session:
    """One client's standing.  ``answers`` maps sequence to the whole answer, in rising order.

    ``number`` is the index of the entry that opened it.  ``last_active``, the log's time at its last entry, counts at
    library level 0 and ``last_entry``, the index of that entry, from level 1 on.
    """

    __slots__ = (
        "acknowledged",
        "answer_bytes",
        "answers",
        "last",
        "last_active",
        "last_entry",
        "name",
        "number",
    )

    def __init__(self, name: str, number: int, now: int) -> None:
        self.name = name
        self.number = number
        self.last = 0
        self.acknowledged = 0
        self.last_active = now
        self.last_entry = number
        self.answers: dict[int, Answer] = {}
        self.answer_bytes = 0

    def acknowledge(self, sequence: int) -> int:
        """Forget answers up to ``sequence``; returns the bytes freed."""
        freed = 0
        while self.acknowledged < min(sequence, self.last):
            self.acknowledged += 1
            freed += size_of(self.answers.pop(self.acknowledged))
        self.answer_bytes -= freed
        return freed

    def held_beyond(self, acknowledged: int) -> tuple[int, int]:
        """How many answers, and bytes, it would hold if everything up to ``acknowledged`` were acknowledged."""
        kept = [size_of(answer) for sequence, answer in self.answers.items() if sequence > acknowledged]
        return len(kept), sum(kept)


class SessionTable:
    """All open sessions.  ``now`` is the greatest stamp seen in the log, in nanoseconds."""

    def __init__(self, limits: SessionLimits) -> None:
        self.limits = limits
        self.now = 0
        self.sessions: dict[int, Session] = {}
        #: What all sessions hold together.
        self.answer_bytes = 0

    # --- reading ---------------------------------------------------------------------------

    def has_idle(self, idle_ns: int, now_ns: int) -> bool:
        """Whether a session's last entry is older than ``idle_ns`` at ``now_ns``."""
        return any(now_ns - s.last_active > idle_ns for s in self.sessions.values())

    def missing(self, session_id: int) -> SessionStatus:
        """What to say of a session that is not open."""
        del session_id  # this level does not know more than that
        return SessionStatus.UNKNOWN_SESSION

    def room(self, name: str) -> SessionStatus:
        """OK if there is room for one more session of this name, else why not."""
        del name  # this level counts all together
        full = len(self.sessions) >= self.limits.sessions
        return SessionStatus.TOO_MANY_SESSIONS if full else SessionStatus.OK

    def is_full(self, session: Session) -> bool:
        """Whether the session may not execute a command until it has acknowledged."""
        beyond_all = bool(session.answers) and self.answer_bytes >= self.limits.answer_bytes
        return beyond_all or self.is_full_with(len(session.answers), session.answer_bytes)

    def is_full_with(self, answers: int, answer_bytes: int) -> bool:
        """Whether a session that holds this much is full by itself, whatever others hold."""
        limits = self.limits
        return answers >= limits.answers_per_session or answer_bytes >= limits.answer_bytes_per_session

    # --- changing --------------------------------------------------------------------------

    def open(self, session_id: int, name: str, index: int) -> tuple[SessionStatus, int]:
        """One more session, whose id is the index of the entry that opens it."""
        del session_id
        status = self.room(name)
        if status is not SessionStatus.OK:
            return status, 0
        self.sessions[index] = Session(name, index, self.now)
        return status, index

    def keep_alive(self, session_id: int, index: int) -> SessionStatus:
        """The session's client is alive."""
        session = self.sessions.get(session_id)
        if session is None:
            return self.missing(session_id)
        session.last_active = self.now
        session.last_entry = index
        return SessionStatus.OK

    def close(self, session_id: int) -> SessionStatus:
        """Forget the session and its answers."""
        session = self.sessions.pop(session_id, None)
        if session is None:
            return self.missing(session_id)
        self.answer_bytes -= session.answer_bytes
        return SessionStatus.OK

    def expire(self, idle_ns: int) -> int:
        """Close every session idle for longer than ``idle_ns`` of log time; returns how many there were."""
        idle = [i for i, s in self.sessions.items() if self.now - s.last_active > idle_ns]
        for session_id in idle:
            self.close(session_id)
        return len(idle)

    def admit(self, session: Session, index: int, sequence: int, acknowledged: int) -> SessionStatus | Answer:
        """What to answer to the command at ``index``: OK to execute it now, the answer it had, or a refusal."""
        session.last_active = self.now
        session.last_entry = index
        self.answer_bytes -= session.acknowledge(acknowledged)
        if sequence <= session.acknowledged:
            return SessionStatus.ALREADY_ACKNOWLEDGED
        if sequence <= session.last:
            return session.answers[sequence]
        if sequence != session.last + 1:
            return SessionStatus.SEQUENCE_GAP
        return SessionStatus.SESSION_FULL if self.is_full(session) else SessionStatus.OK

    def keep(self, session: Session, answer: Answer) -> None:
        """The session's next command was executed, and this is its answer."""
        session.last += 1
        session.answers[session.last] = answer
        size = size_of(answer)
        session.answer_bytes += size
        self.answer_bytes += size
