"""State machines that tell the checkers what reaches them, around the ones that do the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from matchengine.raft.types import Entry
from matchengine.sessions import SessionMachine
from matchengine.state_machine import StateMachine

if TYPE_CHECKING:
    from matchengine.testing.simulator.checkers import Checkers
    from matchengine.testing.simulator.process import Process


class Witness:
    """Around a node's session machine: every entry with its answer, one by one."""

    def __init__(self, checkers: Checkers, process: Process, machine: SessionMachine) -> None:
        self._checkers = checkers
        self._process = process
        self._machine = machine

    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        """See :class:`matchengine.state_machine.StateMachine`."""
        answers: list[bytes] = []
        for entry in entries:
            answers += self._machine.apply((entry,))
            self._checkers.applied(self._process, entry, answers[-1])
        return answers

    def snapshot(self) -> Iterator[bytes]:
        """See :class:`matchengine.state_machine.StateMachine`."""
        return self._machine.snapshot()

    def restore(self, chunks: Iterable[bytes]) -> None:
        """See :class:`matchengine.state_machine.StateMachine`."""
        self._machine.restore(chunks)
        self._checkers.restored(self._process)


class Executions:
    """Around the machine inside the sessions: every command that is executed."""

    def __init__(self, machine: StateMachine, executed: Callable[[Entry], None]) -> None:
        self.machine = machine
        self._executed = executed

    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        """See :class:`matchengine.state_machine.StateMachine`."""
        for entry in entries:
            self._executed(entry)
        return self.machine.apply(entries)

    def snapshot(self) -> Iterator[bytes]:
        """See :class:`matchengine.state_machine.StateMachine`."""
        return self.machine.snapshot()

    def restore(self, chunks: Iterable[bytes]) -> None:
        """See :class:`matchengine.state_machine.StateMachine`."""
        self.machine.restore(chunks)
