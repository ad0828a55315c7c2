"""The one seam between storage and the operating system.

Everything that the log, the stable store, the snapshots and the data directory do to a disk goes
through a :class:`FileSystem`, so that a simulator can record it, lose it or make it fail.  All
methods raise ``OSError``; turning that into the end of the node is :class:`Fuse`'s work.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Protocol

from matchengine.storage.contracts import REJOIN, StorageError

TEMPORARY_SUFFIX = ".tmp"


class FileSystem(Protocol):
    """System calls on files (named by handles) and directories (named by paths)."""

    def create(self, path: Path) -> int:
        """Open ``path`` for reading and writing, empty, readable by its owner alone."""
        ...

    def open(self, path: Path, *, writable: bool = False) -> int:
        """Open an existing file."""
        ...

    def close(self, handle: int) -> None:
        """Release a handle."""
        ...

    def size(self, handle: int) -> int:
        """Length of the file in bytes."""
        ...

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes; fewer only at the end of the file."""
        ...

    def pwrite(self, handle: int, data: bytes, offset: int) -> int:
        """Write and return how many bytes were taken."""
        ...

    def fallocate(self, handle: int, size: int) -> None:
        """Reserve disk blocks for the first ``size`` bytes; new ones read as zero."""
        ...

    def fdatasync(self, handle: int) -> None:
        """Make the file's bytes durable."""
        ...

    def fsync(self, handle: int) -> None:
        """Make the file's bytes and its inode durable."""
        ...

    def lock(self, handle: int) -> bool:
        """Take the exclusive lock of the file without waiting; False when another holds it."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Replace ``target`` atomically; durable after :meth:`fsync_dir`."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a file; durable after :meth:`fsync_dir`."""
        ...

    def mkdir(self, path: Path) -> None:
        """Create a directory for its owner alone; durable after :meth:`fsync_dir` of its parent, which must exist."""
        ...

    def listdir(self, path: Path) -> list[str]:
        """Names in a directory, in no order."""
        ...

    def exists(self, path: Path) -> bool:
        """Whether there is anything at ``path``."""
        ...

    def fsync_dir(self, path: Path) -> None:
        """Make the names in a directory durable."""
        ...


class NotRegularError(OSError):
    """Something that is no regular file has a file's name: opening a named pipe would wait for a writer."""


class OsFileSystem:
    """The real file system."""

    def create(self, path: Path) -> int:
        """See :meth:`FileSystem.create`."""
        return _open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def open(self, path: Path, *, writable: bool = False) -> int:
        """See :meth:`FileSystem.open`."""
        return _open(path, os.O_RDWR if writable else os.O_RDONLY)

    def close(self, handle: int) -> None:
        """See :meth:`FileSystem.close`."""
        os.close(handle)

    def size(self, handle: int) -> int:
        """See :meth:`FileSystem.size`."""
        return os.fstat(handle).st_size

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        """See :meth:`FileSystem.pread`."""
        data = os.pread(handle, size, offset)
        if len(data) == size or not data:
            return data
        return data + self.pread(handle, size - len(data), offset + len(data))

    def pwrite(self, handle: int, data: bytes, offset: int) -> int:
        """See :meth:`FileSystem.pwrite`."""
        return os.pwrite(handle, data, offset)

    def fallocate(self, handle: int, size: int) -> None:
        """See :meth:`FileSystem.fallocate`."""
        os.posix_fallocate(handle, 0, size)

    def fdatasync(self, handle: int) -> None:
        """See :meth:`FileSystem.fdatasync`."""
        os.fdatasync(handle)

    def fsync(self, handle: int) -> None:
        """See :meth:`FileSystem.fsync`."""
        os.fsync(handle)

    def lock(self, handle: int) -> bool:
        """See :meth:`FileSystem.lock`."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def rename(self, source: Path, target: Path) -> None:
        """See :meth:`FileSystem.rename`."""
        os.rename(source, target)

    def unlink(self, path: Path) -> None:
        """See :meth:`FileSystem.unlink`."""
        os.unlink(path)

    def mkdir(self, path: Path) -> None:
        """See :meth:`FileSystem.mkdir`."""
        os.mkdir(path, 0o700)

    def listdir(self, path: Path) -> list[str]:
        """See :meth:`FileSystem.listdir`."""
        return os.listdir(path)

    def exists(self, path: Path) -> bool:
        """See :meth:`FileSystem.exists`."""
        return os.path.lexists(path)

    def fsync_dir(self, path: Path) -> None:
        """See :meth:`FileSystem.fsync_dir`."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _open(path: Path, flags: int) -> int:
    handle = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotRegularError(errno.EINVAL, "not a regular file", str(path))
    return handle


class Fuse:
    """Makes the first failure the last word: after it, every guarded call raises StorageError.

    A failed write or sync leaves pages in a state that nobody knows, so trying again could
    acknowledge what is not on the disk.
    """

    def __init__(self) -> None:
        self._blown: StorageError | None = None
        self._watcher: Callable[[StorageError], None] = lambda _error: None

    def watch(self, watcher: Callable[[StorageError], None]) -> None:
        """Call ``watcher`` with the first failure, on the thread that meets it; now if there was one."""
        self._watcher = watcher
        if self._blown is not None:
            watcher(self._blown)

    @property
    def is_blown(self) -> bool:
        """Whether everything is refused."""
        return self._blown is not None

    def guard(self, doing: str) -> AbstractContextManager[None]:
        """Run the body as the step ``doing``; any error in it blows the fuse, an OSError becomes a StorageError."""
        if self._blown is not None:
            raise StorageError(f"storage is out of use since an earlier failure: {self._blown}") from self._blown
        return _Step(self, doing)

    def blow(self, failure: StorageError) -> None:
        """This is the end, unless another failure was it."""
        if self._blown is None:
            self._blown = failure
            self._watcher(failure)


class _Step:
    """What a fuse guards; a class, since a generator would cost more than the rest of a small step."""

    __slots__ = ("_doing", "_fuse")

    def __init__(self, fuse: Fuse, doing: str) -> None:
        self._fuse = fuse
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, StorageError):
            self._fuse.blow(error)
        elif isinstance(error, OSError):
            failure = StorageError(f"{self._doing}: {error}; {advice(error)}")
            self._fuse.blow(failure)
            raise failure from error
        elif isinstance(error, Exception):
            self._fuse.blow(StorageError(f"{self._doing}: {error!r}"))


def advice(error: OSError) -> str:
    """What an operator can do about it."""
    if isinstance(error, NotRegularError | IsADirectoryError | NotADirectoryError):
        return f"move away what has the file's name, and restore the file from a copy, or {REJOIN}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free disk space, then restart the node"
    return "check the disk, then restart the node; if the disk is failing, replace it and join as a new node"


def write_all(fs: FileSystem, handle: int, data: bytes, offset: int) -> None:
    """Write all of ``data`` or raise: a short write means that the disk is full or failing."""
    written = fs.pwrite(handle, data, offset)
    if written != len(data):
        raise OSError(errno.EIO, f"short write of {written} instead of {len(data)} bytes at offset {offset}")


def read_file(fs: FileSystem, path: Path, limit: int) -> bytes:
    """The whole file, or its first ``limit`` bytes when it is longer."""
    with reading(fs, path) as handle:
        return fs.pread(handle, min(fs.size(handle), limit), 0)


@contextmanager
def reading(fs: FileSystem, path: Path) -> Iterator[int]:
    """A handle for reading ``path``, closed at the end."""
    handle = fs.open(path)
    try:
        yield handle
    finally:
        fs.close(handle)


def replace_file(fs: FileSystem, path: Path, data: bytes) -> None:
    """Make ``path`` hold exactly ``data``: all or nothing, durable on return."""
    temporary = temporary_path(path)
    handle = fs.create(temporary)
    try:
        write_all(fs, handle, data, 0)
        fs.fsync(handle)
    finally:
        fs.close(handle)
    publish(fs, temporary, path)


def publish(fs: FileSystem, temporary: Path, path: Path) -> None:
    """Give a finished, synced temporary file its name, durably."""
    fs.rename(temporary, path)
    fs.fsync_dir(path.parent)


def make_directory(fs: FileSystem, path: Path) -> None:
    """Make ``path``, and the parents that it lacks, unless it is there: durable on return, whoever made it.

    A process that was killed between making a directory and syncing it leaves one that a power loss can still take.
    """
    missing = [*takewhile(lambda level: not fs.exists(level), (path, *path.parents))]
    # A parent that may not be read is one in which no process of ours made anything.
    with suppress(PermissionError):
        fs.fsync_dir((missing[-1].parent if missing else path).parent)
    for level in reversed(missing):
        fs.mkdir(level)
        fs.fsync_dir(level.parent)


def temporary_path(path: Path) -> Path:
    """Where a file is written before it gets its name ``path``."""
    return path.with_name(path.name + TEMPORARY_SUFFIX)


def open_directory(fs: FileSystem, path: Path) -> None:
    """Make ``path`` unless it is there, remove what a crash left unfinished, and make the names in it durable.

    A process that was killed may have named or removed files without syncing that: what stands on the
    names as they are now would fall with them.
    """
    make_directory(fs, path)
    for name in fs.listdir(path):
        if name.endswith(TEMPORARY_SUFFIX):
            fs.unlink(path / name)
    fs.fsync_dir(path)
