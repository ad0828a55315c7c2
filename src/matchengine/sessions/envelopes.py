"""What a session's entry and its answer look like in bytes.

Envelope of an entry (little-endian)::

    u8 version (1) | u8 kind | u16 reserved (0) | u64 session | u64 sequence | u64 acknowledged | payload

Answer::

    u8 version (1) | u8 status | u16 reserved (0) | u64 value | payload

``value`` is the new session's id after OPEN, the number of sessions that were closed after EXPIRE, EXPIRE_SESSIONS
and END_SESSIONS, and after COMMAND the index of the entry that executed it.

From library level 1 on the ``session`` of OPEN is the new session's id, a random number.  EXPIRE_SESSIONS has pairs of
u64 as payload: a session's id and the index of its last entry.  END_SESSIONS is an operator's: its ``sequence`` is the
number of a session, and where that is 0 its payload is the name of the sessions' clients.  At level 0 both are
MALFORMED, and EXPIRE, which is of level 0, closes nothing from level 1 on.

RAISE_LEVELS is the one envelope of version 2, so that a program from before feature levels stops at it instead of
taking it for a malformed one.  Its ``sequence`` is the library's level and its ``acknowledged`` the machine's; both are
raised, never lowered, and the answer's payload holds both as they stand then (see :data:`LEVELS`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

import msgspec

from matchengine.answers import CHUNK_BYTES, Answer, behind, chunks_of
from matchengine.levels import Levels

VERSION: Final = 1
#: The envelope version of RAISE_LEVELS.
LEVELS_VERSION: Final = 2
ENVELOPE: Final = Struct("<BBHQQQ")
ANSWER: Final = Struct("<BBHQ")
#: The two levels in the answer to RAISE_LEVELS and in a snapshot: library, machine.
LEVELS: Final = Struct("<HH")
#: A session's id and the index of its last entry, in the payload of EXPIRE_SESSIONS.
LAST_ENTRY: Final = Struct("<QQ")
MAX_CLIENT_NAME_BYTES: Final = 64
#: An id has all 64 bits.
MAX_SESSION_ID: Final = 2**64 - 1


class EnvelopeKind(IntEnum):
    """What an entry asks of the session table."""

    OPEN = 1
    COMMAND = 2
    CLOSE = 3
    KEEP_ALIVE = 4
    EXPIRE = 5
    RAISE_LEVELS = 6
    EXPIRE_SESSIONS = 7
    END_SESSIONS = 8


class SessionStatus(IntEnum):
    """The numbers are those of ``matchengine.v1.SessionStatus``."""

    OK = 1
    UNKNOWN_SESSION = 2
    SEQUENCE_GAP = 3
    ALREADY_ACKNOWLEDGED = 4
    SESSION_FULL = 5
    TOO_MANY_SESSIONS = 6
    MALFORMED = 7
    ID_TAKEN = 8
    TOO_MANY_OF_NAME = 9
    EVICTED = 10
    EXPIRED = 11
    ENDED_BY_OPERATOR = 12


class LastEntry(NamedTuple):
    """A session and the index of its last entry."""

    session_id: int
    entry: int


class SessionAnswer(msgspec.Struct, frozen=True, gc=False):
    """An answer, taken apart; see the module's head for ``value``."""

    status: SessionStatus
    value: int
    payload: Answer


def open_envelope(client_name: str = "", session_id: int = 0) -> bytes:
    """The entry that opens a session; from library level 1 on with this id, which is not 0."""
    return ENVELOPE.pack(VERSION, EnvelopeKind.OPEN, 0, session_id, 0, 0) + client_name.encode()


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
    """The entry that ends every session idle for longer than ``idle_ns`` of log time; of library level 0."""
    return ENVELOPE.pack(VERSION, EnvelopeKind.EXPIRE, 0, 0, idle_ns, 0)


def expire_sessions_envelope(idle: Iterable[LastEntry]) -> bytes:
    """The entry that ends those of these sessions whose last entry is still that one."""
    pairs = b"".join(LAST_ENTRY.pack(*each) for each in idle)
    return ENVELOPE.pack(VERSION, EnvelopeKind.EXPIRE_SESSIONS, 0, 0, 0, 0) + pairs


def end_session_envelope(number: int) -> bytes:
    """The entry with which an operator ends the session of this number, the index of the entry that opened it."""
    return ENVELOPE.pack(VERSION, EnvelopeKind.END_SESSIONS, 0, 0, number, 0)


def end_named_envelope(client_name: str) -> bytes:
    """The entry with which an operator ends all sessions of clients with this name, which may be empty."""
    return ENVELOPE.pack(VERSION, EnvelopeKind.END_SESSIONS, 0, 0, 0, 0) + client_name.encode()


def raise_levels_envelope(levels: Levels) -> bytes:
    """The entry that raises the cluster's feature levels; every member must be able to execute them."""
    return ENVELOPE.pack(LEVELS_VERSION, EnvelopeKind.RAISE_LEVELS, 0, 0, levels.library, levels.machine)


def decode_answer(answer: Answer) -> SessionAnswer:
    """Take an answer apart; raises ValueError for bytes that are none."""
    header = answer if isinstance(answer, bytes) else answer[0]
    try:
        version, status, _, value = ANSWER.unpack_from(header)
    except struct.error:
        raise ValueError(f"session answer: {len(header)} bytes are fewer than {ANSWER.size}") from None
    if version != VERSION:
        raise ValueError(f"session answer: version {version} is not {VERSION}")
    return SessionAnswer(SessionStatus(status), value, behind(answer, ANSWER.size))


def answered_at(answer: Answer) -> int:
    """The index of the entry that executed the command of this answer."""
    _, _, _, value = ANSWER.unpack_from(chunks_of(answer)[0])
    return int(value)


def encode_answer(status: SessionStatus, value: int = 0, payload: Answer = b"") -> Answer:
    """The bytes of an answer; a large payload is taken as it is, not copied."""
    header = ANSWER.pack(VERSION, status, 0, value)
    if isinstance(payload, bytes) and len(payload) <= CHUNK_BYTES:
        return header + payload
    return (header, *chunks_of(payload))
