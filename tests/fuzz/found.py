"""What fuzzing has found: bytes that a decoder once stumbled over, and must refuse ever since."""

from __future__ import annotations

import struct
import zlib

import msgspec
from decoders import DECODERS

_DEEP = b"\x91" * 1500 + b"\0"


def _overwritten(name: str, at: int, data: bytes) -> bytes:
    seed = DECODERS[name].seeds[0]
    return seed[:at] + data + seed[at + len(data) :]


def _snapshot_file(meta: bytes) -> bytes:
    return DECODERS["snapshot file"].repair(struct.pack("<8sIII", b"MESNAPSH", 1, len(meta), 0) + meta + bytes(12))


def _meta(**changes: object) -> bytes:
    return msgspec.msgpack.encode({"index": 1, "term": 1, "configuration": {"servers": []}, **changes})


def _session_snapshot(*records: bytes, rest: bytes = b"") -> bytes:
    frames = (struct.pack("<BI", 1, len(record)) + record for record in records)
    return b"MESS\x01" + bytes(8) + b"".join(frames) + struct.pack("<BI", 4, 0) + rest


def _huge_dictionary() -> bytes:
    """An xz header that asks for 4 GiB."""
    data = bytearray(DECODERS["compressed recording"].seeds[0])
    data[data.index(b"\x21\x01", 12) + 2] = 40
    end = 12 + 4 * data[12]
    data[end : end + 4] = struct.pack("<I", zlib.crc32(bytes(data[12:end])))
    return bytes(data)


def _hello(fields: bytes) -> bytes:
    body = b'{"version":2,' + fields + b"}"
    return struct.pack("<IB", len(body) + 1, 1) + body


_CONFIGURATION = b"\x81\xa7Servers\x91\x83\xa7Address\xdb\0\1\0\0" + b"a" * 65536 + b"\xa2ID\xa1a\xa8Suffrage\0"

#: Decoder and bytes of each; the key says what happened.
FOUND: dict[str, tuple[str, bytes]] = {
    "restored order ids that leave no next one: every later order raised struct.error": (
        "exchange snapshot",
        _overwritten("exchange snapshot", 18, b"\xff" * 8),
    ),
    "restored trade ids that leave no next one: every later trade raised struct.error": (
        "exchange snapshot",
        _overwritten("exchange snapshot", 26, b"\xff" * 8),
    ),
    "a hello that is not UTF-8: UnicodeDecodeError": ("bridge", _hello(b'"node":"\xff"')),
    "a hello nested deeply: RecursionError": ("bridge", _hello(b'"node":"a","x":' + b"[" * 2000)),
    "an address that cannot be encoded again: OverflowError": ("configuration", _CONFIGURATION),
    "snapshot meta data nested deeply: RecursionError": (
        "snapshot file",
        _snapshot_file(b"\x84" + _meta()[1:] + b"\xa1x" + _DEEP),
    ),
    "snapshot meta data that are not UTF-8: UnicodeDecodeError": (
        "snapshot file",
        _snapshot_file(_meta(configuration={"servers": [{"id": "a", "address": "host"}]}).replace(b"host", b"h\xffst")),
    ),
    "a snapshot of a negative index was taken": ("snapshot file", _snapshot_file(_meta(index=-1))),
    "a snapshot of a negative term was taken": ("snapshot file", _snapshot_file(_meta(term=-3))),
    "a size in a snapshot's header was taken for the size": ("snapshot file", _snapshot_file(_meta(size=16))),
    "node.json nested deeply: RecursionError": (
        "node.json",
        b'{"engine":"matchengine","format":1,"node_id":"node-a","x":' + b"[" * 1500 + b"]" * 1500 + b"}",
    ),
    "session record nested deeply: RecursionError": (
        "session snapshot",
        _session_snapshot(b"\x96\x01\xa0\0\0\0" + _DEEP),
    ),
    "a session that stands twice was taken": (
        "session snapshot",
        _session_snapshot(msgspec.msgpack.encode((1, "a", 0, 0, 0)), msgspec.msgpack.encode((1, "b", 0, 0, 0))),
    ),
    "a session with negative numbers was taken": (
        "session snapshot",
        _session_snapshot(msgspec.msgpack.encode((-1, "a", -3, -3, -9))),
    ),
    "bytes behind the end of a session snapshot were passed over": ("session snapshot", _session_snapshot(rest=b"x")),
    "a stamp of more than a second of nanoseconds could not be encoded again: struct.error": (
        "log frame's body",
        _overwritten("log frame's body", 20, struct.pack("<qI", 2**63 - 1, 2**32 - 1)),
    ),
    "an xz header that asks for 4 GiB of memory got them": ("compressed recording", _huge_dictionary()),
}
