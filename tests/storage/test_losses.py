"""Whatever is lost of a directory, the node refuses it by name, or has all that it acknowledged, its vote included.

Every file of it times every damage, and every set of files that are gone together.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from itertools import combinations
from pathlib import Path

import msgspec
import pytest
from crash_explorer import Effort, Explorer
from crash_model import Found, Model, loss
from crash_workloads import LONG, PATH, WORKLOADS, Step, entries, going_on, meta, open_node, perform, snapshot
from version_1 import directory_1, version_1

from matchengine.raft.ready import Write
from matchengine.raft.types import HardState, Restored
from matchengine.storage import frames
from matchengine.storage.contracts import StorageError
from matchengine.storage.simulated import SimulatedFileSystem
from matchengine.storage.storage import open_storage
from matchengine.testing.simulator.disk import starts_of_frames

Files = dict[Path, bytes]

#: What somebody who runs a cluster can do.
REMEDIES = (
    "under a new id",
    "from a copy",
    "with a new id",
    "an empty directory",
    "start with that id",
    "use the program that wrote it",
)
LIVES: dict[str, tuple[Step, ...]] = {
    **{
        name: WORKLOADS[name]
        for name in ("creation", "append over segments", "truncate over segments", "compaction", "snapshot install")
    },
    "a vote alone": (perform(Write(1, hard_state=HardState(1, "node-b"))),),
    "a snapshot alone": (
        *LONG[:1],
        snapshot(meta(20, 2)),
        perform(Write(5, hard_state=HardState(2, "node-b"), reset=meta(20, 2))),
    ),
    "all in a snapshot": (*LONG, snapshot(meta(12)), perform(Write(5, compact_to=12))),
    "a truncated log": (*LONG, perform(Write(5, hard_state=HardState(3, "node-b"), truncate_from=2))),
}
PROGRAMS = {"": nullcontext, "by an older program, ": directory_1, "by the first program, ": version_1}


class Life(msgspec.Struct, frozen=True):
    """The files that a node left, and what it had acknowledged."""

    files: Files
    model: Model


def live(steps: tuple[Step, ...], *, stopped: bool, program: Callable = nullcontext) -> Life:
    """A node's life, to a clean stop or a kill; one of an older program is followed by a start of today's."""
    fs, model = SimulatedFileSystem(), Model()
    with program():
        storage = open_node(fs)
        for step in steps:
            step.do(storage)
            model = step.model(model)
        if stopped:
            storage.close()
    fs.end_process()
    if program is not nullcontext:
        open_node(fs).close()
        fs.end_process()
    return Life({path: fs.peek(path) for path, _ in fs.files()}, model)


@pytest.fixture(scope="module")
def lives() -> dict[str, Life]:
    """Nodes that were stopped, killed, or upgraded."""
    made = {
        f"{name}, {end}": live(LIVES[name], stopped=end == "stopped") for name in LIVES for end in ("stopped", "killed")
    }
    for told, program in PROGRAMS.items():
        for name in ("append over segments", "compaction") if told else ():
            made[f"{told}{name}"] = live(LIVES[name], stopped=True, program=program)
    return made


def load(files: Files) -> SimulatedFileSystem:
    """A disk with these files and the directories that they need."""
    fs = SimulatedFileSystem()
    for directory in sorted({level for path in files for level in path.parents} | {*PATH.parents}):
        if not fs.exists(directory):
            fs.mkdir(directory)
    for path, data in files.items():
        handle = fs.create(path)
        fs.pwrite(handle, data, 0)
        fs.close(handle)
    return fs


def outcome(files: Files, model: Model) -> str:
    """How a start ends: ``refused``, ``intact``, or what is wrong with it."""
    fs = load(files)
    try:
        storage = open_node(fs)
        restored = storage.restore()
    except StorageError as error:
        return judge_refusal(str(error))
    missing = loss(Found(restored, ()), model, model)
    if not missing:
        going_on(found_again(restored, model)).do(storage)
        storage.close()
        open_node(fs).close()
    return missing or "intact"


def judge_refusal(text: str) -> str:
    if str(PATH) not in text:
        return f"a refusal names no file: {text}"
    return "refused" if any(remedy in text for remedy in REMEDIES) else f"a refusal without a remedy: {text}"


def found_again(restored: Restored, model: Model) -> Model:
    snapshots = tuple(kept for kept in model.snapshots if kept[0] == restored.snapshot)
    return Model(restored.hard_state, restored.entries, snapshots, model.droppable)


# --- damage to one file ---------------------------------------------------------------------


def deleted(_path: Path, _data: bytes) -> Iterator[bytes | None]:
    yield None


def emptied(_path: Path, _data: bytes) -> Iterator[bytes]:
    yield b""


def halved(_path: Path, data: bytes) -> Iterator[bytes]:
    yield data[: len(data) // 2]


def zeroed(_path: Path, data: bytes) -> Iterator[bytes]:
    yield bytes(len(data))


def lengthened(_path: Path, data: bytes) -> Iterator[bytes]:
    yield from (data + b"\0", data + b"x", data + data)


def shortened(_path: Path, data: bytes) -> Iterator[bytes]:
    yield from (data[:-1], data[:-512])


def a_bit_turned(_path: Path, data: bytes) -> Iterator[bytes]:
    for offset in range(0, len(data), max(1, len(data) // 64)):
        yield data[:offset] + bytes([data[offset] ^ 1 << offset % 8]) + data[offset + 1 :]


def a_sector_zeroed(_path: Path, data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), frames.SECTOR):
        size = min(frames.SECTOR, len(data) - start)
        yield data[:start] + bytes(size) + data[start + size :]


def last_frames_zeroed(path: Path, data: bytes) -> Iterator[bytes]:
    for start in starts_of_frames(data) if path.suffix == ".log" else ():
        yield data[:start].ljust(len(data), b"\0")


def cut_behind_a_frame(path: Path, data: bytes) -> Iterator[bytes]:
    for start in starts_of_frames(data) if path.suffix == ".log" else ():
        yield data[:start]


DAMAGES = (
    deleted,
    emptied,
    halved,
    zeroed,
    lengthened,
    shortened,
    a_bit_turned,
    a_sector_zeroed,
    last_frames_zeroed,
    cut_behind_a_frame,
)


def damaged(files: Files, path: Path, data: bytes | None) -> Files:
    rest = {other: kept for other, kept in files.items() if other != path}
    return rest if data is None else {**rest, path: data}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.replace("_", " "))
def test_no_damage_to_a_file_passes_in_silence(lives, damage, record_property):
    seen: Counter[str] = Counter()
    for name, life in lives.items():
        for path, data in life.files.items():
            for changed in damage(path, data):
                result = outcome(damaged(life.files, path, changed), life.model)
                assert result in ("refused", "intact"), f"{name}: {path.relative_to(PATH)}: {result}"
                seen[result] += 1
    assert seen["refused"] > 40
    record_property("counted", ", ".join(f"{count} {what}" for what, count in sorted(seen.items())))


#: Files of which any damage at all is refused, whatever else there is.
ALWAYS = {
    "stable": DAMAGES,
    "node.json": (deleted, emptied, halved, zeroed),
    "log-end": (deleted, emptied, halved, zeroed),
}


@pytest.mark.parametrize("name", ALWAYS)
def test_what_each_node_needs_is_never_done_without(lives, name):
    for told, life in lives.items():
        data = life.files[PATH / name]
        for damage in ALWAYS[name]:
            for changed in damage(PATH / name, data):
                assert outcome(damaged(life.files, PATH / name, changed), life.model) == "refused", (told, damage)


# --- files that are gone together -----------------------------------------------------------


def parts_of(files: Files) -> list[frozenset[Path]]:
    """What may go: the newest segments, all of them, the snapshots, and each other file."""
    segments = sorted(path for path in files if path.suffix == ".log")
    snapshots = sorted(path for path in files if path.suffix == ".snap")
    groups = [segments[at:] for at in range(len(segments))] + [snapshots[at:] for at in range(len(snapshots))]
    return [frozenset(group) for group in groups] + [frozenset([path]) for path in files if path.parent == PATH]


def test_no_files_that_are_gone_together_are_missed_in_silence(lives, record_property):
    seen: Counter[str] = Counter()
    for name, life in lives.items():
        parts = parts_of(life.files)
        sets = {frozenset().union(*picked) for size in range(1, 5) for picked in combinations(parts, size)}
        sets |= {frozenset(life.files) - part for part in parts}
        for gone in sorted(sets, key=sorted):
            left = {path: data for path, data in life.files.items() if path not in gone}
            if not [path for path in left if path.name != "lock"]:
                continue  # nothing tells such a directory from a new one
            result = outcome(left, life.model)
            told = ", ".join(sorted(str(path.relative_to(PATH)) for path in gone))
            assert result in ("refused", "intact"), f"{name}, without {told}: {result}"
            seen[result] += 1
    record_property("counted", ", ".join(f"{count} {what}" for what, count in sorted(seen.items())))


@pytest.mark.parametrize("name", LIVES)
def test_no_loss_after_a_kill_at_any_call_passes_in_silence(name, record_property):
    explorer = Explorer(name, Effort(states=0, recoveries=1, kills=1))
    explorer.losses(LIVES[name])
    assert explorer.counts.refused > 10
    record_property("counted", f"{explorer.counts.tried} opened, {explorer.counts.refused} refused")


def test_an_older_copy_of_the_log_is_refused():
    """Its end was cut off since, and other entries stand there."""
    fs = SimulatedFileSystem()
    storage = open_node(fs)
    for step in LONG:
        step.do(storage)
    older = {path: fs.peek(path) for path, _ in fs.files() if path.suffix == ".log"}
    perform(Write(9, hard_state=HardState(2), truncate_from=12, entries=entries(12, 12, 2))).do(storage)
    storage.close()
    for path, data in older.items():
        fs.poke(path, data)
    with pytest.raises(
        StorageError, match=r"entry 12 is not of term 2, but log-end says .* acknowledged entries are lost"
    ):
        open_node(fs)


# --- what is no file --------------------------------------------------------------------------


@pytest.fixture
def on_disk(tmp_path, lives):
    """Puts a life's files on the real disk."""

    def put(life: Life) -> Path:
        for path, data in life.files.items():
            place = tmp_path / path.relative_to(PATH)
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(data)
        return tmp_path

    return put(lives["compaction, stopped"])


def start(path: Path) -> Restored:
    with closing(open_storage(path, "node-a")) as storage:
        return storage.restore()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["pipe", "directory"])
@pytest.mark.parametrize("pattern", ["node.json", "lock", "stable", "log-end", "log/*.log", "snapshots/*.snap"])
def test_what_is_no_file_is_refused_and_not_waited_for(on_disk, make, pattern):
    for path in sorted(on_disk.glob(pattern)):
        data = path.read_bytes()
        path.unlink()
        make(path)
        for _ in range(2):
            with pytest.raises(StorageError, match=r"not a regular file|Is a directory") as error:
                start(on_disk)
            assert f"'{path}'; move away what has the file's name" in str(error.value)
        path.rmdir() if path.is_dir() else path.unlink()
        path.write_bytes(data)
    assert start(on_disk).entries


@pytest.mark.timeout(20)
def test_a_pipe_in_the_place_of_the_forced_members_is_refused(on_disk):
    os.mkfifo(on_disk / "peers.json")
    storage = open_storage(on_disk, "node-a")
    with pytest.raises(StorageError, match=r"peers\.json.*not a regular file"):
        storage.peers.read()
    storage.close()


@pytest.mark.parametrize("name", ["log", "snapshots"])
def test_a_file_in_the_place_of_a_directory_is_refused(on_disk, name):
    (on_disk / name).rename(on_disk.parent / name)
    (on_disk / name).write_bytes(b"")
    with pytest.raises(StorageError, match=f"{on_disk / name}.*move away what has the file's name"):
        open_storage(on_disk, "node-a")
