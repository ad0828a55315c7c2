"""Programs of before: today's with what wrote the files at that time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from matchengine.storage import data_dir, frames, storage
from matchengine.storage.stable import StableFile
from matchengine.testing.simulator.version_1 import VERSION, encode_frame


class _NodeFile(msgspec.Struct, omit_defaults=True):
    """Nobody said that a directory is complete."""

    engine: str
    format: int
    node_id: str
    complete: bool | None = None

    def __post_init__(self) -> None:
        self.complete = None


class _NoEnd:
    """The end of the log is recorded nowhere."""

    index = term = 0

    def __init__(self, _fs: object, path: Path) -> None:
        self.path = path

    def nothing(self, *_: object) -> None:
        pass

    settle = note = sync = close = nothing


def write_directory_1(patch: pytest.MonkeyPatch) -> None:
    """The directory has format version 1: no record of the log's end, and the others are made when there is need."""
    patch.setattr(data_dir, "FORMAT_VERSION", 1)
    patch.setattr(data_dir, "_NodeFile", _NodeFile)
    patch.setattr(data_dir.DataDir, "complete", lambda _self: None)
    patch.setattr(StableFile, "begin", lambda _self: None)
    patch.setattr(storage, "LogEnd", _NoEnd)


def write_version_1(patch: pytest.MonkeyPatch) -> None:
    """The log writes and reads files of version 1 only, too."""
    write_directory_1(patch)
    patch.setattr(frames, "FORMAT_VERSION", VERSION)
    patch.setattr(frames, "encode_frame", encode_frame)


@contextmanager
def version_1() -> Iterator[None]:
    """A program of the first version of the log."""
    with pytest.MonkeyPatch.context() as patch:
        write_version_1(patch)
        yield


@contextmanager
def directory_1() -> Iterator[None]:
    """A program of the first version of the directory, with the newest one of the log."""
    with pytest.MonkeyPatch.context() as patch:
        write_directory_1(patch)
        yield
