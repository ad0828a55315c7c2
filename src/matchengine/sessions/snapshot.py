"""The bytes of a session machine's snapshot: the table, then the inner machine's chunks, in frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from struct import Struct
from typing import Final

import msgspec

from matchengine.answers import CHUNK_BYTES, Answer, chunks_of, pieces
from matchengine.levels import Levels
from matchengine.sessions.envelopes import LEVELS
from matchengine.sessions.table import LAST_STAMP, Session, SessionLimits, SessionTable

_FRAME: Final = Struct("<BI")
_FRAME_SESSION: Final = 1
_FRAME_ANSWER: Final = 2
_FRAME_INNER: Final = 3
_FRAME_END: Final = 4
_MAX_FRAME: Final = 64 * 1024 * 1024
#: At level 0 a snapshot has the form that programs before feature levels read and write.
_MAGIC: Final = b"MESS\x01"
_LEVELED_MAGIC: Final = b"MESS\x02"
_U64: Final = Struct("<Q")


class _SessionRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A session in a snapshot; its answers follow in frames of their own."""

    id: int
    name: str
    last: int
    acknowledged: int
    last_active: int


def snapshot_chunks(table: SessionTable, levels: Levels, inner: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks of a snapshot of ``table``, frozen now, and of the inner machine's chunks."""
    return _frames(_head(table.now, levels), list(_frozen_sessions(table)), inner)


@contextmanager
def read_snapshot(
    chunks: Iterable[bytes], limits: SessionLimits
) -> Generator[tuple[SessionTable, Levels, Iterator[bytes]]]:
    """The table, the levels and the inner machine's chunks, to be read meanwhile; ValueError for other bytes."""
    reader = _Reader(chunks)
    now, levels = _read_head(reader)
    table = SessionTable(limits)
    table.now = now
    table.sessions, first_inner = _read_sessions(reader)
    table.answer_bytes = sum(session.answer_bytes for session in table.sessions.values())
    inner = _inner_chunks(reader, first_inner)
    yield table, levels, inner
    deque(inner, maxlen=0)  # what the machine inside did not ask for must be whole as well
    reader.require_end()


def _frozen_sessions(table: SessionTable) -> Iterator[tuple[_SessionRecord, tuple[tuple[int, Answer], ...]]]:
    for session_id, s in table.sessions.items():
        record = _SessionRecord(session_id, s.name, s.last, s.acknowledged, s.last_active)
        yield record, tuple(s.answers.items())


def _frame(kind: int, body: bytes) -> bytes:
    return _FRAME.pack(kind, len(body)) + body


def _head(now: int, levels: Levels) -> bytes:
    if levels == Levels():
        return _MAGIC + _U64.pack(now)
    return _LEVELED_MAGIC + _U64.pack(now) + LEVELS.pack(levels.library, levels.machine)


def _read_head(reader: _Reader) -> tuple[int, Levels]:
    """Time and levels; raises ValueError for what is neither form of a snapshot."""
    magic = reader.take(len(_MAGIC))
    if magic not in (_MAGIC, _LEVELED_MAGIC):
        raise ValueError("snapshot: not one of a session machine, or of a newer version")
    (now,) = _U64.unpack(reader.take(_U64.size))
    if magic == _MAGIC:
        return now, Levels()
    levels = Levels(*LEVELS.unpack(reader.take(LEVELS.size)))
    if levels == Levels():
        raise ValueError("snapshot: feature level 0.0 has the older form")
    return now, levels


def _frames(
    head: bytes, sessions: list[tuple[_SessionRecord, tuple[tuple[int, Answer], ...]]], inner: Iterator[bytes]
) -> Iterator[bytes]:
    yield head
    for record, answers in sessions:
        yield _frame(_FRAME_SESSION, msgspec.msgpack.encode(record))
        for sequence, answer in answers:
            for piece in pieces(answer, CHUNK_BYTES):
                yield _frame(_FRAME_ANSWER, _U64.pack(sequence) + piece)
    for chunk in inner:
        for piece in pieces(chunk, CHUNK_BYTES):
            yield _frame(_FRAME_INNER, piece)
    yield _frame(_FRAME_END, b"")


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


def _read_sessions(reader: _Reader) -> tuple[dict[int, Session], tuple[int, bytes]]:
    """All sessions, and the first frame that is neither a session nor an answer."""
    sessions: dict[int, Session] = {}
    session: Session | None = None
    while True:
        kind, body = reader.frame()
        if kind == _FRAME_SESSION:
            session = _session_of(body, sessions)
        elif kind == _FRAME_ANSWER and session is not None:
            _read_piece(body, session)
        else:
            _require_answers(sessions)
            return sessions, (kind, body)


def _read_piece(body: bytes, session: Session) -> None:
    if len(body) < _U64.size:
        raise ValueError(f"snapshot: an answer of {len(body)} bytes has no sequence")
    (sequence,) = _U64.unpack_from(body)
    piece, before = body[_U64.size :], session.answers.get(sequence)
    session.answers[sequence] = piece if before is None else (*chunks_of(before), piece)
    session.answer_bytes += len(body) - _U64.size


def _require_answers(sessions: dict[int, Session]) -> None:
    for session_id, session in sessions.items():
        first, end = session.acknowledged + 1, session.last + 1
        if len(session.answers) != end - first or list(session.answers) != list(range(first, end)):
            raise ValueError(f"snapshot: session {session_id} does not hold the answers {first} to {end - 1}")


def _session_of(body: bytes, sessions: dict[int, Session]) -> Session:
    try:
        record = msgspec.msgpack.decode(body, type=_SessionRecord)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"snapshot: a session record cannot be read: {error}") from error
    if record.id in sessions:
        raise ValueError(f"snapshot: session {record.id} appears twice")
    numbers = (record.id, record.last, record.acknowledged, record.last_active)
    if not (min(numbers) >= 0 and max(numbers) <= LAST_STAMP and record.acknowledged <= record.last):
        raise ValueError(f"snapshot: session {record.id} has a number out of bounds")
    session = Session(record.name, record.last_active)
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
