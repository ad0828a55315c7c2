"""Library level 1: ids by the leader, bounds by name and in bytes, expiry without stamps, and reasons for every end."""

from __future__ import annotations

import struct
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal import BoundedLog, Journal, Log

from matchengine.answers import size_of
from matchengine.levels import Levels
from matchengine.raft.types import Entry
from matchengine.sessions import (
    ENVELOPE,
    LIMITS,
    MAX_SESSION_ID,
    Ending,
    EndReason,
    EnvelopeKind,
    LastEntry,
    SessionAnswer,
    SessionLimits,
    SessionMachine,
    SessionStatus,
    close_envelope,
    command_envelope,
    end_named_envelope,
    end_session_envelope,
    expire_envelope,
    expire_sessions_envelope,
    keep_alive_envelope,
    open_envelope,
    raise_levels_envelope,
)

S = SessionStatus
MIB = 1024 * 1024


def last_entry(log: Log, session: int) -> LastEntry:
    return next(each for each in log.machine.last_entries() if each.session_id == session)


# --- ids ------------------------------------------------------------------------------------


@pytest.mark.parametrize("session_id", [1, 2**63, MAX_SESSION_ID])
def test_the_id_is_the_one_in_the_entry_and_has_all_64_bits(session_id):
    log = BoundedLog()
    assert log.put(open_envelope("a", session_id)) == SessionAnswer(S.OK, session_id, b"")
    first = log.command(session_id, 1, b"buy")
    log.restart()
    assert log.command(session_id, 1, b"buy") == first


def test_at_level_0_the_id_in_the_entry_is_ignored():
    assert Log().put(open_envelope("a", 77)) == SessionAnswer(S.OK, 1, b"")


def test_an_id_that_is_0_or_taken_is_refused():
    log = BoundedLog()
    session = log.open()
    assert log.put(open_envelope("a", 0)).status is S.ID_TAKEN
    assert log.put(open_envelope("a", session)).status is S.ID_TAKEN
    log.put(end_named_envelope("tester"))
    assert log.put(open_envelope("a", session)).status is S.ID_TAKEN, "its client is still to be told why it ended"
    assert len(log.machine) == 0


def test_the_index_of_the_opening_entry_is_no_id():
    log = BoundedLog()
    log.open()
    assert log.command(log.index, 1).status is S.UNKNOWN_SESSION
    assert log.journal.seen == []


# --- raising the level ----------------------------------------------------------------------


def test_sessions_of_level_0_go_on():
    log = Log()
    session = log.open()
    first = log.command(session, 1, b"a")
    log.put(raise_levels_envelope(Levels(1, 0)))
    assert log.command(session, 1, b"a") == first
    log.restart()
    assert log.command(session, 2, b"b", acknowledged=1).status is S.OK
    assert log.put(end_session_envelope(session)).value == 1


def test_the_raising_entry_is_the_last_one_of_every_session_before():
    """A restored replica does not know the earlier one: no snapshot of level 0 holds it."""
    log = Log()
    session = log.open()
    log.restart()
    log.put(raise_levels_envelope(Levels(1, 0)))
    assert log.machine.last_entries() == [LastEntry(session, log.index)]


def test_raising_the_machines_level_alone_changes_no_rule_of_sessions():
    class Leveled(Journal):
        newest_level = 1

    machine = SessionMachine(Leveled())
    machine.apply([Entry(1, 1, data=raise_levels_envelope(Levels(0, 1)))])
    machine.apply([Entry(2, 1, data=open_envelope("a", 77))])
    assert machine.standing(2) is S.OK
    assert not machine.has_session_rules


def test_the_second_raise_keeps_the_sessions():
    log = BoundedLog()
    session, ended = log.open(), log.open()
    log.put(end_session_envelope(3))
    entries = log.machine.last_entries()
    log.put(raise_levels_envelope(Levels(1, 0)))
    assert log.machine.last_entries() == entries == [LastEntry(session, 2)]
    assert log.machine.standing(ended) is S.ENDED_BY_OPERATOR


@pytest.mark.parametrize("kind", [EnvelopeKind.EXPIRE_SESSIONS, EnvelopeKind.END_SESSIONS])
def test_the_entries_of_level_1_do_nothing_at_level_0(kind):
    log = Log()
    session = log.open()
    assert log.put(ENVELOPE.pack(1, kind, 0, 0, 0, 0) + b"tester").status is S.MALFORMED
    assert log.command(session, 1).status is S.OK


# --- bounds on sessions ---------------------------------------------------------------------


def test_the_sessions_of_one_name_are_bounded_and_others_are_not_refused_for_it():
    log = BoundedLog(SessionLimits(sessions_per_name=2))
    first = log.open(name="many")
    log.open(name="many")
    assert log.put(open_envelope("many", 5)).status is S.TOO_MANY_OF_NAME
    log.restart()
    assert log.put(open_envelope("many", 5)).status is S.TOO_MANY_OF_NAME
    log.open(name="other")
    log.put(close_envelope(first))
    log.open(name="many")


def test_sessions_of_before_the_level_count_for_their_name():
    log = Log(SessionLimits(sessions_per_name=1))
    log.open()
    log.put(raise_levels_envelope(Levels(1, 0)))
    assert log.put(open_envelope("tester", 5)).status is S.TOO_MANY_OF_NAME


def test_the_number_of_all_sessions_is_bounded():
    log = BoundedLog(SessionLimits(sessions=2))
    log.open(name="a")
    log.open(name="b")
    assert log.put(open_envelope("c", 5)).status is S.TOO_MANY_SESSIONS


# --- held answers ---------------------------------------------------------------------------

#: An answer of 500 bytes with its header; sessions may hold 250 each, and 1,000 before they execute again.
LIMITS_500 = SessionLimits(answer_bytes_per_session=1000, answer_bytes=2000, sessions=4)
OF_500 = b"y" * (500 - 12 - 2)


def test_what_a_session_may_hold_for_ever_leaves_room_for_everybody():
    assert LIMITS_500.allowance == 250
    for limits in (*LIMITS, LIMITS_500):
        assert limits.sessions * limits.allowance + limits.answer_bytes_per_session <= limits.answer_bytes


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_session_that_holds_exactly_its_limit_is_full(beyond):
    log = BoundedLog(SessionLimits(answer_bytes_per_session=500 + beyond))
    session = log.open()
    assert log.command(session, 1, OF_500).status is S.OK
    assert log.command(session, 2).status is (S.OK if beyond else S.SESSION_FULL)


def test_a_session_is_full_by_its_own_answers_alone():
    log = BoundedLog(SessionLimits(answer_bytes=400, answer_bytes_per_session=400))
    hog, other = log.open(), log.open()
    for sequence in range(1, 6):
        assert log.command(other, sequence).status is S.OK
    assert log.command(hog, 1, b"y" * 1000).status is S.OK
    log.journal.seen.clear()
    assert log.command(hog, 2).status is S.SESSION_FULL
    assert log.journal.seen == []


@pytest.mark.parametrize("beyond", [0, 1])
def test_at_exactly_the_limit_nobody_is_closed(beyond):
    log = BoundedLog(LIMITS_500)
    sessions = [log.open() for _ in range(4)]
    for session in sessions[:3]:
        log.command(session, 1, OF_500)
    log.command(sessions[3], 1, OF_500 + b"y" * beyond)
    assert len(log.machine) == 4 - beyond
    assert log.machine.standing(sessions[0]) is (S.EVICTED if beyond else S.OK)


def test_the_session_with_the_oldest_unacknowledged_answer_pays_and_the_others_notice_nothing():
    log = BoundedLog(LIMITS_500)
    second, silent, fresh = (log.open() for _ in range(3))
    log.command(second, 1, b"small")
    log.command(silent, 1, OF_500)
    log.command(second, 2, OF_500, acknowledged=1)
    log.command(silent, 2, b"n")
    log.command(fresh, 1, OF_500)
    assert log.command(fresh, 2, OF_500 + b"y" * 100).status is S.OK
    assert log.command(silent, 3).status is S.EVICTED
    assert log.command(second, 3, acknowledged=2).status is S.OK
    assert log.command(fresh, 3, acknowledged=2).status is S.OK


def test_who_acknowledges_is_never_closed_for_others():
    log = BoundedLog(LIMITS_500)
    hog, other = log.open(), log.open()
    for sequence in range(1, 20):
        log.command(hog, sequence, OF_500)
        assert log.command(other, sequence, OF_500, acknowledged=sequence - 1).status is S.OK


def test_the_session_that_executes_stays_however_large_its_answer_and_the_next_one_makes_room():
    log = BoundedLog(LIMITS_500)
    large, other = log.open(), log.open()
    log.command(other, 1)
    assert log.command(large, 1, b"y" * 5000).status is S.OK
    assert log.command(large, 1).status is S.OK, "its client fetches the answer"
    assert log.command(other, 2).status is S.OK
    assert log.command(large, 2).status is S.EVICTED


@pytest.mark.parametrize(("held", "standing"), [(250, S.OK), (251, S.EVICTED)])
def test_a_session_within_its_allowance_is_never_closed_for_others(held, standing):
    log = BoundedLog(LIMITS_500)
    small, large = log.open(), log.open()
    log.command(small, 1, b"y" * (held - 12 - 2))
    log.command(large, 1, b"y" * 5000)
    assert log.machine.standing(small) is standing


def test_no_more_sessions_are_closed_than_needed():
    log = BoundedLog(LIMITS_500)
    sessions = [log.open() for _ in range(4)]
    for session in sessions:
        log.command(session, 1, OF_500)
    log.command(sessions[3], 2, OF_500)
    assert [log.machine.standing(session) for session in sessions] == [S.EVICTED, S.OK, S.OK, S.OK]


def test_a_sweep_of_a_million_orders_stays_beside_an_ordinary_neighbour_and_another_sweep():
    table = LIMITS[1]
    assert 2 * 177 * MIB + table.answer_bytes_per_session < table.answer_bytes


def test_a_restored_machine_holds_as_many_bytes_as_before():
    log = BoundedLog(LIMITS_500)
    silent, other = log.open(), log.open()
    log.command(silent, 1, OF_500)
    log.command(other, 1, OF_500)
    log.restart()
    log.command(other, 2, b"y" * 986)
    assert log.machine.standing(silent) is S.OK
    log.command(other, 3, acknowledged=1)
    log.restart()
    log.command(log.open(), 1, b"y" * 600)
    assert log.machine.standing(silent) is S.EVICTED


# --- expiry ---------------------------------------------------------------------------------


def test_only_a_session_whose_last_entry_is_still_that_one_expires():
    log = BoundedLog()
    idle, kept, busy, retried = (log.open() for _ in range(4))
    log.command(retried, 1)
    named = log.machine.last_entries()
    assert named == [
        *[LastEntry(session, 2 + n) for n, session in enumerate((idle, kept, busy))],
        LastEntry(retried, 6),
    ]
    log.put(keep_alive_envelope(kept))
    log.command(busy, 1)
    log.command(retried, 1)
    log.restart()
    assert log.put(expire_sessions_envelope([*named, LastEntry(99, 2)])) == SessionAnswer(S.OK, 1, b"")
    standings = [log.machine.standing(session) for session in (idle, kept, busy, retried)]
    assert standings == [S.EXPIRED, S.OK, S.OK, S.OK]
    assert log.command(idle, 1).status is S.EXPIRED
    assert log.put(keep_alive_envelope(idle)).status is S.EXPIRED


def test_stamps_expire_nothing():
    log = BoundedLog()
    session = log.open(at=1_000)
    assert log.put(expire_envelope(1), at=2**62) == SessionAnswer(S.OK, 0, b"")
    assert log.command(session, 1).status is S.OK
    assert log.put(expire_sessions_envelope([last_entry(log, session)]), at=0).value == 1


def test_pairs_that_are_none_are_malformed():
    log = BoundedLog()
    session = log.open()
    envelope = expire_sessions_envelope([last_entry(log, session)])
    assert log.put(envelope + b"\0").status is S.MALFORMED
    assert log.machine.standing(session) is S.OK


# --- operators ------------------------------------------------------------------------------


def test_an_operator_ends_a_session_by_its_number_which_is_not_its_id():
    log = BoundedLog()
    session, other = log.open(), log.open()
    (info, _) = log.machine.listing()
    assert (info.id, info.number) == (session, 2)
    assert log.put(end_session_envelope(info.number)) == SessionAnswer(S.OK, 1, b"")
    assert log.put(end_session_envelope(info.number)) == SessionAnswer(S.OK, 0, b"")
    assert log.put(end_session_envelope(other)) == SessionAnswer(S.OK, 0, b"")
    assert log.command(session, 1).status is S.ENDED_BY_OPERATOR
    assert log.command(other, 1).status is S.OK


@pytest.mark.parametrize("name", ["many", ""])
def test_an_operator_ends_all_sessions_of_a_name(name):
    log = BoundedLog()
    sessions = [log.open(name=name), log.open(name="other"), log.open(name=name)]
    assert log.put(end_named_envelope(name)).value == 2
    standings = [log.machine.standing(session) for session in sessions]
    assert standings == [S.ENDED_BY_OPERATOR, S.OK, S.ENDED_BY_OPERATOR]


@pytest.mark.parametrize(
    "data",
    [
        end_session_envelope(2) + b"tester",
        end_named_envelope("n" * 65),
        ENVELOPE.pack(1, EnvelopeKind.END_SESSIONS, 0, 0, 0, 0) + b"\xff",
    ],
)
def test_an_end_that_cannot_be_read_ends_nothing(data):
    log = BoundedLog()
    session = log.open()
    assert log.put(data).status is S.MALFORMED
    assert log.machine.standing(session) is S.OK


def test_the_listing_tells_what_is_held():
    log = BoundedLog()
    session = log.open(name="desk")
    log.command(session, 1, OF_500)
    log.command(session, 2, OF_500)
    (info,) = log.machine.listing()
    assert (info.name, info.answers, info.answer_bytes) == ("desk", 2, 1000)


# --- endings --------------------------------------------------------------------------------


def test_endings_tell_who_ended_when_and_why():
    log = BoundedLog(LIMITS_500)
    evicted, expired, ended, large = (log.open() for _ in range(4))
    log.command(evicted, 1, OF_500)
    log.put(expire_sessions_envelope([last_entry(log, expired)]))
    before = log.index
    log.put(end_session_envelope(4))
    log.command(large, 1, b"y" * 5000)
    expected = [
        Ending(expired, 3, "tester", EndReason.EXPIRED, before, 0),
        Ending(ended, 4, "tester", EndReason.ENDED_BY_OPERATOR, before + 1, 0),
        Ending(evicted, 2, "tester", EndReason.EVICTED, before + 2, 500),
    ]
    assert log.machine.endings() == expected
    assert log.machine.endings(before) == expected[1:]
    log.restart()
    assert log.machine.endings(before + 1) == expected[2:]
    assert log.command(evicted, 2).status is S.EVICTED


def test_a_client_that_closes_its_session_needs_no_reason():
    log = BoundedLog()
    session = log.open()
    assert log.put(close_envelope(session)).status is S.OK
    assert log.command(session, 1).status is S.UNKNOWN_SESSION
    assert log.machine.endings() == []


@pytest.mark.parametrize("restart", [False, True])
def test_only_so_many_endings_are_remembered(restart):
    log = BoundedLog(SessionLimits(endings=2))
    sessions = [log.open() for _ in range(3)]
    for number in (2, 3):
        log.put(end_session_envelope(number))
    if restart:
        log.restart()
    log.put(end_session_envelope(4))
    standings = [log.machine.standing(session) for session in sessions]
    assert standings == [S.UNKNOWN_SESSION, S.ENDED_BY_OPERATOR, S.ENDED_BY_OPERATOR]


# --- what is refused without an entry -------------------------------------------------------


def test_an_open_session_with_room_is_refused_nothing():
    log = BoundedLog(SessionLimits(answers_per_session=2))
    session = log.open()
    log.command(session, 1)
    assert log.machine.refusal(session, 2, 0) is S.OK
    assert log.machine.refusal(session, 9, 0) is S.OK, "what comes before it may be on its way"
    assert log.machine.refusal(99, 1, 0) is S.UNKNOWN_SESSION


def test_a_full_session_is_refused_unless_the_request_acknowledges_enough():
    log = BoundedLog(SessionLimits(answers_per_session=2, answer_bytes_per_session=10**6))
    session = log.open()
    log.command(session, 1)
    log.command(session, 2)
    assert log.machine.refusal(session, 3, 0) is S.SESSION_FULL
    assert log.machine.refusal(session, 4, 0) is S.SESSION_FULL
    assert log.machine.refusal(session, 3, 1) is S.OK
    assert log.machine.refusal(session, 2, 0) is S.OK, "a retry gets its answer"


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_session_full_of_bytes_is_refused_too(beyond):
    log = BoundedLog(SessionLimits(answer_bytes_per_session=1000 + beyond))
    session = log.open()
    for sequence in (1, 2):
        log.command(session, sequence, OF_500)
    assert log.machine.refusal(session, 3, 0) is (S.OK if beyond else S.SESSION_FULL)
    assert log.machine.refusal(session, 3, 1) is S.OK


def test_an_ended_session_is_refused_for_good():
    log = BoundedLog()
    session = log.open()
    log.put(end_session_envelope(2))
    assert log.machine.refusal(session, 1, 0) is S.ENDED_BY_OPERATOR


# --- snapshots ------------------------------------------------------------------------------

RECORD = [7, "n", 0, 0, 1, 1]


@pytest.mark.parametrize(
    "frames",
    [
        [(1, [0, "n", 0, 0, 1, 1])],
        [(1, [2**64, "n", 0, 0, 1, 1])],
        [(1, [7, "n", 0, 0, -1, 1])],
        [(1, [7, "n", 0, 0, 1, 2**63])],
        [(1, [7, "n", 0, 1, 1, 1])],
        [(1, RECORD), (1, RECORD)],
        [(1, [7, "n", 1, 0, 1])],
        [(1, [7, "n", 1, 0, 1, 1]), (2, (1).to_bytes(8, "little") + b"headless")],
        [(5, [7, 1, "n", 9, 1, 0])],
        [(5, [0, 1, "n", 1, 1, 0])],
        [(5, [7, 1, "n", 1, -1, 0])],
        [(5, [7, 1, "n", 1, 1, 0]), (5, [7, 1, "n", 1, 1, 0])],
        [(5, [7, 1, "n", 1, 1, 0]), (1, RECORD)],
        [(1, RECORD), (5, [8, 1, "n", 1, 1, 0])],
    ],
)
def test_a_table_that_cannot_be_is_refused(frames):
    with pytest.raises(ValueError, match="snapshot: "):
        BoundedLog().machine.restore([snapshot_of(frames)])


def test_a_table_that_can_be_is_taken():
    log = BoundedLog()
    log.machine.restore([snapshot_of([(5, [8, 1, "n", 1, 1, 0]), (1, RECORD)])])
    assert (log.machine.standing(7), log.machine.standing(8)) == (S.OK, S.EVICTED)


def test_endings_have_no_place_at_level_0():
    with pytest.raises(ValueError, match="unknown frame kind 5"):
        Log().machine.restore([snapshot_of([(5, [7, 1, "n", 1, 1, 0])], b"MESS\x01" + bytes(8))])


def snapshot_of(frames: list[tuple[int, object]], head: bytes = b"MESS\x02" + bytes(8) + b"\1\0\0\0") -> bytes:
    data = head
    for kind, content in [*frames, (4, b"")]:
        body = content if isinstance(content, bytes) else packed(content)
        data += struct.pack("<BI", kind, len(body)) + body
    return data


def packed(content: object) -> bytes:
    try:
        return msgspec.msgpack.encode(content)
    except OverflowError:
        return msgspec.msgpack.encode(str(content))


# --- any log --------------------------------------------------------------------------------

SMALL = SessionLimits(
    sessions=4, answers_per_session=3, answer_bytes_per_session=200, answer_bytes=400, sessions_per_name=2, endings=3
)


def some_log(seed: int, raised_at: int) -> list[bytes]:
    """Envelopes of all kinds for few sessions, so that they meet; the level is raised on the way."""
    random = Random(seed)
    last: dict[int, int] = {}
    opened = [1]
    log = []
    for index in range(1, 121):
        session = random.choice(opened[-4:])
        kind = random.choice("oooccccccccccckxnee")
        if index == raised_at:
            log.append(raise_levels_envelope(Levels(1, 0)))
        elif kind == "o":
            # At level 0 the id will be the index; a number that may be taken is given at either.
            log.append(open_envelope(random.choice("abc"), random.choice([index, index, index, *opened[-2:]])))
            opened.append(index)
        elif kind == "c":
            sequence = last.get(session, 0) + random.choice((1, 1, 1, 0))
            last[session] = sequence
            acknowledged = max(0, sequence - random.randrange(1, 6))
            log.append(command_envelope(session, sequence, acknowledged, bytes(random.randrange(180))))
        elif kind == "k":
            log.append(keep_alive_envelope(session))
        elif kind == "x":
            log.append(close_envelope(session))
        elif kind == "n":
            log.append(random.choice([end_session_envelope(session), end_named_envelope(random.choice("abc"))]))
        else:
            pairs = [LastEntry(s, random.randrange(index)) for s in (session, session + 1)]
            log.append(random.choice([expire_envelope(random.randrange(50)), expire_sessions_envelope(pairs)]))
    return log


def test_these_logs_meet_every_rule():
    statuses = set()
    for seed in range(50):
        log = Log(SMALL)
        statuses |= {log.put(envelope).status for envelope in some_log(seed, 1)}
    assert statuses == set(S) - {S.MALFORMED}


def held(machine: SessionMachine) -> int:
    return sum(size_of(answer) for s in machine._table.sessions.values() for answer in s.answers.values())


@given(st.integers(0, 2**32), st.sampled_from([1, 40, 80, 1000]), st.integers(1, 119))
def test_a_machine_restored_anywhere_goes_on_as_the_one_that_was_never_restored(seed, raised_at, restored_at):
    """At level 0 and at level 1, and over the raise between them."""
    whole, restored = Log(SMALL), Log(SMALL)
    for index, envelope in enumerate(some_log(seed, raised_at), 1):
        assert whole.put(envelope, at=10 * index) == restored.put(envelope, at=10 * index)
        if index == restored_at:
            restored.restart()
    assert b"".join(whole.machine.snapshot()) == b"".join(restored.machine.snapshot())
    assert whole.machine.listing() == restored.machine.listing()
    assert whole.machine.endings() == restored.machine.endings()
    assert whole.journal.seen == restored.journal.seen


@given(st.integers(0, 2**32), st.sampled_from([1, 40]))
def test_what_is_held_is_bounded_by_the_limit_and_the_answer_that_has_just_been_made(seed, raised_at):
    log = Log(SMALL)
    for index, envelope in enumerate(some_log(seed, raised_at), 1):
        answer = log.put(envelope)
        assert log.machine._table.answer_bytes == held(log.machine)
        if index > raised_at and answer.value == index and envelope[1] == EnvelopeKind.COMMAND:
            assert held(log.machine) <= SMALL.answer_bytes + 12 + size_of(answer.payload)
        assert len(log.machine.endings()) <= SMALL.endings


@given(st.integers(0, 2**32))
def test_only_sessions_beyond_their_allowance_are_evicted(seed):
    log = Log(SMALL)
    for envelope in some_log(seed, 1):
        log.put(envelope)
        evicted = [end for end in log.machine.endings(log.index - 1) if end.reason is EndReason.EVICTED]
        assert all(end.answer_bytes > SMALL.allowance for end in evicted)
