"""The bytes of a session machine's snapshot: the table, then the inner machine's chunks, in frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from struct import Struct
from typing import Final, TypeAlias, TypeVar

import msgspec

from matchengine.answers import CHUNK_BYTES, Answer, chunks_of, pieces
from matchengine.levels import Levels
from matchengine.sessions.bounded import BoundedTable, Ending
from matchengine.sessions.envelopes import ANSWER, LEVELS, MAX_SESSION_ID
from matchengine.sessions.table import LAST_STAMP, Session, SessionTable

R = TypeVar("R")

_FRAME: Final = Struct("<BI")
_FRAME_SESSION: Final = 1
_FRAME_ANSWER: Final = 2
_FRAME_INNER: Final = 3
_FRAME_END: Final = 4
_FRAME_ENDING: Final = 5
_MAX_FRAME: Final = 64 * 1024 * 1024
#: At level 0 a snapshot has the form that programs before feature levels read and write.
_MAGIC: Final = b"MESS\x01"
_LEVELED_MAGIC: Final = b"MESS\x02"
_U64: Final = Struct("<Q")

_Held: TypeAlias = tuple[tuple[int, Answer], ...]


class _SessionRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A session of library level 0 in a snapshot; its answers follow in frames of their own."""

    id: int
    name: str
    last: int
    acknowledged: int
    last_active: int


class _BoundedRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A session of library level 1."""

    id: int
    name: str
    last: int
    acknowledged: int
    number: int
    last_entry: int


def snapshot_chunks(table: SessionTable, levels: Levels, inner: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks of a snapshot of ``table``, frozen now, and of the inner machine's chunks."""
    endings = list(table.endings.values()) if isinstance(table, BoundedTable) else []
    return _frames(_head(table.now, levels), endings, list(_frozen_sessions(table)), inner)


class SnapshotReader:
    """A snapshot of which the levels are known at once; raises ValueError for bytes that are none."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._reader = _Reader(chunks)
        self._now, self.levels = _read_head(self._reader)

    @contextmanager
    def read_into(self, table: SessionTable) -> Generator[Iterator[bytes]]:
        """Fill the new table of these levels; the inner machine's chunks are to be read meanwhile."""
        table.now = self._now
        inner = _inner_chunks(self._reader, _read_sessions(self._reader, table))
        yield inner
        deque(inner, maxlen=0)  # what the machine inside did not ask for must be whole as well
        self._reader.require_end()


def _frozen_sessions(table: SessionTable) -> Iterator[tuple[_SessionRecord | _BoundedRecord, _Held]]:
    bounded = isinstance(table, BoundedTable)
    for session_id, s in table.sessions.items():
        record: _SessionRecord | _BoundedRecord
        if bounded:
            record = _BoundedRecord(session_id, s.name, s.last, s.acknowledged, s.number, s.last_entry)
        else:
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
    head: bytes,
    endings: list[Ending],
    sessions: list[tuple[_SessionRecord | _BoundedRecord, _Held]],
    inner: Iterator[bytes],
) -> Iterator[bytes]:
    yield head
    for ending in endings:
        yield _frame(_FRAME_ENDING, msgspec.msgpack.encode(ending))
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


def _read_sessions(reader: _Reader, table: SessionTable) -> tuple[int, bytes]:
    """Fill the table; returns the first frame that is neither an ending nor a session nor an answer."""
    kind, body = reader.frame()
    while kind == _FRAME_ENDING and isinstance(table, BoundedTable):
        _read_ending(body, table)
        kind, body = reader.frame()
    session: Session | None = None
    while kind == _FRAME_SESSION or (kind == _FRAME_ANSWER and session is not None):
        if kind == _FRAME_SESSION:
            session = _read_session(body, table)
        elif session is not None:
            _read_piece(body, session)
        kind, body = reader.frame()
    _require_answers(table)
    table.answer_bytes = sum(session.answer_bytes for session in table.sessions.values())
    return kind, body


def _read_ending(body: bytes, table: BoundedTable) -> None:
    ending = _decoded(body, Ending)
    numbers = (ending.number, ending.index, ending.answer_bytes)
    if ending.id in table.endings or not _is_id(ending.id) or not _are_numbers(numbers):
        raise ValueError(f"snapshot: the end of session {ending.number} appears twice or has a number out of bounds")
    table.note(ending)


def _read_session(body: bytes, table: SessionTable) -> Session:
    if isinstance(table, BoundedTable):
        return _read_bounded(_decoded(body, _BoundedRecord), table)
    record = _decoded(body, _SessionRecord)
    _require_record(record, (record.id, record.last, record.acknowledged, record.last_active), table)
    session = Session(record.name, record.id, record.last_active)
    session.last = record.last
    session.acknowledged = record.acknowledged
    table.sessions[record.id] = session
    return session


def _read_bounded(record: _BoundedRecord, table: BoundedTable) -> Session:
    _require_record(record, (record.last, record.acknowledged, record.number, record.last_entry), table)
    if not _is_id(record.id) or record.id in table.endings:
        raise ValueError(f"snapshot: session {record.number} has an id out of bounds, or of one that ended")
    session = Session(record.name, record.number, table.now)
    session.last = record.last
    session.acknowledged = record.acknowledged
    session.last_entry = record.last_entry
    table.add(record.id, session)
    return session


def _require_record(record: _SessionRecord | _BoundedRecord, numbers: tuple[int, ...], table: SessionTable) -> None:
    if record.id in table.sessions:
        raise ValueError(f"snapshot: session {record.id} appears twice")
    if not (_are_numbers(numbers) and record.acknowledged <= record.last):
        raise ValueError(f"snapshot: session {record.id} has a number out of bounds")


def _are_numbers(numbers: tuple[int, ...]) -> bool:
    return min(numbers) >= 0 and max(numbers) <= LAST_STAMP


def _is_id(session_id: int) -> bool:
    return 1 <= session_id <= MAX_SESSION_ID


def _decoded(body: bytes, kind: type[R]) -> R:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"snapshot: a session record cannot be read: {error}") from error


def _read_piece(body: bytes, session: Session) -> None:
    if len(body) < _U64.size:
        raise ValueError(f"snapshot: an answer of {len(body)} bytes has no sequence")
    (sequence,) = _U64.unpack_from(body)
    piece, before = body[_U64.size :], session.answers.get(sequence)
    session.answers[sequence] = piece if before is None else (*chunks_of(before), piece)
    session.answer_bytes += len(body) - _U64.size


def _require_answers(table: SessionTable) -> None:
    for session_id, session in table.sessions.items():
        first, end = session.acknowledged + 1, session.last + 1
        if len(session.answers) != end - first or list(session.answers) != list(range(first, end)):
            raise ValueError(f"snapshot: session {session_id} does not hold the answers {first} to {end - 1}")
        if isinstance(table, BoundedTable) and any(map(_has_no_header, session.answers.values())):
            raise ValueError(f"snapshot: session {session_id} holds an answer without the index of its entry")


def _has_no_header(answer: Answer) -> bool:
    return len(chunks_of(answer)[0]) < ANSWER.size


def _inner_chunks(reader: _Reader, first: tuple[int, bytes]) -> Iterator[bytes]:
    kind, body = first
    while kind == _FRAME_INNER:
        yield body
        kind, body = reader.frame()
    if kind != _FRAME_END:
        raise ValueError(f"snapshot: unknown frame kind {kind}")
