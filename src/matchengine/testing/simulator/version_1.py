"""A node's files as programs of the first format versions wrote them.

The log's frames do not say how many sectors are blank; all else in them stands at the same place.  The end of the log
is recorded nowhere, term and vote are in no file before there is one of them, and ``node.json`` does not say that all
files were made.  Snapshots have had one version only.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from google_crc32c import extend

from matchengine.raft.types import Entry, HardState, Index
from matchengine.storage import frames
from matchengine.storage.frames import encode_frame as encode_newest
from matchengine.storage.segment import SUFFIX
from matchengine.storage.stable import encode as encode_state

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


def as_version_1(path: Path, data: bytes) -> bytes | None:
    """A file of a data directory as a program of that time had left it; None for one that it had not made."""
    match path.name:
        case "node.json":
            return _node_file(data)
        case "log-end":
            return None
        case "stable" if data == encode_state(HardState()):
            return None
        case _ if path.suffix == SUFFIX:
            return _segment(data)
        case _:
            return data


def _node_file(data: bytes) -> bytes:
    owner = json.loads(data)
    owner.pop("complete", None)
    return json.dumps(owner | {"format": VERSION}, separators=(",", ":")).encode() + b"\n"


def _segment(segment: bytes) -> bytes:
    """A segment in the same place; what is no segment stays as it is, and so does a write that a crash interrupted."""
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
