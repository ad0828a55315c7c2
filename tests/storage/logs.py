"""A log by itself, as the tests of its files open it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matchengine.raft.types import Index
from matchengine.storage.files import FileSystem, Fuse, OsFileSystem, make_directory
from matchengine.storage.log import SegmentedLog, random_salt
from matchengine.storage.log_end import LogEnd


def open_log(
    directory: Path,
    *,
    segment_bytes: int,
    fs: FileSystem | None = None,
    new_salt: Callable[[], int] = random_salt,
    fuse: Fuse | None = None,
    covered: Index = 10**9,
) -> SegmentedLog:
    """The log in ``directory``, with the record of its end beside that.

    If not said otherwise, a snapshot covers all: whatever the log has lost, by a reset or otherwise, it may open.
    """
    fs = OsFileSystem() if fs is None else fs
    make_directory(fs, directory.parent)
    end = LogEnd(fs, directory.parent / f"{directory.name}-end")
    if fs.exists(end.path):
        end.load()
    return SegmentedLog(
        fs,
        directory,
        Fuse() if fuse is None else fuse,
        end,
        covered=lambda: covered,
        segment_bytes=segment_bytes,
        new_salt=new_salt,
    )
