"""The demonstration's verdict must be able to fail: each kind of loss and of doubling is seen."""

import pytest

from matchengine.demo.flow import OrderFlow
from matchengine.demo.ledger import Ledger, Verdict, levels_of
from matchengine.exchange.layout import ANSWER_HEADER, BATCH_HEADER, COMMAND, KIND_ORDERS, REPORT, VERSION
from matchengine.exchange.types import CommandType, ExecType, Side

NEW, TRADE, CANCELED = ExecType.NEW, ExecType.TRADE, ExecType.CANCELED
BUY, SELL = Side.BUY, Side.SELL


def report(exec_type, order_id, side=BUY, *, price=100, leaves=10, trade_id=0, last=0):
    return REPORT.pack(
        exec_type, 0, side, 0, 0, 1, 1, order_id, order_id, 0, trade_id, price, price, last, leaves, last
    )


def ledger(*reports):
    book = Ledger()
    book.take(ANSWER_HEADER.pack(VERSION, KIND_ORDERS, 0, len(reports), 0) + b"".join(reports))
    return book


@pytest.fixture
def traded():
    """Orders 1 (buy 10) and 2 (sell 4) traded 4; order 3 (sell 5) rests; order 4 was cancelled."""
    return ledger(
        report(NEW, 1),
        report(NEW, 2, SELL, leaves=4),
        report(TRADE, 2, SELL, leaves=0, trade_id=1, last=4),
        report(TRADE, 1, leaves=6, trade_id=1, last=4),
        report(NEW, 3, SELL, price=101, leaves=5),
        report(NEW, 4, price=99),
        report(CANCELED, 4, price=99, leaves=0),
    )


BIDS, ASKS = [(100, 6, 1)], [(101, 5, 1)]


def test_an_exchange_that_agrees(traded):
    assert traded.judge(levels_of(BIDS, ASKS), 5, 2) == Verdict(0, 0)
    assert traded.trades == 1
    assert [(t.price, t.quantity) for t in traded.recent] == [(100, 4)]


@pytest.mark.parametrize(
    ("bids", "asks", "next_order", "next_trade", "verdict"),
    [
        ([], ASKS, 5, 2, Verdict(1, 0)),
        (BIDS, [(101, 10, 2)], 5, 2, Verdict(0, 1)),
        ([(100, 6, 1), (99, 10, 1)], ASKS, 5, 2, Verdict(0, 1)),
        ([(100, 2, 1)], ASKS, 5, 2, Verdict(1, 0)),
        ([(100, 10, 1)], ASKS, 5, 2, Verdict(0, 1)),
        (BIDS, ASKS, 6, 2, Verdict(0, 1)),
        (BIDS, ASKS, 4, 2, Verdict(1, 0)),
        (BIDS, ASKS, 5, 3, Verdict(0, 1)),
        (BIDS, ASKS, 5, 1, Verdict(1, 0)),
    ],
)
def test_an_exchange_that_does_not(traded, bids, asks, next_order, next_trade, verdict):
    assert traded.judge(levels_of(bids, asks), next_order, next_trade) == verdict


def test_a_report_that_comes_twice_is_doubled():
    assert ledger(report(NEW, 1), report(NEW, 1)).judge(levels_of([(100, 10, 1)], []), 2, 1) == Verdict(0, 1)


def test_the_flow_depends_on_the_seed_alone():
    assert OrderFlow(7, 1).batch(200) == OrderFlow(7, 1).batch(200)
    assert OrderFlow(7, 1).batch(200) != OrderFlow(8, 1).batch(200)


def test_every_resting_order_is_cancelled_in_time():
    records = list(COMMAND.iter_unpack(OrderFlow(3, 1).batch(5000)[BATCH_HEADER.size :]))
    new = [r[7] for r in records if r[0] == CommandType.NEW]
    cancelled = [r[8] for r in records if r[0] == CommandType.CANCEL]
    assert new == list(range(1, len(new) + 1))
    assert len(cancelled) == len(set(cancelled))
    assert len(new) - len(cancelled) < 1700
    assert all(r[9] > 0 and r[10] > 0 for r in records if r[0] == CommandType.NEW)
