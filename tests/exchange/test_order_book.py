"""The production book's own promises: places in a queue, and memory that follows the open orders."""

from __future__ import annotations

from exchange_tools import BUY, IOC, SELL, batch, cancel, listed, new, replace, reports, run
from hypothesis import given, settings
from hypothesis import strategies as st

from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.order_book import LEAVES, OrderBook
from matchengine.exchange.reference_book import ReferenceEngine

BOUND = 100


def entries(engine):
    return sum(len(queue) for queue in engine._matcher.books[1].levels.values())


def test_an_order_that_left_from_the_middle_and_came_back_stands_once():
    engine = listed(MatchingEngine())
    run(engine, *(new(name, SELL, 5, 100) for name in (1, 2, 3)), replace(2, 6, 100))
    assert engine.depth(1, 9) == ([], [(100, 16, 3)])
    answer = run(engine, new(9, BUY, 16, 100))
    assert [report.cl_ord_id for report in answer[2::2]] == [1, 3, 2]
    assert engine.depth(1, 9) == ([], [])


def test_an_order_that_left_from_the_middle_for_another_price_stands_there_only():
    engine = listed(MatchingEngine())
    run(engine, *(new(name, SELL, 5, 100) for name in (1, 2, 3)), replace(2, 5, 101))
    assert engine.depth(1, 9) == ([], [(100, 10, 2), (101, 5, 1)])


def _rest(name, side, quantity, away):
    return new(name, side, quantity, 99 - away if side == BUY else 101 + away, instrument=1 + name % 2)


def _take(side, quantity, instrument):
    return new(99, side, quantity, 102 if side == BUY else 98, tif=IOC, instrument=instrument)


names, sides, quantities, instruments = st.integers(1, 30), st.sampled_from((BUY, SELL)), st.integers(1, 5), (1, 2)
rests = st.builds(_rest, names, sides, quantities, st.integers(0, 1))
cancels = st.builds(cancel, names)
moves = st.builds(replace, names, quantities, st.sampled_from((98, 99, 101, 102)), flags=st.sampled_from((0, 2, 3)))
takes = st.builds(_take, sides, st.integers(1, 12), st.sampled_from(instruments))
#: Two books of few prices, so that queues are long and most orders leave from the middle.
crowds = st.lists(st.one_of(rests, rests, rests, rests, moves, cancels, cancels, takes), min_size=30, max_size=150)


@given(crowds)
@settings(max_examples=80)
def test_crowded_queues_equal_the_reference(records):
    engine, reference = listed(MatchingEngine(), 2), listed(ReferenceEngine(), 2)
    assert reports(engine.execute(batch(*records), 0)) == reports(reference.execute(batch(*records), 0))
    assert all(engine.depth(number, 9) == reference.depth(number, 9) for number in instruments)
    assert engine.state_hash() == reference.state_hash()


def test_churn_behind_a_lasting_order_leaves_nothing():
    engine = listed(MatchingEngine())
    run(engine, new(1, SELL, 5, 100), new(2, SELL, 5, 100))
    for name in range(3, 20_003, 500):
        churn = [part for n in range(name, name + 500) for part in (new(n, SELL, 5, 100), cancel(n - 1))]
        engine.execute(batch(*churn), 0)
    assert entries(engine) <= BOUND
    assert engine.depth(1, 9) == ([], [(100, 10, 2)])


def test_prices_that_come_and_go_leave_nothing():
    engine = listed(MatchingEngine())
    for name in range(1, 20_001, 500):
        visits = [part for n in range(name, name + 500) for part in (new(n, SELL, 5, 100 + n), cancel(n))]
        engine.execute(batch(*visits), 0)
    book = engine._matcher.books[1]
    assert len(book.levels) == len(book.asks) - 1 <= BOUND
    assert engine.depth(1, 9) == ([], [])


def test_prices_that_are_traded_away_leave_nothing():
    engine = listed(MatchingEngine())
    for price in range(20_000, 0, -500):
        falls = [part for px in range(price, price - 500, -1) for part in (new(1, SELL, 5, px), new(2, BUY, 5, px))]
        engine.execute(batch(*falls), 0)
    book = engine._matcher.books[1]
    assert len(book.levels) == len(book.asks) - 1 <= BOUND


def test_an_order_that_wanders_leaves_no_prices_behind():
    engine = listed(MatchingEngine())
    run(engine, new(1, SELL, 5, 100))
    for price in range(101, 20_001, 500):
        engine.execute(batch(*(replace(1, 5, step) for step in range(price, price + 500))), 0)
    book = engine._matcher.books[1]
    assert len(book.levels) == len(book.asks) - 1 <= BOUND
    assert len(engine.depth(1, 9)[1]) == 1


def test_accounts_that_come_and_go_leave_nothing():
    engine = listed(MatchingEngine())
    run(engine, new(1, BUY, 5, 50, account=10**6))
    for account in range(1, 20_001, 500):
        visits = [part for a in range(account, account + 500) for part in (new(1, SELL, 5, 100, account=a),
                                                                          cancel(1, account=a))]  # fmt: skip
        engine.execute(batch(*visits), 0)
    assert len(engine._matcher.accounts) <= 2 * 1024 + 200
    assert engine.order(10**6, 1).leaves_qty == 5


def test_sweeping_takes_out_all_that_is_stale():
    book = OrderBook()
    orders = [[1, 0, 100 + n % 3, n, n, 1, 1] for n in range(1, 13)]
    for order in orders:
        book.rest(order)
    for order in orders[3:9]:
        order[LEAVES] = 0
    for order in (orders[2], orders[11]):
        book.remove(order)
    book._sweep()
    assert sorted(order[3] for queue in book.levels.values() for order in queue) == [1, 2, 10, 11]
    assert [price for price, _ in book.best_first(bids=False)] == [101, 102]
    assert len(book.asks) == 3
