"""Drives workloads into crashes, opens what is left with the production code, and judges what it says."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TypeVar

import msgspec
from crash_model import Found, Model, complaint, loss
from crash_states import Crash, DiskState
from crash_trace import Call, Name, RecordingFileSystem, Write
from crash_workloads import PATH, RETAIN, Step, going_on, meta, open_node

from matchengine.raft.types import SnapshotMeta
from matchengine.storage.contracts import StorageError
from matchengine.storage.simulated import PowerLoss, no_fault
from matchengine.storage.storage import Storage
from matchengine.testing.simulator.disk import starts_of_frames

T = TypeVar("T")


class CrashError(AssertionError):
    """A legal state of the disk from which the stores did not come back right."""

    @property
    def headline(self) -> str:
        return str(self).partition("\n")[0][:120]


class Counts(msgspec.Struct):
    """Calls that were interrupted, states that were possible, and states that were opened (each once)."""

    calls: int = 0
    legal: int = 0
    tried: int = 0
    refused: int = 0
    recoveries: int = 0

    def __str__(self) -> str:
        return (
            f"{self.calls:,} calls interrupted, {self.legal:.3g} legal states, {self.tried:,} opened, "
            f"{self.recoveries:,} recoveries interrupted as well"
        )


class Span(msgspec.Struct, frozen=True):
    """A step's calls, from ``start`` to before ``end``: within it the state lies between ``before`` and ``after``."""

    start: int
    end: int
    before: Model
    after: Model
    #: What was reported at the end: mostly ``after``.
    reported: Model


class Life(msgspec.Struct):
    """What was done to some files, and what the stores said meanwhile.

    Before all that, the state lay between the two of ``start``.
    """

    fs: RecordingFileSystem
    spans: list[Span] = []
    start: tuple[Model, Model] = (Model(), Model())

    def around(self, calls: int) -> tuple[Model, Model]:
        """What was reported durable once so many calls had returned, and what may have happened beyond."""
        bounds = self.start
        for span in self.spans:
            if calls >= span.end:
                bounds = span.reported, span.reported
            elif calls > span.start:
                return span.before, span.after
        return bounds

    def run(self, steps: Iterable[Step], model: Model) -> None:
        """Open the files and take these steps."""
        storage = self._span(model, model, lambda: open_node(self.fs))
        self._span(model, model, storage.restore)
        for step in steps:
            after = step.model(model)
            self._span(model, after, lambda step=step: step.do(storage))
            model = after
        storage.close()

    def restart(self, before: Model, after: Model) -> Found:
        """Open the files of a process that was killed between ``before`` and ``after``; from then on, what it says."""
        start = len(self.fs.calls)
        found = look(self.fs)
        self.start = before, after
        self.spans = [Span(start, len(self.fs.calls), before, after, found.as_model(after))]
        return found

    def _span(self, before: Model, after: Model, work: Callable[[], T]) -> T:
        start = len(self.fs.calls)
        self.spans.append(Span(start, 10**9, before, after, after))
        result = work()
        self.spans[-1] = Span(start, len(self.fs.calls), before, after, after)
        return result


def live(steps: Iterable[Step], *, until: int | None = None) -> Life:
    """Run a workload from an empty disk, to its end or to the call after which its process is killed."""
    life = Life(RecordingFileSystem())

    def killer(_operation: str, _path: object) -> None:
        if until is not None and len(life.fs.calls) >= until:
            raise PowerLoss

    life.fs.fault = killer
    with suppress(PowerLoss):
        life.run(steps, Model())
    life.fs.fault = no_fault
    life.fs.kill()
    return life


def state_of(fs: RecordingFileSystem) -> DiskState:
    """What the next process finds when this one has only ended."""
    files = tuple((path, fs.peek(path)) for path, _ in fs.files())
    return DiskState(frozenset(fs.directories()), files)


def lost_parts(state: DiskState) -> Iterator[DiskState]:
    """The state without its newest segments, its records, several of these; and without the log's newest frames."""
    files = dict(state.files)
    segments = sorted(path for path in files if path.suffix == ".log")
    records = [PATH / "stable", PATH / "log-end"]
    newest = [segments[at:] for at in range(len(segments))]
    for gone in (*newest, *([each] for each in records), *([*some, records[1]] for some in newest), segments + records):
        kept = tuple((path, data) for path, data in state.files if path not in gone)
        if len(kept) < len(state.files):
            yield msgspec.structs.replace(state, files=kept)
    for path in segments[-1:]:
        for start in starts_of_frames(files[path]):
            cut = files | {path: files[path][:start].ljust(len(files[path]), b"\0")}
            yield msgspec.structs.replace(state, files=tuple(cut.items()))


def look(fs: RecordingFileSystem) -> Found:
    """Open the files as a node that starts; raises StorageError when that refuses."""
    storage = open_node(fs)
    restored = storage.restore()
    found = Found(restored, tuple(_readable(storage)))
    storage.close()
    return found


def _readable(storage: Storage) -> Iterator[tuple[SnapshotMeta, bytes]]:
    for name in reversed(storage.snapshots._names):
        term, index, _ = name.split("-")
        at = meta(int(index), int(term))
        data = b"".join(storage.snapshots.open(at))
        yield msgspec.structs.replace(at, size=len(data)), data


class Effort(msgspec.Struct, frozen=True):
    """All states of a call or about ``states``; one in ``recoveries`` states and one in ``kills`` calls."""

    states: int
    recoveries: int
    kills: int


class Explorer:
    """Tries crash states; raises CrashError at the first wrong one.

    ``effort`` bounds it all: how many states for each call, how many of those are interrupted again as they
    recover, and at how many calls of the workload the process is killed.
    """

    def __init__(self, name: str, effort: Effort, seed: int = 1) -> None:
        self.name = name
        self.effort = effort
        self.counts = Counts()
        self._chance = random.Random(seed)
        self._seen: set[object] = set()

    def power_losses(self, steps: Sequence[Step], by: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        """Power is lost after each call of the workload, and again as the next process recovers and goes on.

        The workload is the work of the program that is there within ``by()``, perhaps an older one.
        """
        with by():
            life = live(steps)
        self._lose_power(life, 0, first_time=True)

    def kills(self, steps: Sequence[Step]) -> None:
        """The process is killed at a call, another one starts, reports what it finds, goes on; power is lost then."""
        total = len(live(steps).fs.calls)
        for until in range(1, total + 1):
            if self._chance.randrange(self.effort.kills) == 0:
                life = live(steps, until=until)
                self._recover(life, *life.around(until))
                self._lose_power(life, until, first_time=False)

    def losses(self, steps: Sequence[Step]) -> None:
        """The process is killed at a call, and a part of the log, or a file, is lost: no start may pass over that.

        It may refuse, or have all that was reported.
        """
        total = len(live(steps).fs.calls)
        for until in range(1, total + 1):
            if self._chance.randrange(self.effort.kills) == 0:
                life = live(steps, until=until)
                for state in lost_parts(state_of(life.fs)):
                    self._judge_loss(state, *life.around(until), life.fs.calls)

    def _judge_loss(self, state: DiskState, before: Model, after: Model, calls: Sequence[Call]) -> None:
        self.counts.tried += 1
        try:
            found = look(state.load())
        except StorageError:
            self.counts.refused += 1
            return
        wrong = loss(found, before, after)
        if wrong:
            raise CrashError(self._report(f"a loss passed in silence: {wrong}", calls))

    def _lose_power(self, life: Life, first: int, *, first_time: bool) -> None:
        crash = Crash(life.fs.calls[:first])
        for number in range(first, len(life.fs.calls) + 1):
            if number > first:
                crash.add(life.fs.calls[number - 1])
            before, after = life.around(number)
            self._judge_all(crash, before, after, life.fs.calls[:number], first_time=first_time)

    def _judge_all(self, crash: Crash, before: Model, after: Model, calls: Sequence[Call], *, first_time: bool) -> None:
        self.counts.calls += 1
        crash.legal = 0
        for state in crash.states(self.effort.states, self._chance):
            key = (state, before, after)
            if key not in self._seen:
                self._seen.add(key)
                self._judge(state, before, after, calls, first_time=first_time)
        self.counts.legal += crash.legal

    def _judge(self, state: DiskState, before: Model, after: Model, calls: Sequence[Call], *, first_time: bool) -> None:
        self.counts.tried += 1
        if not first_time:
            self._checked(lambda: look(state.load()), before, after, calls)
            return
        life = Life(state.load())
        loaded = len(life.fs.calls)
        model = self._recover(life, before, after)
        # The stores must be fit for use, and have what was written since.
        self._checked(lambda: look(life.fs), model, model, life.fs.calls)
        if self._chance.randrange(self.effort.recoveries) == 0:
            self.counts.recoveries += 1
            self._lose_power(life, loaded, first_time=False)

    def _recover(self, life: Life, before: Model, after: Model) -> Model:
        """Another process starts, and goes on from what it finds."""
        found = self._checked(lambda: life.restart(before, after), before, after, life.fs.calls)
        model = found.as_model(after)
        step = going_on(model)
        life.run([step], model)
        return step.model(model)

    def _checked(self, opening: Callable[[], Found], before: Model, after: Model, calls: Sequence[Call]) -> Found:
        try:
            found = opening()
        except StorageError as error:
            raise CrashError(self._report(f"refused: {error}", calls)) from error
        wrong = complaint(found, before, after, RETAIN)
        if wrong:
            raise CrashError(self._report(wrong, calls))
        return found

    def _report(self, wrong: str, calls: Sequence[Call]) -> str:
        last = "\n".join(f"  {_shown(call)}" for call in calls[-8:])
        return f"{self.name}: {wrong}\nafter {len(calls)} calls, of which the last are\n{last}"


def _shown(call: Call) -> str:
    match call:
        case Write():
            return f"write {len(call.data)} bytes at {call.offset} of file {call.file}"
        case Name():
            changes = (f"{path.name} -> {'nothing' if file is None else f'file {file}'}" for path, file in call.changes)
            return "name " + ", ".join(changes)
        case _:
            return str(call)
