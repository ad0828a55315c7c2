"""A file system in memory that can lose power: what tests and simulators put under the stores.

It is as forgetful as POSIX allows.  At a power loss every sector written since the file's last
sync may be old or new, and so may every name made, moved or removed since its directory's last
sync, each independently of the others.  The end of a process alone loses nothing: what it wrote waits in
the system's memory, readable, and may still be lost later.

After a failed sync the sectors that it did not write count as clean, as in Linux: they read as new, no
later sync writes them, and a power loss takes them (Rebello et al., ATC 2020).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from matchengine.storage.frames import SECTOR

T = TypeVar("T")


class Dice(Protocol):
    """Chance, as ``random.Random`` gives it."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...

    def choice(self, seq: Sequence[T], /) -> T:
        """One of the sequence."""
        ...


class PowerLoss(BaseException):
    """Raised by a fault to stop the program at once; not an Exception, so that nothing handles it."""


class _File:
    """``stranded`` are the starts of sectors that no sync will write any more, unless they are written again."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.durable = b""
        self.stranded: set[int] = set()

    def copy(self) -> _File:
        """The same bytes, durable or not."""
        twin = _File()
        twin.data, twin.durable, twin.stranded = self.data.copy(), self.durable, self.stranded.copy()
        return twin

    def sync(self) -> None:
        """Everything is durable, but for what an earlier sync has failed to write."""
        if not self.stranded:
            self.durable = bytes(self.data)
            return
        synced = bytearray(self.data)
        for start in self.stranded:
            stop = min(start + SECTOR, len(synced))
            synced[start:stop] = self.durable[start:stop].ljust(stop - start, b"\0")
        self.durable = bytes(synced)

    def strand(self) -> None:
        """A sync has failed."""
        self.stranded.update(start for start in range(0, len(self.data), SECTOR) if self._is_new(start))

    def rewritten(self, offset: int, size: int) -> None:
        """These bytes were written again."""
        if self.stranded:
            self.stranded.difference_update(range(offset - offset % SECTOR, offset + size, SECTOR))

    def forget(self, random: Dice, *, tear: bool) -> None:
        """Keep what is durable and a random choice of the sectors that are not; ``tear`` one of them."""
        length = random.choice((len(self.data), len(self.durable)))
        kept = bytearray(self.durable[:length].ljust(length, b"\0"))
        for start in range(0, length, SECTOR):
            if start in self.stranded or not self._is_new(start) or random.random() >= 0.5:
                continue
            new = self.data[start : min(start + SECTOR, length)]
            if tear:
                tear, new = False, new[: int(random.random() * len(new))]
            kept[start : start + len(new)] = new
        self.data = kept
        self.durable = bytes(kept)
        self.stranded.clear()

    def _is_new(self, start: int) -> bool:
        return self.data[start : start + SECTOR] != self.durable[start : start + SECTOR]


_Renaming = tuple[tuple[Path, _File | None], ...]


def no_fault(_operation: str, _path: Path) -> None:
    """Let every call through."""


class SimulatedFileSystem:
    """A :class:`~matchengine.storage.files.FileSystem`.

    ``fault`` is called before every call that changes or syncs something, with the method's name
    and the path; what it raises leaves the method, which then has had no effect.  ``longest_write``
    makes writes short.
    """

    def __init__(self) -> None:
        self.fault: Callable[[str, Path], None] = no_fault
        self.longest_write: int | None = None
        self._names: dict[Path, _File] = {}
        self._durable_names: dict[Path, _File] = {}
        self._pending: list[_Renaming] = []
        self._directories: set[Path] = {Path("/"), Path()}
        self._pending_directories: set[Path] = set()
        self._handles: dict[int, tuple[Path, _File]] = {}
        self._read_only: set[int] = set()
        self._locked: dict[int, _File] = {}
        self._next_handle = 1

    def copy(self) -> SimulatedFileSystem:
        """The same files as they are now, for whoever wants to know what a power loss would leave; without a fault."""
        twin = SimulatedFileSystem()
        known: dict[int, _File] = {}

        def copied(file: _File) -> _File:
            if id(file) not in known:
                known[id(file)] = file.copy()
            return known[id(file)]

        twin._names = {path: copied(file) for path, file in self._names.items()}
        twin._durable_names = {path: copied(file) for path, file in self._durable_names.items()}
        twin._pending = [
            tuple((path, None if file is None else copied(file)) for path, file in renaming)
            for renaming in self._pending
        ]
        twin._directories = self._directories.copy()
        twin._pending_directories = self._pending_directories.copy()
        return twin

    def end_process(self) -> None:
        """Forget handles and locks; what was written stays, synced or not."""
        self._handles.clear()
        self._locked.clear()
        self._read_only.clear()

    def lose_power(self, random: Dice, *, tear: bool = False) -> None:
        """Forget handles, locks and a random choice of all that was not synced.

        ``tear`` leaves one such sector in every file half written, which good disks do not do.
        """
        self.end_process()
        for renaming in self._pending:
            if random.random() < 0.5:
                _apply(renaming, self._durable_names)
        self._pending.clear()
        self._directories -= {path for path in sorted(self._pending_directories) if random.random() < 0.5}
        self._pending_directories.clear()
        self._names = {path: file for path, file in self._durable_names.items() if self._is_reachable(path.parent)}
        self._durable_names = self._names.copy()
        self._directories = {path for path in self._directories if self._is_reachable(path)}
        for file in self._names.values():
            file.forget(random, tear=tear)

    def strand(self, path: Path) -> None:
        """A sync of this file fails: a fault calls this before it raises."""
        self._file(path).strand()

    def rot(self, path: Path, offset: int, bit: int) -> None:
        """One bit of a durable byte turns over."""
        file = self._file(path)
        for_good = bytearray(file.durable)
        for data in (file.data, for_good):
            if offset < len(data):
                data[offset] ^= 1 << bit
        file.durable = bytes(for_good)

    def peek(self, path: Path) -> bytes:
        """What a reader would find in the file."""
        return bytes(self._file(path).data)

    def poke(self, path: Path, data: bytes) -> None:
        """Somebody else has replaced the file's bytes, durably."""
        file = self._file(path)
        file.data, file.durable = bytearray(data), data

    def recast(self, directory: Path, cast: Callable[[Path, bytes], bytes | None]) -> bool:
        """Another program had written the files below ``directory``: each is what ``cast`` makes of path and bytes.

        None is for a file that the other program had not made.  What is not durable yet, bytes and names, stays so.
        Says whether a reader would find a difference.
        """
        named = [(path, file) for names in (self._names, self._durable_names) for path, file in names.items()]
        files = {id(file): (path, file) for path, file in named if directory in path.parents}
        differs = False
        for path, file in files.values():
            before, data, durable = bytes(file.data), cast(path, bytes(file.data)), cast(path, file.durable)
            differs |= before != data
            if data is None:
                self.remove(path)
            else:
                file.data, file.durable = bytearray(data), durable or b""
        return differs

    def remove(self, path: Path) -> None:
        """Somebody else has removed the file, durably."""
        self._names.pop(path, None)
        self._durable_names.pop(path, None)
        without = (tuple(change for change in renaming if change[0] != path) for renaming in self._pending)
        self._pending = [renaming for renaming in without if renaming]

    def files(self) -> list[tuple[Path, int]]:
        """All files in order of their paths, with their lengths."""
        return [(path, len(self._names[path].data)) for path in sorted(self._names)]

    # --- FileSystem ---

    def create(self, path: Path) -> int:
        """See :class:`~matchengine.storage.files.FileSystem`."""
        self.fault("create", path)
        if path in self._names:
            self._names[path].data = bytearray()
        else:
            self._rename(((path, _File()),))
        return self._open(path)

    def open(self, path: Path, *, writable: bool = False) -> int:
        """See :class:`~matchengine.storage.files.FileSystem`."""
        self._file(path)
        handle = self._open(path)
        if not writable:
            self._read_only.add(handle)
        return handle

    def close(self, handle: int) -> None:
        """See :class:`~matchengine.storage.files.FileSystem`."""
        del self._handles[handle]
        self._locked.pop(handle, None)
        self._read_only.discard(handle)

    def size(self, handle: int) -> int:
        """See :class:`~matchengine.storage.files.FileSystem`."""
        return len(self._handles[handle][1].data)

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        """See :class:`~matchengine.storage.files.FileSystem`."""
        return bytes(self._handles[handle][1].data[offset : offset + size])

    def pwrite(self, handle: int, data: bytes, offset: int) -> int:
        """See :class:`~matchengine.storage.files.FileSystem`."""
        if handle in self._read_only:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), str(self._handles[handle][0]))
        file = self._faulty("pwrite", handle)
        taken = data[: self.longest_write]
        if len(file.data) < offset:
            file.data.extend(bytes(offset - len(file.data)))
        file.data[offset : offset + len(taken)] = taken
        file.rewritten(offset, len(taken))
        return len(taken)

    def fallocate(self, handle: int, size: int) -> None:
        """See :class:`~matchengine.storage.files.FileSystem`."""
        file = self._faulty("fallocate", handle)
        file.data.extend(bytes(max(0, size - len(file.data))))

    def fdatasync(self, handle: int) -> None:
        """See :class:`~matchengine.storage.files.FileSystem`."""
        file = self._faulty("fdatasync", handle)
        file.sync()

    def fsync(self, handle: int) -> None:
        """See :class:`~matchengine.storage.files.FileSystem`."""
        file = self._faulty("fsync", handle)
        file.sync()

    def lock(self, handle: int) -> bool:
        """See :class:`~matchengine.storage.files.FileSystem`."""
        file = self._handles[handle][1]
        if any(held is file and holder != handle for holder, held in self._locked.items()):
            return False
        self._locked[handle] = file
        return True

    def rename(self, source: Path, target: Path) -> None:
        """See :class:`~matchengine.storage.files.FileSystem`."""
        self.fault("rename", target)
        self._rename(((source, None), (target, self._file(source))))

    def unlink(self, path: Path) -> None:
        """See :class:`~matchengine.storage.files.FileSystem`."""
        self.fault("unlink", path)
        self._file(path)
        self._rename(((path, None),))

    def mkdir(self, path: Path) -> None:
        """See :class:`~matchengine.storage.files.FileSystem`."""
        self.fault("mkdir", path)
        if self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        self._check_directory(path.parent)
        self._directories.add(path)
        self._pending_directories.add(path)

    def listdir(self, path: Path) -> list[str]:
        """See :class:`~matchengine.storage.files.FileSystem`."""
        self._check_directory(path)
        return [known.name for known in (*self._names, *self._directories) if known.parent == path and known != path]

    def exists(self, path: Path) -> bool:
        """See :class:`~matchengine.storage.files.FileSystem`."""
        return path in self._names or path in self._directories

    def fsync_dir(self, path: Path) -> None:
        """See :class:`~matchengine.storage.files.FileSystem`."""
        self.fault("fsync_dir", path)
        self._make_durable(path)

    # --- helpers ---

    def _make_durable(self, path: Path) -> None:
        for renaming in self._pending:
            if renaming[0][0].parent == path:
                _apply(renaming, self._durable_names)
        self._pending = [renaming for renaming in self._pending if renaming[0][0].parent != path]
        self._pending_directories = {made for made in self._pending_directories if made.parent != path}

    def _is_reachable(self, path: Path) -> bool:
        return all(level in self._directories for level in (path, *path.parents))

    def _check_directory(self, path: Path) -> None:
        if path not in self._directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    def _file(self, path: Path) -> _File:
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return self._names[path]

    def _open(self, path: Path) -> int:
        handle = self._next_handle
        self._next_handle += 1
        self._handles[handle] = (path, self._names[path])
        return handle

    def _faulty(self, operation: str, handle: int) -> _File:
        path, file = self._handles[handle]
        self.fault(operation, path)
        return file

    def _rename(self, renaming: _Renaming) -> None:
        self._pending.append(renaming)
        _apply(renaming, self._names)


def _apply(renaming: _Renaming, names: dict[Path, _File]) -> None:
    for path, file in renaming:
        if file is None:
            names.pop(path, None)
        else:
            names[path] = file
