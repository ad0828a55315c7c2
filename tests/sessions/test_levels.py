"""Feature levels: raised through the log, part of the state, told to the machine with every command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pytest

from matchengine.levels import NEWEST_LIBRARY_LEVEL, Levels
from matchengine.raft.types import Entry
from matchengine.sessions import (
    ENVELOPE,
    LEVELS,
    EnvelopeKind,
    SessionAnswer,
    SessionMachine,
    SessionStatus,
    command_envelope,
    decode_answer,
    open_envelope,
    raise_levels_envelope,
)
from matchengine.state_machine import NewerVersionError


class LevelReader:
    """Answers every command with the level that came with it."""

    newest_level = 3

    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        return [b"%d" % entry.level for entry in entries]

    def snapshot(self) -> Iterator[bytes]:
        return iter(())

    def restore(self, chunks: Iterable[bytes]) -> None:
        deplete = list(chunks)
        assert deplete == []


def put(machine: SessionMachine, index: int, data: bytes) -> SessionAnswer:
    (answer,) = machine.apply([Entry(index, 1, data=data)])
    return decode_answer(answer)


def test_a_cluster_begins_at_level_0_and_tells_the_machine_so():
    machine = SessionMachine(LevelReader())
    session = put(machine, 1, open_envelope()).value
    assert put(machine, 2, command_envelope(session, 1, 0, b"")).payload == b"0"
    assert machine.levels == Levels(0, 0)


def test_a_raised_level_is_told_to_the_machine_from_that_entry_on():
    machine = SessionMachine(LevelReader())
    session = put(machine, 1, open_envelope()).value
    answer = put(machine, 2, raise_levels_envelope(Levels(0, 2)))
    assert (answer.status, answer.value, answer.payload) == (SessionStatus.OK, 2, LEVELS.pack(0, 2))
    assert put(machine, 3, command_envelope(session, 1, 0, b"")).payload == b"2"


def test_levels_never_fall():
    machine = SessionMachine(LevelReader())
    put(machine, 1, raise_levels_envelope(Levels(1, 2)))
    assert put(machine, 2, raise_levels_envelope(Levels(0, 3))).payload == LEVELS.pack(1, 3)
    assert put(machine, 3, raise_levels_envelope(Levels(0, 0))).payload == LEVELS.pack(1, 3)


@pytest.mark.parametrize("asked", [Levels(NEWEST_LIBRARY_LEVEL + 1, 0), Levels(0, 4)])
def test_a_program_that_is_too_old_for_a_level_stops_and_names_both(asked):
    machine = SessionMachine(LevelReader())
    with pytest.raises(NewerVersionError, match=rf"entry 1: .*level is {asked}, .* up to {NEWEST_LIBRARY_LEVEL}\.3"):
        put(machine, 1, raise_levels_envelope(asked))
    assert machine.levels == Levels()


@pytest.mark.parametrize(("kind", "library"), [(EnvelopeKind.OPEN, 1), (EnvelopeKind.RAISE_LEVELS, 2**16)])
def test_an_envelope_of_version_2_that_raises_no_level_changes_nothing(kind, library):
    machine = SessionMachine(LevelReader())
    assert put(machine, 1, ENVELOPE.pack(2, kind, 0, 0, library, 0)).status is SessionStatus.MALFORMED
    assert machine.levels == Levels()
    assert len(machine) == 0


def test_a_snapshot_holds_the_levels():
    machine = SessionMachine(LevelReader())
    put(machine, 1, raise_levels_envelope(Levels(1, 2)))
    restored = SessionMachine(LevelReader())
    restored.restore(machine.snapshot())
    assert restored.levels == Levels(1, 2)
    assert b"".join(restored.snapshot()) == b"".join(machine.snapshot())


def test_a_program_that_is_too_old_for_a_snapshot_refuses_it_and_names_both():
    class Older(LevelReader):
        newest_level = 1

    machine = SessionMachine(LevelReader())
    put(machine, 1, raise_levels_envelope(Levels(1, 2)))
    with pytest.raises(NewerVersionError, match=rf"snapshot: .*level is 1\.2, .* up to {NEWEST_LIBRARY_LEVEL}\.1"):
        SessionMachine(Older()).restore(machine.snapshot())


def test_at_level_0_a_snapshot_has_the_form_of_older_programs():
    assert b"".join(SessionMachine(LevelReader()).snapshot()).startswith(b"MESS\x01")


def test_a_program_from_before_levels_stops_at_a_raised_level():
    """It knows envelopes of version 1 only, and stops at any newer one."""
    assert raise_levels_envelope(Levels(1, 0))[0] == 2
