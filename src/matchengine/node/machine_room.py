"""The state machine's keeper: applies entries, takes snapshots, restores them, one at a time.

``snapshot`` and ``restore`` of a machine, and a look at all of it, may take seconds, so they run on the worker; entries
that become committed meanwhile wait here.  Writing the frozen snapshot to disk goes on beside
new entries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any, TypeAlias, TypeVar

from matchengine.errors import BusyError, RefusedError
from matchengine.node.contracts import Worker
from matchengine.node.engine import Settle
from matchengine.node.policy import SnapshotPolicy
from matchengine.raft.configuration import decode_configuration
from matchengine.raft.types import Configuration, Entry, EntryType, Index, SnapshotMeta, Term
from matchengine.state_machine import StateMachine
from matchengine.storage.contracts import SnapshotStore

OnApplied = Callable[[tuple[Entry, ...], Iterable[bytes], Index], None]
T = TypeVar("T")
OnSnapshot: TypeAlias = Settle[SnapshotMeta]


class MachineRoom:
    """``on_applied(entries, results, index)`` follows every batch and every restore (then without entries).

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
        on_due: Callable[[], None] | None = None,
    ) -> None:
        self._machine = machine
        self._worker = worker
        self._snapshots = snapshots
        self._policy = policy
        self._on_applied = on_applied
        self._on_snapshot = on_snapshot
        self._on_error = on_error
        self._on_due = on_due
        self._due_told = False
        self._queue: deque[tuple[Entry, ...]] = deque()
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
        if snapshot is not None:
            self._start_restore(snapshot)

    def stop(self, error: Exception) -> None:
        """Begin nothing more; whoever waits for a snapshot or an examination gets ``error``."""
        self._stopped = True
        self._queue.clear()
        waiting: list[Settle[Any]] = [*self._served, *self._asked, *self._examiners.values()]
        self._asked, self._served, self._examiners = [], [], {}
        for done in waiting:
            done(None, error)

    # --- applying --------------------------------------------------------------------------

    def apply(self, entries: tuple[Entry, ...]) -> None:
        """Process committed entries now, or after the snapshot work that is under way."""
        if self._stands_still or self._queue:
            self._queue.append(entries)
        else:
            self._apply(entries)

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        commands = [e for e in entries if e.type is EntryType.COMMAND]
        try:
            results = self._machine.apply(commands) if commands else ()
            if len(results) != len(commands):
                raise TypeError(f"apply: {len(results)} answers for {len(commands)} entries")
        except Exception as error:  # noqa: BLE001 - whatever it is: a replica that goes on after it would differ
            self._on_error(error)
            return
        self._note(entries)
        self._on_applied(entries, _with_gaps(entries, commands, results), self.applied)
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

    def _drain(self) -> None:
        while self._queue and not self._stands_still:
            self._apply(self._queue.popleft())

    @property
    def _stands_still(self) -> bool:
        """Whether the worker has the machine, so that nothing may be applied."""
        return self.restoring or self._capturing or bool(self._examiners)

    # --- examining -------------------------------------------------------------------------

    def examine(self, look: Callable[[], T], done: Settle[T]) -> None:
        """Run ``look()`` on the worker, with the machine as it stands at :attr:`applied`; entries wait meanwhile."""
        if self.restoring:
            done(None, BusyError("the state machine is being replaced by a snapshot"))
            return
        number = next(self._examinations)
        self._examiners[number] = done

        def looked(result: T | None, error: Exception | None) -> None:
            if self._examiners.pop(number, None) is not None:
                done(result, error)
                self._drain()

        self._worker.run(look, looked)

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
            done(None, RefusedError("nothing new to snapshot"))
        else:
            self.capture(done)

    def capture(self, done: OnSnapshot) -> None:
        """Take one as soon as possible, whether there is anything new or not."""
        self._asked.append(done)
        self._begin_snapshot()

    def _snapshot_if_due(self) -> None:
        due = self._entries_since_snapshot >= self._policy.entries or self._bytes_since_snapshot >= self._policy.bytes
        if self._asked or (due and self._on_due is None):
            self._begin_snapshot()
        elif due and self._on_due is not None and not self._due_told:
            self._due_told = True
            self._on_due()

    def _begin_snapshot(self) -> None:
        if self.restoring or self._capturing or self._persisting or self._stopped:
            return
        meta = SnapshotMeta(self.applied, self._applied_term, self._configuration, self._configuration_index)
        self._capturing = self._persisting = True
        self._start_counting()
        self._served, self._asked = self._asked, []

        def captured(chunks: Iterator[bytes] | None, error: Exception | None) -> None:
            self._capturing = False
            if self._stopped:
                return
            if chunks is None:
                self._on_error(error or TypeError("snapshot: the state machine returned None"))
                return
            self._worker.run(lambda: write_snapshot(self._snapshots, meta, chunks), persisted)
            self._drain()

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
        """Replace the state by a durable snapshot's; entries that wait are older and dropped."""
        self._queue.clear()
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
            self._drain()
            self._snapshot_if_due()  # a capture that was asked for meanwhile: no entry need follow

        self._worker.run(lambda: self._machine.restore(self._snapshots.open(meta)), restored)

    def _stand_at(self, meta: SnapshotMeta) -> None:
        self.restoring = False
        self.applied = meta.index
        self._applied_term = meta.term
        self._configuration = meta.configuration
        self._configuration_index = meta.configuration_index
        self._start_counting()

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
    return [next(answers) if e.type is EntryType.COMMAND else b"" for e in entries]


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
