"""The bytes of a log segment: a header, then frames, then zeros.

A frame is what one ``sync`` wrote: a header, a table with one row per entry, the entries' bytes,
padding to 8 bytes and an end mark.  All numbers are little-endian; checksums are CRC32C, started
with the segment's salt so that no payload can pass for a frame.

The log syncs each frame before it writes the next one, into space that reads as zero.  A crash
can therefore damage the last frame only, and only by leaving zeros where bytes should be: at the
frame's end or in whole sectors.  Any other damage was done to bytes that were durable.

The header's mark says how many of the frame's sectors are zero by themselves, so that payload is
not taken for a hole.  In segments of format version 1 it did not; there, and then only, a changed
byte in the last frame passes for a torn write if the frame has such a sector.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from enum import Enum

import msgspec
from google_crc32c import extend

from matchengine.raft.types import Entry, EntryType, Index

FORMAT_VERSION = 2
SECTOR = 512

_SEGMENT = struct.Struct("<8sIIQI4x")  # magic, format version, salt, first index, checksum
_SEGMENT_MAGIC = b"MELOGSEG"
_HEADER = struct.Struct("<4sIQIIII")  # magic, body bytes, first index, count, body's and header's checksum, mark
_HEADER_CHECKED = 24
_MARK_BYTES = 4
_ROW = struct.Struct("<QqIIIB3x")  # term, appended_at in seconds and nanoseconds, data and extensions bytes, type
_MAGIC = b"\xf5FRM"
#: The mark's last byte; the others are the number of blank sectors.  No segment is large enough for as many as
#: the constant of format version 1 would mean.
_MARK = 0xAF
_MARK_1 = int.from_bytes(b"HDR\xaf", "little")
_BLANK = bytes(SECTOR)
_END = b"\xa5END-OF\x5a"
_ENTRY_TYPES = {int(t): t for t in EntryType}
_NANOSECONDS = 10**9

SEGMENT_HEADER_BYTES = _SEGMENT.size
FRAME_OVERHEAD_BYTES = _HEADER.size + len(_END)


class FormatError(ValueError):
    """Bytes that this program did not write."""


class Damage(Enum):
    """Why the bytes at some offset are not a frame."""

    TORN = "a write that a crash interrupted"
    ROTTEN = "bytes changed after they were written"


class FrameHeader(msgspec.Struct, frozen=True, gc=False):
    """Where a frame starts, how long its body is and which entries it holds; ``blank`` of its sectors are zero."""

    offset: int
    body_bytes: int
    first: Index
    count: int
    checksum: int
    blank: int

    @property
    def end(self) -> int:
        """Offset behind the frame."""
        return self.offset + self.body_bytes + FRAME_OVERHEAD_BYTES


def encode_segment_header(first: Index, salt: int) -> bytes:
    """The first bytes of a segment whose oldest entry will be ``first``."""
    checked = _SEGMENT.pack(_SEGMENT_MAGIC, FORMAT_VERSION, salt, first, 0)[:-8]
    return checked + struct.pack("<I4x", extend(0, checked))


def decode_segment_header(data: bytes) -> tuple[Index, int, int]:
    """First index, salt and format version; raises FormatError."""
    if len(data) < _SEGMENT.size:
        raise FormatError("the file is shorter than its header")
    magic, version, salt, first, checksum = _SEGMENT.unpack_from(data)
    if magic != _SEGMENT_MAGIC or checksum != extend(0, data[: _SEGMENT.size - 8]):
        raise FormatError("the segment's header is damaged")
    if not 1 <= version <= FORMAT_VERSION:
        raise FormatError(f"the segment has format version {version}, this program reads 1 to {FORMAT_VERSION}")
    return first, salt, version


def entry_bytes(entry: Entry) -> int:
    """What an entry takes in a frame's body."""
    return _ROW.size + len(entry.data) + len(entry.extensions)


def encode_frame(entries: Sequence[Entry], salt: int, offset: int) -> bytes:
    """One frame with these contiguous entries, at least one, that is to stand at ``offset`` of its segment."""
    parts = [_encode_row(entry) for entry in entries]
    for entry in entries:
        parts += (entry.data, entry.extensions)
    parts.append(bytes(-sum(map(len, parts)) % 8))
    body = b"".join(parts)
    mark = _MARK << 24 | _blank_sectors(body, offset + _HEADER.size)
    header = _HEADER.pack(_MAGIC, len(body), entries[0].index, len(entries), extend(salt, body), 0, mark)
    checked, ending = header[:_HEADER_CHECKED], header[-_MARK_BYTES:]
    return b"".join((checked, struct.pack("<I", extend(salt, checked + ending)), ending, body, _END))


def _blank_sectors(data: bytes, offset: int) -> int:
    """How many sectors, whole ones within ``data`` that stands at ``offset``, are zero."""
    if _BLANK not in data:
        return 0
    starts = range(-offset % SECTOR, len(data) - SECTOR + 1, SECTOR)
    return sum(data[at : at + SECTOR] == _BLANK for at in starts)


def _encode_row(entry: Entry) -> bytes:
    seconds, nanoseconds = divmod(entry.appended_at, _NANOSECONDS)
    return _ROW.pack(entry.term, seconds, nanoseconds, len(entry.data), len(entry.extensions), entry.type)


def decode_header(data: memoryview, offset: int, salt: int) -> FrameHeader | None:
    """The intact frame header at ``offset``, or None."""
    if offset + _HEADER.size > len(data):
        return None
    magic, size, first, count, checksum, header_checksum, mark = _HEADER.unpack_from(data, offset)
    if magic != _MAGIC or mark >> 24 != _MARK:
        return None
    checked = bytes(data[offset : offset + _HEADER_CHECKED])
    blank = 0
    if mark != _MARK_1:
        checked += bytes(data[offset + _HEADER.size - _MARK_BYTES : offset + _HEADER.size])
        blank = mark ^ _MARK << 24
    if header_checksum != extend(salt, checked):
        return None
    return FrameHeader(offset, size, first, count, checksum, blank)


def body_of(data: memoryview, header: FrameHeader, salt: int) -> bytes | None:
    """The frame's body when its checksum holds and its end mark is there, else None."""
    start = header.offset + _HEADER.size
    stop = start + header.body_bytes
    if bytes(data[stop : header.end]) != _END:
        return None
    body = bytes(data[start:stop])
    return body if extend(salt, body) == header.checksum else None


def decode_entries(body: bytes, first: Index, count: int) -> Iterator[Entry]:
    """The entries in a body whose checksum holds; each one's bytes are copied once."""
    at = count * _ROW.size
    if at > len(body):
        raise FormatError(f"{count} entries do not fit {len(body)} bytes")
    for index, row in enumerate(_ROW.iter_unpack(body[:at]), first):
        term, seconds, nanoseconds, data_bytes, extensions_bytes, kind = row
        middle = at + data_bytes
        end = middle + extensions_bytes
        if end > len(body) or kind not in _ENTRY_TYPES or nanoseconds >= _NANOSECONDS:
            raise FormatError(f"entry {index} is malformed")
        yield Entry(
            index,
            term,
            _ENTRY_TYPES[kind],
            body[at:middle],
            body[middle:end],
            seconds * _NANOSECONDS + nanoseconds,
        )
        at = end


def is_blank(data: memoryview, offset: int) -> bool:
    """Whether nothing was ever written at ``offset`` and behind it."""
    rest = data[offset:]
    return rest == bytes(len(rest))


def diagnose(data: memoryview, offset: int, salt: int) -> Damage:
    """Why the non-blank bytes at ``offset`` are not a frame.  ``data`` ends at the end of the file."""
    if _has_frame_behind(data, offset, salt):
        return Damage.ROTTEN
    header = decode_header(data, offset, salt)
    if header is None:
        head = bytes(data[offset : offset + _HEADER.size])
        return Damage.TORN if _is_torn_header(head) else Damage.ROTTEN
    return Damage.TORN if _has_hole(data, header) else Damage.ROTTEN


def _is_torn_header(head: bytes) -> bool:
    """Whether the start or the end of a header is missing; no byte there is ever written as zero."""
    return len(head) < _HEADER.size or not any(head[: len(_MAGIC)]) or head[-1] == 0


def _has_hole(data: memoryview, header: FrameHeader) -> bool:
    """Whether the frame's end or one of its sectors was never written.

    Neither the sector in which the frame begins nor any that holds a part of its end is blank once it is written.
    """
    if header.end > len(data) or data[header.end - 1] == 0:
        return True
    return _blank_sectors(bytes(data[header.offset : header.end]), header.offset) > header.blank


def _has_frame_behind(data: memoryview, offset: int, salt: int) -> bool:
    """Whether an intact frame starts anywhere behind ``offset``."""
    rest = bytes(data[offset:])
    at = rest.find(_MAGIC, 1)
    while at >= 0:
        header = decode_header(data, offset + at, salt)
        if header is not None and body_of(data, header, salt) is not None:
            return True
        at = rest.find(_MAGIC, at + 1)
    return False
