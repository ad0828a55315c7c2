"""FIX's order state matrices (4.2, appendix D, D1 to D12), told with this exchange's messages.

The exchange executes one command after another, so nothing is ever pending: where the matrices have a
PENDING state, the order of the commands decides.
"""

from __future__ import annotations

import pytest
from exchange_tools import BUY, SELL, cancel, lines, listed, new, replace

from matchengine.exchange.engine import MatchingEngine


@pytest.fixture
def engine():
    """Order #1 buys; #100 and up are the sellers that it meets."""
    return listed(MatchingEngine())


def own(engine, *commands):
    """Lines about order #1 and its later names, not about those it trades with."""
    return [line for line in lines(engine, *commands) if "#1 " in line or "#2 " in line or "#0 " in line]


def test_d1_filled_order(engine):
    assert own(engine, new(1, BUY, 10, 50), new(100, SELL, 2, 50), new(101, SELL, 8, 50)) == [
        "NEW NEW #1 leaves=10 cum=0",
        "TRADE PARTIALLY_FILLED #1 leaves=8 cum=2 2@50",
        "TRADE FILLED #1 leaves=0 cum=10 8@50",
    ]


def test_d2_part_filled_order_stays_open(engine):
    assert own(engine, new(1, BUY, 10, 50), new(100, SELL, 2, 50), new(101, SELL, 3, 50))[-1] == (
        "TRADE PARTIALLY_FILLED #1 leaves=5 cum=5 3@50"
    )


def test_d3_cancel_of_an_unfilled_order(engine):
    assert own(engine, new(1, BUY, 10, 50), cancel(1))[1:] == ["CANCELED CANCELED #1 leaves=0 cum=0"]


def test_d4_cancel_of_a_part_filled_order_with_fills_before_it(engine):
    assert own(engine, new(1, BUY, 10, 50), new(100, SELL, 2, 50), new(101, SELL, 3, 50), cancel(1))[1:] == [
        "TRADE PARTIALLY_FILLED #1 leaves=8 cum=2 2@50",
        "TRADE PARTIALLY_FILLED #1 leaves=5 cum=5 3@50",
        "CANCELED CANCELED #1 leaves=0 cum=5",
    ]


def test_d5_cancel_after_the_order_was_filled(engine):
    assert own(engine, new(1, BUY, 10, 50), new(100, SELL, 10, 50), cancel(1))[1:] == [
        "TRADE FILLED #1 leaves=0 cum=10 10@50",
        "CANCEL_REJECTED REJECTED #0 leaves=0 cum=0 UNKNOWN_ORDER",
    ]


def test_d6_increase_of_an_unfilled_order(engine):
    assert own(engine, new(1, BUY, 10, 50), replace(1, 11, 50, cl_ord_id=2), new(100, SELL, 11, 50))[1:] == [
        "REPLACED NEW #2 leaves=11 cum=0",
        "TRADE FILLED #2 leaves=0 cum=11 11@50",
    ]


def test_d7_increase_of_a_part_filled_order(engine):
    assert own(engine, new(1, BUY, 10, 50), new(100, SELL, 2, 50), replace(1, 12, 50, cl_ord_id=2))[-1] == (
        "REPLACED PARTIALLY_FILLED #2 leaves=10 cum=2"
    )


def test_d8_increase_after_the_order_was_filled(engine):
    assert own(engine, new(1, BUY, 10, 50), new(100, SELL, 10, 50), replace(1, 12, 50, cl_ord_id=2))[-1] == (
        "CANCEL_REJECTED REJECTED #2 leaves=0 cum=0 UNKNOWN_ORDER"
    )


def test_d9_new_price_after_the_order_was_filled(engine):
    assert own(engine, new(1, BUY, 10, 50), new(100, SELL, 10, 50), replace(1, 10, 51))[-1] == (
        "CANCEL_REJECTED REJECTED #0 leaves=0 cum=0 UNKNOWN_ORDER"
    )


def test_d10_decrease_to_above_what_was_executed(engine):
    assert own(engine, new(1, BUY, 10, 50), new(100, SELL, 5, 50), replace(1, 8, 50), new(101, SELL, 3, 50))[2:] == [
        "REPLACED PARTIALLY_FILLED #1 leaves=3 cum=5",
        "TRADE FILLED #1 leaves=0 cum=8 3@50",
    ]


@pytest.mark.parametrize("quantity", [5, 4, 1])
def test_d11_and_d12_decrease_to_what_was_executed_or_below_leaves_it_filled(engine, quantity):
    run = own(engine, new(1, BUY, 10, 50), new(100, SELL, 5, 50), replace(1, quantity, 50, cl_ord_id=2), cancel(2))
    assert run[2:] == [
        "REPLACED FILLED #2 leaves=0 cum=5",
        "CANCEL_REJECTED REJECTED #0 leaves=0 cum=0 UNKNOWN_ORDER",
    ]
