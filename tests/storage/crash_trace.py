"""What a workload did to its files: a simulated file system that writes down every call that changes something."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import msgspec

from matchengine.storage.simulated import SimulatedFileSystem


class Make(msgspec.Struct, frozen=True):
    """A directory was made."""

    path: Path

    @property
    def directory(self) -> Path:
        return self.path.parent


class Name(msgspec.Struct, frozen=True):
    """Names changed, all at once: ``None`` takes one away, a number gives it to that file."""

    changes: tuple[tuple[Path, int | None], ...]

    @property
    def directory(self) -> Path:
        return self.changes[0][0].parent


class Write(msgspec.Struct, frozen=True):
    """Bytes of a file were written."""

    file: int
    offset: int
    data: bytes


class Resize(msgspec.Struct, frozen=True):
    """A file was emptied, or given blocks that read as zero."""

    file: int
    size: int


class Sync(msgspec.Struct, frozen=True):
    """A file was synced."""

    file: int


class SyncDirectory(msgspec.Struct, frozen=True):
    """The names in a directory were synced."""

    path: Path


Call: TypeAlias = Make | Name | Write | Resize | Sync | SyncDirectory


class RecordingFileSystem(SimulatedFileSystem):
    """``calls`` has everything so far; a file keeps its number whatever it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._numbers: dict[int, int] = {}
        self._files: list[object] = []

    def kill(self) -> None:
        """The process ends; the system lives on, with all that was written."""
        self._handles.clear()
        self._locked.clear()
        self._read_only.clear()

    def directories(self) -> set[Path]:
        """All but the root."""
        return self._directories - {Path("/"), Path()}

    def create(self, path: Path) -> int:
        known = self.exists(path)
        handle = super().create(path)
        number = self._number(handle)
        self.calls.append(Resize(number, 0) if known else Name(((path, number),)))
        return handle

    def pwrite(self, handle: int, data: bytes, offset: int) -> int:
        written = super().pwrite(handle, data, offset)
        self.calls.append(Write(self._number(handle), offset, bytes(data[:written])))
        return written

    def fallocate(self, handle: int, size: int) -> None:
        super().fallocate(handle, size)
        self.calls.append(Resize(self._number(handle), self.size(handle)))

    def fdatasync(self, handle: int) -> None:
        super().fdatasync(handle)
        self.calls.append(Sync(self._number(handle)))

    def fsync(self, handle: int) -> None:
        super().fsync(handle)
        self.calls.append(Sync(self._number(handle)))

    def rename(self, source: Path, target: Path) -> None:
        moved = self._number_of(self._names[source])
        super().rename(source, target)
        self.calls.append(Name(((source, None), (target, moved))))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.calls.append(Name(((path, None),)))

    def mkdir(self, path: Path) -> None:
        super().mkdir(path)
        self.calls.append(Make(path))

    def fsync_dir(self, path: Path) -> None:
        super().fsync_dir(path)
        self.calls.append(SyncDirectory(path))

    def _number(self, handle: int) -> int:
        return self._number_of(self._handles[handle][1])

    def _number_of(self, file: object) -> int:
        if id(file) not in self._numbers:
            self._numbers[id(file)] = len(self._files)
            self._files.append(file)
        return self._numbers[id(file)]
