"""The door: headers, bounds, time, instruments, newer layouts."""

from __future__ import annotations

import pytest
from exchange_tools import (
    ANSWER_HEADER,
    BATCH_HEADER,
    BUY,
    SELL,
    batch,
    instrument_answer,
    instrument_batch,
    listed,
    new,
    reports,
)

from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.layout import MAX_COMMANDS, MAX_INSTRUMENTS, NewerLayoutError
from matchengine.exchange.state_machine import ExchangeStateMachine
from matchengine.exchange.types import ExecType, Reason
from matchengine.raft.types import Entry
from matchengine.state_machine import Hashable, NewerVersionError, StateMachine

ORDER = new(1, BUY, 5, 100)
MALFORMED = {
    "empty": b"",
    "header cut short": batch(ORDER)[:7],
    "older version": BATCH_HEADER.pack(0, 1, 0, 1) + ORDER,
    "unknown kind": BATCH_HEADER.pack(1, 3, 0, 1) + ORDER,
    "reserved in use": BATCH_HEADER.pack(1, 1, 1, 1) + ORDER,
    "count too high": BATCH_HEADER.pack(1, 1, 0, 2) + ORDER,
    "count too low": BATCH_HEADER.pack(1, 1, 0, 0) + ORDER,
    "count absurd": BATCH_HEADER.pack(1, 1, 0, 2**32 - 1) + ORDER,
    "record cut short": batch(ORDER)[:-1],
    "too many commands": batch(*[ORDER] * (MAX_COMMANDS + 2)),
    "two instruments": BATCH_HEADER.pack(1, 2, 0, 2) + instrument_batch()[BATCH_HEADER.size :],
    "definition cut short": instrument_batch()[:-1],
    "definition too long": instrument_batch() + b"x",
    "no definition": BATCH_HEADER.pack(1, 2, 0, 1),
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_batch_is_answered_with_one_reject_and_changes_nothing(content):
    engine = listed(MatchingEngine())
    before = engine.state_hash()
    (report,) = reports(engine.execute(content, 0))
    assert (report.exec_type, Reason(report.reason)) == (ExecType.REJECTED, Reason.MALFORMED_BATCH)
    assert engine.state_hash() == before


def test_the_largest_batch_is_executed():
    engine = listed(MatchingEngine())
    assert len(reports(engine.execute(batch(*[ORDER] * MAX_COMMANDS), 0))) == MAX_COMMANDS


def test_an_empty_batch_is_legal():
    assert reports(MatchingEngine().execute(batch(), 0)) == []


def test_a_newer_layout_raises_and_changes_nothing():
    engine = listed(MatchingEngine())
    before = engine.state_hash()
    with pytest.raises(NewerLayoutError, match="version 2 is above 1"):
        engine.execute(b"\x02" + batch(ORDER)[1:], 99)
    assert engine.state_hash() == before
    assert engine.time == 0


def test_time_is_the_greatest_stamp_and_goes_into_answers():
    engine = MatchingEngine()
    times = [ANSWER_HEADER.unpack_from(engine.execute(batch(), stamp))[4] for stamp in (-5, 0, 7, 3, 0, 2**70, 9)]
    assert times == [0, 0, 7, 7, 7, 2**63 - 1, 2**63 - 1]


def test_instruments_are_numbered_from_one():
    engine = MatchingEngine()
    assert instrument_answer(engine.execute(instrument_batch(b"ABC", 2, 3, 5, 10), 0)) == (1, Reason.NONE)
    assert instrument_answer(engine.execute(instrument_batch(b"D" * 32), 0)) == (2, Reason.NONE)
    first = engine.instruments[0]
    assert (first.symbol, first.price_decimals, first.quantity_decimals) == ("ABC", 2, 3)
    assert (first.tick_size, first.lot_size) == (5, 10)
    assert engine.find_instrument("D" * 32) is engine.instrument(2)
    assert engine.instrument(0) is engine.instrument(3) is engine.find_instrument("X") is None


@pytest.mark.parametrize(
    "bad",
    [
        {"symbol": b""},
        {"symbol": b"X" * 33},
        {"symbol": b"A B"},
        {"symbol": b"A\x00"},
        {"symbol": "É".encode()},
        {"price_decimals": 19},
        {"quantity_decimals": 19},
        {"tick": 0},
        {"tick": -1},
        {"lot": 0},
        {"reserved": 1},
    ],
)
def test_a_bad_instrument_is_refused(bad):
    engine = MatchingEngine()
    assert instrument_answer(engine.execute(instrument_batch(**bad), 0)) == (0, Reason.INVALID_INSTRUMENT)
    assert engine.instruments == ()


def test_a_symbol_is_taken_once():
    engine = listed(MatchingEngine())
    assert instrument_answer(engine.execute(instrument_batch(b"S1"), 0)) == (0, Reason.DUPLICATE_INSTRUMENT)


def test_the_number_of_instruments_is_bounded():
    engine = listed(MatchingEngine(), MAX_INSTRUMENTS)
    assert instrument_answer(engine.execute(instrument_batch(b"MORE"), 0)) == (0, Reason.TOO_MANY_INSTRUMENTS)
    assert reports(engine.execute(batch(new(1, BUY, 5, 100, instrument=MAX_INSTRUMENTS)), 0))[0].order_id == 1


def test_the_state_machine_executes_entries_at_their_stamps():
    machine = ExchangeStateMachine()
    assert isinstance(machine, StateMachine)
    assert isinstance(machine, Hashable)
    entries = [
        Entry(1, 1, data=instrument_batch(), appended_at=5),
        Entry(3, 1, data=batch(ORDER), appended_at=4),
        Entry(4, 1, data=batch(new(2, SELL, 5, 100)), appended_at=9),
    ]
    answers = machine.apply(entries)
    assert [ANSWER_HEADER.unpack_from(answer)[4] for answer in answers] == [5, 5, 9]
    assert len(reports(answers[2])) == 3
    copy = ExchangeStateMachine()
    copy.restore(machine.snapshot())
    assert copy.state_hash() == machine.state_hash()


def test_the_state_machine_stops_at_a_newer_layout():
    with pytest.raises(NewerVersionError, match="version 9 is above"):
        ExchangeStateMachine().apply([Entry(1, 1, data=b"\x09")])
