"""A command that is executed in steps: what waits for it, what does not, and that the result is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
from world import Result, World

from matchengine.errors import BusyError, StoppedError
from matchengine.node.machine_room import MachineRoom
from matchengine.node.policy import SnapshotPolicy
from matchengine.raft.types import Configuration, Entry, EntryType, SnapshotMeta
from matchengine.sessions import SessionMachine, command_envelope, decode_answer, open_envelope
from matchengine.storage.memory import MemorySnapshots


class Stepper:
    """``b"3x"`` writes x three times, one in each step; every other command writes itself once."""

    def __init__(self) -> None:
        self.text = b""
        self.begun = 0

    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        raise AssertionError("an interruptible machine is asked to begin")

    def begin(self, entry: Entry) -> Steps:
        self.begun += 1
        count = int(entry.data[:-1]) if entry.data[:-1].isdigit() else 1
        return Steps(self, count, entry.data[-1:])

    def snapshot(self) -> Iterator[bytes]:
        return iter([self.text])

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.text = b"".join(chunks)


class Steps:
    def __init__(self, machine: Stepper, count: int, letter: bytes) -> None:
        self.machine, self.count, self.letter = machine, count, letter

    def step(self) -> tuple[bytes, ...] | None:
        if self.letter == b"!":
            raise RuntimeError("cannot be executed")
        self.machine.text += self.letter
        self.count -= 1
        if self.count > 0:
            return None
        return (b"after ", self.machine.text) if self.letter.isupper() else (self.machine.text,)


class Room:
    """A machine room whose owner comes back when the test says so, and whose worker works when it says so."""

    def __init__(self, **policy: int) -> None:
        self.machine = Stepper()
        self.asked = 0
        self.applied: list[tuple[int, list[Any]]] = []
        self.snapshots = MemorySnapshots()
        self.taken: list[SnapshotMeta] = []
        self.errors: list[Exception] = []
        self.work: list[tuple[Callable[[], Any], Callable[[Any, Exception | None], None]]] = []
        self.room = MachineRoom(
            self.machine,
            None,
            worker=self,
            snapshots=self.snapshots,
            policy=SnapshotPolicy(**policy),
            on_applied=lambda _, results, index: self.applied.append((index, list(results))),
            on_snapshot=self.taken.append,
            on_error=self.errors.append,
            on_more=self._more,
        )

    def _more(self) -> None:
        self.asked += 1

    def run(self, work: Callable[[], Any], done: Callable[[Any, Exception | None], None]) -> None:
        self.work.append((work, done))

    def put(self, first: int, *commands: bytes) -> None:
        self.room.apply(
            tuple(
                Entry(first + n, 1, EntryType.COMMAND if data else EntryType.NOOP, data)
                for n, data in enumerate(commands)
            )
        )

    def turn(self) -> None:
        """The owner comes back once, because it was asked to."""
        assert self.asked == 1 and self.room.has_more
        self.asked = 0
        self.room.go_on()

    def turns(self) -> int:
        """All the turns that are asked for; how many there were."""
        count = 0
        while self.asked:
            self.turn()
            count += 1
        return count

    def works(self) -> None:
        """The worker does what waits."""
        while self.work:
            work, done = self.work.pop(0)
            done(work(), None)


def test_short_commands_are_executed_at_once_and_nobody_is_asked_to_come_back():
    room = Room()
    room.put(1, b"a", b"", b"B")
    assert room.applied == [(3, [b"a", b"", (b"after ", b"aB")])] and not room.asked and not room.room.has_more


def test_a_long_command_gives_the_thread_back_after_every_step():
    room = Room()
    room.put(1, b"4x")
    texts = [room.machine.text]
    while room.asked:
        room.turn()
        texts.append(room.machine.text)
    assert texts == [b"x", b"xx", b"xxx", b"xxxx", b"xxxx"]
    assert room.applied == [(1, [b"xxxx"])] and room.room.applied == 1


def test_what_stands_before_a_long_command_is_answered_before_it_and_what_follows_behind_it():
    room = Room()
    room.put(1, b"a", b"3x", b"b")
    room.put(4, b"c")
    assert room.applied == [(1, [b"a"])] and room.room.applied == 1
    room.turns()
    assert room.applied == [(1, [b"a"]), (2, [b"axxx"]), (3, [b"axxxb"]), (4, [b"axxxbc"])]
    assert room.machine.begun == 4


def test_the_room_pauses_for_a_turn_behind_a_long_command():
    """Who waited to read has its turn before the next one begins."""
    room = Room()
    room.put(1, b"2x", b"2y")
    room.turn()
    assert room.applied == [(1, [b"xx"])] and room.room.is_readable and room.machine.text == b"xx"
    room.put(3, b"z")
    room.turn()
    assert room.machine.text == b"xx"
    room.turn()
    assert room.machine.text == b"xxy" and not room.room.is_readable
    room.turns()
    assert room.machine.text == b"xxyyz"


def test_what_comes_during_the_pause_waits_as_well():
    room = Room()
    room.put(1, b"2x")
    room.turn()
    room.put(2, b"2y")
    assert room.machine.text == b"xx"
    room.turn()
    assert room.machine.text == b"xx" and room.room.is_readable
    room.turns()
    assert room.machine.text == b"xxyy"


def test_nothing_is_readable_half_way():
    room = Room()
    room.put(1, b"2x")
    assert not room.room.is_readable
    room.turn()
    assert room.room.is_readable


def test_who_examines_waits_for_the_whole_command_and_learns_the_index():
    room = Room()
    room.put(1, b"a", b"3x", b"b")
    seen = Result()
    room.room.examine(lambda: room.machine.text, seen)
    assert not room.work
    room.turn()
    room.turn()
    assert not seen.settled and room.room.has_more
    room.works()
    assert seen.outcome == (2, b"axxx") and seen.error is None
    room.turns()
    assert room.machine.text == b"axxxb"


def test_nothing_goes_on_while_somebody_examines():
    room = Room()
    room.put(1, b"2x", b"b")
    seen = Result()
    room.room.examine(lambda: None, seen)
    room.turns()
    assert room.machine.text == b"xx" and not room.room.has_more
    room.works()
    assert seen.outcome == (1, None)
    room.turns()
    assert room.machine.text == b"xxb"


def test_a_snapshot_that_is_asked_for_half_way_holds_the_whole_command():
    room = Room()
    room.put(1, b"a", b"3x", b"b")
    taken = Result()
    room.room.take_snapshot(taken)
    assert not room.work
    room.turn()
    room.turn()
    room.works()
    assert taken.outcome.index == 2 and [b"".join(room.snapshots.open(m)) for m in room.taken] == [b"axxx"]
    room.turns()
    assert room.machine.text == b"axxxb"


def test_a_snapshot_that_is_due_half_way_waits_too():
    room = Room(entries=1)
    room.put(1, b"a", b"3x")
    assert room.room.applied == 1 and not room.work
    room.turns()
    room.works()
    assert [m.index for m in room.taken] == [2] and [b"".join(room.snapshots.open(m)) for m in room.taken] == [b"axxx"]


def test_a_restore_drops_the_half_of_a_command():
    room = Room()
    sink = room.snapshots.create(SnapshotMeta(9, 1, Configuration()))
    sink.write(b"state at 9")
    meta = sink.commit()
    seen = Result()
    room.put(1, b"4x", b"b")
    room.room.examine(lambda: None, seen)
    room.room.restore(meta)
    assert isinstance(seen.error, BusyError) and not room.room.has_more and not room.room.is_readable
    room.put(10, b"c")
    room.works()
    room.asked = 1  # asked when the command was begun
    room.turns()
    assert room.machine.text == b"state at 9c" and room.room.applied == 10
    assert room.applied == [(9, []), (10, [b"state at 9c"])]


def test_a_stop_drops_the_half_of_a_command():
    room = Room()
    room.put(1, b"4x", b"b")
    seen = Result()
    room.room.examine(lambda: None, seen)
    room.room.stop(StoppedError("enough"))
    room.room.go_on()
    assert room.machine.text == b"x" and not room.applied and isinstance(seen.error, StoppedError)


@pytest.mark.parametrize("commands", [(b"!",), (b"2x", b"!")])
def test_an_error_of_the_machine_is_told(commands):
    room = Room()
    room.put(1, *commands)
    room.turns()
    assert [str(error) for error in room.errors] == ["cannot be executed"]


# --- in a node -----------------------------------------------------------------------------


def test_heartbeats_go_on_while_a_long_command_is_executed():
    world = World(machine=Stepper)
    leader = world.leader()
    for node in world.nodes.values():
        node.turn = 1
    term = leader.replica.soft_state.term
    done = world.apply(leader, b"300x")
    world.run_until(lambda: leader.machine.text)
    world.run(100)
    assert not done.settled
    world.settle(done)
    world.run(400)
    assert done.outcome.result == b"x" * 300
    assert [n.machine.text for n in world.nodes.values()] == [b"x" * 300] * 3
    assert leader.leads and leader.replica.soft_state.term == term


def test_a_read_waits_for_a_command_that_is_half_executed():
    world = World(1, machine=Stepper)
    leader = world.leader()
    world.settle(world.apply(leader, b"a"))
    leader.turn = 1
    done, read = world.apply(leader, b"20x"), Result()
    world.run_until(lambda: b"x" in leader.machine.text)
    seen = []
    leader.replica.wait_applied(leader.replica.applied, read)
    assert not read.settled and not leader.replica.machine_is_readable
    world.run_until(lambda: read.settled or seen.append(leader.machine.text))
    assert read.outcome.index == done.outcome.index and leader.machine.text == b"a" + b"x" * 20


def test_a_read_is_not_released_by_what_stands_before_a_command_that_is_half_executed():
    world = World(1, machine=Stepper)
    leader = world.leader()
    leader.turn = 1
    first, long, read = world.apply(leader, b"a"), world.apply(leader, b"20x"), Result()
    leader.replica.wait_applied(3, read)
    world.settle(first)
    assert first.outcome.index == 3 and len(leader.machine.text) < 21 and not read.settled
    world.settle(read)
    assert read.outcome.index == long.outcome.index == 4


def test_a_restart_in_the_middle_executes_the_command_afresh():
    world = World(1, machine=Stepper)
    leader = world.leader()
    leader.turn = 1
    world.apply(leader, b"20x")
    world.run_until(lambda: b"x" in leader.machine.text)
    leader.crash()
    leader.start()
    world.run(100)
    assert leader.machine.text == b"x" * 20


# --- with sessions -------------------------------------------------------------------------


def entry(index: int, data: bytes) -> Entry:
    return Entry(index, 1, EntryType.COMMAND, data)


def test_the_session_table_changes_with_the_last_step_only():
    sessions = SessionMachine(Stepper())
    sessions.begin(entry(1, open_envelope())).step()
    execution = sessions.begin(entry(2, command_envelope(1, 1, 0, b"3X")))
    before = b"".join(sessions.snapshot())
    assert execution.step() is None and execution.step() is None
    assert b"".join(sessions.snapshot()).startswith(before[:-20])
    chunks = execution.step()
    assert chunks[1:] == (b"after ", b"XXX")
    again = sessions.begin(entry(3, command_envelope(1, 1, 0, b"3X"))).step()
    assert again == chunks and sessions.inner.begun == 1
    assert decode_answer(chunks).payload == (b"", b"after ", b"XXX") and decode_answer(chunks).value == 2


@pytest.mark.parametrize("data", [b"", b"\x01", command_envelope(7, 1, 0, b"x"), open_envelope("name")])
def test_what_is_no_command_takes_one_step(data):
    assert len(SessionMachine(Stepper()).begin(entry(1, data)).step()) == 1
