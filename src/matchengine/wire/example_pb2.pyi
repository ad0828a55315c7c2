from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class AddWordRequest(_message.Message):
    __slots__ = ("word",)
    WORD_FIELD_NUMBER: _ClassVar[int]
    word: str
    def __init__(self, word: _Optional[str] = ...) -> None: ...

class AddWordResponse(_message.Message):
    __slots__ = ("commit_index",)
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    commit_index: int
    def __init__(self, commit_index: _Optional[int] = ...) -> None: ...

class GetWordsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetWordsResponse(_message.Message):
    __slots__ = ("read_at_index", "best_words")
    READ_AT_INDEX_FIELD_NUMBER: _ClassVar[int]
    BEST_WORDS_FIELD_NUMBER: _ClassVar[int]
    read_at_index: int
    best_words: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, read_at_index: _Optional[int] = ..., best_words: _Optional[_Iterable[str]] = ...) -> None: ...
