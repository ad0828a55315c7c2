from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Future(_message.Message):
    __slots__ = ("operation_token",)
    OPERATION_TOKEN_FIELD_NUMBER: _ClassVar[int]
    operation_token: str
    def __init__(self, operation_token: _Optional[str] = ...) -> None: ...

class AwaitResponse(_message.Message):
    __slots__ = ("error", "index")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    error: str
    index: int
    def __init__(self, error: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...

class ForgetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AddVoterRequest(_message.Message):
    __slots__ = ("id", "address", "previous_index")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_INDEX_FIELD_NUMBER: _ClassVar[int]
    id: str
    address: str
    previous_index: int
    def __init__(self, id: _Optional[str] = ..., address: _Optional[str] = ..., previous_index: _Optional[int] = ...) -> None: ...

class AddNonvoterRequest(_message.Message):
    __slots__ = ("id", "address", "previous_index")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_INDEX_FIELD_NUMBER: _ClassVar[int]
    id: str
    address: str
    previous_index: int
    def __init__(self, id: _Optional[str] = ..., address: _Optional[str] = ..., previous_index: _Optional[int] = ...) -> None: ...

class ApplyLogRequest(_message.Message):
    __slots__ = ("data", "extensions")
    DATA_FIELD_NUMBER: _ClassVar[int]
    EXTENSIONS_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    extensions: bytes
    def __init__(self, data: _Optional[bytes] = ..., extensions: _Optional[bytes] = ...) -> None: ...

class AppliedIndexRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AppliedIndexResponse(_message.Message):
    __slots__ = ("index",)
    INDEX_FIELD_NUMBER: _ClassVar[int]
    index: int
    def __init__(self, index: _Optional[int] = ...) -> None: ...

class BarrierRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DemoteVoterRequest(_message.Message):
    __slots__ = ("id", "previous_index")
    ID_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_INDEX_FIELD_NUMBER: _ClassVar[int]
    id: str
    previous_index: int
    def __init__(self, id: _Optional[str] = ..., previous_index: _Optional[int] = ...) -> None: ...

class GetConfigurationRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetConfigurationResponse(_message.Message):
    __slots__ = ("servers",)
    class Server(_message.Message):
        __slots__ = ("suffrage", "id", "address")
        class Suffrage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
            __slots__ = ()
            VOTER: _ClassVar[GetConfigurationResponse.Server.Suffrage]
            NONVOTER: _ClassVar[GetConfigurationResponse.Server.Suffrage]
            STAGING: _ClassVar[GetConfigurationResponse.Server.Suffrage]
        VOTER: GetConfigurationResponse.Server.Suffrage
        NONVOTER: GetConfigurationResponse.Server.Suffrage
        STAGING: GetConfigurationResponse.Server.Suffrage
        SUFFRAGE_FIELD_NUMBER: _ClassVar[int]
        ID_FIELD_NUMBER: _ClassVar[int]
        ADDRESS_FIELD_NUMBER: _ClassVar[int]
        suffrage: GetConfigurationResponse.Server.Suffrage
        id: str
        address: str
        def __init__(self, suffrage: _Optional[_Union[GetConfigurationResponse.Server.Suffrage, str]] = ..., id: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    servers: _containers.RepeatedCompositeFieldContainer[GetConfigurationResponse.Server]
    def __init__(self, servers: _Optional[_Iterable[_Union[GetConfigurationResponse.Server, _Mapping]]] = ...) -> None: ...

class LastContactRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LastContactResponse(_message.Message):
    __slots__ = ("unix_nano",)
    UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    unix_nano: int
    def __init__(self, unix_nano: _Optional[int] = ...) -> None: ...

class LastIndexRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LastIndexResponse(_message.Message):
    __slots__ = ("index",)
    INDEX_FIELD_NUMBER: _ClassVar[int]
    index: int
    def __init__(self, index: _Optional[int] = ...) -> None: ...

class LeaderRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LeaderResponse(_message.Message):
    __slots__ = ("address",)
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    address: str
    def __init__(self, address: _Optional[str] = ...) -> None: ...

class LeadershipTransferRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LeadershipTransferToServerRequest(_message.Message):
    __slots__ = ("id", "address")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    id: str
    address: str
    def __init__(self, id: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class RemoveServerRequest(_message.Message):
    __slots__ = ("id", "previous_index")
    ID_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_INDEX_FIELD_NUMBER: _ClassVar[int]
    id: str
    previous_index: int
    def __init__(self, id: _Optional[str] = ..., previous_index: _Optional[int] = ...) -> None: ...

class ShutdownRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SnapshotRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StateRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StateResponse(_message.Message):
    __slots__ = ("state",)
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FOLLOWER: _ClassVar[StateResponse.State]
        CANDIDATE: _ClassVar[StateResponse.State]
        LEADER: _ClassVar[StateResponse.State]
        SHUTDOWN: _ClassVar[StateResponse.State]
    FOLLOWER: StateResponse.State
    CANDIDATE: StateResponse.State
    LEADER: StateResponse.State
    SHUTDOWN: StateResponse.State
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: StateResponse.State
    def __init__(self, state: _Optional[_Union[StateResponse.State, str]] = ...) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatsResponse(_message.Message):
    __slots__ = ("stats",)
    class StatsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATS_FIELD_NUMBER: _ClassVar[int]
    stats: _containers.ScalarMap[str, str]
    def __init__(self, stats: _Optional[_Mapping[str, str]] = ...) -> None: ...

class VerifyLeaderRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
