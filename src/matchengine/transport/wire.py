"""Conversion between the core's messages and the protobuf messages of the Raft transport.

A header stands in every message, even an empty one in a response: the Go nodes follow the pointer
without a look and crash when there is none.  What comes in is checked before the core sees it;
every refusal is a :class:`WireError`, whose text the caller is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from matchengine.raft.configuration import decode_configuration, encode_configuration, encode_peers
from matchengine.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    Request,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    Response,
    TimeoutNow,
    TimeoutNowResponse,
)
from matchengine.raft.types import Entry, EntryType, ServerId, SnapshotMeta
from matchengine.wire import raft_transport_pb2 as pb

PROTOCOL_VERSION: Final = 3
SNAPSHOT_VERSION: Final = 1

#: Bounds on what a peer may send.  Foreign leaders batch by count and know no bound on bytes; an entry
#: that is taken must fit the 4 MiB that a stock gRPC peer receives, or it could never be handed on.
MAX_NAME_BYTES: Final = 1024
MAX_ENTRIES: Final = 1024
MAX_ENTRY_DATA_BYTES: Final = 4 * 1024 * 1024 - 8 * 1024
MAX_NUMBER: Final = 2**63 - 1

_OLDEST_PROTOCOL_VERSION: Final = 2
_NANOSECONDS: Final = 1_000_000_000
_ENTRY_TYPES: Final = {int(kind): kind for kind in EntryType}


class WireError(ValueError):
    """A message that must not reach the core; the text says why."""


# --- headers ------------------------------------------------------------------------------


def make_header(server_id: str, address: str) -> pb.RPCHeader:
    """What a server announces of itself in everything that it sends."""
    return pb.RPCHeader(protocol_version=PROTOCOL_VERSION, id=server_id.encode(), addr=address.encode())


def decode_header(message: Any) -> tuple[str, str]:
    """The id and the address that the sender of a request announced; either may be ``""``."""
    if message is None:
        raise WireError("the request is malformed")
    if not message.HasField("rpc_header"):
        raise WireError("rpc_header is missing")
    header: pb.RPCHeader = message.rpc_header
    if not _OLDEST_PROTOCOL_VERSION <= header.protocol_version <= PROTOCOL_VERSION:
        raise WireError("operation not supported with current protocol version")
    # Nodes of older versions announce their address in the request only.
    address = header.addr or getattr(message, "leader", b"") or getattr(message, "candidate", b"")
    sender = _name("rpc_header.id", header.id)
    if "\0" in sender:
        raise WireError(f"rpc_header.id: {sender!r} contains NUL")
    return sender, _name("rpc_header.addr", address)


def _excerpt(name: bytes) -> str:
    return repr(name[:MAX_NAME_BYTES].decode("utf-8", "replace"))


def _name(field: str, value: bytes) -> str:
    if len(value) > MAX_NAME_BYTES:
        raise WireError(f"{field}: {len(value)} bytes are more than {MAX_NAME_BYTES}")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise WireError(f"{field}: not UTF-8") from None


# --- requests, outgoing -------------------------------------------------------------------


def encode_append_entries(header: pb.RPCHeader, request: AppendEntries) -> pb.AppendEntriesRequest:
    """Receivers know a heartbeat by its ``leader``, so it is always filled."""
    return pb.AppendEntriesRequest(
        rpc_header=header,
        term=request.term,
        leader=header.addr,
        prev_log_entry=request.prev_log_index,
        prev_log_term=request.prev_log_term,
        entries=map(_encode_entry, request.entries),
        leader_commit_index=request.leader_commit,
    )


def encode_request_vote(header: pb.RPCHeader, request: RequestVote) -> pb.RequestVoteRequest:
    """See the module."""
    return pb.RequestVoteRequest(
        rpc_header=header,
        term=request.term,
        candidate=header.addr,
        last_log_index=request.last_log_index,
        last_log_term=request.last_log_term,
        leadership_transfer=request.leadership_transfer,
    )


def encode_request_pre_vote(header: pb.RPCHeader, request: RequestPreVote) -> pb.RequestPreVoteRequest:
    """See the module."""
    return pb.RequestPreVoteRequest(
        rpc_header=header,
        term=request.term,
        last_log_index=request.last_log_index,
        last_log_term=request.last_log_term,
    )


def encode_timeout_now(header: pb.RPCHeader, _request: TimeoutNow) -> pb.TimeoutNowRequest:
    """See the module."""
    return pb.TimeoutNowRequest(rpc_header=header)


def encode_install_snapshot(header: pb.RPCHeader, request: InstallSnapshot, size: int) -> pb.InstallSnapshotRequest:
    """The first message of the stream; ``size`` bytes of data follow it in others."""
    snapshot = request.snapshot
    return pb.InstallSnapshotRequest(
        rpc_header=header,
        snapshot_version=SNAPSHOT_VERSION,
        term=request.term,
        leader=header.addr,
        last_log_index=snapshot.index,
        last_log_term=snapshot.term,
        peers=encode_peers(snapshot.configuration),
        configuration=encode_configuration(snapshot.configuration),
        configuration_index=snapshot.configuration_index,
        size=size,
    )


def encode_snapshot_data(data: bytes) -> pb.InstallSnapshotRequest:
    """A later message of the stream."""
    message = pb.InstallSnapshotRequest(data=data)
    message.rpc_header.SetInParent()
    return message


def _encode_entry(entry: Entry) -> pb.Log:
    message = pb.Log(
        index=entry.index, term=entry.term, type=_LOG_TYPES[entry.type], data=entry.data, extensions=entry.extensions
    )
    if entry.appended_at:
        stamp = message.appended_at
        stamp.seconds, stamp.nanos = divmod(entry.appended_at, _NANOSECONDS)
    return message


_LOG_TYPES: Final = {kind: pb.Log.LogType.Name(kind) for kind in EntryType}


# --- requests, incoming -------------------------------------------------------------------


def decode_append_entries(message: pb.AppendEntriesRequest) -> AppendEntries:
    """The core's request; WireError unless the entries follow ``prev_log_entry`` one by one."""
    if len(message.entries) > MAX_ENTRIES:
        raise WireError(f"entries: {len(message.entries)} are more than {MAX_ENTRIES}")
    return AppendEntries(
        _number("term", message.term),
        _number("prev_log_entry", message.prev_log_entry),
        _number("prev_log_term", message.prev_log_term),
        _decode_entries(message.entries, message.prev_log_entry),
        _number("leader_commit_index", message.leader_commit_index),
    )


def decode_request_vote(message: pb.RequestVoteRequest) -> RequestVote:
    """The core's request."""
    return RequestVote(
        _number("term", message.term),
        _number("last_log_index", message.last_log_index),
        _number("last_log_term", message.last_log_term),
        message.leadership_transfer,
    )


def decode_request_pre_vote(message: pb.RequestPreVoteRequest) -> RequestPreVote:
    """The core's request."""
    return RequestPreVote(
        _number("term", message.term),
        _number("last_log_index", message.last_log_index),
        _number("last_log_term", message.last_log_term),
    )


def decode_timeout_now(_message: pb.TimeoutNowRequest) -> TimeoutNow:
    """The core's request."""
    return TimeoutNow()


def decode_install_snapshot(message: pb.InstallSnapshotRequest) -> InstallSnapshot:
    """The core's request, from the first message of the stream; its ``data`` is the caller's to take."""
    if not 0 <= message.snapshot_version <= SNAPSHOT_VERSION:
        raise WireError(f"unsupported snapshot version {message.snapshot_version}")
    if message.size < 0:
        raise WireError(f"size: {message.size} is negative")
    try:
        configuration = decode_configuration(message.configuration)
    except ValueError as error:
        raise WireError(str(error)) from error
    return InstallSnapshot(
        _number("term", message.term),
        SnapshotMeta(
            _number("last_log_index", message.last_log_index),
            _number("last_log_term", message.last_log_term),
            configuration,
            _number("configuration_index", message.configuration_index),
            message.size,
        ),
    )


def _decode_entries(messages: Iterable[pb.Log], prev: int) -> tuple[Entry, ...]:
    entries = tuple(map(_decode_entry, messages))
    for expected, entry in enumerate(entries, prev + 1):
        if entry.index != expected:
            raise WireError(f"entries: index {entry.index} where {expected} is due")
    return entries


def _decode_entry(message: pb.Log) -> Entry:
    kind = _ENTRY_TYPES.get(message.type)
    if kind is None:
        raise WireError(f"entry {message.index}: log type {message.type} is unknown")
    entry = Entry(
        _number("index", message.index),
        _number("term", message.term),
        kind,
        message.data,
        message.extensions,
        _decode_stamp(message.appended_at) if message.HasField("appended_at") else 0,
    )
    if entry.size > MAX_ENTRY_DATA_BYTES:
        raise WireError(f"entry {entry.index}: {entry.size} bytes are more than {MAX_ENTRY_DATA_BYTES}")
    return entry


def _decode_stamp(stamp: Timestamp) -> int:
    """Integers only: Go's unset time is in the year 1, and a float would lose nanoseconds."""
    if not 0 <= stamp.nanos < _NANOSECONDS:
        raise WireError(f"appended_at: {stamp.nanos} ns are not within a second")
    return stamp.seconds * _NANOSECONDS + stamp.nanos


def _number(field: str, value: int) -> int:
    if value > MAX_NUMBER:
        raise WireError(f"{field}: {value} is out of range")
    return value


# --- responses ----------------------------------------------------------------------------


def encode_response(header: pb.RPCHeader, response: Response) -> Message:
    """The protobuf message for any response of the core."""
    return _RESPONSE_ENCODERS[type(response)](header, response)


def _encode_append_entries_response(header: pb.RPCHeader, response: AppendEntriesResponse) -> pb.AppendEntriesResponse:
    return pb.AppendEntriesResponse(
        rpc_header=header,
        term=response.term,
        last_log=response.last_log,
        success=response.success,
        no_retry_backoff=response.no_retry_backoff,
    )


_RESPONSE_ENCODERS: Final[dict[type, Callable[[pb.RPCHeader, Any], Message]]] = {
    AppendEntriesResponse: _encode_append_entries_response,
    RequestVoteResponse: lambda header, r: pb.RequestVoteResponse(rpc_header=header, term=r.term, granted=r.granted),
    RequestPreVoteResponse: lambda header, r: pb.RequestPreVoteResponse(
        rpc_header=header, term=r.term, granted=r.granted
    ),
    TimeoutNowResponse: lambda header, _: pb.TimeoutNowResponse(rpc_header=header),
    InstallSnapshotResponse: lambda header, r: pb.InstallSnapshotResponse(
        rpc_header=header, term=r.term, success=r.success
    ),
}


def decode_response(peer: ServerId, request: Request, message: Any) -> Response:
    """What ``peer`` answered to ``request``; WireError when somebody else did.

    A request names no receiver.  At the address of a server that was removed there may be a new one, and a member that
    has not heard of it yet must not take its votes, its acknowledgements and its confirmation of reads for those of
    the old one: two majorities could have no server in common.  HashiCorp's nodes leave some headers empty.
    """
    if message is None:
        raise WireError("the response is malformed")
    responder = message.rpc_header.id
    if responder and responder != peer.encode():
        raise WireError(f"rpc_header.id: {_excerpt(responder)} has answered at the address of {peer!r}")
    return _RESPONSE_DECODERS[type(request)](message)


_RESPONSE_DECODERS: Final[dict[type, Callable[[Any], Response]]] = {
    AppendEntries: lambda m: AppendEntriesResponse(
        _number("term", m.term), _number("last_log", m.last_log), m.success, m.no_retry_backoff
    ),
    RequestVote: lambda m: RequestVoteResponse(_number("term", m.term), m.granted),
    RequestPreVote: lambda m: RequestPreVoteResponse(_number("term", m.term), m.granted),
    TimeoutNow: lambda _: TimeoutNowResponse(),
    InstallSnapshot: lambda m: InstallSnapshotResponse(_number("term", m.term), m.success),
}
