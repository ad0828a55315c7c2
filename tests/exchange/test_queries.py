"""Depth, orders and the price of a quantity."""

from __future__ import annotations

import pytest
from exchange_tools import BUY, SELL, batch, cancel, listed, new, replace, run

from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.queries import Quote


@pytest.fixture
def engine():
    """Three lots of 10 at each of 100, 110, ..., 140 offered, and at each of 50, 60, ..., 90 bid."""
    engine = listed(MatchingEngine())
    offers = [new(price * 10 + n, SELL, 10, price) for price in range(100, 150, 10) for n in range(3)]
    bids = [new(price * 10 + n, BUY, 10, price) for price in range(50, 100, 10) for n in range(3)]
    engine.execute(batch(*offers, *bids), 0)
    return engine


def test_depth_goes_from_the_best_level_down(engine):
    bids, asks = engine.depth(1, 3)
    assert bids == [(90, 30, 3), (80, 30, 3), (70, 30, 3)]
    assert asks == [(100, 30, 3), (110, 30, 3), (120, 30, 3)]
    assert engine.depth(1, 0) == ([], [])
    assert [len(side) for side in engine.depth(1, 1000)] == [5, 5]


def test_depth_does_not_show_what_is_gone(engine):
    run(engine, cancel(901), *(cancel(800 + n) for n in range(3)), new(1, SELL, 5, 90))
    assert engine.depth(1, 2)[0] == [(90, 15, 2), (70, 30, 3)]


def test_unknown_instrument(engine):
    with pytest.raises(KeyError):
        engine.depth(2, 1)
    with pytest.raises(KeyError):
        engine.quote(0, BUY, 1)


def test_price_of_a_quantity(engine):
    assert engine.quote(1, BUY, 115) == Quote(13_150, 115, True)
    assert engine.quote(1, BUY, 150) == Quote(18_000, 150, True)
    assert engine.quote(1, BUY, 151) == Quote(18_000, 150, False)
    assert engine.quote(1, SELL, 115) == Quote(8_700, 115, True)
    assert engine.quote(1, SELL, 999) == Quote(10_500, 150, False)


def test_a_quote_over_many_levels_is_taken_in_parts():
    engine = listed(MatchingEngine())
    for start in range(1, 20_001, 1000):
        engine.execute(batch(*(new(n, SELL, 2, 10**7 + n) for n in range(start, start + 1000))), 0)
    whole = sum(2 * (10**7 + n) for n in range(1, 20_001))
    assert engine.quote(1, BUY, 40_000) == Quote(whole, 40_000, True)
    assert engine.quote(1, BUY, 40_001) == Quote(whole, 40_000, False)
    assert engine.short_quote(1, BUY, 40_000) is None
    assert engine.short_quote(1, BUY, 3) == Quote(3 * 10**7 + 4, 3, True)
    assert engine.short_quote(1, SELL, 3) == Quote(0, 0, False)


def test_the_amount_of_a_quote_may_be_of_any_size():
    engine = listed(MatchingEngine())
    run(engine, new(1, SELL, 2**62, 2**31 - 1), new(2, SELL, 2**31 - 1, 2**62), new(3, SELL, 5, 2**63 - 1))
    amount = 2**62 * (2**31 - 1) + (2**31 - 1) * 2**62 + 5 * (2**63 - 1)
    assert engine.quote(1, BUY, 2**63 - 1) == Quote(amount, 2**62 + 2**31 + 4, False)


def test_many_products_of_a_quote_may_exceed_64_bits_together():
    engine = listed(MatchingEngine())
    prices = range(2**31 - 21, 2**31 - 1)
    engine.execute(batch(*(new(n, SELL, 2**31 - 1, price) for n, price in enumerate(prices, 1))), 0)
    assert engine.quote(1, BUY, 2**62) == Quote(sum(prices) * (2**31 - 1), 20 * (2**31 - 1), False)


def test_a_query_changes_nothing(engine):
    before = engine.state_hash()
    engine.depth(1, 1000)
    engine.quote(1, BUY, 999)
    engine.order(1, 900)
    engine.order(55, 1)
    engine.order_by_id(1)
    assert engine.state_hash() == before


def test_orders_by_either_id(engine):
    run(engine, new(1, SELL, 4, 90, account=2), replace(901, 7, 90, cl_ord_id=5))
    first = engine.order(1, 900)
    assert (first.side, first.price, first.leaves_qty, first.cum_qty, first.instrument) == (BUY, 90, 6, 4, 1)
    assert engine.order_by_id(first.order_id) == first
    assert engine.order(1, 901) is None
    assert engine.order(1, 5).leaves_qty == 7
    assert engine.order(2, 1) is engine.order_by_id(31) is engine.order_by_id(0) is None
