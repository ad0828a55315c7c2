"""Conservation: right sums pass, and every way of losing or doubling something is named."""

from __future__ import annotations

import pytest

from matchengine.chaos.history import Answer, Command, Record, Submit
from matchengine.chaos.ledger import balance
from matchengine.exchange.types import CommandType, ExecType, OrdStatus, Side

BUY, SELL = int(Side.BUY), int(Side.SELL)


def told(exec_type, side, leaves, *, cl_ord_id=1, price=100, last_qty=0, cum=0):
    last_px = price if last_qty else 0
    return (exec_type, OrdStatus.NEW, side, "", 0, 1, cl_ord_id, 0, price, last_px, last_qty, leaves, cum)


def acknowledged(symbol, index, *reports):
    """One batch; each report is (what was told, order id, trade id)."""
    record = Record(symbol, 1, Submit((Command(CommandType.NEW, 1),)))
    texts, orders, trades = zip(*reports, strict=True)
    record.end(texts, Answer(index, texts, orders, trades))
    return record


def unknown(symbol):
    return Record(symbol, 1, Submit((Command(CommandType.NEW, 1),)))


def rest(order_id, side, quantity, index):
    return acknowledged("A", index, (told(ExecType.NEW, side, quantity), order_id, 0))


def cross(order_id, maker_id, quantity, left, index, trade_id=1):
    """A sell of ``quantity`` that trades all of it with the buy ``maker_id``, of which ``left`` stays."""
    return acknowledged(
        *("A", index),
        (told(ExecType.NEW, SELL, quantity), order_id, 0),
        (told(ExecType.TRADE, SELL, 0, last_qty=quantity, cum=quantity), order_id, trade_id),
        (told(ExecType.TRADE, BUY, left, last_qty=quantity, cum=quantity), maker_id, trade_id),
    )


GOOD = [rest(1, BUY, 5, 10), cross(2, 1, 3, 2, 11)]
BOOK = {"A": (((100, 2, 1),), ())}


def test_right_sums() -> None:
    # In the order of the log, whatever order clients heard of it in.
    for records in (GOOD, GOOD[::-1]):
        sums = balance(records, BOOK, 3, 2)
        assert sums.good
        assert (sums.orders, sums.trades, sums.bought, sums.sold) == (2, 1, 3, 3)
        assert not sums.problems


def test_cancelled_reduced_and_replaced_quantities_add_up() -> None:
    records = [
        rest(1, BUY, 9, 1),
        cross(2, 1, 3, 6, 2),
        acknowledged("A", 3, (told(ExecType.REPLACED, BUY, 4, cum=3), 1, 0)),
        acknowledged("A", 4, (told(ExecType.REPLACED, BUY, 8, cum=3, price=99), 1, 0)),
    ]
    assert balance(records, {"A": (((99, 8, 1),), ())}, 3, 2).good
    records.append(acknowledged("A", 5, (told(ExecType.CANCELED, BUY, 0, cum=3), 1, 0)))
    assert balance(records, {"A": ((), ())}, 3, 2).good


@pytest.mark.parametrize(
    ("records", "book", "next_ids", "wrong"),
    [
        (GOOD, {"A": ((), ())}, (3, 2), (1, 0, 0)),
        (GOOD, {"A": (((100, 1, 1),), ())}, (3, 2), (1, 0, 0)),
        (GOOD, {"A": (((100, 2, 1),), ((101, 1, 1),))}, (3, 2), (0, 1, 0)),
        (GOOD, BOOK, (2, 2), (1, 0, 0)),
        (GOOD, BOOK, (3, 1), (1, 0, 0)),
        (GOOD, BOOK, (4, 2), (0, 1, 0)),
        (GOOD, BOOK, (3, 4), (0, 2, 0)),
        ([*GOOD, rest(1, BUY, 2, 12)], BOOK, (3, 2), (0, 1, 0)),
        ([rest(1, BUY, 8, 10), cross(2, 1, 3, 5, 11), cross(3, 1, 3, 2, 12)], BOOK, (4, 2), (0, 1, 0)),
        ([rest(1, BUY, 5, 10), cross(2, 1, 3, 1, 11)], {"A": (((100, 1, 1),), ())}, (3, 2), (0, 0, 1)),
    ],
    ids=[
        *("an order that is gone", "a quantity that is gone", "an order that nobody entered"),
        *("an order's number again", "a trade's number again", "an order nobody was told of"),
        *("trades nobody was told of", "an order opened twice", "a trade made twice", "parts that are not the whole"),
    ],
)
def test_wrong_sums(records, book, next_ids, wrong) -> None:
    sums = balance(records, book, *next_ids)
    assert (sums.lost, sums.doubled, sums.unbalanced) == wrong
    assert not sums.good
    assert len(sums.problems) == sum(wrong)


def test_a_trade_has_two_equal_sides() -> None:
    one = acknowledged("A", 11, (told(ExecType.TRADE, BUY, 2, last_qty=3, cum=3), 1, 1))
    sums = balance([rest(1, BUY, 5, 10), one], BOOK, 2, 2)
    assert (sums.bought, sums.sold, sums.unbalanced) == (3, 0, 1)
    assert not sums.good


def test_where_an_outcome_is_unknown_only_its_own_order_is_excused() -> None:
    odd = {"A": (((100, 2, 1),), ()), "B": (((7, 7, 7),), ())}
    assert balance([*GOOD, unknown("B")], odd, 4, 2).good
    assert balance([*GOOD, unknown("B")], odd, 4, 2).unknown_instruments == 1
    assert balance([*GOOD, unknown("B")], odd, 5, 2).doubled == 1
    assert balance(GOOD, odd, 3, 2).doubled == 1
