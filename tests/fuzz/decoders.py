"""Every decoder of bytes from outside or from disk: what it may raise, and what must hold for what it takes.

``run`` decodes, and where there is an encoder, encodes again and compares.  Anything raised that is not in
``allowed`` is a defect.
"""

from __future__ import annotations

import lzma
import struct
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from google_crc32c import extend

from matchengine.client.targets import target_addresses
from matchengine.errors import EngineError
from matchengine.exchange import layout
from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.instruments import Instrument
from matchengine.exchange.layout import NewerLayoutError
from matchengine.exchange.state_machine import ExchangeStateMachine
from matchengine.levels import Levels
from matchengine.raft.configuration import decode_configuration, encode_configuration
from matchengine.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
from matchengine.raft.peers_json import parse_peers
from matchengine.raft.types import Configuration, Entry, HardState, Server, SnapshotMeta, Suffrage
from matchengine.replay.errors import InputError
from matchengine.replay.flash import HEADER, MAGIC, RECORD, load_flash
from matchengine.replay.lobster import load_lobster
from matchengine.runtime.hashicorp import frames as bridge
from matchengine.service.batches import check_orders
from matchengine.service.errors import InvalidArgumentError
from matchengine.service.instruments import pack_instrument
from matchengine.service.translation import Translator
from matchengine.sessions import (
    LastEntry,
    SessionMachine,
    close_envelope,
    command_envelope,
    decode_answer,
    end_named_envelope,
    end_session_envelope,
    expire_envelope,
    expire_sessions_envelope,
    keep_alive_envelope,
    open_envelope,
    raise_levels_envelope,
)
from matchengine.state_machine import NewerVersionError
from matchengine.storage import frames
from matchengine.storage.contracts import CorruptionError, DataDirError
from matchengine.storage.data_dir import DataDir
from matchengine.storage.files import Fuse
from matchengine.storage.log_end import LogEnd
from matchengine.storage.segment import Segment, segment_path
from matchengine.storage.simulated import SimulatedFileSystem
from matchengine.storage.snapshot_file import SnapshotReader, SnapshotWriter
from matchengine.storage.stable import StableFile
from matchengine.transport import wire
from matchengine.v1 import exchange_pb2
from matchengine.wire import raft_transport_pb2 as pb

#: Files are asked for with a directory that is there.
DIRECTORY = Path("/data")
PLACE = DIRECTORY / "file"


class Decoder(msgspec.Struct, frozen=True):
    """``seeds`` are well-formed; ``repair`` makes checksums fit, so that mutations get behind them."""

    run: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
    repair: Callable[[bytes], bytes] = bytes

    def check(self, data: bytes) -> bool:
        """Whether ``data`` was taken; lets out what is no documented refusal."""
        try:
            self.run(data)
        except self.allowed:
            return False
        return True


def _file(data: bytes, path: Path = PLACE) -> SimulatedFileSystem:
    fs = SimulatedFileSystem()
    fs.mkdir(DIRECTORY)
    handle = fs.create(path)
    fs.pwrite(handle, data, 0)
    fs.close(handle)
    return fs


# --- the log ------------------------------------------------------------------------------

ENTRIES = (
    Entry(5, 2, data=b"command", extensions=b"x", appended_at=1_700_000_000_123_456_789),
    Entry(6, 3, data=b"", appended_at=-5),
    Entry(7, 3, data=bytes(40)),
)
SALT = 77


def _segment(data: bytes) -> None:
    path = segment_path(DIRECTORY, 5)
    segment, damage = Segment.load(_file(data, path), path)
    assert len(segment._firsts) == len(segment._offsets)
    found = tuple(segment.read(segment.first, segment.last)) if segment.last >= segment.first else ()
    assert [entry.index for entry in found] == list(range(segment.first, segment.last + 1))
    if damage is None and found:
        again = _entries_of(frames.encode_frame(found, segment._salt, 0), segment._salt)
        assert again == found


def _entries_of(frame: bytes, salt: int) -> tuple[Entry, ...]:
    header = frames.decode_header(memoryview(frame), 0, salt)
    assert header is not None
    body = frames.body_of(memoryview(frame), header, salt)
    assert body is not None
    return tuple(frames.decode_entries(body, header.first, header.count))


def _repair_segment(data: bytes) -> bytes:
    out = bytearray(data)
    out[24:28] = struct.pack("<I", extend(0, bytes(out[:24])))
    (salt,) = struct.unpack_from("<I", out.ljust(16, b"\0"), 12)
    at = frames.SEGMENT_HEADER_BYTES
    while at + 32 <= len(out) and any(out[at : at + 32]):
        (size,) = struct.unpack_from("<I", out, at + 4)
        out[at + 20 : at + 24] = struct.pack("<I", extend(salt, bytes(out[at + 32 : at + 32 + size])))
        mark = bytes(out[at + 28 : at + 32])
        checked = bytes(out[at : at + 24]) + (b"" if mark == b"HDR\xaf" else mark)
        out[at + 24 : at + 28] = struct.pack("<I", extend(salt, checked))
        at += size + frames.FRAME_OVERHEAD_BYTES
    return bytes(out[: max(len(data), frames.SEGMENT_HEADER_BYTES)])


def _frame_body(data: bytes) -> None:
    first, count, body = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:12], "little"), data[12:]
    found = tuple(frames.decode_entries(body, first, count))
    assert len(found) == count
    if found and found[-1].index < 2**64:
        assert _entries_of(frames.encode_frame(found, SALT, 0), SALT) == found


_FRAMES = (frames.encode_frame(ENTRIES[:1], SALT, 0), frames.encode_frame(ENTRIES[1:], SALT, 0))
_SEGMENT = (frames.encode_segment_header(5, SALT) + b"".join(_FRAMES)).ljust(512, b"\0")
_BODY = struct.pack("<QI", 5, 1) + _FRAMES[0][32:-8]

# --- other files --------------------------------------------------------------------------


def _stable(data: bytes) -> None:
    fs = _file(data)
    store = StableFile(fs, PLACE, Fuse())
    state = store.load()
    store.save(state)
    assert store.load() == state
    handle = fs.open(PLACE)
    assert fs.pread(handle, fs.size(handle), 0) == data


def _repair_stable(data: bytes) -> bytes:
    return data[:-4] + struct.pack("<I", extend(0, data[:-4]))


def _stable_seed(state: HardState) -> bytes:
    fs = _file(b"")
    StableFile(fs, PLACE, Fuse()).save(state)
    handle = fs.open(PLACE)
    return fs.pread(handle, fs.size(handle), 0)


def _log_end(data: bytes) -> None:
    """``data`` are the two records."""
    half = len(data) // 2
    fs = _file(data[:half].ljust(4096, b"\0") + data[half:].ljust(4096, b"\0"))
    end = LogEnd(fs, PLACE)
    end.load()
    found = end.index, end.term
    end.settle(*found)
    again = LogEnd(fs, PLACE)
    again.load()
    assert (again.index, again.term) == found


def _repair_log_end(data: bytes) -> bytes:
    half = len(data) // 2
    return b"".join(part[:-4] + struct.pack("<I", extend(0, part[:-4])) for part in (data[:half], data[half:]))


def _log_end_seed(index: int, term: int) -> bytes:
    return _repair_log_end(struct.pack("<8sIQQI", b"MELOGEND", 1, index, term, 0) * 2)


CONFIGURATION = Configuration((Server("a", "host:1"), Server("b", "host:2" * 9, Suffrage.NONVOTER)))


def _snapshot(data: bytes) -> None:
    meta, chunks = _read_snapshot(_file(data))
    assert _read_snapshot(_file(_snapshot_bytes(meta, chunks))) == (meta, chunks)


def _read_snapshot(fs: SimulatedFileSystem) -> tuple[SnapshotMeta, bytes]:
    reader = SnapshotReader(fs, fs.open(PLACE), PLACE)
    return reader.meta(), b"".join(reader.chunks())


def _snapshot_bytes(meta: SnapshotMeta, data: bytes) -> bytes:
    fs = _file(b"")
    handle = fs.open(PLACE, writable=True)
    writer = SnapshotWriter(fs, handle, meta)
    for start in range(0, len(data), 50):
        writer.write(data[start : start + 50])
    writer.finish()
    return fs.pread(handle, fs.size(handle), 0)


def _repair_snapshot(data: bytes) -> bytes:
    out = bytearray(data)
    if len(out) < 20:
        return data
    (size,) = struct.unpack_from("<I", out, 12)
    out[16:20] = struct.pack("<I", extend(0, bytes(out[20 : 20 + size])))
    at, chain = 20 + size, 0
    while at + 8 <= len(out):
        (size,) = struct.unpack_from("<I", out, at)
        out[at + 4 : at + 8] = struct.pack("<I", extend(0, bytes(out[at + 8 : at + 8 + size])) if size else 0)
        chain = extend(chain, bytes(out[at : at + 8]))
        if not size:
            out[at + 8 : at + 12] = struct.pack("<I", chain)
            break
        at += 8 + size
    return bytes(out)


def _node_file(data: bytes) -> None:
    fs = _file(data, DIRECTORY / "node.json")
    DataDir.open(DIRECTORY, "node-a", fs=fs).close()
    DataDir.open(DIRECTORY, "node-a", fs=fs).close()


NODE_FILES = (
    b'{"engine":"matchengine","format":1,"node_id":"node-a"}\n',
    b'{"engine":"matchengine","format":2,"node_id":"node-a","complete":true}\n',
)

# --- state machines -----------------------------------------------------------------------


class _Tape:
    """A machine that keeps what it is told."""

    def __init__(self) -> None:
        self.data = b""

    def apply(self, entries: Iterable[Entry]) -> list[bytes]:
        return [entry.data for entry in entries]

    def snapshot(self) -> Iterable[bytes]:
        return iter([self.data])

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.data = b"".join(chunks)


def _busy_sessions() -> SessionMachine:
    machine = SessionMachine(_Tape())
    machine.inner.data = b"inner"
    envelopes = (open_envelope("me"), open_envelope(), command_envelope(1, 1, 0, b"A"), command_envelope(1, 2, 1, b"B"))
    machine.apply([Entry(number, 1, data=data, appended_at=number) for number, data in enumerate(envelopes, 1)])
    return machine


def _bounded_sessions() -> SessionMachine:
    """At library level 1, with a session that has ended."""
    machine = SessionMachine(_Tape())
    machine.inner.data = b"inner"
    envelopes = (
        raise_levels_envelope(Levels(1, 0)),
        open_envelope("me", 1),
        open_envelope("", 2**64 - 1),
        end_named_envelope(""),
        open_envelope("", 7),
        command_envelope(1, 1, 0, b"A"),
        command_envelope(1, 2, 1, b"B"),
    )
    machine.apply([Entry(number, 1, data=data, appended_at=number) for number, data in enumerate(envelopes, 1)])
    return machine


def _session_snapshot(data: bytes) -> None:
    machine = SessionMachine(_Tape())
    machine.restore([data[:7], data[7:]])
    taken = b"".join(machine.snapshot())
    again = SessionMachine(_Tape())
    again.restore([taken])
    assert b"".join(again.snapshot()) == taken
    answers = again.apply(
        [Entry(2**40, 9, data=command_envelope(1, 2, 1, b"B")), Entry(2**41, 9, data=open_envelope())]
    )
    assert all(map(decode_answer, answers))
    assert b"".join(again.snapshot())


def _session_entry(data: bytes) -> None:
    for machine in (_busy_sessions(), _bounded_sessions()):
        _take_entry(machine, data)


def _take_entry(machine: SessionMachine, data: bytes) -> None:
    stamp = int.from_bytes(data[-9:], "little", signed=True)
    (answer,) = machine.apply([Entry(9, 1, data=data, appended_at=stamp)])
    decode_answer(answer)
    again = SessionMachine(_Tape())
    again.restore(machine.snapshot())
    assert b"".join(again.snapshot()) == b"".join(machine.snapshot())


def _answer(data: bytes) -> None:
    decoded = decode_answer(data)
    assert decoded.payload == data[12:]


def _order(number: int, side: int, price: int, kind: int = 18) -> bytes:
    return layout.COMMAND.pack(ord("D"), side, kind, 0, 1, 7, 0, number, 0, price, 10)


def _batch(*commands: bytes) -> bytes:
    return layout.BATCH_HEADER.pack(1, 1, 0, len(commands)) + b"".join(commands)


def _engine() -> MatchingEngine:
    engine = MatchingEngine()
    for number, symbol in enumerate(("ACME", "OTHER"), 1):
        definition = Instrument(number, symbol, 2, 0, 5, 1).pack()
        engine.execute(layout.BATCH_HEADER.pack(1, 2, 0, 1) + definition, 1)
    engine.execute(_batch(*(_order(n, 1 + n % 2, 100 + 10 * (n % 2) + n) for n in range(1, 7))), 2)
    return engine


def _read_answer(answer: bytes) -> None:
    version, kind, reserved, count, _ = layout.ANSWER_HEADER.unpack_from(answer)
    size = layout.REPORT.size if kind == layout.KIND_ORDERS else layout.INSTRUMENT_ANSWER.size
    assert (version, reserved, len(answer)) == (1, 0, layout.ANSWER_HEADER.size + count * size)


def _exchange_snapshot(data: bytes) -> None:
    engine = MatchingEngine()
    engine.restore([data[:9], data[9:40], data[40:]])
    assert b"".join(engine.snapshot()) == data
    _read_answer(engine.execute(_batch(_order(99, 1, 10**6), _order(98, 2, 1)), 3))
    MatchingEngine().restore(engine.snapshot())


def _batch_at_engine(data: bytes) -> None:
    engine = _engine()
    before = engine.state_hash()
    try:
        check_orders(data)
    except InvalidArgumentError:
        well_formed = False
    else:
        well_formed = True
    try:
        answer = engine.execute(data, 2**62)
    except NewerLayoutError:
        assert engine.state_hash() == before
        raise
    _read_answer(answer)
    reasons = {report[3] for report in layout.REPORT.iter_unpack(answer[16:])} if answer[1] == 1 else set()
    assert not well_formed or 1 not in reasons or len(data) > 8
    MatchingEngine().restore(engine.snapshot())


def _typed_commands(data: bytes) -> None:
    request = exchange_pb2.SubmitRequest.FromString(data)
    machine = SessionMachine(ExchangeStateMachine())
    machine.inner.engine = engine = _engine()
    translator = Translator(SimpleNamespace(machine=machine))
    packed = translator.pack(request.commands)
    check_orders(packed)
    answer = engine.execute(packed, 3)
    response = exchange_pb2.SubmitResponse()
    translator.add_reports(response, answer[layout.ANSWER_HEADER.size :])
    assert len(response.reports) >= len(request.commands) or not request.commands


def _instrument(data: bytes) -> None:
    texts = data.decode("utf-8", "surrogateescape").split("\n")
    batch = pack_instrument(*[*texts, "", "", ""][:3])
    answer = _engine().execute(batch, 3)
    _read_answer(answer)
    assert answer[1] == layout.KIND_INSTRUMENT


_NEW = exchange_pb2.NewOrder(
    symbol="ACME", cl_ord_id=50, side=1, ord_type=2, time_in_force=1, price="1.10", quantity="3"
)
_TYPED = exchange_pb2.SubmitRequest(
    session_id=1,
    sequence=2,
    commands=[
        exchange_pb2.Command(account=7, new_order=_NEW),
        exchange_pb2.Command(account=7, cancel=exchange_pb2.CancelOrder(orig_cl_ord_id=1)),
        exchange_pb2.Command(account=7, symbol="ACME", reduce=exchange_pb2.ReduceOrder(orig_cl_ord_id=2, quantity="1")),
        exchange_pb2.Command(
            account=7, symbol="ACME", replace=exchange_pb2.ReplaceOrder(orig_cl_ord_id=3, price="0.05", quantity="4")
        ),
    ],
)

# --- Raft ---------------------------------------------------------------------------------


def _configuration(data: bytes) -> None:
    found = decode_configuration(data)
    assert decode_configuration(encode_configuration(found)) == found


def _peers(data: bytes) -> None:
    found = parse_peers(data)
    assert decode_configuration(encode_configuration(found)) == found


HEADER_PB = wire.make_header("a", "host:1")
_META = SnapshotMeta(9, 3, CONFIGURATION, 4, 1000)
_APPEND = AppendEntries(3, 4, 2, ENTRIES, 4)


def _append(data: bytes) -> None:
    message = pb.AppendEntriesRequest.FromString(data)
    wire.decode_header(message)
    found = wire.decode_append_entries(message)
    assert wire.decode_append_entries(wire.encode_append_entries(HEADER_PB, found)) == found
    frame = found.entries and frames.encode_frame(found.entries, SALT, 0)
    assert not frame or _entries_of(frame, SALT) == found.entries


def _request(kind: type, decode: Callable[[Any], Any], encode: Callable[[Any, Any], Any]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        message = kind.FromString(data)
        wire.decode_header(message)
        found = decode(message)
        assert decode(encode(HEADER_PB, found)) == found

    return run


def _install(data: bytes) -> None:
    message = pb.InstallSnapshotRequest.FromString(data)
    wire.decode_header(message)
    found = wire.decode_install_snapshot(message)
    again = wire.encode_install_snapshot(HEADER_PB, found, found.snapshot.size)
    assert wire.decode_install_snapshot(again) == found


def _response(kind: type, request: Any) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        message = kind.FromString(data)
        found = wire.decode_response(message.rpc_header.id.decode("utf-8", "replace"), request, message)
        assert wire.decode_response("a", request, wire.encode_response(HEADER_PB, found)) == found

    return run


_WIRE = (DecodeError, wire.WireError)


def _rpc_decoders() -> dict[str, Decoder]:
    vote, pre_vote, install = RequestVote(3, 9, 2, True), RequestPreVote(3, 9, 2), InstallSnapshot(3, _META)
    messages = {
        "AppendEntries": (_append, wire.encode_append_entries(HEADER_PB, _APPEND)),
        "RequestVote": (
            _request(pb.RequestVoteRequest, wire.decode_request_vote, wire.encode_request_vote),
            wire.encode_request_vote(HEADER_PB, vote),
        ),
        "RequestPreVote": (
            _request(pb.RequestPreVoteRequest, wire.decode_request_pre_vote, wire.encode_request_pre_vote),
            wire.encode_request_pre_vote(HEADER_PB, pre_vote),
        ),
        "TimeoutNow": (
            _request(pb.TimeoutNowRequest, wire.decode_timeout_now, wire.encode_timeout_now),
            wire.encode_timeout_now(HEADER_PB, TimeoutNow()),
        ),
        "InstallSnapshot": (_install, wire.encode_install_snapshot(HEADER_PB, install, 1000)),
        "AppendEntries answer": (_response(pb.AppendEntriesResponse, _APPEND), AppendEntriesResponse(3, 9, True, True)),
        "RequestVote answer": (_response(pb.RequestVoteResponse, vote), RequestVoteResponse(3, True)),
        "RequestPreVote answer": (_response(pb.RequestPreVoteResponse, pre_vote), RequestPreVoteResponse(3, True)),
        "TimeoutNow answer": (_response(pb.TimeoutNowResponse, TimeoutNow()), TimeoutNowResponse()),
        "InstallSnapshot answer": (_response(pb.InstallSnapshotResponse, install), InstallSnapshotResponse(3, True)),
    }
    return {name: Decoder(run, _WIRE, (_serialized(message),)) for name, (run, message) in messages.items()}


def _serialized(message: Any) -> bytes:
    if not hasattr(message, "SerializeToString"):
        message = wire.encode_response(HEADER_PB, message)
    return message.SerializeToString()


# --- the bridge to HashiCorp Raft ---------------------------------------------------------


def _bridge(data: bytes) -> None:
    """Cut anywhere, a stream gives the same frames."""
    found = list(bridge.FrameReader().feed(data))
    reader = bridge.FrameReader()
    middle = len(data) // 2
    assert [*reader.feed(data[:middle]), *reader.feed(data[middle:])] == found
    for kind, body in found:
        _bridge_body(kind, body)


def _bridge_body(kind: bridge.Kind, body: bytes) -> None:
    if kind is bridge.Kind.ENTRIES:
        assert bridge.decode_entries(body)
    elif kind is bridge.Kind.OUTCOME:
        assert bridge.decode_outcome(body).more == body[17:]
    elif kind in (bridge.Kind.HELLO, bridge.Kind.STATE):
        bridge.decode_json(body, bridge.Hello if kind is bridge.Kind.HELLO else bridge.Standing)
    elif kind in (bridge.Kind.CAPTURE, bridge.Kind.RELEASE, bridge.Kind.END):
        bridge.decode_number(body)


_HELLO = msgspec.json.encode(bridge.Hello(bridge.VERSION, "a"))
_STATE = msgspec.json.encode(bridge.Standing("leader", 3, "a", "host:1"))
_BRIDGE_ENTRIES = struct.pack("<I", 1) + struct.pack("<QQBqII", 5, 2, 0, 1, 7, 1) + b"commandx"

# --- replays and targets ------------------------------------------------------------------


def _flash(name: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            recording = load_flash(path)
        assert len(recording.workload.commands) == len(recording.sequences) * layout.COMMAND.size
        _read_answer(_engine().execute(_batch_of(recording.workload.commands), 3))

    return run


def _batch_of(commands: bytes) -> bytes:
    some = commands[: 100 * layout.COMMAND.size]
    return layout.BATCH_HEADER.pack(1, 1, 0, len(some) // layout.COMMAND.size) + some


def _lobster(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "ABC_day"
        folder.mkdir()
        for name, text in zip(("commands", "trades", "book"), data.split(b"\0"), strict=False):
            (folder / f"{name}.csv").write_bytes(text)
        recording = load_lobster(folder)
    assert len(recording.workload.commands) == len(recording.sequences) * layout.COMMAND.size
    _read_answer(_engine().execute(_batch_of(recording.workload.commands), 3))


_FLASH = HEADER.pack(MAGIC, 1, 3) + b"".join(
    RECORD.pack(kind, kind % 2, 0, 0, 10, kind, 5, 100, 0) for kind in range(3)
)
_LOBSTER = (
    b"seq,time,command,order_id,side,price,qty,origin\n1,34200.1,NEW,11,B,1000,5,x\n2,34200.2,IOC,12,S,1000,3,x\n"
    b"3,1,REDUCE,11,B,1000,1,x\n4,1,CANCEL,11,B,1000,1,x\n\0seq,taker_id,maker_id,price,qty\n2,12,11,1000,3\n\0"
    b"seq,ask_price_1,ask_qty_1,bid_price_1,bid_qty_1\n1,,,1000,5\n2,,,1000,2\n"
)


def _targets(data: bytes) -> None:
    found = target_addresses(data.decode("utf-8", "surrogateescape"))
    assert found
    assert all(target_addresses(address) == (address,) for address in found)


DECODERS: dict[str, Decoder] = {
    "log segment": Decoder(_segment, (CorruptionError,), (_SEGMENT,), _repair_segment),
    "log frame's body": Decoder(_frame_body, (frames.FormatError,), (_BODY,)),
    "stable record": Decoder(
        _stable,
        (CorruptionError,),
        (_stable_seed(HardState(7, "node-a")), _stable_seed(HardState(2**64 - 1, ""))),
        _repair_stable,
    ),
    "log's end": Decoder(
        _log_end,
        (CorruptionError,),
        (_log_end_seed(7, 2), _log_end_seed(2**64 - 1, 2**64 - 1)),
        _repair_log_end,
    ),
    "snapshot file": Decoder(
        _snapshot,
        (CorruptionError,),
        (_snapshot_bytes(_META, b"state" * 30), _snapshot_bytes(_META, b"")),
        _repair_snapshot,
    ),
    "node.json": Decoder(_node_file, (DataDirError,), NODE_FILES),
    "peers.json": Decoder(
        _peers,
        (ValueError,),
        (b'[{"id":"a","address":"h:1"},{"id":"b","address":"h:2","non_voter":true}]', b'["h:1","h:2"]'),
    ),
    "session snapshot": Decoder(
        _session_snapshot,
        (ValueError, NewerVersionError),
        (b"".join(_busy_sessions().snapshot()), b"".join(_bounded_sessions().snapshot())),
    ),
    "session entry": Decoder(
        _session_entry,
        (NewerVersionError,),
        (
            open_envelope("a name"),
            command_envelope(1, 3, 2, b"C"),
            command_envelope(1, 2, 0, b"B"),
            close_envelope(2),
            keep_alive_envelope(1),
            expire_envelope(1),
            expire_sessions_envelope([LastEntry(1, 7), LastEntry(7, 5)]),
            end_session_envelope(2),
            end_named_envelope("me"),
        ),
    ),
    "session answer": Decoder(_answer, (ValueError,), (b"\1\1\0\0" + bytes(8) + b"payload",)),
    "exchange snapshot": Decoder(_exchange_snapshot, (ValueError,), (b"".join(_engine().snapshot()),)),
    "packed batch": Decoder(
        _batch_at_engine,
        (NewerLayoutError,),
        (
            _batch(
                _order(50, 1, 130),
                layout.COMMAND.pack(ord("F"), 0, 0, 0, 0, 7, 0, 0, 1, 0, 0),
                layout.COMMAND.pack(ord("R"), 0, 0, 0, 0, 7, 0, 0, 2, 0, 4),
                layout.COMMAND.pack(ord("G"), 0, 0, 3, 0, 7, 0, 60, 3, 90, 9),
            ),
            layout.BATCH_HEADER.pack(1, 2, 0, 1) + Instrument(3, "NEW", 3, 2, 1, 10).pack(),
        ),
    ),
    "typed commands": Decoder(_typed_commands, (DecodeError, InvalidArgumentError), (_TYPED.SerializeToString(),)),
    "instrument": Decoder(_instrument, (InvalidArgumentError,), (b"NEW\n0.005\n100",)),
    "configuration": Decoder(
        _configuration,
        (ValueError,),
        (
            encode_configuration(CONFIGURATION),
            encode_configuration(Configuration()),
            msgspec.msgpack.encode({"Servers": [{"ID": "a", "Address": "h:1", "Suffrage": 0, "x": [1, {"y": None}]}]}),
        ),
    ),
    **_rpc_decoders(),
    "bridge": Decoder(
        _bridge,
        (EngineError,),
        (
            bridge.frame(bridge.Kind.HELLO, _HELLO) + bridge.frame(bridge.Kind.STATE, _STATE),
            bridge.frame(bridge.Kind.ENTRIES, _BRIDGE_ENTRIES),
            bridge.frame(bridge.Kind.OUTCOME, struct.pack("<QBQ", 1, 0, 9) + b"result"),
            bridge.frame(bridge.Kind.CAPTURE, struct.pack("<Q", 4)) + bridge.frame(bridge.Kind.END, bytes(8)),
        ),
    ),
    "flash recording": Decoder(_flash("x.bin"), (InputError,), (_FLASH,)),
    "compressed recording": Decoder(_flash("x.bin.xz"), (InputError,), (lzma.compress(_FLASH),)),
    "lobster recording": Decoder(_lobster, (InputError,), (_LOBSTER,)),
    "targets": Decoder(_targets, (ValueError,), (b"multi:///host:1,[::1]:22, 10.0.0.1:65535",)),
}
