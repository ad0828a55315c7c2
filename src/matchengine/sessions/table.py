"""The table of open sessions and the rules by which it changes; there are no bytes of entries here."""

from __future__ import annotations

from typing import Final

import msgspec

from matchengine.answers import Answer, size_of
from matchengine.sessions.envelopes import SessionStatus

#: The greatest time that a snapshot can hold; a leader's clock may say anything.
LAST_STAMP: Final = 2**63 - 1


class SessionLimits(msgspec.Struct, frozen=True):
    """Bounds on the session table.  All replicas must run with the same.

    ``answer_bytes`` bounds what all sessions hold together.  Beyond it a session may hold one answer at a time, so that
    clients who acknowledge go on, however much others leave unacknowledged.
    """

    sessions: int = 4096
    answers_per_session: int = 1024
    answer_bytes_per_session: int = 32 * 1024 * 1024
    answer_bytes: int = 128 * 1024 * 1024


class Session:
    """One client's standing.  ``answers`` maps sequence to the whole answer, in rising order."""

    __slots__ = ("acknowledged", "answer_bytes", "answers", "last", "last_active", "name")

    def __init__(self, name: str, now: int) -> None:
        self.name = name
        self.last = 0
        self.acknowledged = 0
        self.last_active = now
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


class SessionTable:
    """All open sessions.  ``now`` is the greatest stamp seen in the log, in nanoseconds."""

    def __init__(self, limits: SessionLimits) -> None:
        self.limits = limits
        self.now = 0
        self.sessions: dict[int, Session] = {}
        #: What all sessions hold together.
        self.answer_bytes = 0

    def has_idle(self, idle_ns: int, now_ns: int) -> bool:
        """Whether a session's last entry is older than ``idle_ns`` at ``now_ns``."""
        return any(now_ns - s.last_active > idle_ns for s in self.sessions.values())

    def open(self, session_id: int, name: str) -> SessionStatus:
        """One more session."""
        if len(self.sessions) >= self.limits.sessions:
            return SessionStatus.TOO_MANY_SESSIONS
        self.sessions[session_id] = Session(name, self.now)
        return SessionStatus.OK

    def keep_alive(self, session_id: int) -> SessionStatus:
        """The session's client is alive."""
        session = self.sessions.get(session_id)
        if session is None:
            return SessionStatus.UNKNOWN_SESSION
        session.last_active = self.now
        return SessionStatus.OK

    def close(self, session_id: int) -> SessionStatus:
        """Forget the session and its answers."""
        session = self.sessions.pop(session_id, None)
        if session is None:
            return SessionStatus.UNKNOWN_SESSION
        self.answer_bytes -= session.answer_bytes
        return SessionStatus.OK

    def expire(self, idle_ns: int) -> int:
        """Close every session idle for longer than ``idle_ns`` of log time; returns how many there were."""
        idle = [i for i, s in self.sessions.items() if self.now - s.last_active > idle_ns]
        for session_id in idle:
            self.close(session_id)
        return len(idle)

    def admit(self, session: Session, sequence: int, acknowledged: int) -> SessionStatus | Answer:
        """What to answer to a command: OK when it is to be executed now, the answer it had, or a refusal."""
        session.last_active = self.now
        self.answer_bytes -= session.acknowledge(acknowledged)
        if sequence <= session.acknowledged:
            return SessionStatus.ALREADY_ACKNOWLEDGED
        if sequence <= session.last:
            return session.answers[sequence]
        if sequence != session.last + 1:
            return SessionStatus.SEQUENCE_GAP
        return SessionStatus.SESSION_FULL if self._is_full(session) else SessionStatus.OK

    def keep(self, session: Session, answer: Answer) -> None:
        """The session's next command was executed, and this is its answer."""
        session.last += 1
        session.answers[session.last] = answer
        size = size_of(answer)
        session.answer_bytes += size
        self.answer_bytes += size

    def _is_full(self, session: Session) -> bool:
        limits = self.limits
        return bool(
            len(session.answers) >= limits.answers_per_session
            or session.answer_bytes >= limits.answer_bytes_per_session
            or (session.answers and self.answer_bytes >= limits.answer_bytes)
        )
