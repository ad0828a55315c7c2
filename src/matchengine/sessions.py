"""Client sessions around any state machine: every command takes effect exactly once.

The scheme is section 6.3 of Ongaro's thesis.  A client opens a session through the log and numbers
its commands from 1 without gaps.  The machine keeps the answer to each command until the client
acknowledges it, so a retry, through whatever leader, gets the first answer again.  An unknown or
expired session is refused, never executed.  Time is the greatest stamp seen in the log, so all
replicas expire the same sessions at the same entry.

Envelope of an entry (little-endian)::

    u8 version (1) | u8 kind | u16 reserved (0) | u64 session | u64 sequence | u64 acknowledged | payload

Answer::

    u8 version (1) | u8 status | u16 reserved (0) | u64 value | payload

``value`` is the new session's id after OPEN, the number of expired sessions after EXPIRE, and
after COMMAND the index of the entry that executed it.

RAISE_LEVELS is the one envelope of version 2, so that a program from before feature levels stops at it instead of
taking it for a malformed one.  Its ``sequence`` is the library's level and its ``acknowledged`` the machine's; both are
raised, never lowered, and the answer's payload holds both as they stand then (see :data:`LEVELS`).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from struct import Struct
from typing import Final

import msgspec

from matchengine.levels import MAX_LEVEL, Levels, newest_levels
from matchengine.raft.types import Entry, EntryType
from matchengine.state_machine import Hashable, NewerVersionError, StateMachine

VERSION: Final = 1
#: The envelope version of RAISE_LEVELS.
LEVELS_VERSION: Final = 2
ENVELOPE: Final = Struct("<BBHQQQ")
ANSWER: Final = Struct("<BBHQ")
#: The two levels in the answer to RAISE_LEVELS and in a snapshot: library, machine.
LEVELS: Final = Struct("<HH")
MAX_CLIENT_NAME_BYTES: Final = 64

_FRAME: Final = Struct("<BI")
_FRAME_SESSION: Final = 1
_FRAME_ANSWER: Final = 2
_FRAME_INNER: Final = 3
_FRAME_END: Final = 4
_MAX_FRAME: Final = 64 * 1024 * 1024
#: What is larger, as the answer to a sweep through a whole book, is cut into several frames.
_PIECE: Final = 1024 * 1024
#: At level 0 a snapshot has the form that programs before feature levels read and write.
_SNAPSHOT_MAGIC: Final = b"MESS\x01"
_LEVELED_MAGIC: Final = b"MESS\x02"
#: The greatest time that the snapshot can hold; a leader's clock may say anything.
_LAST_STAMP: Final = 2**63 - 1


class EnvelopeKind(IntEnum):
    """What an entry asks of the session table."""

    OPEN = 1
    COMMAND = 2
    CLOSE = 3
    KEEP_ALIVE = 4
    EXPIRE = 5
    RAISE_LEVELS = 6


class SessionStatus(IntEnum):
    """The numbers are those of ``matchengine.v1.SessionStatus``."""

    OK = 1
    UNKNOWN_SESSION = 2
    SEQUENCE_GAP = 3
    ALREADY_ACKNOWLEDGED = 4
    SESSION_FULL = 5
    TOO_MANY_SESSIONS = 6
    MALFORMED = 7


class SessionLimits(msgspec.Struct, frozen=True):
    """Bounds on the session table.  All replicas must run with the same.

    ``answer_bytes`` bounds what all sessions hold together.  Beyond it a session may hold one answer at a time, so that
    clients who acknowledge go on, however much others leave unacknowledged.
    """

    sessions: int = 4096
    answers_per_session: int = 1024
    answer_bytes_per_session: int = 32 * 1024 * 1024
    answer_bytes: int = 128 * 1024 * 1024


class SessionAnswer(msgspec.Struct, frozen=True, gc=False):
    """An answer, taken apart; see the module's head for ``value``."""

    status: SessionStatus
    value: int
    payload: bytes


def open_envelope(client_name: str = "") -> bytes:
    """The entry that opens a session."""
    return ENVELOPE.pack(VERSION, EnvelopeKind.OPEN, 0, 0, 0, 0) + client_name.encode()


def command_envelope(session_id: int, sequence: int, acknowledged: int, payload: bytes) -> bytes:
    """The entry that carries one command of a session."""
    return ENVELOPE.pack(VERSION, EnvelopeKind.COMMAND, 0, session_id, sequence, acknowledged) + payload


def close_envelope(session_id: int) -> bytes:
    """The entry that ends a session and forgets its answers."""
    return ENVELOPE.pack(VERSION, EnvelopeKind.CLOSE, 0, session_id, 0, 0)


def keep_alive_envelope(session_id: int) -> bytes:
    """The entry that shows that a session's client is alive."""
    return ENVELOPE.pack(VERSION, EnvelopeKind.KEEP_ALIVE, 0, session_id, 0, 0)


def expire_envelope(idle_ns: int) -> bytes:
    """The entry that ends every session idle for longer than ``idle_ns`` of log time."""
    return ENVELOPE.pack(VERSION, EnvelopeKind.EXPIRE, 0, 0, idle_ns, 0)


def raise_levels_envelope(levels: Levels) -> bytes:
    """The entry that raises the cluster's feature levels; every member must be able to execute them."""
    return ENVELOPE.pack(LEVELS_VERSION, EnvelopeKind.RAISE_LEVELS, 0, 0, levels.library, levels.machine)


def decode_answer(answer: bytes) -> SessionAnswer:
    """Take an answer apart; raises ValueError for bytes that are none."""
    try:
        version, status, _, value = ANSWER.unpack_from(answer)
    except struct.error:
        raise ValueError(f"session answer: {len(answer)} bytes are fewer than {ANSWER.size}") from None
    if version != VERSION:
        raise ValueError(f"session answer: version {version} is not {VERSION}")
    return SessionAnswer(SessionStatus(status), value, answer[ANSWER.size :])


class _Session:
    """One client's standing.  ``answers`` maps sequence to the whole answer, in rising order."""

    __slots__ = ("acknowledged", "answer_bytes", "answers", "last", "last_active", "name")

    def __init__(self, name: str, now: int) -> None:
        self.name = name
        self.last = 0
        self.acknowledged = 0
        self.last_active = now
        self.answers: dict[int, bytes] = {}
        self.answer_bytes = 0

    def acknowledge(self, sequence: int) -> int:
        """Forget answers up to ``sequence``; returns the bytes freed."""
        freed = 0
        while self.acknowledged < min(sequence, self.last):
            self.acknowledged += 1
            freed += len(self.answers.pop(self.acknowledged))
        self.answer_bytes -= freed
        return freed


def _answer(status: SessionStatus, value: int = 0, payload: bytes = b"") -> bytes:
    return ANSWER.pack(VERSION, status, 0, value) + payload


class SessionMachine:
    """A state machine that gives the machine inside it exactly-once commands.

    The inner machine sees entries whose ``data`` is the command alone, and its snapshot bytes are
    kept as they are within the session machine's own.
    """

    def __init__(self, inner: StateMachine, limits: SessionLimits = SessionLimits()) -> None:  # noqa: B008 - immutable
        self.inner = inner
        self._limits = limits
        self._sessions: dict[int, _Session] = {}
        self._now = 0
        self._answer_bytes = 0
        #: The cluster's feature levels as of the last entry.
        self.levels = Levels()
        #: What this program can execute at most.
        self.newest_levels = newest_levels(inner)

    # --- reading ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._sessions)

    def has_idle_sessions(self, idle_ns: int, now_ns: int) -> bool:
        """Whether a session's last entry is older than ``idle_ns`` at ``now_ns``: worth an EXPIRE entry."""
        return any(now_ns - s.last_active > idle_ns for s in self._sessions.values())

    def state_hash(self) -> bytes:
        """The inner machine's digest alone: sessions do not enter it."""
        return self.inner.state_hash() if isinstance(self.inner, Hashable) else b""

    # --- StateMachine ----------------------------------------------------------------------

    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        """One answer per entry, as described at the head of this module."""
        return [self._apply(entry) for entry in entries]

    def snapshot(self) -> Iterator[bytes]:
        """The session table, then the inner machine's chunks, in frames."""
        head = _snapshot_head(self._now, self.levels)
        return _snapshot_frames(head, list(self._frozen_sessions()), self.inner.snapshot())

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace table and inner state; raises ValueError for bytes that are no session snapshot."""
        reader = _Reader(chunks)
        now, levels = _read_head(reader)
        self._require_executable(levels, "snapshot")
        sessions, first_inner = _read_sessions(reader)
        inner = _inner_chunks(reader, first_inner)
        self.inner.restore(inner)
        deque(inner, maxlen=0)  # what the machine inside did not ask for must be whole as well
        reader.require_end()
        self._now = now
        self.levels = levels
        self._sessions = sessions
        self._answer_bytes = sum(s.answer_bytes for s in sessions.values())

    # --- one entry -------------------------------------------------------------------------

    def _apply(self, entry: Entry) -> bytes:
        data = entry.data
        self._now = max(self._now, min(entry.appended_at, _LAST_STAMP))
        if len(data) < ENVELOPE.size:
            return _answer(SessionStatus.MALFORMED)
        version, kind, reserved, session_id, sequence, acknowledged = ENVELOPE.unpack_from(data)
        if version > LEVELS_VERSION:
            raise NewerVersionError(
                f"entry {entry.index}: session envelope version {version} is above {LEVELS_VERSION}"
            )
        if version == LEVELS_VERSION:
            return self._raise_levels(entry.index, kind, sequence, acknowledged)
        if version == 0 or reserved:
            return _answer(SessionStatus.MALFORMED)
        if kind == EnvelopeKind.COMMAND:
            return self._command(entry, session_id, sequence, acknowledged)
        if kind == EnvelopeKind.OPEN:
            return self._open(entry.index, data[ENVELOPE.size :])
        if kind == EnvelopeKind.KEEP_ALIVE:
            return self._keep_alive(session_id)
        if kind == EnvelopeKind.CLOSE:
            return self._close(session_id)
        if kind == EnvelopeKind.EXPIRE:
            return self._expire(sequence)
        return _answer(SessionStatus.MALFORMED)

    def _raise_levels(self, index: int, kind: int, library: int, machine: int) -> bytes:
        if kind != EnvelopeKind.RAISE_LEVELS or max(library, machine) > MAX_LEVEL:
            return _answer(SessionStatus.MALFORMED)
        asked = Levels(library, machine)
        self._require_executable(asked, f"entry {index}")
        self.levels = Levels(max(library, self.levels.library), max(machine, self.levels.machine))
        return _answer(SessionStatus.OK, index, LEVELS.pack(self.levels.library, self.levels.machine))

    def _require_executable(self, levels: Levels, what: str) -> None:
        if not self.newest_levels.covers(levels):
            raise NewerVersionError(
                f"{what}: the cluster's feature level is {levels}, this program executes up to {self.newest_levels}; "
                "start this node with the newer program"
            )

    def _open(self, index: int, raw_name: bytes) -> bytes:
        try:
            name = raw_name.decode()
        except UnicodeDecodeError:
            return _answer(SessionStatus.MALFORMED)
        if len(raw_name) > MAX_CLIENT_NAME_BYTES:
            return _answer(SessionStatus.MALFORMED)
        if len(self._sessions) >= self._limits.sessions:
            return _answer(SessionStatus.TOO_MANY_SESSIONS)
        self._sessions[index] = _Session(name, self._now)
        return _answer(SessionStatus.OK, index)

    def _keep_alive(self, session_id: int) -> bytes:
        session = self._sessions.get(session_id)
        if session is None:
            return _answer(SessionStatus.UNKNOWN_SESSION)
        session.last_active = self._now
        return _answer(SessionStatus.OK)

    def _close(self, session_id: int) -> bytes:
        session = self._sessions.pop(session_id, None)
        if session is None:
            return _answer(SessionStatus.UNKNOWN_SESSION)
        self._answer_bytes -= session.answer_bytes
        return _answer(SessionStatus.OK)

    def _expire(self, idle_ns: int) -> bytes:
        idle = [i for i, s in self._sessions.items() if self._now - s.last_active > idle_ns]
        for session_id in idle:
            self._close(session_id)
        return _answer(SessionStatus.OK, len(idle))

    def _command(self, entry: Entry, session_id: int, sequence: int, acknowledged: int) -> bytes:
        session = self._sessions.get(session_id)
        if session is None:
            return _answer(SessionStatus.UNKNOWN_SESSION)
        session.last_active = self._now
        self._answer_bytes -= session.acknowledge(acknowledged)
        if sequence <= session.acknowledged:
            return _answer(SessionStatus.ALREADY_ACKNOWLEDGED)
        if sequence <= session.last:
            return session.answers[sequence]
        if sequence != session.last + 1:
            return _answer(SessionStatus.SEQUENCE_GAP)
        if self._is_full(session):
            return _answer(SessionStatus.SESSION_FULL)
        return self._execute(entry, session)

    def _is_full(self, session: _Session) -> bool:
        limits = self._limits
        return bool(
            len(session.answers) >= limits.answers_per_session
            or session.answer_bytes >= limits.answer_bytes_per_session
            or (session.answers and self._answer_bytes >= limits.answer_bytes)
        )

    def _execute(self, entry: Entry, session: _Session) -> bytes:
        command = Entry(
            entry.index,
            entry.term,
            EntryType.COMMAND,
            entry.data[ENVELOPE.size :],
            entry.extensions,
            entry.appended_at,
            self.levels.machine,
        )
        (result,) = self.inner.apply((command,))
        answer = _answer(SessionStatus.OK, entry.index, result)
        session.last += 1
        session.answers[session.last] = answer
        session.answer_bytes += len(answer)
        self._answer_bytes += len(answer)
        return answer

    def _frozen_sessions(self) -> Iterator[tuple[_SessionRecord, tuple[tuple[int, bytes], ...]]]:
        for session_id, s in self._sessions.items():
            record = _SessionRecord(session_id, s.name, s.last, s.acknowledged, s.last_active)
            yield record, tuple(s.answers.items())


class _SessionRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A session in a snapshot; its answers follow in frames of their own."""

    id: int
    name: str
    last: int
    acknowledged: int
    last_active: int


_U64: Final = Struct("<Q")


def _frame(kind: int, body: bytes) -> bytes:
    return _FRAME.pack(kind, len(body)) + body


def _snapshot_head(now: int, levels: Levels) -> bytes:
    if levels == Levels():
        return _SNAPSHOT_MAGIC + _U64.pack(now)
    return _LEVELED_MAGIC + _U64.pack(now) + LEVELS.pack(levels.library, levels.machine)


def _read_head(reader: _Reader) -> tuple[int, Levels]:
    """Time and levels; raises ValueError for what is neither form of a snapshot."""
    magic = reader.take(len(_SNAPSHOT_MAGIC))
    if magic not in (_SNAPSHOT_MAGIC, _LEVELED_MAGIC):
        raise ValueError("snapshot: not one of a session machine, or of a newer version")
    (now,) = _U64.unpack(reader.take(_U64.size))
    if magic == _SNAPSHOT_MAGIC:
        return now, Levels()
    levels = Levels(*LEVELS.unpack(reader.take(LEVELS.size)))
    if levels == Levels():
        raise ValueError("snapshot: feature level 0.0 has the older form")
    return now, levels


def _snapshot_frames(
    head: bytes, sessions: list[tuple[_SessionRecord, tuple[tuple[int, bytes], ...]]], inner: Iterator[bytes]
) -> Iterator[bytes]:
    yield head
    for record, answers in sessions:
        yield _frame(_FRAME_SESSION, msgspec.msgpack.encode(record))
        for sequence, answer in answers:
            for piece in _pieces(answer):
                yield _frame(_FRAME_ANSWER, _U64.pack(sequence) + piece)
    for chunk in inner:
        for piece in _pieces(chunk):
            yield _frame(_FRAME_INNER, piece)
    yield _frame(_FRAME_END, b"")


def _pieces(data: bytes) -> Iterator[bytes]:
    return (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))


class _Reader:
    """Takes exact lengths from chunks with arbitrary bounds."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = b""
        self._offset = 0

    def take(self, length: int) -> bytes:
        parts = []
        while length > len(self._buffer) - self._offset:
            part = self._buffer[self._offset :]
            parts.append(part)
            length -= len(part)
            self._buffer, self._offset = self._next_chunk(), 0
        parts.append(self._buffer[self._offset : self._offset + length])
        self._offset += length
        return b"".join(parts)

    def frame(self) -> tuple[int, bytes]:
        kind, length = _FRAME.unpack(self.take(_FRAME.size))
        if length > _MAX_FRAME:
            raise ValueError(f"snapshot: a frame of {length} bytes is above the limit of {_MAX_FRAME}")
        return kind, self.take(length)

    def require_end(self) -> None:
        if self._offset < len(self._buffer) or any(self._chunks):
            raise ValueError("snapshot: goes on behind its end")

    def _next_chunk(self) -> bytes:
        for chunk in self._chunks:
            if chunk:
                return chunk
        raise ValueError("snapshot: ends in the middle of a frame")


def _read_sessions(reader: _Reader) -> tuple[dict[int, _Session], tuple[int, bytes]]:
    """All sessions, and the first frame that is neither a session nor an answer."""
    sessions: dict[int, _Session] = {}
    session: _Session | None = None
    while True:
        kind, body = reader.frame()
        if kind == _FRAME_SESSION:
            session = _session_of(body, sessions)
        elif kind == _FRAME_ANSWER and session is not None:
            _read_piece(body, session)
        else:
            _require_answers(sessions)
            return sessions, (kind, body)


def _read_piece(body: bytes, session: _Session) -> None:
    if len(body) < _U64.size:
        raise ValueError(f"snapshot: an answer of {len(body)} bytes has no sequence")
    (sequence,) = _U64.unpack_from(body)
    session.answers[sequence] = session.answers.get(sequence, b"") + body[_U64.size :]
    session.answer_bytes += len(body) - _U64.size


def _require_answers(sessions: dict[int, _Session]) -> None:
    for session_id, session in sessions.items():
        first, end = session.acknowledged + 1, session.last + 1
        if len(session.answers) != end - first or list(session.answers) != list(range(first, end)):
            raise ValueError(f"snapshot: session {session_id} does not hold the answers {first} to {end - 1}")


def _session_of(body: bytes, sessions: dict[int, _Session]) -> _Session:
    try:
        record = msgspec.msgpack.decode(body, type=_SessionRecord)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"snapshot: a session record cannot be read: {error}") from error
    if record.id in sessions:
        raise ValueError(f"snapshot: session {record.id} appears twice")
    numbers = (record.id, record.last, record.acknowledged, record.last_active)
    if not (min(numbers) >= 0 and max(numbers) <= _LAST_STAMP and record.acknowledged <= record.last):
        raise ValueError(f"snapshot: session {record.id} has a number out of bounds")
    session = _Session(record.name, record.last_active)
    session.last = record.last
    session.acknowledged = record.acknowledged
    sessions[record.id] = session
    return session


def _inner_chunks(reader: _Reader, first: tuple[int, bytes]) -> Iterator[bytes]:
    kind, body = first
    while kind == _FRAME_INNER:
        yield body
        kind, body = reader.frame()
    if kind != _FRAME_END:
        raise ValueError(f"snapshot: unknown frame kind {kind}")
