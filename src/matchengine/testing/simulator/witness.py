"""State machines that tell the checkers what reaches them, around the ones that do the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING

from matchengine.answers import from_chunks, whole
from matchengine.raft.types import Entry
from matchengine.sessions import SessionMachine
from matchengine.state_machine import Execution, Interruptible, StateMachine, finish

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
        return _at_once(self, entries)

    def begin(self, entry: Entry) -> Execution:
        """See :class:`matchengine.state_machine.Interruptible`."""
        return _Witnessed(self._machine.begin(entry), lambda answer: self._applied(entry, answer))

    def _applied(self, entry: Entry, answer: bytes) -> None:
        self._checkers.applied(self._process, entry, answer)

    def snapshot(self) -> Iterator[bytes]:
        """See :class:`matchengine.state_machine.StateMachine`."""
        return self._machine.snapshot()

    def restore(self, chunks: Iterable[bytes]) -> None:
        """See :class:`matchengine.state_machine.StateMachine`."""
        self._machine.restore(chunks)
        self._checkers.restored(self._process)


class _Witnessed:
    """An execution that tells the whole answer."""

    def __init__(self, execution: Execution, applied: Callable[[bytes], None]) -> None:
        self._execution = execution
        self._applied = applied

    def step(self) -> tuple[bytes, ...] | None:
        """See :class:`matchengine.state_machine.Execution`."""
        chunks = self._execution.step()
        if chunks is not None:
            self._applied(whole(from_chunks(chunks)))
        return chunks


class Executions:
    """Around the machine inside the sessions: every command that is executed.

    ``steps(entry)`` is how many steps a command takes here.  The state changes with the first, so that whatever looks
    at the machine before the last sees the wrong one.
    """

    def __init__(self, machine: StateMachine, executed: Callable[[Entry], None], steps: Callable[[Entry], int]) -> None:
        self.machine = machine
        self._executed = executed
        self._steps = steps

    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        """See :class:`matchengine.state_machine.StateMachine`."""
        return _at_once(self, entries)

    def begin(self, entry: Entry) -> Execution:
        """See :class:`matchengine.state_machine.Interruptible`."""
        self._executed(entry)
        return _Stepwise(self.machine.apply((entry,))[0], self._steps(entry))

    def snapshot(self) -> Iterator[bytes]:
        """See :class:`matchengine.state_machine.StateMachine`."""
        return self.machine.snapshot()

    def restore(self, chunks: Iterable[bytes]) -> None:
        """See :class:`matchengine.state_machine.StateMachine`."""
        self.machine.restore(chunks)


def _at_once(machine: Interruptible, entries: Sequence[Entry]) -> list[bytes]:
    return [whole(from_chunks(finish(machine.begin(entry)))) for entry in entries]


class _Stepwise:
    """An answer that is given with the last of so many steps, in two chunks if there are several."""

    def __init__(self, answer: bytes, steps: int) -> None:
        middle = len(answer) // 2
        last = (answer,) if steps == 1 else (answer[:middle], answer[middle:])
        self._chunks: Iterator[tuple[bytes, ...] | None] = chain(repeat(None, steps - 1), (last,))

    def step(self) -> tuple[bytes, ...] | None:
        """See :class:`matchengine.state_machine.Execution`."""
        return next(self._chunks)
