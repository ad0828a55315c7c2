import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RPCHeader(_message.Message):
    __slots__ = ("protocol_version", "id", "addr")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDR_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    id: bytes
    addr: bytes
    def __init__(self, protocol_version: _Optional[int] = ..., id: _Optional[bytes] = ..., addr: _Optional[bytes] = ...) -> None: ...

class Log(_message.Message):
    __slots__ = ("index", "term", "type", "data", "extensions", "appended_at")
    class LogType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        LOG_COMMAND: _ClassVar[Log.LogType]
        LOG_NOOP: _ClassVar[Log.LogType]
        LOG_ADD_PEER_DEPRECATED: _ClassVar[Log.LogType]
        LOG_REMOVE_PEER_DEPRECATED: _ClassVar[Log.LogType]
        LOG_BARRIER: _ClassVar[Log.LogType]
        LOG_CONFIGURATION: _ClassVar[Log.LogType]
    LOG_COMMAND: Log.LogType
    LOG_NOOP: Log.LogType
    LOG_ADD_PEER_DEPRECATED: Log.LogType
    LOG_REMOVE_PEER_DEPRECATED: Log.LogType
    LOG_BARRIER: Log.LogType
    LOG_CONFIGURATION: Log.LogType
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    EXTENSIONS_FIELD_NUMBER: _ClassVar[int]
    APPENDED_AT_FIELD_NUMBER: _ClassVar[int]
    index: int
    term: int
    type: Log.LogType
    data: bytes
    extensions: bytes
    appended_at: _timestamp_pb2.Timestamp
    def __init__(self, index: _Optional[int] = ..., term: _Optional[int] = ..., type: _Optional[_Union[Log.LogType, str]] = ..., data: _Optional[bytes] = ..., extensions: _Optional[bytes] = ..., appended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AppendEntriesRequest(_message.Message):
    __slots__ = ("rpc_header", "term", "leader", "prev_log_entry", "prev_log_term", "entries", "leader_commit_index")
    RPC_HEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    PREV_LOG_ENTRY_FIELD_NUMBER: _ClassVar[int]
    PREV_LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    LEADER_COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    rpc_header: RPCHeader
    term: int
    leader: bytes
    prev_log_entry: int
    prev_log_term: int
    entries: _containers.RepeatedCompositeFieldContainer[Log]
    leader_commit_index: int
    def __init__(self, rpc_header: _Optional[_Union[RPCHeader, _Mapping]] = ..., term: _Optional[int] = ..., leader: _Optional[bytes] = ..., prev_log_entry: _Optional[int] = ..., prev_log_term: _Optional[int] = ..., entries: _Optional[_Iterable[_Union[Log, _Mapping]]] = ..., leader_commit_index: _Optional[int] = ...) -> None: ...

class AppendEntriesResponse(_message.Message):
    __slots__ = ("rpc_header", "term", "last_log", "success", "no_retry_backoff")
    RPC_HEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    NO_RETRY_BACKOFF_FIELD_NUMBER: _ClassVar[int]
    rpc_header: RPCHeader
    term: int
    last_log: int
    success: bool
    no_retry_backoff: bool
    def __init__(self, rpc_header: _Optional[_Union[RPCHeader, _Mapping]] = ..., term: _Optional[int] = ..., last_log: _Optional[int] = ..., success: _Optional[bool] = ..., no_retry_backoff: _Optional[bool] = ...) -> None: ...

class RequestVoteRequest(_message.Message):
    __slots__ = ("rpc_header", "term", "candidate", "last_log_index", "last_log_term", "leadership_transfer")
    RPC_HEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    LEADERSHIP_TRANSFER_FIELD_NUMBER: _ClassVar[int]
    rpc_header: RPCHeader
    term: int
    candidate: bytes
    last_log_index: int
    last_log_term: int
    leadership_transfer: bool
    def __init__(self, rpc_header: _Optional[_Union[RPCHeader, _Mapping]] = ..., term: _Optional[int] = ..., candidate: _Optional[bytes] = ..., last_log_index: _Optional[int] = ..., last_log_term: _Optional[int] = ..., leadership_transfer: _Optional[bool] = ...) -> None: ...

class RequestVoteResponse(_message.Message):
    __slots__ = ("rpc_header", "term", "peers", "granted")
    RPC_HEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    rpc_header: RPCHeader
    term: int
    peers: bytes
    granted: bool
    def __init__(self, rpc_header: _Optional[_Union[RPCHeader, _Mapping]] = ..., term: _Optional[int] = ..., peers: _Optional[bytes] = ..., granted: _Optional[bool] = ...) -> None: ...

class TimeoutNowRequest(_message.Message):
    __slots__ = ("rpc_header",)
    RPC_HEADER_FIELD_NUMBER: _ClassVar[int]
    rpc_header: RPCHeader
    def __init__(self, rpc_header: _Optional[_Union[RPCHeader, _Mapping]] = ...) -> None: ...

class TimeoutNowResponse(_message.Message):
    __slots__ = ("rpc_header",)
    RPC_HEADER_FIELD_NUMBER: _ClassVar[int]
    rpc_header: RPCHeader
    def __init__(self, rpc_header: _Optional[_Union[RPCHeader, _Mapping]] = ...) -> None: ...

class InstallSnapshotRequest(_message.Message):
    __slots__ = ("rpc_header", "snapshot_version", "term", "leader", "last_log_index", "last_log_term", "peers", "configuration", "configuration_index", "size", "data")
    RPC_HEADER_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_VERSION_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_INDEX_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    rpc_header: RPCHeader
    snapshot_version: int
    term: int
    leader: bytes
    last_log_index: int
    last_log_term: int
    peers: bytes
    configuration: bytes
    configuration_index: int
    size: int
    data: bytes
    def __init__(self, rpc_header: _Optional[_Union[RPCHeader, _Mapping]] = ..., snapshot_version: _Optional[int] = ..., term: _Optional[int] = ..., leader: _Optional[bytes] = ..., last_log_index: _Optional[int] = ..., last_log_term: _Optional[int] = ..., peers: _Optional[bytes] = ..., configuration: _Optional[bytes] = ..., configuration_index: _Optional[int] = ..., size: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class InstallSnapshotResponse(_message.Message):
    __slots__ = ("rpc_header", "term", "success")
    RPC_HEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    rpc_header: RPCHeader
    term: int
    success: bool
    def __init__(self, rpc_header: _Optional[_Union[RPCHeader, _Mapping]] = ..., term: _Optional[int] = ..., success: _Optional[bool] = ...) -> None: ...

class RequestPreVoteRequest(_message.Message):
    __slots__ = ("rpc_header", "term", "last_log_index", "last_log_term")
    RPC_HEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    rpc_header: RPCHeader
    term: int
    last_log_index: int
    last_log_term: int
    def __init__(self, rpc_header: _Optional[_Union[RPCHeader, _Mapping]] = ..., term: _Optional[int] = ..., last_log_index: _Optional[int] = ..., last_log_term: _Optional[int] = ...) -> None: ...

class RequestPreVoteResponse(_message.Message):
    __slots__ = ("rpc_header", "term", "granted")
    RPC_HEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    rpc_header: RPCHeader
    term: int
    granted: bool
    def __init__(self, rpc_header: _Optional[_Union[RPCHeader, _Mapping]] = ..., term: _Optional[int] = ..., granted: _Optional[bool] = ...) -> None: ...
