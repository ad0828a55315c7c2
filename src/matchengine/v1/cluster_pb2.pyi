from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReadIndexRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReadIndexResponse(_message.Message):
    __slots__ = ("index",)
    INDEX_FIELD_NUMBER: _ClassVar[int]
    index: int
    def __init__(self, index: _Optional[int] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("state_hash",)
    STATE_HASH_FIELD_NUMBER: _ClassVar[int]
    state_hash: bool
    def __init__(self, state_hash: _Optional[bool] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("id", "address", "role", "term", "leader_id", "leader_address", "first_index", "last_index", "commit_index", "applied_index", "snapshot_index", "state_hash", "fsync_us", "terms_seen", "resident_bytes", "last_contact_ms", "active_levels", "newest_levels")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    LEADER_ID_FIELD_NUMBER: _ClassVar[int]
    LEADER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_INDEX_FIELD_NUMBER: _ClassVar[int]
    STATE_HASH_FIELD_NUMBER: _ClassVar[int]
    FSYNC_US_FIELD_NUMBER: _ClassVar[int]
    TERMS_SEEN_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAST_CONTACT_MS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_LEVELS_FIELD_NUMBER: _ClassVar[int]
    NEWEST_LEVELS_FIELD_NUMBER: _ClassVar[int]
    id: str
    address: str
    role: str
    term: int
    leader_id: str
    leader_address: str
    first_index: int
    last_index: int
    commit_index: int
    applied_index: int
    snapshot_index: int
    state_hash: bytes
    fsync_us: float
    terms_seen: int
    resident_bytes: int
    last_contact_ms: int
    active_levels: FeatureLevels
    newest_levels: FeatureLevels
    def __init__(self, id: _Optional[str] = ..., address: _Optional[str] = ..., role: _Optional[str] = ..., term: _Optional[int] = ..., leader_id: _Optional[str] = ..., leader_address: _Optional[str] = ..., first_index: _Optional[int] = ..., last_index: _Optional[int] = ..., commit_index: _Optional[int] = ..., applied_index: _Optional[int] = ..., snapshot_index: _Optional[int] = ..., state_hash: _Optional[bytes] = ..., fsync_us: _Optional[float] = ..., terms_seen: _Optional[int] = ..., resident_bytes: _Optional[int] = ..., last_contact_ms: _Optional[int] = ..., active_levels: _Optional[_Union[FeatureLevels, _Mapping]] = ..., newest_levels: _Optional[_Union[FeatureLevels, _Mapping]] = ...) -> None: ...

class FeatureLevels(_message.Message):
    __slots__ = ("library", "machine")
    LIBRARY_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    library: int
    machine: int
    def __init__(self, library: _Optional[int] = ..., machine: _Optional[int] = ...) -> None: ...

class UpgradeRequest(_message.Message):
    __slots__ = ("levels", "dry_run")
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    levels: FeatureLevels
    dry_run: bool
    def __init__(self, levels: _Optional[_Union[FeatureLevels, _Mapping]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class UpgradeResponse(_message.Message):
    __slots__ = ("before", "after", "index", "members")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    before: FeatureLevels
    after: FeatureLevels
    index: int
    members: _containers.RepeatedCompositeFieldContainer[MemberLevels]
    def __init__(self, before: _Optional[_Union[FeatureLevels, _Mapping]] = ..., after: _Optional[_Union[FeatureLevels, _Mapping]] = ..., index: _Optional[int] = ..., members: _Optional[_Iterable[_Union[MemberLevels, _Mapping]]] = ...) -> None: ...

class MemberLevels(_message.Message):
    __slots__ = ("id", "address", "newest")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIELD_NUMBER: _ClassVar[int]
    id: str
    address: str
    newest: FeatureLevels
    def __init__(self, id: _Optional[str] = ..., address: _Optional[str] = ..., newest: _Optional[_Union[FeatureLevels, _Mapping]] = ...) -> None: ...
