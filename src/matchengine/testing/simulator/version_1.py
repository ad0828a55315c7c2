"""The log's files as programs of format version 1 wrote them: frames that do not say how many sectors are blank.

Everything else stands in both versions at the same place, and other files have had one version only.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from google_crc32c import extend

from matchengine.raft.types import Entry, Index
from matchengine.storage import frames
from matchengine.storage.frames import encode_frame as encode_newest

VERSION: Final = 1

_SEGMENT: Final = struct.Struct("<8sIIQ")  # magic, format version, salt, first index; then their checksum
_CHECKED_BYTES: Final = 24  # of a frame's header: what its checksum is of
_ENDING: Final = struct.Struct("<I4s")  # the header's checksum, and its mark
_MARK: Final = b"HDR\xaf"
_HEADER_BYTES: Final = _CHECKED_BYTES + _ENDING.size


def encode_frame(entries: Sequence[Entry], salt: int, offset: int) -> bytes:
    """See :func:`matchengine.storage.frames.encode_frame`."""
    frame = encode_newest(entries, salt, offset)
    return _header(frame, salt) + frame[_HEADER_BYTES:]


def as_version_1(segment: bytes) -> bytes:
    """A segment's file as a program of that time had left it in the same place; what is no segment stays as it is.

    A write that a crash interrupted stays one.
    """
    try:
        first, salt, _ = frames.decode_segment_header(segment)
    except frames.FormatError:
        return segment
    old, data = bytearray(segment), memoryview(segment)
    old[: _SEGMENT.size + 4] = _segment_header(first, salt)
    at = frames.SEGMENT_HEADER_BYTES
    while (header := frames.decode_header(data, at, salt)) is not None:
        old[at : at + _HEADER_BYTES] = _header(segment[at : at + _CHECKED_BYTES], salt)
        at = header.end
    return bytes(old)


def _segment_header(first: Index, salt: int) -> bytes:
    newest = frames.encode_segment_header(first, salt)
    checked = _SEGMENT.pack(newest[:8], VERSION, salt, first)
    return checked + struct.pack("<I", extend(0, checked))


def _header(frame: bytes, salt: int) -> bytes:
    checked = frame[:_CHECKED_BYTES]
    return checked + _ENDING.pack(extend(salt, checked), _MARK)
