"""The standard to which the nodes are held: one machine that executes every command once and never restarts."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from matchengine.raft.types import Entry, Index
from matchengine.sessions import SessionMachine

if TYPE_CHECKING:
    from matchengine.testing.simulator.world import World


class Oracle:
    """Executes what is committed, in order, once; remembers every answer."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._machine = self._new_machine()
        self._answers: dict[Index, tuple[Entry, bytes]] = {}
        self._digests: dict[Index, int] = {}
        self._reads: dict[Index, tuple[object, ...]] = {}
        self._last: Index = 0

    def execute(self, entry: Entry) -> None:
        """Somebody has applied ``entry``; one beyond all others is executed here."""
        if entry.index <= self._last:
            return
        (answer,) = self._machine.apply((entry,))
        self._last = entry.index
        self._answers[entry.index] = (entry, answer)
        workload, inner = self._world.workload, self._machine.inner
        self._reads[entry.index] = tuple(workload.read(inner, query) for query in range(workload.queries))

    def digest(self, index: Index) -> int | None:
        """The right state at ``index``; None when nobody has applied so far."""
        at = self._command_at(index)
        if at and at not in self._digests:
            self._digests[at] = digest(self._machine_at(at))
        return self._digests.get(at)

    def read(self, index: Index, query: int) -> object:
        """The right answer to a query at ``index``."""
        at = self._command_at(index)
        return self._reads[at][query] if at else self._world.workload.read(self._world.workload.machine(), query)

    def executed(self, index: Index) -> tuple[Entry, bytes] | None:
        """The command at ``index`` and its answer."""
        return self._answers.get(index)

    def _new_machine(self) -> SessionMachine:
        return SessionMachine(self._world.workload.machine(), self._world.session_limits)

    def _machine_at(self, command: Index) -> SessionMachine:
        """A machine that has executed everything up to ``command``: of the past only restored nodes are asked."""
        if command == self._last:
            return self._machine
        machine = self._new_machine()
        machine.apply([entry for index, (entry, _) in self._answers.items() if index <= command])
        return machine

    def _command_at(self, index: Index) -> Index:
        """The newest command up to ``index``."""
        while index > 0 and index not in self._answers:
            index -= 1
        return index


def digest(machine: SessionMachine) -> int:
    """The whole state, sessions and all, as a number."""
    return zlib.crc32(b"".join(machine.snapshot()))
