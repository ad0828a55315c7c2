"""The bytes of a snapshot file: header, chunks, trailer, each with a CRC32C.

The header holds the meta data, with the size unknown; the trailer holds a checksum over the
chunks' lengths and checksums, so that a chunk can be neither changed nor lost nor moved.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
from google_crc32c import extend

from matchengine.raft.types import SnapshotMeta
from matchengine.storage.contracts import CorruptionError
from matchengine.storage.files import FileSystem, write_all

FORMAT_VERSION = 1
CHUNK_BYTES = 256 * 1024
_META_BYTES_LIMIT = 1024 * 1024
_SYNC_BYTES = 8 * 1024 * 1024
_MAGIC = b"MESNAPSH"
_HEADER = struct.Struct("<8sIII")  # magic, format version, meta data's bytes and checksum
_CHUNK = struct.Struct("<II")  # bytes and checksum; 0 bytes: the trailer follows
_END = _CHUNK.pack(0, 0)
_TRAILER = struct.Struct("<I")  # checksum over all of the chunks' headers


class SnapshotWriter:
    """Writes one snapshot to an open, empty file."""

    def __init__(self, fs: FileSystem, handle: int, meta: SnapshotMeta) -> None:
        self._fs = fs
        self._handle = handle
        self._buffer = bytearray()
        self._offset = 0
        self._synced = 0
        self._chain = 0
        self.size = 0
        encoded = msgspec.msgpack.encode(msgspec.structs.replace(meta, size=0))
        self._put(_HEADER.pack(_MAGIC, FORMAT_VERSION, len(encoded), extend(0, encoded)) + encoded)

    def write(self, data: bytes) -> None:
        """Append state bytes."""
        self.size += len(data)
        self._buffer += data
        while len(self._buffer) >= CHUNK_BYTES:
            self._put_chunk(bytes(self._buffer[:CHUNK_BYTES]))
            del self._buffer[:CHUNK_BYTES]

    def finish(self) -> None:
        """Write the rest and make the file durable."""
        if self._buffer:
            self._put_chunk(bytes(self._buffer))
        self._put(_END + _TRAILER.pack(extend(self._chain, _END)))
        self._fs.fsync(self._handle)

    def _put_chunk(self, data: bytes) -> None:
        head = _CHUNK.pack(len(data), extend(0, data))
        self._chain = extend(self._chain, head)
        self._put(head + data)

    def _put(self, data: bytes) -> None:
        write_all(self._fs, self._handle, data, self._offset)
        self._offset += len(data)
        # Little by little: one sync of it all at the end would keep the log's syncs waiting.
        if self._offset - self._synced >= _SYNC_BYTES:
            self._fs.fdatasync(self._handle)
            self._synced = self._offset


class SnapshotReader:
    """Reads one snapshot from an open file; every method raises CorruptionError for damaged bytes."""

    def __init__(self, fs: FileSystem, handle: int, path: Path) -> None:
        self._fs = fs
        self._handle = handle
        self._path = path
        self._offset = 0

    def meta(self) -> SnapshotMeta:
        """The meta data, with size 0: the size is known only after the last chunk."""
        magic, version, size, checksum = _HEADER.unpack(self._take(_HEADER.size))
        if magic != _MAGIC:
            raise self._corruption("not a snapshot")
        if version != FORMAT_VERSION:
            raise self._corruption(f"format version {version}, this program reads {FORMAT_VERSION}")
        if size > _META_BYTES_LIMIT:
            raise self._corruption(f"{size} bytes of meta data")
        encoded = self._take(size)
        if extend(0, encoded) != checksum:
            raise self._corruption("the meta data is damaged")
        try:
            meta = msgspec.msgpack.decode(encoded, type=SnapshotMeta)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._corruption(f"the meta data is malformed: {error}") from error
        if min(meta.index, meta.term, meta.configuration_index) < 0 or meta.size:
            raise self._corruption("the meta data has a negative number, or a size")
        return meta

    def chunks(self) -> Iterator[bytes]:
        """The state bytes; to be called after :meth:`meta`.  Only after the last chunk is all verified."""
        chain = 0
        while True:
            head = self._take(_CHUNK.size)
            size, checksum = _CHUNK.unpack(head)
            if size == 0:
                self._check_trailer(extend(chain, head))
                return
            if size > CHUNK_BYTES:
                raise self._corruption(f"a chunk of {size} bytes")
            data = self._take(size)
            if extend(0, data) != checksum:
                raise self._corruption("the chunk is damaged")
            chain = extend(chain, head)
            yield data

    def _check_trailer(self, chain: int) -> None:
        if self._take(_TRAILER.size) != _TRAILER.pack(chain):
            raise self._corruption("the trailer is damaged, or chunks are missing")
        if self._fs.size(self._handle) != self._offset:
            raise self._corruption("there are bytes behind the trailer")

    def _take(self, size: int) -> bytes:
        data = self._fs.pread(self._handle, size, self._offset)
        if len(data) != size:
            raise self._corruption("the file ends too early")
        self._offset += size
        return data

    def _corruption(self, what: str) -> CorruptionError:
        return CorruptionError(
            f"{self._path}, before offset {self._offset}: {what}; the snapshot must not be used: "
            "move the file away, or restore it from a copy"
        )
