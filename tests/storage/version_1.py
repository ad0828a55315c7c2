"""The log's files as programs of format version 1 wrote them: frames that do not say how many sectors are blank."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from google_crc32c import extend

from matchengine.storage import frames

_HEADER = struct.Struct("<4sIQIII4s")


def write_version_1(patch: pytest.MonkeyPatch) -> None:
    """The log writes and reads files of version 1 only."""
    patch.setattr(frames, "FORMAT_VERSION", 1)
    patch.setattr(frames, "encode_frame", encode_frame)


@contextmanager
def version_1() -> Iterator[None]:
    """A program of that time."""
    with pytest.MonkeyPatch.context() as patch:
        write_version_1(patch)
        yield


def encode_frame(entries, salt, _offset):
    parts = [frames._encode_row(entry) for entry in entries]
    for entry in entries:
        parts += (entry.data, entry.extensions)
    parts.append(bytes(-sum(map(len, parts)) % 8))
    body = b"".join(parts)
    checked = _HEADER.pack(b"\xf5FRM", len(body), entries[0].index, len(entries), extend(salt, body), 0, b"")[:24]
    return b"".join((checked, struct.pack("<I", extend(salt, checked)), b"HDR\xaf", body, b"\xa5END-OF\x5a"))
