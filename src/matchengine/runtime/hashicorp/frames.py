"""The frames of the bridge; ``docs/engines.md`` says who sends which.

``u32 length of what follows | u8 kind | body``, all numbers little-endian.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, TypeVar

import msgspec

from matchengine.errors import EngineError
from matchengine.raft.types import Entry, EntryType

T = TypeVar("T")

VERSION: Final = 2
MAX_FRAME: Final = 64 * 1024 * 1024
HEAD: Final = Struct("<IB")
U64: Final = Struct("<Q")
_COUNT: Final = Struct("<I")
_ENTRY: Final = Struct("<QQBqII")
_PROPOSAL: Final = Struct("<QI")
_OUTCOME: Final = Struct("<QBQ")


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    READY = 2
    ENTRIES = 3
    STATE = 4
    CAPTURE = 5
    RELEASE = 6
    OUTCOME = 7
    FAILURE = 8
    PING = 9
    WELCOME = 16
    APPLIED = 17
    CAPTURED = 18
    PROPOSE = 19
    REQUEST = 20
    PONG = 21
    CHUNK = 32
    END = 33
    DONE = 34


class Code(IntEnum):
    """How a proposal or a request ended."""

    OK = 0
    NOT_LEADER = 1
    UNKNOWN = 2
    BUSY = 3
    REFUSED = 4
    STOPPED = 5


class Hello(msgspec.Struct, frozen=True):
    """The first frame of every connection, and the answer to it; ``purpose`` is control, snapshot or restore."""

    version: int
    node: str
    purpose: str = "control"
    id: int = 0
    index: int = 0
    term: int = 0
    size: int = 0


class Standing(msgspec.Struct, frozen=True):
    """Body of STATE."""

    role: str
    term: int
    leader_id: str
    leader_address: str


class Member(msgspec.Struct, frozen=True):
    """One server of a configuration."""

    id: str
    address: str
    suffrage: int


class StatusReport(Standing, frozen=True):
    """The answer to a request for the status."""

    first_index: int
    last_index: int
    last_term: int
    commit_index: int
    snapshot_index: int
    snapshot_term: int
    configuration: list[Member] | None
    configuration_index: int
    sync_us: float
    contact_ms: int | None


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is asked of Raft, proposals apart."""

    operation: str
    kind: str = ""
    server: str = ""
    address: str = ""
    index: int = 0


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """Body of OUTCOME: ``more`` is the error's text, or the result."""

    id: int
    code: Code
    index: int
    more: bytes


def frame(kind: Kind, body: bytes = b"") -> bytes:
    """One whole frame."""
    return HEAD.pack(len(body) + 1, kind) + body


def check_length(length: int) -> None:
    """Raise EngineError for a frame that is empty or too long."""
    if not 1 <= length <= MAX_FRAME:
        raise EngineError(f"bridge: a frame of {length} bytes is not within 1 to {MAX_FRAME}")


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """The frames that are complete with ``data``; raises EngineError for what is no frame."""
        buffer = self._buffer
        buffer += data
        offset = 0
        while len(buffer) - offset >= HEAD.size:
            length, kind = HEAD.unpack_from(buffer, offset)
            check_length(length)
            end = offset + HEAD.size - 1 + length
            if end > len(buffer):
                break
            with memoryview(buffer) as view:
                body = bytes(view[offset + HEAD.size : end])
            offset = end
            yield kind_of(kind), body
        del buffer[:offset]


def kind_of(number: int) -> Kind:
    """The kind with this number; EngineError for none."""
    try:
        return Kind(number)
    except ValueError:
        raise EngineError(f"bridge: there are no frames of kind {number}") from None


def decode_entries(body: bytes) -> tuple[Entry, ...]:
    """Body of ENTRIES; raises EngineError for one that is cut short or too long."""
    try:
        (count,) = _COUNT.unpack_from(body)
        offset, entries = _COUNT.size, []
        for _ in range(count):
            index, term, kind, stamp, data, extensions = _ENTRY.unpack_from(body, offset)
            start = offset + _ENTRY.size
            middle, offset = start + data, start + data + extensions
            entries.append(Entry(index, term, EntryType(kind), body[start:middle], body[middle:offset], stamp))
    except Exception as error:
        raise EngineError(f"bridge: entries cannot be read: {error}") from error
    if offset != len(body) or not entries:
        raise EngineError(f"bridge: {count} entries end at {offset} of {len(body)} bytes")
    return tuple(entries)


def encode_proposal(number: int, data: bytes, extensions: bytes) -> bytes:
    """A frame with one command."""
    body = _PROPOSAL.pack(number, len(data)) + data + extensions
    return HEAD.pack(len(body) + 1, Kind.PROPOSE) + body


def encode_request(number: int, request: Request) -> bytes:
    """A frame with one request."""
    return frame(Kind.REQUEST, U64.pack(number) + msgspec.json.encode(request))


def decode_outcome(body: bytes) -> Outcome:
    """Body of OUTCOME."""
    try:
        number, code, index = _OUTCOME.unpack_from(body)
        return Outcome(number, Code(code), index, body[_OUTCOME.size :])
    except Exception as error:
        raise EngineError(f"bridge: an outcome cannot be read: {error}") from error


def decode_number(body: bytes) -> int:
    """Body of CAPTURE, RELEASE and END: one number."""
    if len(body) != U64.size:
        raise EngineError(f"bridge: {len(body)} bytes are no number")
    (number,) = U64.unpack(body)
    return int(number)


def decode_json(body: bytes, kind: type[T]) -> T:
    """A JSON body; raises EngineError for another."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EngineError(f"bridge: {error}") from error
