"""Matching, by example: each test is a short story of one book."""

from __future__ import annotations

import pytest
from exchange_tools import BUY, IOC, SELL, batch, cancel, lines, listed, market, new, reduce, replace, reports, run

from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.reference_book import ReferenceEngine
from matchengine.exchange.types import CommandType, ExecType, OrdStatus, Reason, ReplaceFlag

LEAVES = ReplaceFlag.QUANTITY_IS_LEAVES
LOSE = ReplaceFlag.LOSE_PLACE


@pytest.fixture(params=[MatchingEngine, ReferenceEngine])
def engine(request):
    return listed(request.param(), 2)


def fills(engine, *commands):
    """(maker, quantity, price) of every trade."""
    trades = [report for report in run(engine, *commands) if report.exec_type == ExecType.TRADE]
    return [(maker.cl_ord_id, maker.last_qty, maker.last_px) for maker in trades[1::2]]


def test_price_goes_before_time(engine):
    run(engine, new(1, SELL, 5, 102), new(2, SELL, 5, 101), new(3, SELL, 5, 101))
    assert fills(engine, new(4, BUY, 12, 102)) == [(2, 5, 101), (3, 5, 101), (1, 2, 102)]


def test_bids_are_hit_from_the_highest_down(engine):
    run(engine, new(1, BUY, 5, 98), new(2, BUY, 5, 99), new(3, BUY, 5, 99))
    assert fills(engine, new(4, SELL, 12, 98)) == [(2, 5, 99), (3, 5, 99), (1, 2, 98)]


def test_fills_are_at_the_makers_price(engine):
    run(engine, new(1, SELL, 5, 90))
    taker, maker = run(engine, new(2, BUY, 5, 100))[1:]
    assert (taker.price, taker.last_px) == (100, 90)
    assert (maker.price, maker.last_px) == (90, 90)


def test_a_trade_reports_the_taker_then_the_maker(engine):
    run(engine, new(1, SELL, 5, 100, account=7))
    ack, taker, maker = run(engine, new(2, BUY, 3, 100, account=8))
    assert ack.short() == "NEW NEW #2 leaves=3 cum=0"
    assert taker.short() == "TRADE FILLED #2 leaves=0 cum=3 3@100"
    assert maker.short() == "TRADE PARTIALLY_FILLED #1 leaves=2 cum=3 3@100"
    assert (taker.account, maker.account) == (8, 7)
    assert (taker.side, maker.side) == (BUY, SELL)
    assert taker.trade_id == maker.trade_id == 1
    assert (taker.order_id, maker.order_id) == (2, 1)


def test_a_limit_remainder_rests_at_its_own_price(engine):
    run(engine, new(1, SELL, 5, 100), new(2, BUY, 8, 101))
    assert engine.depth(1, 9) == ([(101, 3, 1)], [])


def test_books_of_instruments_are_apart(engine):
    run(engine, new(1, SELL, 5, 100, instrument=1))
    assert fills(engine, new(2, BUY, 5, 100, instrument=2)) == []
    assert engine.depth(1, 9) == ([], [(100, 5, 1)])
    assert engine.depth(2, 9) == ([(100, 5, 1)], [])


def test_commands_of_several_instruments_and_accounts_may_share_a_batch(engine):
    setup = (new(1, SELL, 5, 100, instrument=2), new(2, SELL, 5, 100, account=2))
    turn = (new(3, BUY, 1, 90), cancel(1), new(4, BUY, 1, 91), replace(2, 4, 101, account=2), new(5, BUY, 1, 92))
    engine.execute(batch(*setup, *turn), 0)
    assert engine.depth(1, 9) == ([(92, 1, 1), (91, 1, 1), (90, 1, 1)], [(101, 4, 1)])
    assert engine.depth(2, 9) == ([], [])


def test_an_account_may_trade_with_itself(engine):
    run(engine, new(1, SELL, 5, 100))
    assert fills(engine, new(2, BUY, 5, 100)) == [(1, 5, 100)]


def test_ioc_drops_its_remainder(engine):
    run(engine, new(1, SELL, 5, 100), new(2, SELL, 5, 101))
    assert lines(engine, new(3, BUY, 9, 100, tif=IOC)) == [
        "NEW NEW #3 leaves=9 cum=0",
        "TRADE PARTIALLY_FILLED #3 leaves=4 cum=5 5@100",
        "TRADE FILLED #1 leaves=0 cum=5 5@100",
        "CANCELED CANCELED #3 leaves=0 cum=5 IOC_REMAINDER",
    ]
    assert engine.depth(1, 9) == ([], [(101, 5, 1)])


def test_ioc_remainder_carries_the_messages_own_price(engine):
    *_, dropped = run(engine, new(1, BUY, 5, 100, tif=IOC))
    assert (dropped.price, dropped.side, dropped.orig_cl_ord_id) == (100, BUY, 0)


@pytest.mark.parametrize("side", [BUY, SELL])
def test_market_takes_any_price_and_drops_its_remainder(engine, side):
    other = SELL if side == BUY else BUY
    run(engine, new(1, other, 5, 1), new(2, other, 5, 2**63 - 1))
    assert lines(engine, market(3, side, 12))[-1] == "CANCELED CANCELED #3 leaves=0 cum=10 MARKET_REMAINDER"
    assert engine.depth(1, 9) == ([], [])


def test_cancel_takes_the_order_out(engine):
    run(engine, new(1, SELL, 5, 100), new(2, SELL, 5, 100), new(3, SELL, 5, 100))
    gone = run(engine, cancel(2))[0]
    assert gone.short() == "CANCELED CANCELED #2 leaves=0 cum=0"
    assert (gone.price, gone.side, gone.orig_cl_ord_id) == (100, SELL, 2)
    assert fills(engine, new(4, BUY, 10, 100)) == [(1, 5, 100), (3, 5, 100)]


def test_cancel_of_what_is_not_open_is_rejected(engine):
    run(engine, new(1, SELL, 5, 100), new(2, BUY, 5, 100))
    for orig in (1, 2, 3):
        (rejected,) = run(engine, cancel(orig))
        assert rejected.short() == "CANCEL_REJECTED REJECTED #0 leaves=0 cum=0 UNKNOWN_ORDER"
        assert rejected.orig_cl_ord_id == orig


def test_nobody_touches_another_accounts_order(engine):
    run(engine, new(1, SELL, 5, 100, account=1))
    for command in (cancel(1, account=2), reduce(1, 1, account=2), replace(1, 5, 99, account=2)):
        assert run(engine, command)[0].reason == Reason.UNKNOWN_ORDER


def test_a_command_may_name_the_instrument_and_then_it_must_be_right(engine):
    run(engine, new(1, SELL, 5, 100, instrument=2))
    assert run(engine, cancel(1, instrument=1))[0].reason == Reason.UNKNOWN_ORDER
    assert run(engine, cancel(1, instrument=2))[0].exec_type == ExecType.CANCELED


def test_reduce_keeps_the_place(engine):
    run(engine, new(1, SELL, 5, 100), new(2, SELL, 5, 100))
    assert lines(engine, reduce(1, 3)) == ["REPLACED NEW #1 leaves=2 cum=0"]
    assert fills(engine, new(3, BUY, 4, 100)) == [(1, 2, 100), (2, 2, 100)]


@pytest.mark.parametrize("quantity", [5, 6, 2**63 - 1])
def test_reduce_by_all_or_more_cancels(engine, quantity):
    run(engine, new(1, SELL, 5, 100))
    assert lines(engine, reduce(1, quantity)) == ["CANCELED CANCELED #1 leaves=0 cum=0 REDUCED_TO_ZERO"]
    assert engine.depth(1, 9) == ([], [])


def test_replace_down_keeps_the_place(engine):
    run(engine, new(1, SELL, 5, 100), new(2, SELL, 5, 100), replace(1, 4, 100))
    assert fills(engine, new(3, BUY, 5, 100)) == [(1, 4, 100), (2, 1, 100)]


@pytest.mark.parametrize("quantity", [5, 4, 1])
def test_replace_may_ask_to_lose_the_place(engine, quantity):
    run(engine, new(1, SELL, 5, 100), new(2, SELL, 5, 100), replace(1, quantity, 100, flags=LOSE))
    assert fills(engine, new(3, BUY, 6, 100)) == [(2, 5, 100), (1, 1, 100)]


def test_replace_up_loses_the_place(engine):
    run(engine, new(1, SELL, 5, 100), new(2, SELL, 5, 100), replace(1, 6, 100))
    assert fills(engine, new(3, BUY, 6, 100)) == [(2, 5, 100), (1, 1, 100)]


def test_replace_of_the_price_loses_the_place_and_coming_back_does_not_regain_it(engine):
    run(engine, new(1, SELL, 5, 100), new(2, SELL, 5, 100), replace(1, 5, 101), replace(1, 5, 100))
    assert fills(engine, new(3, BUY, 6, 100)) == [(2, 5, 100), (1, 1, 100)]


def test_replace_states_the_new_total_of_which_the_executed_part_is_subtracted(engine):
    run(engine, new(1, SELL, 10, 100), new(2, BUY, 4, 100))
    assert lines(engine, replace(1, 9, 100)) == ["REPLACED PARTIALLY_FILLED #1 leaves=5 cum=4"]


def test_replace_states_the_new_remainder_if_it_says_so(engine):
    run(engine, new(1, SELL, 10, 100), new(2, BUY, 4, 100))
    assert lines(engine, replace(1, 9, 100, flags=LEAVES)) == ["REPLACED PARTIALLY_FILLED #1 leaves=9 cum=4"]


def test_replace_may_trade_and_reports_itself_first(engine):
    run(engine, new(1, BUY, 5, 99), new(2, SELL, 3, 101))
    assert lines(engine, replace(1, 5, 101)) == [
        "REPLACED NEW #1 leaves=5 cum=0",
        "TRADE PARTIALLY_FILLED #1 leaves=2 cum=3 3@101",
        "TRADE FILLED #2 leaves=0 cum=3 3@101",
    ]
    assert engine.depth(1, 9) == ([(101, 2, 1)], [])


def test_replace_that_trades_itself_away_ends(engine):
    run(engine, new(1, BUY, 5, 99), new(2, SELL, 7, 101), replace(1, 5, 101))
    assert run(engine, cancel(1))[0].reason == Reason.UNKNOWN_ORDER
    assert engine.depth(1, 9) == ([], [(101, 2, 1)])


def test_replace_may_rename(engine):
    run(engine, new(1, SELL, 5, 100))
    (replaced,) = run(engine, replace(1, 4, 100, cl_ord_id=9))
    assert (replaced.cl_ord_id, replaced.orig_cl_ord_id, replaced.order_id) == (9, 1, 1)
    assert run(engine, cancel(1))[0].reason == Reason.UNKNOWN_ORDER
    assert run(engine, cancel(9))[0].exec_type == ExecType.CANCELED


def test_replace_must_not_take_the_name_of_another_open_order(engine):
    run(engine, new(1, SELL, 5, 100), new(2, SELL, 5, 100))
    (rejected,) = run(engine, replace(1, 9, 90, cl_ord_id=2))
    assert rejected.reason == Reason.DUPLICATE_CL_ORD_ID
    assert engine.depth(1, 9) == ([], [(100, 10, 2)])


def test_a_rejected_replace_tells_the_orders_state(engine):
    run(engine, new(1, SELL, 10, 100), new(2, BUY, 4, 100))
    (rejected,) = run(engine, replace(1, 9, 0))
    assert rejected.short() == "CANCEL_REJECTED PARTIALLY_FILLED #0 leaves=6 cum=4 PRICE_ZERO"
    assert (rejected.order_id, rejected.price, rejected.side) == (1, 100, SELL)


def test_names_are_unique_among_an_accounts_open_orders_only(engine):
    run(engine, new(1, SELL, 5, 100))
    assert run(engine, new(1, SELL, 5, 100))[0].reason == Reason.DUPLICATE_CL_ORD_ID
    assert run(engine, new(1, SELL, 5, 100, instrument=2))[0].reason == Reason.DUPLICATE_CL_ORD_ID
    assert run(engine, new(1, SELL, 5, 100, account=2))[0].exec_type == ExecType.NEW
    run(engine, cancel(1))
    assert run(engine, new(1, SELL, 5, 100))[0].exec_type == ExecType.NEW
    assert fills(engine, market(3, BUY, 10)) == [(1, 5, 100), (1, 5, 100)]
    assert run(engine, new(1, SELL, 5, 100))[0].exec_type == ExecType.NEW


def test_a_rejected_order_uses_no_id(engine):
    run(engine, new(1, SELL, 0, 100))
    assert run(engine, new(1, SELL, 5, 100))[0].order_id == 1


REJECTED_NEW = [
    (new(1, BUY, 5, 100, invalid=Reason.PRICE_TOO_PRECISE, flags=1), Reason.PRICE_TOO_PRECISE),
    (new(1, BUY, 5, 100, invalid=77_777), Reason.UNKNOWN_COMMAND),
    (new(1, BUY, 5, 100, flags=1, instrument=9), Reason.INVALID_FLAGS),
    (new(1, 3, 5, 100, instrument=0), Reason.UNKNOWN_INSTRUMENT),
    (new(1, BUY, 5, 100, instrument=3), Reason.UNKNOWN_INSTRUMENT),
    (new(1, 0, 5, 100, kind=5), Reason.INVALID_SIDE),
    (new(1, BUY, 5, 100, kind=3, tif=0), Reason.INVALID_ORD_TYPE),
    (new(1, BUY, 5, 0, tif=4), Reason.INVALID_TIME_IN_FORCE),
    (market(1, BUY, 5, tif=0), Reason.INVALID_TIME_IN_FORCE),
    (new(1, BUY, 0, 100, kind=1), Reason.PRICE_NOT_ALLOWED),
    (new(1, BUY, 0, 0), Reason.PRICE_ZERO),
    (new(1, BUY, 0, -1), Reason.PRICE_NEGATIVE),
    (new(0, BUY, 0, 100), Reason.QUANTITY_ZERO),
    (new(0, BUY, -(2**63), 100), Reason.QUANTITY_NEGATIVE),
    (new(0, BUY, 5, 100), Reason.INVALID_CL_ORD_ID),
]


@pytest.mark.parametrize(("command", "reason"), REJECTED_NEW)
def test_a_new_order_is_rejected_for_the_first_rule_it_breaks(engine, command, reason):
    before = engine.state_hash()
    (report,) = run(engine, command)
    assert (report.exec_type, report.ord_status) == (ExecType.REJECTED, OrdStatus.REJECTED)
    assert Reason(report.reason) == reason
    assert engine.state_hash() == before


REJECTED_AMEND = [
    (cancel(2, invalid=Reason.PRICE_ZERO, flags=9), Reason.UNKNOWN_ORDER),
    (cancel(1, invalid=Reason.PRICE_ZERO, flags=9), Reason.PRICE_ZERO),
    (cancel(1, flags=1), Reason.INVALID_FLAGS),
    (reduce(1, 0), Reason.QUANTITY_ZERO),
    (reduce(1, -1), Reason.QUANTITY_NEGATIVE),
    (reduce(1, 0, flags=1), Reason.INVALID_FLAGS),
    (replace(1, 0, 0, flags=4), Reason.INVALID_FLAGS),
    (replace(1, 0, 0), Reason.PRICE_ZERO),
    (replace(1, 0, -5), Reason.PRICE_NEGATIVE),
    (replace(1, 0, 100), Reason.QUANTITY_ZERO),
    (replace(1, -5, 100), Reason.QUANTITY_NEGATIVE),
    (replace(1, 2**63 - 1, 100, flags=LEAVES), Reason.QUANTITY_OVERFLOW),
]


@pytest.mark.parametrize(("command", "reason"), REJECTED_AMEND)
def test_an_amend_is_rejected_for_the_first_rule_it_breaks(engine, command, reason):
    run(engine, new(1, SELL, 5, 100), new(3, BUY, 1, 100))
    before = engine.state_hash()
    (report,) = run(engine, command)
    assert report.exec_type == ExecType.CANCEL_REJECTED
    assert Reason(report.reason) == reason
    assert engine.state_hash() == before


def test_unknown_commands_are_rejected(engine):
    record = bytearray(new(1, BUY, 5, 100))
    for kind in set(range(256)) - {int(known) for known in CommandType}:
        record[0] = kind
        (report,) = run(engine, bytes(record))
        assert report.short() == "REJECTED REJECTED #1 leaves=0 cum=0 UNKNOWN_COMMAND"


def test_the_largest_numbers_fit(engine):
    most = 2**63 - 1
    run(engine, new(1, SELL, most, most), new(2, SELL, most, most), new(2**64 - 1, BUY, most, most, account=2**32 - 1))
    assert engine.depth(1, 9) == ([], [(most, most, 1)])
    run(engine, new(3, SELL, most, most))
    assert engine.depth(1, 9) == ([], [(most, 2 * most, 2)]), "a sum beyond 64 bits is exact"


def test_one_order_sweeps_thousands():
    engine = listed(MatchingEngine())
    for start in range(0, 5000, 1000):
        engine.execute(batch(*(new(number + 1, SELL, 1, 100) for number in range(start, start + 1000))), 0)
    answer = reports(engine.execute(batch(new(9999, BUY, 5000, 100)), 0))
    assert [report.cl_ord_id for report in answer[2::2]] == list(range(1, 5001))
    assert engine.depth(1, 9) == ([], [])


def test_commands_are_numbered_within_their_batch(engine):
    answer = engine.execute(batch(new(1, SELL, 5, 100), cancel(7), new(2, BUY, 5, 100), market(3, BUY, 1)), 0)
    assert [report.command for report in reports(answer)] == [0, 1, 2, 2, 2, 3, 3]
