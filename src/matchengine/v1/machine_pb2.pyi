from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SessionStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SESSION_STATUS_UNSPECIFIED: _ClassVar[SessionStatus]
    SESSION_STATUS_OK: _ClassVar[SessionStatus]
    SESSION_STATUS_UNKNOWN_SESSION: _ClassVar[SessionStatus]
    SESSION_STATUS_SEQUENCE_GAP: _ClassVar[SessionStatus]
    SESSION_STATUS_ALREADY_ACKNOWLEDGED: _ClassVar[SessionStatus]
    SESSION_STATUS_SESSION_FULL: _ClassVar[SessionStatus]
    SESSION_STATUS_TOO_MANY_SESSIONS: _ClassVar[SessionStatus]
    SESSION_STATUS_MALFORMED: _ClassVar[SessionStatus]
    SESSION_STATUS_ID_TAKEN: _ClassVar[SessionStatus]
    SESSION_STATUS_TOO_MANY_OF_NAME: _ClassVar[SessionStatus]
    SESSION_STATUS_EVICTED: _ClassVar[SessionStatus]
    SESSION_STATUS_EXPIRED: _ClassVar[SessionStatus]
    SESSION_STATUS_ENDED_BY_OPERATOR: _ClassVar[SessionStatus]
SESSION_STATUS_UNSPECIFIED: SessionStatus
SESSION_STATUS_OK: SessionStatus
SESSION_STATUS_UNKNOWN_SESSION: SessionStatus
SESSION_STATUS_SEQUENCE_GAP: SessionStatus
SESSION_STATUS_ALREADY_ACKNOWLEDGED: SessionStatus
SESSION_STATUS_SESSION_FULL: SessionStatus
SESSION_STATUS_TOO_MANY_SESSIONS: SessionStatus
SESSION_STATUS_MALFORMED: SessionStatus
SESSION_STATUS_ID_TAKEN: SessionStatus
SESSION_STATUS_TOO_MANY_OF_NAME: SessionStatus
SESSION_STATUS_EVICTED: SessionStatus
SESSION_STATUS_EXPIRED: SessionStatus
SESSION_STATUS_ENDED_BY_OPERATOR: SessionStatus

class OpenSessionRequest(_message.Message):
    __slots__ = ("client_name",)
    CLIENT_NAME_FIELD_NUMBER: _ClassVar[int]
    client_name: str
    def __init__(self, client_name: _Optional[str] = ...) -> None: ...

class OpenSessionResponse(_message.Message):
    __slots__ = ("session_id", "status", "detail")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    session_id: int
    status: SessionStatus
    detail: str
    def __init__(self, session_id: _Optional[int] = ..., status: _Optional[_Union[SessionStatus, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class KeepAliveRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: int
    def __init__(self, session_id: _Optional[int] = ...) -> None: ...

class KeepAliveResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: SessionStatus
    def __init__(self, status: _Optional[_Union[SessionStatus, str]] = ...) -> None: ...

class CloseSessionRequest(_message.Message):
    __slots__ = ("session_id", "number", "client_name")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CLIENT_NAME_FIELD_NUMBER: _ClassVar[int]
    session_id: int
    number: int
    client_name: str
    def __init__(self, session_id: _Optional[int] = ..., number: _Optional[int] = ..., client_name: _Optional[str] = ...) -> None: ...

class CloseSessionResponse(_message.Message):
    __slots__ = ("status", "closed")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    status: SessionStatus
    closed: int
    def __init__(self, status: _Optional[_Union[SessionStatus, str]] = ..., closed: _Optional[int] = ...) -> None: ...

class ListSessionsRequest(_message.Message):
    __slots__ = ("after", "limit", "client_name")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CLIENT_NAME_FIELD_NUMBER: _ClassVar[int]
    after: int
    limit: int
    client_name: str
    def __init__(self, after: _Optional[int] = ..., limit: _Optional[int] = ..., client_name: _Optional[str] = ...) -> None: ...

class ListSessionsResponse(_message.Message):
    __slots__ = ("sessions", "more")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[SessionInfo]
    more: bool
    def __init__(self, sessions: _Optional[_Iterable[_Union[SessionInfo, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class SessionInfo(_message.Message):
    __slots__ = ("number", "client_name", "idle_seconds", "answers", "answer_bytes")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CLIENT_NAME_FIELD_NUMBER: _ClassVar[int]
    IDLE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    ANSWER_BYTES_FIELD_NUMBER: _ClassVar[int]
    number: int
    client_name: str
    idle_seconds: float
    answers: int
    answer_bytes: int
    def __init__(self, number: _Optional[int] = ..., client_name: _Optional[str] = ..., idle_seconds: _Optional[float] = ..., answers: _Optional[int] = ..., answer_bytes: _Optional[int] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("session_id", "sequence", "acknowledged", "command", "slices", "position")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    session_id: int
    sequence: int
    acknowledged: int
    command: bytes
    slices: bool
    position: int
    def __init__(self, session_id: _Optional[int] = ..., sequence: _Optional[int] = ..., acknowledged: _Optional[int] = ..., command: _Optional[bytes] = ..., slices: _Optional[bool] = ..., position: _Optional[int] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("sequence", "status", "index", "answer", "position", "more")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    status: SessionStatus
    index: int
    answer: bytes
    position: int
    more: bool
    def __init__(self, sequence: _Optional[int] = ..., status: _Optional[_Union[SessionStatus, str]] = ..., index: _Optional[int] = ..., answer: _Optional[bytes] = ..., position: _Optional[int] = ..., more: _Optional[bool] = ...) -> None: ...

class QueryRequest(_message.Message):
    __slots__ = ("query",)
    QUERY_FIELD_NUMBER: _ClassVar[int]
    query: bytes
    def __init__(self, query: _Optional[bytes] = ...) -> None: ...

class QueryResponse(_message.Message):
    __slots__ = ("answer", "index")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    answer: bytes
    index: int
    def __init__(self, answer: _Optional[bytes] = ..., index: _Optional[int] = ...) -> None: ...
