"""Small lives of a node's files, step by step: what the crash tests interrupt at every call."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from crash_model import Model

from matchengine.raft.ready import Write
from matchengine.raft.types import Configuration, Entry, HardState, Restored, Server, SnapshotMeta
from matchengine.storage.storage import Storage, open_storage

PATH = Path("/data/cluster/node")
#: Four sectors, so that a log has several segments and a frame several sectors.
SEGMENT_BYTES = 2048
RETAIN = 2


class Step(msgspec.Struct, frozen=True):
    """Something to do to a storage, and what it means."""

    model: Callable[[Model], Model]
    do: Callable[[Storage], None]


def open_node(fs) -> Storage:
    return open_storage(PATH, "node-a", segment_bytes=SEGMENT_BYTES, retain_snapshots=RETAIN, fs=fs)


def entries(first: int, last: int, term: int = 1, size: int = 100) -> tuple[Entry, ...]:
    return tuple(
        Entry(i, term, data=(b"%d/%d;" % (i, term) * size)[:size], appended_at=i) for i in range(first, last + 1)
    )


def meta(index: int, term: int = 1) -> SnapshotMeta:
    return SnapshotMeta(index, term, Configuration((Server("node-a", "host:1"),)), 1)


def perform(*writes: Write) -> Step:
    """Writes that the storage performs at once."""

    def model_of(model: Model) -> Model:
        for write in writes:
            model = model.after(write)
        return model

    return Step(model_of, lambda storage: storage.perform(writes))


def snapshot(at: SnapshotMeta, data: bytes = b"state" * 300) -> Step:
    """A snapshot written in pieces and committed."""

    def do(storage: Storage) -> None:
        sink = storage.snapshots.create(at)
        for start in range(0, len(data), 500):
            sink.write(data[start : start + 500])
        sink.commit()

    return Step(lambda model: model.with_snapshot(msgspec.structs.replace(at, size=len(data)), data), do)


def bootstrap(first: Restored) -> Step:
    """The first state of a new cluster."""
    as_write = Write(1, hard_state=first.hard_state, entries=first.entries)
    return Step(lambda model: model.after(as_write), lambda storage: storage.bootstrap(first))


def going_on(model: Model) -> Step:
    """Term, vote, entries and their truncation, on top of whatever there is."""
    last = model.entries[-1].index if model.entries else model.newest.index if model.newest else 0
    term = max(model.hard_state.term, model.newest.term if model.newest else 0) + 1
    return perform(
        Write(1, hard_state=HardState(term, "node-z"), entries=entries(last + 1, last + 2, term, size=600)),
        Write(2, truncate_from=last + 2),
    )


def random_life(seed: int, length: int = 8) -> tuple[Step, ...]:
    """Some steps that may follow each other, the same for the same seed."""
    chance = random.Random(seed)
    model, steps = Model(), []
    while len(steps) < length:
        for step in chance.choice((_append, _append, _append, _overwrite, _vote, _compact, _install))(model, chance):
            model = step.model(model)
            steps.append(step)
    return tuple(steps)


def _next(model: Model) -> int:
    covered = model.newest.index if model.newest else 0
    return (model.entries[-1].index if model.entries else covered) + 1


def _new(model: Model, first: int, term: int, chance: random.Random) -> tuple[Entry, ...]:
    size = chance.choice((0, 5, 60, 300, 700, 1400, 2600))
    return entries(first, first + chance.randrange(3), term, size)


def _append(model: Model, chance: random.Random) -> Iterator[Step]:
    term = max(model.hard_state.term, 1)
    some = _new(model, _next(model), term, chance)
    more = _new(model, some[-1].index + 1, term + 1, chance) if chance.random() < 0.3 else ()
    state = HardState(term + 1) if more else HardState(term) if not model.hard_state.term else None
    yield perform(Write(1, entries=some, hard_state=state), Write(2, entries=more))


def _overwrite(model: Model, chance: random.Random) -> Iterator[Step]:
    term = model.hard_state.term + 1
    covered = max(model.droppable, model.newest.index if model.newest else 0)
    first = chance.randint(min(covered + 1, _next(model)), _next(model))
    yield perform(Write(1, hard_state=HardState(term), truncate_from=first, entries=_new(model, first, term, chance)))


def _vote(model: Model, chance: random.Random) -> Iterator[Step]:
    yield perform(Write(1, hard_state=HardState(model.hard_state.term + 1, "node-b" * chance.choice((1, 90)))))


def _compact(model: Model, chance: random.Random) -> Iterator[Step]:
    if model.entries:
        at = chance.choice(model.entries)
        if model.newest is None or (at.term, at.index) > (model.newest.term, model.newest.index):
            yield snapshot(meta(at.index, at.term), b"%d" % at.index * chance.choice((1, 300, 900)))
            yield perform(Write(1, compact_to=at.index))


def _install(model: Model, chance: random.Random) -> Iterator[Step]:
    term = model.hard_state.term + 1
    at = meta(_next(model) + chance.randrange(4), term)
    yield snapshot(at)
    yield perform(Write(1, hard_state=HardState(term), reset=at, entries=entries(at.index + 1, at.index + 2, term)))


START = perform(Write(1, hard_state=HardState(1, "node-a"), entries=entries(1, 3)))
#: Two segments of six entries.
LONG = tuple(perform(Write(1, hard_state=HardState(1), entries=entries(i, i + 2, size=250))) for i in range(1, 13, 3))

WORKLOADS: dict[str, tuple[Step, ...]] = {
    "creation": (bootstrap(Restored(HardState(1), None, entries(1, 1))),),
    "stable store": (
        perform(Write(1, hard_state=HardState(1, "node-a"))),
        perform(Write(2, hard_state=HardState(2, ""))),
        perform(Write(3, hard_state=HardState(2, "node-with-a-long-name" * 40))),
    ),
    "append": (
        START,
        perform(Write(2, entries=entries(4, 4, size=5))),
        perform(Write(3, entries=entries(5, 6, size=20)), Write(4, hard_state=HardState(2), entries=entries(7, 7, 2))),
        perform(Write(5, entries=entries(8, 8, 2, size=900))),
    ),
    "append over segments": (*LONG, perform(Write(5, entries=entries(13, 13, size=3000)))),
    "truncate within a frame": (
        START,
        perform(Write(2, entries=entries(4, 7))),
        perform(Write(3, hard_state=HardState(2, "node-b"), truncate_from=6, entries=entries(6, 6, 2, size=400))),
    ),
    "truncate between frames": (START, perform(Write(2, entries=entries(4, 5))), perform(Write(3, truncate_from=4))),
    "truncate over segments": (
        *LONG,
        perform(Write(5, entries=entries(13, 14, size=250))),
        perform(Write(5, hard_state=HardState(2), truncate_from=3, entries=entries(3, 5, 2))),
    ),
    "truncate everything": (*LONG[:2], perform(Write(5, hard_state=HardState(2), truncate_from=1))),
    "compaction": (
        *LONG,
        snapshot(meta(10)),
        perform(Write(5, compact_to=10)),
        perform(Write(6, entries=entries(13, 13))),
    ),
    "snapshot install": (
        *LONG[:3],
        snapshot(meta(20, 2)),
        perform(Write(5, hard_state=HardState(2), reset=meta(20, 2), entries=entries(21, 22, 2))),
        perform(Write(6, entries=entries(23, 23, 2))),
    ),
    "snapshot install over a conflict": (
        START,
        snapshot(meta(2, 2)),
        perform(Write(5, hard_state=HardState(2), reset=meta(2, 2))),
    ),
    "snapshot retention": (START, *(snapshot(meta(index), b"%d" % index * 400) for index in (1, 2, 3, 3))),
}
