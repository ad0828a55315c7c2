"""Client sessions: exactly once, whatever is retried, lost, reordered, snapshotted or expired."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal import Journal, Log

from matchengine.sessions import (
    ANSWER,
    ENVELOPE,
    SessionAnswer,
    SessionLimits,
    SessionMachine,
    SessionStatus,
    close_envelope,
    decode_answer,
    expire_envelope,
    keep_alive_envelope,
    open_envelope,
    snapshot,
)
from matchengine.state_machine import NewerVersionError

S = SessionStatus


def test_the_inner_machine_sees_the_bare_command():
    log = Log()
    log.command(log.open(), 1, b"buy")
    assert log.journal.seen == [b"buy"]


def test_a_retry_gets_the_first_answer_and_executes_nothing():
    log = Log()
    session = log.open()
    first = log.command(session, 1, b"buy")
    again = log.command(session, 1, b"buy")
    assert again == first
    assert log.journal.seen == [b"buy"]


def test_an_unknown_session_is_refused_never_executed():
    log = Log()
    assert log.command(99, 1).status is S.UNKNOWN_SESSION
    assert log.journal.seen == []


def test_a_gap_is_refused_and_does_not_use_up_the_sequence():
    log = Log()
    session = log.open()
    assert log.command(session, 2).status is S.SEQUENCE_GAP
    assert log.command(session, 1, b"a").status is S.OK
    assert log.command(session, 2, b"b").status is S.OK
    assert log.journal.seen == [b"a", b"b"]


def test_an_acknowledged_answer_is_forgotten_and_its_sequence_refused():
    log = Log()
    session = log.open()
    log.command(session, 1)
    log.command(session, 2, acknowledged=1)
    assert log.command(session, 1).status is S.ALREADY_ACKNOWLEDGED
    assert len(log.journal.seen) == 2


def test_acknowledging_more_than_was_answered_forgets_only_what_was():
    log = Log()
    session = log.open()
    log.command(session, 1)
    assert log.command(session, 2, acknowledged=2**63).status is S.OK
    assert log.command(session, 3).status is S.OK


def test_unacknowledged_answers_are_bounded_in_count():
    log = Log(SessionLimits(answers_per_session=2))
    session = log.open()
    log.command(session, 1)
    log.command(session, 2)
    assert log.command(session, 3).status is S.SESSION_FULL
    assert log.command(session, 3, acknowledged=1).status is S.OK


def test_unacknowledged_answers_are_bounded_in_bytes():
    log = Log(SessionLimits(answer_bytes_per_session=100))
    session = log.open()
    log.command(session, 1, b"y" * 200)
    assert log.command(session, 2).status is S.SESSION_FULL


def held(answer: SessionAnswer) -> int:
    """What this answer counts for."""
    return ANSWER.size + len(answer.payload)


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_session_that_holds_exactly_its_limit_is_full(beyond):
    size = held(Log().command_in_new_session(b"y" * 80))
    log = Log(SessionLimits(answer_bytes_per_session=size + beyond))
    session = log.open()
    log.command(session, 1, b"y" * 80)
    assert log.command(session, 2).status is (S.OK if beyond else S.SESSION_FULL)


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_sum_of_exactly_the_limit_allows_one_answer_each(beyond):
    size = held(Log().command_in_new_session(b"y" * 80))
    log = Log(SessionLimits(answer_bytes=size + beyond))
    session = log.open()
    log.command(session, 1, b"y" * 80)
    assert log.command(session, 2).status is (S.OK if beyond else S.SESSION_FULL)


def test_a_restored_table_holds_as_many_bytes_as_before():
    log = Log(SessionLimits(answer_bytes=400))
    hog, other = log.open(), log.open()
    log.command(hog, 1, b"y" * 350)
    assert log.command(other, 1).status is S.OK
    log.restart()
    assert log.command(other, 2, b"y" * 80).status is S.OK
    assert log.command(other, 3).status is S.SESSION_FULL
    log.restart()
    assert log.command(other, 3).status is S.SESSION_FULL
    log.put(close_envelope(hog))
    assert log.command(other, 3).status is S.OK


def test_the_sum_over_sessions_is_bounded_too_and_closing_frees_it():
    log = Log(SessionLimits(answer_bytes=100))
    hog, other = log.open(), log.open()
    log.command(other, 1)
    log.command(hog, 1, b"y" * 200)
    assert log.command(other, 2).status is S.SESSION_FULL
    assert log.put(close_envelope(hog)).status is S.OK
    assert log.command(other, 2).status is S.OK


def test_who_acknowledges_goes_on_whatever_others_leave_unacknowledged():
    log = Log(SessionLimits(answer_bytes=100))
    hog, other = log.open(), log.open()
    log.command(hog, 1, b"y" * 200)
    for sequence in range(1, 6):
        assert log.command(other, sequence, acknowledged=sequence - 1).status is S.OK
    assert log.command(hog, 2, b"y").status is S.SESSION_FULL


def test_the_number_of_sessions_is_bounded():
    log = Log(SessionLimits(sessions=1))
    log.open()
    assert log.put(open_envelope()).status is S.TOO_MANY_SESSIONS


def test_a_closed_session_is_refused():
    log = Log()
    session = log.open()
    log.put(close_envelope(session))
    assert log.command(session, 1).status is S.UNKNOWN_SESSION
    assert log.put(close_envelope(session)).status is S.UNKNOWN_SESSION


def test_expiry_goes_by_the_stamps_of_the_log():
    log = Log()
    idle, busy = log.open(at=1_000), log.open(at=1_000)
    log.put(keep_alive_envelope(busy), at=5_000)
    assert log.put(expire_envelope(3_000), at=5_500).value == 1
    assert log.command(idle, 1).status is S.UNKNOWN_SESSION
    assert log.command(busy, 1).status is S.OK


@pytest.mark.parametrize("idle", [3_000, 3_001])
def test_a_session_that_was_idle_for_exactly_the_limit_lives(idle):
    log = Log()
    session = log.open(at=1_000)
    assert log.put(expire_envelope(3_000), at=1_000 + idle).value == (idle > 3_000)
    assert log.command(session, 1).status is (S.OK if idle == 3_000 else S.UNKNOWN_SESSION)


def test_log_time_never_goes_back():
    log = Log()
    session = log.open(at=10_000)
    log.put(keep_alive_envelope(session), at=1)
    assert log.put(expire_envelope(5_000), at=2).value == 0


def test_a_stamp_of_any_size_can_be_kept_in_a_snapshot():
    log = Log()
    session = log.open(at=2**63 * 10**9)
    restored = SessionMachine(Journal())
    restored.restore(log.machine.snapshot())
    log.machine = restored
    assert log.command(session, 1).status is S.OK


def test_a_missing_stamp_is_legal():
    log = Log()
    session = log.open(at=0)
    assert log.command(session, 1).status is S.OK


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        ENVELOPE.pack(0, 2, 0, 1, 1, 0),
        ENVELOPE.pack(1, 99, 0, 1, 1, 0),
        ENVELOPE.pack(1, 2, 7, 1, 1, 0),
        open_envelope("n" * 65),
        ENVELOPE.pack(1, 1, 0, 0, 0, 0) + b"\xff\xfe",
    ],
)
def test_what_cannot_be_read_is_a_reject(data):
    log = Log()
    assert log.put(data).status is S.MALFORMED


def test_a_newer_envelope_stops_the_machine():
    with pytest.raises(NewerVersionError, match="version 3"):
        Log().put(ENVELOPE.pack(3, 2, 0, 1, 1, 0))


@given(st.binary(max_size=80))
def test_arbitrary_bytes_never_raise(data):
    log = Log()
    log.open()
    if len(data) >= ENVELOPE.size and data[0] > 1:
        return  # a newer version: tested above
    log.put(data)


def test_the_snapshot_carries_sessions_answers_and_the_inner_bytes_untouched():
    log = Log()
    session = log.open(at=50)
    first = log.command(session, 1, b"a")
    copy = Log()
    copy.machine.restore(log.machine.snapshot())
    copy.index = log.index
    assert copy.journal.seen == [b"a"]
    assert copy.command(session, 1, b"a") == first
    assert log.command(session, 1, b"a") == first
    assert copy.command(session, 2, b"b") == log.command(session, 2, b"b")
    assert copy.put(expire_envelope(10), at=61) == log.put(expire_envelope(10), at=61)


def test_an_answer_or_a_chunk_of_any_size_survives_a_snapshot(monkeypatch):
    log = Log()
    session = log.open()
    first = log.command(session, 1, bytes(range(256)) * 12 * 1024)
    chunks = list(log.machine.snapshot())
    assert max(map(len, chunks)) <= 1024 * 1024 + 64
    monkeypatch.setattr(snapshot, "_MAX_FRAME", 2 * 1024 * 1024)
    copy = Log()
    copy.machine.restore(chunks)
    assert copy.command(session, 1) == first
    assert copy.journal.seen == log.journal.seen


def test_a_snapshot_is_frozen_when_it_is_taken():
    log = Log()
    session = log.open()
    log.command(session, 1, b"a")
    snapshot = log.machine.snapshot()
    log.command(session, 2, b"b")
    copy = Log()
    copy.machine.restore(snapshot)
    assert copy.command(session, 2, b"c").payload == b"2:c"


@given(st.lists(st.integers(1, 40)))
def test_a_snapshot_may_be_cut_anywhere(cuts):
    log = Log()
    session = log.open()
    log.command(session, 1, b"a")
    data = b"".join(log.machine.snapshot())
    chunks = []
    for cut in cuts:
        chunks.append(data[:cut])
        data = data[cut:]
    copy = Log()
    copy.machine.restore([*chunks, data])
    assert copy.journal.seen == [b"a"]


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"MESS\x02"])
def test_a_foreign_snapshot_is_refused(damage):
    with pytest.raises(ValueError, match="snapshot"):
        Log().machine.restore([damage])


@pytest.mark.parametrize(
    "frames",
    [
        [(1, [7, "n", 1, 0, 0])],
        [(1, [7, "n", 2**63, 0, 0])],
        [(1, [7, "n", 1, 0, 0]), (2, b"short")],
        [(1, [7, "n", 1, 0, 0]), (2, (2).to_bytes(8, "little"))],
        [(1, "no record")],
        [(9, b"")],
    ],
)
def test_sessions_that_do_not_fit_their_answers_are_refused(frames):
    data = b"MESS\x01" + bytes(8)
    for kind, content in [*frames, (4, b"")]:
        body = content if isinstance(content, bytes) else msgspec.msgpack.encode(content)
        data += struct.pack("<BI", kind, len(body)) + body
    with pytest.raises(ValueError, match="snapshot: "):
        Log().machine.restore([data])


def test_a_snapshot_cut_short_is_refused():
    log = Log()
    log.command(log.open(), 1)
    data = b"".join(log.machine.snapshot())
    with pytest.raises(ValueError, match="middle"):
        Log().machine.restore([data[:-3]])


def test_an_answer_that_is_none_is_refused_by_name():
    with pytest.raises(ValueError, match="session answer"):
        decode_answer(b"\x01")
    with pytest.raises(ValueError, match="version"):
        decode_answer(ANSWER.pack(9, 1, 0, 0))


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2)), max_size=40))
def test_each_sequence_executes_at_most_once_and_always_answers_the_same(steps):
    """Any mix of retries and new commands over three sequences."""
    log = Log()
    session = log.open()
    answers: dict[int, SessionAnswer] = {}
    for sequence, acknowledged in steps:
        answer = log.command(session, sequence, b"%d" % sequence, acknowledged)
        if answer.status is S.OK:
            assert answers.setdefault(sequence, answer) == answer
    assert log.journal.seen == [b"%d" % s for s in sorted(answers)]
