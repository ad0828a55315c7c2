"""Every state in which a crash may leave the files, after some first calls of a trace.

A disk keeps what was synced.  Of the rest it keeps what it likes:

* each sector of a file has any of the contents that it had since the file's last sync; a sector that belongs to no
  reserved block may also have bytes of somebody else (ext4 with ``data=writeback``);
* a file's length is any that it had since then;
* each making, naming, renaming and unlinking since the directory's last sync has happened or has not, each for itself.
  That includes what ext4 and XFS do, whose journals keep these in order, and what POSIX allows beyond.

Unfinished files (``*.tmp``) and the lock have their oldest or their newest content only: nobody reads them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import TypeAlias, TypeVar

import msgspec
from crash_trace import Call, Make, Name, RecordingFileSystem, Resize, Sync, SyncDirectory, Write

from matchengine.storage.files import TEMPORARY_SUFFIX
from matchengine.storage.frames import SECTOR

#: Bytes that somebody else once wrote.
_FOREIGN = b"\xde\xad\xbe\xef" * (SECTOR // 4)
_UNREAD = (TEMPORARY_SUFFIX, "lock")
ROOT = Path("/")

T = TypeVar("T")


class DiskState(msgspec.Struct, frozen=True):
    """What the next process finds: directories, and files with their contents."""

    directories: frozenset[Path]
    files: tuple[tuple[Path, bytes], ...]

    def load(self) -> RecordingFileSystem:
        """A file system with this on its disk, all of it durable."""
        fs = RecordingFileSystem()
        for path in sorted(self.directories):
            fs.mkdir(path)
            fs.fsync_dir(path.parent)
        for path, data in self.files:
            handle = fs.create(path)
            fs.pwrite(handle, data, 0)
            fs.fsync(handle)
            fs.close(handle)
        for path in self.directories:
            fs.fsync_dir(path)
        return fs


class _Disk(msgspec.Struct):
    """Of one file: what is durable, and what was done to it since."""

    durable: bytes = b""
    reserved: int = 0
    pending: list[Write | Resize] = []

    def add(self, call: Write | Resize) -> None:
        self.pending.append(call)
        if isinstance(call, Resize):
            self.reserved = call.size

    def sync(self) -> None:
        self.durable = self.contents()[-1]
        self.pending.clear()

    def contents(self) -> list[bytes]:
        """The file as it was when last synced, and after each call since."""
        found = [self.durable]
        for call in self.pending:
            found.append(_after(found[-1], call))
        return found


def _after(data: bytes, call: Write | Resize) -> bytes:
    if isinstance(call, Resize):
        return data[: call.size].ljust(call.size, b"\0")
    return data[: call.offset].ljust(call.offset, b"\0") + call.data + data[call.offset + len(call.data) :]


class Choices(msgspec.Struct, frozen=True):
    """A file's possible lengths, and the possible contents of each of its sectors; each begins with the durable one."""

    lengths: tuple[int, ...]
    sectors: tuple[tuple[bytes, ...], ...]

    @property
    def count(self) -> int:
        return len(self.lengths) * prod(map(len, self.sectors))

    def every(self) -> Iterator[bytes]:
        """Each content once; what lies behind the end counts for nothing."""
        for length in self.lengths:
            whole, rest = divmod(length, SECTOR)
            sectors = self.sectors[: whole + bool(rest)]
            for picked in product(*sectors):
                yield b"".join(picked)[:length]

    def some(self, chance: random.Random) -> Iterator[bytes]:
        """The extremes and their neighbours, then whatever chance brings, for ever."""
        oldest, newest = [s[0] for s in self.sectors], [s[-1] for s in self.sectors]
        for base, other in ((newest, oldest), (oldest, newest)):
            for length in self.lengths:
                yield b"".join(base)[:length]
            for at, sector in enumerate(other):
                yield b"".join([*base[:at], sector, *base[at + 1 :]])[: self.lengths[-1]]
        while True:
            yield b"".join(map(chance.choice, self.sectors))[: chance.choice(self.lengths)]


def _choices(disk: _Disk) -> Choices:
    contents = disk.contents()
    sectors = []
    for start in range(0, max(map(len, contents)), SECTOR):
        versions = _distinct([data[start : start + SECTOR].ljust(SECTOR, b"\0") for data in contents])
        if len(versions) > 1 and start >= max(len(disk.durable), disk.reserved):
            versions.insert(1, _FOREIGN)
        sectors.append(tuple(versions))
    return Choices(tuple(_distinct([len(data) for data in contents])), tuple(sectors))


def _distinct(versions: list[T]) -> list[T]:
    """The oldest first and the newest last, and each of the others once in between."""
    oldest, newest = versions[0], versions[-1]
    between = [version for version in dict.fromkeys(versions) if version not in (oldest, newest)]
    return [oldest, *between, newest] if between or oldest != newest else [oldest]


Names: TypeAlias = dict[Path, int]


class Crash:
    """The disk after the first calls of a trace: feed it the calls one by one, and ask for states in between."""

    def __init__(self, start: Sequence[Call] = ()) -> None:
        self._disks: dict[int, _Disk] = {}
        self._names: Names = {}
        self._directories: set[Path] = {ROOT}
        self._pending: list[Make | Name] = []
        self.legal = 0
        for call in start:
            self.add(call)

    def add(self, call: Call) -> None:
        """The call has returned."""
        match call:
            case Make() | Name():
                self._pending.append(call)
            case SyncDirectory():
                for change in self._pending:
                    if change.directory == call.path:
                        _apply(change, self._names, self._directories)
                self._pending = [change for change in self._pending if change.directory != call.path]
            case Sync():
                self._disk(call.file).sync()
            case Write() | Resize():
                self._disk(call.file).add(call)

    def _disk(self, number: int) -> _Disk:
        return self._disks.setdefault(number, _Disk(pending=[]))

    def states(self, limit: int, chance: random.Random) -> Iterator[DiskState]:
        """All states, or about ``limit`` of them, the extremes among them; ``legal`` grows by how many there are."""
        outcomes = [*self._outcomes(limit, chance)]
        for directories, names in outcomes:
            files = sorted(names)
            choices = [self._choices_of(path, names[path]) for path in files]
            total = prod(c.count for c in choices)
            share = max(4, limit // len(outcomes))
            self.legal += total
            every = (
                product(*(tuple(c.every()) for c in choices)) if total <= share else _sampled(choices, share, chance)
            )
            for contents in every:
                yield DiskState(frozenset(directories - {ROOT}), tuple(zip(files, contents, strict=True)))

    def _outcomes(self, limit: int, chance: random.Random) -> Iterator[tuple[set[Path], Names]]:
        """Directories and names after each choice of the changes that were not synced."""
        count = len(self._pending)
        every = product((False, True), repeat=count)
        picks = every if 2**count <= limit else ([chance.random() < 0.5 for _ in self._pending] for _ in range(limit))
        seen = set()
        for picked in picks:
            directories, names = set(self._directories), dict(self._names)
            for change, happened in zip(self._pending, picked, strict=True):
                if happened:
                    _apply(change, names, directories)
            directories = {path for path in directories if directories.issuperset(path.parents)}
            names = {path: number for path, number in names.items() if path.parent in directories}
            key = (frozenset(directories), frozenset(names.items()))
            if key not in seen:
                seen.add(key)
                yield directories, names

    def _choices_of(self, path: Path, number: int) -> Choices:
        disk = self._disk(number)
        if path.name.endswith(_UNREAD):
            contents = disk.contents()
            return Choices(
                (max(len(contents[0]), len(contents[-1])),), (tuple(_distinct([contents[0], contents[-1]])),)
            )
        return _choices(disk)


def _sampled(choices: list[Choices], share: int, chance: random.Random) -> Iterator[tuple[bytes, ...]]:
    """Each file's extremes while the others have their newest content, then all at random."""
    newest = [next(c.some(chance)) for c in choices]
    for at, each in enumerate(choices):
        extremes = 2 * (len(each.lengths) + len(each.sectors))
        for content in islice(each.some(chance), min(extremes, share // 2) if each.count > 1 else 0):
            yield (*newest[:at], content, *newest[at + 1 :])
    randoms = [islice(c.some(chance), 2 * (len(c.lengths) + len(c.sectors)), None) for c in choices]
    yield from islice(zip(*randoms, strict=True), share)


def _apply(change: Make | Name, names: Names, directories: set[Path]) -> None:
    if isinstance(change, Make):
        directories.add(change.path)
        return
    for path, number in change.changes:
        if number is None:
            names.pop(path, None)
        else:
            names[path] = number
