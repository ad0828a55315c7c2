"""The state machine's keeper: applies entries, takes snapshots, restores them, one at a time.

``snapshot`` and ``restore`` of a machine, and a look at all of it, may take seconds, so they run on the worker; entries
that become committed meanwhile wait here.  Writing the frozen snapshot to disk goes on beside
new entries.

An interruptible machine executes a large command in steps, and gives the thread back after each.  Everything else that
concerns the machine waits until the command has been executed, except a restore, which drops it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from matchengine.answers import Answer
from matchengine.errors import BusyError, NothingNewError, RefusedError
from matchengine.node.contracts import Worker
from matchengine.node.engine import Settle
from matchengine.node.policy import SnapshotPolicy
from matchengine.raft.configuration import decode_configuration
from matchengine.raft.types import Configuration, Entry, EntryType, Index, SnapshotMeta, Term
from matchengine.state_machine import Execution, Interruptible, StateMachine
from matchengine.storage.contracts import SnapshotStore

OnApplied = Callable[[tuple[Entry, ...], Iterable[Answer], Index], None]
T = TypeVar("T")
OnSnapshot: TypeAlias = Settle[SnapshotMeta]

_NOT_COMMANDS: Final = b""


class _Begun(NamedTuple):
    """Entries of which the first is half executed."""

    execution: Execution
    entries: tuple[Entry, ...]


class _Look(NamedTuple):
    """Somebody wants to examine the machine."""

    look: Callable[[], Any]
    done: Settle[Any]


class MachineRoom:
    """``on_applied(entries, results, index)`` follows every batch and every restore (then without entries).

    ``on_more()`` asks the owner to call :meth:`go_on`, later and after other work, for as long as :attr:`has_more`.
    ``on_due`` is told when the policy wants a snapshot, if somebody else decides when one is taken; it is told
    once until one is.
    """

    def __init__(
        self,
        machine: StateMachine,
        snapshot: SnapshotMeta | None,
        *,
        worker: Worker,
        snapshots: SnapshotStore,
        policy: SnapshotPolicy,
        on_applied: OnApplied,
        on_snapshot: Callable[[SnapshotMeta], None],
        on_error: Callable[[Exception], None],
        on_more: Callable[[], None],
        on_due: Callable[[], None] | None = None,
    ) -> None:
        self._machine = machine
        self._interruptible = machine if isinstance(machine, Interruptible) else None
        self._worker = worker
        self._snapshots = snapshots
        self._policy = policy
        self._on_applied = on_applied
        self._on_snapshot = on_snapshot
        self._on_error = on_error
        self._on_more = on_more
        self._on_due = on_due
        self._due_told = False
        self._queue: deque[tuple[Entry, ...]] = deque()
        self._begun: _Begun | None = None
        #: Set for one turn after a long command.
        self._pausing = False
        self._more_asked = False
        self._looks: deque[_Look] = deque()
        self._capturing = False
        self._persisting = False
        self._stopped = False
        self._asked: list[OnSnapshot] = []
        self._served: list[OnSnapshot] = []
        self._examiners: dict[int, Settle[Any]] = {}
        self._examinations = count(1)
        self.restoring = False
        self.applied: Index = 0
        self._applied_term: Term = 0
        self._configuration = Configuration()
        self._configuration_index: Index = 0
        self._entries_since_snapshot = 0
        self._bytes_since_snapshot = 0
        self._head_start = policy.head_start
        if snapshot is not None:
            self._start_restore(snapshot)

    def stop(self, error: Exception) -> None:
        """Begin nothing more; whoever waits for a snapshot or an examination gets ``error``."""
        self._stopped = True
        self._queue.clear()
        self._begun = None
        looks = [look.done for look in self._looks]
        waiting: list[Settle[Any]] = [*self._served, *self._asked, *self._examiners.values(), *looks]
        self._asked, self._served, self._examiners = [], [], {}
        self._looks.clear()
        for done in waiting:
            done(None, error)

    # --- applying --------------------------------------------------------------------------

    def apply(self, entries: tuple[Entry, ...]) -> None:
        """Process committed entries now, or after what is under way."""
        if self._begun is not None or self._queue or self._pausing or self._stands_still:
            self._queue.append(entries)
            self._ask_for_more()
        else:
            self._apply(entries)

    def go_on(self) -> None:
        """Take the next step of what waits, if anything does."""
        self._more_asked = False
        if self._begun is not None:
            self._execute(self._begun.entries, self._begun.execution)
        elif self._pausing:
            self._pausing = False
        elif self._queue and not self._stands_still:
            self._apply(self._queue.popleft())
        self._ask_for_more()

    @property
    def has_more(self) -> bool:
        """Whether :meth:`go_on` has something to do."""
        return self._begun is not None or self._pausing or (bool(self._queue) and not self._stands_still)

    @property
    def is_readable(self) -> bool:
        """Whether the machine stands at :attr:`applied`, neither half-way through a command nor being replaced."""
        return self._begun is None and not self.restoring

    def _ask_for_more(self) -> None:
        if self.has_more and not self._more_asked:
            self._more_asked = True
            self._on_more()

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        if self._interruptible is not None:
            self._execute(entries)
            return
        commands = [e for e in entries if e.type is EntryType.COMMAND]
        try:
            results = self._machine.apply(commands) if commands else ()
            if len(results) != len(commands):
                raise TypeError(f"apply: {len(results)} answers for {len(commands)} entries")
        except Exception as error:  # noqa: BLE001 - whatever it is: a replica that goes on after it would differ
            self._on_error(error)
            return
        self._passed(entries, _with_gaps(entries, commands, results))

    def _execute(self, entries: tuple[Entry, ...], execution: Execution | None = None) -> None:
        """Execute entries, the first of which is perhaps begun, up to one that needs a further step."""
        assert self._interruptible is not None
        begin, results, resumed = self._interruptible.begin, list[Answer](), execution is not None
        try:
            for entry in entries:
                if entry.type is not EntryType.COMMAND:
                    results.append(_NOT_COMMANDS)
                    continue
                execution = begin(entry) if execution is None else execution
                chunks = execution.step()
                if chunks is None:
                    break
                execution = None
                results.append(chunks[0] if len(chunks) == 1 else chunks)
                if resumed:
                    break
        except Exception as error:  # noqa: BLE001 - as in _apply
            self._on_error(error)
            return
        if resumed or execution is not None:
            entries = self._interrupted(entries, len(results), execution)
        if results:
            self._passed(entries, results)

    def _interrupted(self, entries: tuple[Entry, ...], count: int, execution: Execution | None) -> tuple[Entry, ...]:
        """Keep what lies behind the first ``count`` entries, which are returned: it is half executed, or to wait."""
        rest = entries[count:]
        self._begun = None if execution is None else _Begun(execution, rest)
        if execution is None:
            self._pause_before(rest)
        self._ask_for_more()
        return entries[:count]

    def _pause_before(self, rest: tuple[Entry, ...]) -> None:
        """A long command has been executed: reads that waited for it have their turn before the next one begins."""
        self._pausing = True
        if rest:
            self._queue.appendleft(rest)

    def _passed(self, entries: tuple[Entry, ...], results: Iterable[Answer]) -> None:
        self._note(entries)
        self._on_applied(entries, results, self.applied)
        while self._looks and self._begun is None:
            self._examine(self._looks.popleft())
        self._snapshot_if_due()

    def _note(self, entries: tuple[Entry, ...]) -> None:
        for entry in entries:
            if entry.type is EntryType.CONFIGURATION:
                self._configuration = decode_configuration(entry.data)
                self._configuration_index = entry.index
            self._bytes_since_snapshot += entry.size
        self._entries_since_snapshot += len(entries)
        self.applied = entries[-1].index
        self._applied_term = entries[-1].term

    @property
    def _stands_still(self) -> bool:
        """Whether the worker has the machine, so that nothing may be applied."""
        return self.restoring or self._capturing or bool(self._examiners)

    # --- examining -------------------------------------------------------------------------

    def examine(self, look: Callable[[], T], done: Settle[tuple[Index, T]]) -> None:
        """Run ``look()`` on the worker, with the machine as it stands at an index, which is told; entries wait."""
        if self.restoring:
            done(None, _being_replaced())
        elif self._begun is not None:
            self._looks.append(_Look(look, done))
        else:
            self._examine(_Look(look, done))

    def _examine(self, asked: _Look) -> None:
        number, index = next(self._examinations), self.applied
        self._examiners[number] = asked.done

        def looked(result: object, error: Exception | None) -> None:
            if self._examiners.pop(number, None) is not None:
                asked.done(None if error is not None else (index, result), error)
                self._ask_for_more()

        self._worker.run(asked.look, looked)

    # --- taking a snapshot -----------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        """Whether anything was applied since the last snapshot."""
        return self._entries_since_snapshot > 0

    def take_snapshot(self, done: OnSnapshot) -> None:
        """Take one as soon as possible; ``done`` hears of it, or of the one that is being restored."""
        if self.restoring:
            self._asked.append(done)
        elif not self.has_news:
            done(None, NothingNewError())
        else:
            self.capture(done)

    def capture(self, done: OnSnapshot) -> None:
        """Take one as soon as possible, whether there is anything new or not."""
        self._asked.append(done)
        self._begin_snapshot()

    def _snapshot_if_due(self) -> None:
        policy, part = self._policy, 1 - self._head_start
        due = self._entries_since_snapshot >= policy.entries * part or self._bytes_since_snapshot >= policy.bytes * part
        if self._asked or (due and self._on_due is None):
            self._begin_snapshot()
        elif due and self._on_due is not None and not self._due_told:
            self._due_told = True
            self._on_due()

    def _begin_snapshot(self) -> None:
        if not self.is_readable or self._capturing or self._persisting or self._stopped:
            return
        meta = SnapshotMeta(self.applied, self._applied_term, self._configuration, self._configuration_index)
        self._capturing = self._persisting = True
        self._start_counting()
        self._head_start = 0.0
        self._served, self._asked = self._asked, []

        def captured(chunks: Iterator[bytes] | None, error: Exception | None) -> None:
            self._capturing = False
            if self._stopped:
                return
            if chunks is None:
                self._on_error(error or TypeError("snapshot: the state machine returned None"))
                return
            self._worker.run(lambda: write_snapshot(self._snapshots, meta, chunks), persisted)
            self._ask_for_more()

        def persisted(meta: SnapshotMeta | None, error: Exception | None) -> None:
            self._persisting = False
            if meta is not None:
                self._on_snapshot(meta)
            elif not isinstance(error, RefusedError):  # refused: whoever keeps snapshots did not want it
                self._on_error(error or RuntimeError("snapshot: not written"))
                return
            served, self._served = self._served, []
            for done in served:
                done(meta, error)
            self._snapshot_if_due()

        self._worker.run(self._machine.snapshot, captured)

    # --- restoring -------------------------------------------------------------------------

    def restore(self, meta: SnapshotMeta) -> None:
        """Replace the state by a durable snapshot's; entries that wait, or are half executed, are older and dropped."""
        self._queue.clear()
        self._begun = None
        while self._looks:
            self._looks.popleft().done(None, _being_replaced())
        self._start_restore(meta)

    def _start_restore(self, meta: SnapshotMeta) -> None:
        self.restoring = True

        def restored(_: object, error: Exception | None) -> None:
            if error is not None:
                self._on_error(error)
                return
            self._stand_at(meta)
            if self._on_due is None:
                self._answer_asked(meta)
            self._on_applied((), (), self.applied)
            self._ask_for_more()
            self._snapshot_if_due()  # a capture that was asked for meanwhile: no entry need follow

        self._worker.run(lambda: self._machine.restore(self._snapshots.open(meta)), restored)

    def _stand_at(self, meta: SnapshotMeta) -> None:
        self.restoring = False
        self.applied = meta.index
        self._applied_term = meta.term
        self._configuration = meta.configuration
        self._configuration_index = meta.configuration_index
        self._start_counting()
        self._head_start = self._policy.head_start

    def _answer_asked(self, meta: SnapshotMeta) -> None:
        """The restored snapshot is durable and holds all that was there when these were asked for."""
        asked, self._asked = self._asked, []
        for done in asked:
            done(meta, None)

    def _start_counting(self) -> None:
        self._entries_since_snapshot = self._bytes_since_snapshot = 0
        self._due_told = False


def _with_gaps(entries: tuple[Entry, ...], commands: list[Entry], results: Iterable[bytes]) -> Iterable[bytes]:
    """One result per entry: empty for those that are not commands."""
    if len(entries) == len(commands):
        return results
    answers = iter(results)
    return [next(answers) if e.type is EntryType.COMMAND else _NOT_COMMANDS for e in entries]


def _being_replaced() -> BusyError:
    return BusyError("the state machine is being replaced by a snapshot")


def write_snapshot(snapshots: SnapshotStore, meta: SnapshotMeta, chunks: Iterator[bytes]) -> SnapshotMeta:
    """Write a frozen state to ``snapshots``; returns the meta data with the size, when all is durable."""
    sink = snapshots.create(meta)
    try:
        for chunk in chunks:
            sink.write(chunk)
    except BaseException:
        sink.abort()
        raise
    return sink.commit()
