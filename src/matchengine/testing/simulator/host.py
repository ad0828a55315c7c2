"""A simulated machine: what outlives its processes, and how they begin and end."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from matchengine.raft.configuration import decode_configuration
from matchengine.raft.core import Core
from matchengine.raft.types import Configuration, Entry, EntryType, Restored
from matchengine.storage.contracts import DataDirError, StorageError
from matchengine.storage.simulated import PowerLoss, SimulatedFileSystem
from matchengine.storage.storage import open_storage
from matchengine.testing.simulator.disk import SimulatedDisk
from matchengine.testing.simulator.invariants import CLEAR_STOP
from matchengine.testing.simulator.moments import Moment
from matchengine.testing.simulator.process import Process
from matchengine.testing.simulator.version_1 import as_version_1

if TYPE_CHECKING:
    from matchengine.testing.simulator.world import World

#: Wall clocks begin here, in nanoseconds since the epoch.
EPOCH_NS: Final = 1_700_000_000_000_000_000


class End(Enum):
    """How a process ends: by itself or killed (the system goes on), or with the power."""

    KILLED = "killed"
    POWER = "power lost"


class Host:
    """One machine with the server ``id`` on it; ``first`` is set for those that found the cluster.

    Its ``address`` may be that of a server which is no more.
    """

    def __init__(self, world: World, server_id: str, first: Restored | None, address: str = "") -> None:
        self.world = world
        self.id = server_id
        self.address = address or f"{server_id}:1"
        self.disk = SimulatedDisk(world.stream("disk", server_id))
        self.disk.latency = world.disk_latency
        self.process: Process | None = None
        self.paused = False
        self.backlog: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        #: Whether something was done to the disk that the node need not survive.
        self.is_damaged = False
        #: Why the directory was refused for good: an operator has to replace the node.
        self.damaged = ""
        self.down_until = 0
        #: How the next starts end, one after the other: each at such a call to the disk.
        self.upsets: deque[tuple[End, int]] = deque()
        self._was_older = False
        self._configurations: list[Configuration] = []
        self.tick_us = world.timing.tick_ms * 1000
        self.wall_offset_ns = 0
        self.starts = 0
        self.refuses = True
        self._end = End.KILLED
        self._tear = False
        self._first = first

    def now_ns(self) -> int:
        """See :class:`matchengine.node.contracts.Clock`."""
        return EPOCH_NS + self.world.timeline.now * 1000 + self.wall_offset_ns

    # --- beginning -------------------------------------------------------------------------

    def start(self) -> None:
        """Start the program, unless it runs or the directory is past help."""
        if self.process is not None or self.damaged:
            return
        self.disk.repair_for_start()
        self._meet_old_files()
        if self.upsets:
            self._end, calls = self.upsets.popleft()
            self.disk.end_after(calls)
        self.starts += 1
        process = Process(self.world, self, self.world.next_process())
        self.process = process
        self.paused = False
        self.backlog.clear()
        try:
            process.start(self._first)
        except PowerLoss:
            self.fell()
        except StorageError as error:
            self._refused(process, error)
        else:
            self.world.note(self.id, "starts")
            self.world.traps.comes(Moment.STARTED, self)

    def _meet_old_files(self) -> None:
        """If the program before was an older one, the files are as that had written them.

        A damaged log stays what it is: the old format tells damage from a torn write less well.
        """
        was_older, self._was_older = self._was_older, False
        if was_older and not self.is_damaged and self.disk.files.recast(Path("/", self.id), as_version_1):
            self.world.count("starts on old files")
            self.world.note(self.id, "finds files of version 1")

    def _refused(self, process: Process, error: StorageError) -> None:
        process.ended = True
        self.process = None
        self.disk.files.end_process()
        self.world.note(self.id, f"refuses to start: {error}")
        self.world.checkers.refused(self, error)

    # --- ending ----------------------------------------------------------------------------

    def end_soon(self, end: End, calls: int, *, tear: bool = False) -> None:
        """The process ends at the boundary before one of its next calls to the disk; 0: at once."""
        if self.process is None:
            return
        self._end, self._tear = end, tear
        if calls:
            self.disk.end_after(calls)
        else:
            self.fell()

    def fell(self) -> None:
        """The process is no more."""
        self.configurations()
        process, self.process = self.process, None
        assert process is not None
        process.ended = True
        self.refuses = self._end is End.KILLED
        if self._end is End.POWER:
            self.disk.files.lose_power(self.disk.chance, tear=self._tear)
        else:
            self.disk.files.end_process()
        self.world.note(self.id, f"ends: {self._end.value}")
        self._end, self._tear = End.KILLED, False
        self.world.checkers.ended(process)

    def lose_disk(self) -> None:
        """The process ends, and its disk is no more."""
        self.end_soon(End.POWER, 0)
        self.is_damaged = True
        self.damaged = "the disk is lost"

    def lose_something(self) -> str:
        """The process is killed, and a part of its files is gone: it must refuse them, or have all it acknowledged."""
        self.end_soon(End.KILLED, 0)
        told = self.disk.lose_something()
        self.is_damaged |= bool(told)
        return told

    def wipe(self, *, founds_again: bool = False) -> None:
        """The process ends, and an operator gives the server an empty disk: it is no member any more.

        ``founds_again``: its command line still tells it to found a cluster.
        """
        self.end_soon(End.KILLED, 0)
        self.disk.files = SimulatedFileSystem()
        self.is_damaged, self.damaged = False, ""
        if not founds_again:
            self._first = None
        self._configurations = []
        self.world.checkers.wiped(self)

    def roll_back(self) -> str:
        """An older program is started on files that a newer one has written: it must refuse and touch nothing."""
        self.end_soon(End.KILLED, 0)
        node_file = Path("/", self.id, "node.json")
        before = self.disk.contents()
        newer = re.sub(rb'"format":\d+', b'"format":9', before[node_file])
        self.disk.overwrite(node_file, newer)
        self.disk.repair_for_start()
        try:
            open_storage(Path("/", self.id), self.id, fs=self.disk.files).close()
        except DataDirError as error:
            text = str(error)
        else:
            text = "nothing"
            self.world.fail(CLEAR_STOP, f"{self.id} takes files of a version that it cannot know")
        self.disk.files.end_process()
        self.disk.overwrite(node_file, before[node_file])
        if self.disk.contents() != before:
            self.world.fail(CLEAR_STOP, f"{self.id} has changed files of a version that it cannot know")
        return f"{self.id} with an older program: {text}"

    def upgrade(self, upsets: Iterable[tuple[End, int]]) -> None:
        """The process that runs is that of an older program, and a newer one starts next; ``upsets`` end its starts."""
        self._was_older = True
        self.upsets = deque(upsets)

    def configurations(self) -> list[Configuration]:
        """Every configuration that this server's log holds or may bring back."""
        if self.process is not None and hasattr(self.process, "replica"):
            core = self.process.replica.core
            held = [decode_configuration(e.data) for e in _configuration_entries(core)]
            self._configurations = [core.membership.committed, core.membership.latest, *held]
        return self._configurations

    def lose_power(self) -> None:
        """The power goes now, whether a process runs or not."""
        if self.process is not None:
            self.end_soon(End.POWER, 0)
        else:
            self.disk.files.lose_power(self.disk.chance)

    def stopped(self, process: Process, error: Exception) -> None:
        """The node has stopped itself."""
        if self.process is not process:
            return
        self.world.note(self.id, f"stops: {error}")
        self.world.checkers.stopped(process, error)
        self._end = End.KILLED
        self.fell()

    def pause(self) -> None:
        """The process stands still: what reaches it waits."""
        self.paused = True

    def resume(self) -> None:
        """The process goes on with all that has waited."""
        if not self.paused:
            return
        self.paused = False
        process, backlog = self.process, self.backlog
        while backlog and process is not None:
            action, args = backlog.popleft()
            self.world.timeline.after(0, process.enter, action, *args)

    @property
    def has_founded(self) -> bool:
        """Whether its command line tells it to found the cluster."""
        return self._first is not None

    @property
    def is_troubled(self) -> bool:
        """Whether a fault of the disk keeps a process from starting for now."""
        return self.disk.is_troubled


def _configuration_entries(core: Core) -> list[Entry]:
    log = core.log
    return [e for e in log.slice(log.commit + 1, log.last_index) if e.type is EntryType.CONFIGURATION]
