"""The disk of a simulated machine: a file system that forgets, and what goes wrong with it.

The faults are armed from outside and strike at a system call of the storage code: the process or the power ends
there, the call fails, the disk is full.  A disk that hangs keeps its callers waiting.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from matchengine.raft.ready import Write
from matchengine.storage import frames
from matchengine.storage.segment import SUFFIX
from matchengine.storage.simulated import PowerLoss, SimulatedFileSystem, no_fault
from matchengine.testing.simulator.chance import Chance
from matchengine.testing.simulator.timeline import Timeline

if TYPE_CHECKING:
    from matchengine.testing.simulator.process import Process

T = TypeVar("T")

_SYNCS: Final = frozenset(("fsync", "fdatasync"))
#: How long a write takes, in microseconds.
_USUAL_LATENCY: Final = (60, 3_000)
_TAKES_SPACE: Final = frozenset(("pwrite", "create", "fallocate"))


class SimulatedDisk:
    """What survives the process, and the faults that wait for its next calls."""

    def __init__(self, chance: Chance) -> None:
        self.files = SimulatedFileSystem()
        self.chance = chance
        self.hangs_until = 0
        self.latency = _USUAL_LATENCY
        self._ended = False
        self._calls_left = 0
        self._failing = ""
        self._full = False
        self._look: Callable[[], None] = lambda: None
        self._until_look = 0

    def look_in(self, calls: int, look: Callable[[], None]) -> None:
        """Call ``look`` between two changes or syncs of the process, after so many; it changes nothing."""
        self._until_look, self._look = calls, look
        self.files.fault = self._strike

    def be_quick(self) -> None:
        """Writes take as long as on a good disk."""
        self.latency = _USUAL_LATENCY

    # --- arming ----------------------------------------------------------------------------

    def end_after(self, calls: int) -> None:
        """The process ends just before its next but ``calls`` - 1 change or sync of anything."""
        self._calls_left = calls
        self.files.fault = self._strike

    def fail_next(self, operation: str) -> None:
        """The next call of ``operation`` fails ("sync" stands for either kind)."""
        self._failing = operation
        self.files.fault = self._strike

    def fill(self) -> None:
        """There is no space any more, until :meth:`repair`."""
        self._full = True
        self.files.fault = self._strike

    def end_process(self) -> None:
        """Whatever the process still tries on its way out has no effect."""
        self._ended = True
        self.files.fault = self._strike

    def repair_for_start(self) -> None:
        """A process may start; a full disk is still full."""
        self._ended = False
        self._calls_left = 0
        self._failing = ""
        self._until_look = 0
        self.files.fault = self._strike if self._full else no_fault

    def repair(self) -> None:
        """There is space again."""
        self._full = False

    def disarm(self) -> None:
        """Nothing that waits for a call of the process strikes any more; a process that has ended stays so."""
        self._calls_left = 0
        self._failing = ""

    @property
    def is_troubled(self) -> bool:
        """Whether a fault waits or lasts."""
        return self._full or bool(self._failing)

    def contents(self) -> dict[Path, bytes]:
        """All files."""
        return {path: self.files.peek(path) for path, _ in self.files.files()}

    def overwrite(self, path: Path, data: bytes) -> None:
        """Replace a file's bytes, durably, past all faults."""
        self.files.poke(path, data)

    def _strike(self, operation: str, path: Path) -> None:
        if self._ended:
            raise PowerLoss
        if self._until_look:
            self._until_look -= 1
            if not self._until_look:
                self._look()
        if self._calls_left:
            self._calls_left -= 1
            if not self._calls_left:
                self._ended = True
                raise PowerLoss
        if self._full and operation in _TAKES_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if operation == self._failing or (self._failing == "sync" and operation in _SYNCS):
            self._failing = ""
            if operation in _SYNCS:
                self.files.strand(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    def rot_somewhere(self) -> str:
        """One bit of one file turns over; says which, or ``""`` when there is no file."""
        files = [(path, size) for path, size in self.files.files() if size]
        if not files:
            return ""
        path, size = self.chance.choice(files)
        offset = self.chance.skewed(0, size)
        self.files.rot(path, offset, self.chance.randrange(0, 8))
        return f"{path}, byte {offset}"

    def lose_something(self) -> str:
        """A part of what the process has left is gone: segments, frames, records; says what, or ``""``.

        The system had written back all that was not synced, so that the record of the log's end is the newest.  In a
        directory that was never complete nothing would tell a loss.
        """
        paths = [path for path, _ in self.files.files()]
        if not any(path.name == "node.json" and b'"complete":true' in self.files.peek(path) for path in paths):
            return ""
        for path in paths:
            self.files.poke(path, self.files.peek(path))
        segments = [path for path in paths if path.suffix == SUFFIX]
        records = [path for path in paths if path.name in ("stable", "log-end")]
        if self.chance.happens(0.4) and segments:
            return self._lose_frames(segments[-1])
        newest = segments[self.chance.randrange(0, len(segments)) :] if segments else []
        gone = self.chance.choice((newest, newest, records[:1], records[1:], [*newest, *records]))
        for path in gone:
            self.files.remove(path)
        return ", ".join(map(str, gone))

    def _lose_frames(self, segment: Path) -> str:
        """The newest frames read as zero, or the file ends before them."""
        data = self.files.peek(segment)
        starts = [*starts_of_frames(data)]
        if not starts:
            return ""
        start = starts[-min(len(starts), self.chance.skewed(1, 8))]
        kept = data[:start] if self.chance.happens(0.5) else data[:start].ljust(len(data), b"\0")
        self.files.poke(segment, kept)
        return f"{segment} from byte {start}"


def starts_of_frames(segment: bytes) -> Iterator[int]:
    """Where each frame of a segment begins, up to one that is not intact; nothing without an intact header."""
    try:
        _, salt, _ = frames.decode_segment_header(segment)
    except frames.FormatError:
        return
    at, data = frames.SEGMENT_HEADER_BYTES, memoryview(segment)
    while (header := frames.decode_header(data, at, salt)) is not None:
        yield at
        at = header.end


class DiskQueue:
    """See :class:`matchengine.node.contracts.Disk`: writes in order, one perform for all that wait."""

    def __init__(self, process: Process, timeline: Timeline, disk: SimulatedDisk) -> None:
        self._process = process
        self._timeline = timeline
        self._disk = disk
        self._waiting: list[tuple[Write, Callable[[Exception | None], None]]] = []
        self._running: list[tuple[Write, Callable[[Exception | None], None]]] = []
        self._failed = False

    def submit(self, write: Write, done: Callable[[Exception | None], None]) -> None:
        """See :class:`matchengine.node.contracts.Disk`."""
        self._process.world.checkers.submitted(self._process, write)
        self._waiting.append((write, done))
        if not self._running and not self._failed:
            self._begin()

    @property
    def oldest(self) -> Write | None:
        """The write that has waited longest."""
        jobs = self._running or self._waiting
        return jobs[0][0] if jobs else None

    def _begin(self) -> None:
        self._running, self._waiting = self._waiting, []
        disk = self._disk
        self._timeline.after(disk.chance.skewed(*disk.latency), self._process.enter, self._finish)

    def _finish(self) -> None:
        if self._disk.hangs_until > self._timeline.now:
            self._timeline.at(self._disk.hangs_until, self._process.enter, self._finish)
            return
        jobs, self._running = self._running, []
        error = self._perform([write for write, _ in jobs])
        for _, done in jobs:
            done(error)
        self._failed = error is not None
        if self._waiting and not self._failed:
            self._begin()

    def _perform(self, writes: list[Write]) -> Exception | None:
        try:
            self._process.storage.perform(writes)
        except Exception as error:  # noqa: BLE001 - as in the real adapter, any failure is final
            return error
        self._process.world.checkers.written(self._process, writes)
        return None


class Worker:
    """See :class:`matchengine.node.contracts.Worker`: one piece of work after the other."""

    def __init__(self, process: Process, timeline: Timeline, disk: SimulatedDisk) -> None:
        self._process = process
        self._timeline = timeline
        self._disk = disk
        self._waiting: deque[tuple[Callable[[], Any], Callable[[Any, Exception | None], None]]] = deque()

    def run(self, work: Callable[[], T], done: Callable[[T | None, Exception | None], None]) -> None:
        """See :class:`matchengine.node.contracts.Worker`."""
        self._waiting.append((work, done))
        if len(self._waiting) == 1:
            self._begin()

    def _begin(self) -> None:
        self._timeline.after(self._disk.chance.skewed(200, 40_000), self._process.enter, self._finish)

    def _finish(self) -> None:
        if self._disk.hangs_until > self._timeline.now:
            self._timeline.at(self._disk.hangs_until, self._process.enter, self._finish)
            return
        work, done = self._waiting[0]
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - whoever asked decides what it means
            done(None, error)
        else:
            done(result, None)
        self._waiting.popleft()
        if self._waiting:
            self._begin()
