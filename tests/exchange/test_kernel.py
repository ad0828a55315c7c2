"""The kernel's own promises: places in a queue, memory that follows the open orders, steps, and soundness."""

from __future__ import annotations

import random

import pytest
from exchange_tools import BUY, IOC, SELL, batch, cancel, listed, new, reduce, replace, reports, run
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_builds import BUILDS, KERNEL, PLAIN, limited_work

from matchengine.exchange import types
from matchengine.exchange.layout import ANSWER_HEADER, COMMAND, REPORT
from matchengine.exchange.reference_book import ReferenceEngine
from matchengine.exchange.snapshot import ORDER
from matchengine.exchange.types import MAX_INT64, ExecType, OrdStatus, Reason

every_build = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)


def _slots(engine):
    """(orders, levels, inner nodes) that there is room for."""
    books = engine._kernel._books
    return books.orders.slots, books.levels.slots, books.levels.nodes


@every_build
def test_an_order_that_left_from_the_middle_and_came_back_stands_once(build):
    engine = listed(build())
    run(engine, *(new(name, SELL, 5, 100) for name in (1, 2, 3)), replace(2, 6, 100))
    assert engine.depth(1, 9) == ([], [(100, 16, 3)])
    answer = run(engine, new(9, BUY, 16, 100))
    assert [report.cl_ord_id for report in answer[2::2]] == [1, 3, 2]
    assert engine.depth(1, 9) == ([], [])


@every_build
def test_a_replace_that_changes_nothing_keeps_the_place(build):
    engine = listed(build())
    run(engine, new(1, SELL, 5, 100), new(2, SELL, 5, 100), replace(1, 5, 100))
    assert [report.cl_ord_id for report in run(engine, new(9, BUY, 10, 100))[2::2]] == [1, 2]


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


@every_build
@given(crowds)
@settings(max_examples=60)
def test_crowded_queues_equal_the_reference(build, records):
    engine, reference = listed(build(), 2), listed(ReferenceEngine(), 2)
    assert reports(engine.execute(batch(*records), 0)) == reports(reference.execute(batch(*records), 0))
    engine.check()
    assert all(engine.depth(number, 9) == reference.depth(number, 9) for number in instruments)
    assert engine.state_hash() == reference.state_hash()


wide_prices = st.one_of(
    st.integers(1, MAX_INT64),
    st.integers(0, 62).map(lambda bit: 1 << bit),
    st.builds(lambda bit, less: max(1, (1 << bit) - less), st.integers(1, 63), st.integers(1, 3)),
)
wide_orders = st.builds(
    lambda name, side, price: new(name, side, 1, price if side == SELL else max(1, price >> 1)),
    st.integers(1, 60), sides, wide_prices,
)  # fmt: skip


@every_build
@given(st.lists(st.one_of(wide_orders, wide_orders, wide_orders, st.builds(cancel, st.integers(1, 60))), max_size=120))
@settings(max_examples=60)
def test_levels_at_any_price_equal_the_reference(build, records):
    engine, reference = listed(build()), listed(ReferenceEngine())
    assert engine.execute(batch(*records), 0) == reference.execute(batch(*records), 0)
    engine.check()
    assert engine.depth(1, 200) == reference.depth(1, 200)


@every_build
def test_a_level_may_hold_more_than_a_64_bit_number(build):
    engine = listed(build())
    run(engine, *(new(name, SELL, MAX_INT64, 7) for name in range(1, 6)))
    assert engine.depth(1, 1)[1] == [(7, 5 * MAX_INT64, 5)]
    run(engine, new(9, BUY, 3, 7), cancel(2), reduce(3, 5), replace(4, 11, 7))
    left = (MAX_INT64 - 3) + (MAX_INT64 - 5) + 11 + MAX_INT64
    assert engine.depth(1, 1)[1] == [(7, left, 4)]
    assert engine.quote(1, BUY, MAX_INT64).amount == 7 * MAX_INT64
    engine.check()


@every_build
def test_totals_do_not_drift(build):
    """Halves of a quantity that are taken off one by one leave the exact total."""
    engine = listed(build())
    run(engine, new(1, SELL, 2**40 + 1, 7))
    for _ in range(40):
        run(engine, reduce(1, 2**31 + 7))
    assert engine.depth(1, 1)[1] == [(7, 2**40 + 1 - 40 * (2**31 + 7), 1)]
    engine.check()


@every_build
def test_what_comes_and_goes_leaves_no_room_taken(build):
    engine = listed(build())
    run(engine, new(1, SELL, 5, 10**6), new(2, BUY, 5, 1))
    chance = random.Random(5)
    for name in range(3, 4_003, 200):
        visits = []
        for n in range(name, name + 200):
            price, account = chance.randint(10, 10**5), chance.randint(1, 10**9)
            visits += [new(n, SELL, 5, price, account=account), replace(n, 5, price + 1, account=account)]
            visits.append(new(n, BUY, 5, price + 1, account=2, tif=IOC) if n % 2 else cancel(n, account=account))
        engine.execute(batch(*visits), 0)
    engine.check()
    assert engine.depth(1, 9) == ([(1, 5, 1)], [(10**6, 5, 1)])
    orders, levels, nodes = _slots(engine)
    assert orders <= 5
    assert levels <= 5
    assert nodes <= 3


@every_build
def test_a_large_command_is_executed_in_steps_and_answered_in_chunks(build):
    engine, whole = listed(build()), listed(build())
    makers = [new(name, SELL, 1, 100 + name % 50, account=name % 7) for name in range(1, 7_001)]
    for start in range(0, len(makers), 1_000):
        for each in (engine, whole):
            each.execute(batch(*makers[start : start + 1_000]), 0)
    sweep = batch(cancel(99), new(8_000, BUY, 6_999, 200), new(8_001, BUY, 6, 200))
    steps = 0
    execution = engine.begin(sweep, 5)
    with limited_work(type(engine), 100):
        while (chunks := execution.step()) is None:
            steps += 1
    assert steps == (3 + 6_999) // 100
    assert b"".join(chunks) == whole.execute(sweep, 5)
    assert len(chunks) == 3
    assert max(map(len, chunks)) <= 2**20
    count = ANSWER_HEADER.unpack_from(chunks[0])[3]
    assert count == 3 + 2 * 6_999 == (sum(map(len, chunks)) - ANSWER_HEADER.size) / REPORT.size
    engine.check()
    assert engine.state_hash() == whole.state_hash()


@every_build
def test_a_replaced_order_may_sweep_in_steps(build):
    engine, whole = listed(build()), listed(build())
    makers = [new(name, SELL, 2, 100 + name % 9) for name in range(1, 400)]
    for each in (engine, whole):
        each.execute(batch(*makers, new(900, BUY, 1_000, 50, account=2)), 0)
    crossing = batch(replace(900, 700, 104, account=2, cl_ord_id=901), cancel(901, account=2))
    execution = engine.begin(crossing, 0)
    with limited_work(type(engine), 7):
        while (chunks := execution.step()) is None:
            pass
    assert b"".join(chunks) == whole.execute(crossing, 0)
    engine.check()


@every_build
def test_small_and_malformed_batches_take_one_step(build):
    engine = listed(build())
    assert engine.begin(batch(new(1, BUY, 5, 100)), 3).step() == (
        listed(build()).execute(batch(new(1, BUY, 5, 100)), 3),
    )
    assert engine.begin(b"", 3).step() == (listed(build()).execute(b"", 3),)


@every_build
def test_no_answer_and_no_state_depends_on_the_seed(build):
    chance = random.Random(9)
    records = [
        COMMAND.pack(chance.choice((68, 68, 70, 71)), chance.choice((1, 2)), 0x12, 0, chance.choice((0, 1)),
                     chance.randint(1, 3), 0, chance.randint(1, 40), chance.randint(1, 40), chance.randint(90, 110), 5)
        for _ in range(600)
    ]  # fmt: skip
    outcomes = set()
    for seed in (0, 1, 2**63 - 1, 2**70 + 5):
        engine = listed(build(seed))
        outcomes.add((engine.execute(batch(*records), 1), engine.state_hash(), b"".join(engine.snapshot())))
        engine.check()
    assert len(outcomes) == 1


def test_a_failed_allocation_stops_the_engine(monkeypatch):
    """What is half done can be neither queried nor continued."""
    engine = listed(PLAIN["matchengine.exchange.engine"].MatchingEngine())
    run(engine, new(1, SELL, 5, 100))

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(PLAIN[f"{KERNEL}.orders"], "append", fail)
    with pytest.raises(MemoryError):
        run(engine, new(2, SELL, 5, 100))
    monkeypatch.undo()
    for use in (lambda: run(engine, cancel(1)), lambda: engine.depth(1, 1), lambda: list(engine.snapshot()),
                lambda: engine.order(1, 1), lambda: engine.quote(1, BUY, 1)):  # fmt: skip
        with pytest.raises(RuntimeError, match="not sound"):
            use()


@given(crowds)
@settings(max_examples=30)
def test_names_of_one_hash_code_are_told_apart(records):
    """All orders in one chain, as an attacker would like it: found by account and name all the same."""
    build = PLAIN["matchengine.exchange.engine"].MatchingEngine
    others = [record[:8] + b"\2\0\0\0" + record[12:] for record in records]
    names = PLAIN[f"{KERNEL}.names"].Names
    kept, names.code = names.code, lambda *_: 5
    try:
        engine, reference = listed(build(), 2), listed(ReferenceEngine(), 2)
        mixed = batch(*(record for pair in zip(records, others, strict=True) for record in pair))
        assert reports(engine.execute(mixed, 0)) == reports(reference.execute(mixed, 0))
        engine.check()
    finally:
        names.code = kept


@every_build
def test_a_check_notices_what_is_wrong(build):
    def broken(change):
        engine = listed(build())
        run(engine, *(new(name, SELL, 5, 100 + name % 3) for name in range(1, 10)), new(20, BUY, 5, 50), cancel(4))
        engine.check()
        change(engine._kernel._books)
        with pytest.raises(AssertionError):
            engine.check()

    def swap(column, one, other):
        column[one], column[other] = column[other], column[one]

    broken(lambda books: swap(books.orders.behind, 1, 2))
    broken(lambda books: swap(books.orders.before, 1, 4))
    broken(lambda books: swap(books.levels.key, 1, 2))
    broken(lambda books: swap(books.levels.first, 1, 2))
    broken(lambda books: swap(books.levels.low, 1, 2) or swap(books.levels.orders, 1, 2))
    broken(lambda books: swap(books.levels.worse, 1, 2))
    broken(lambda books: books.levels.parent.__setitem__(1, 0))
    broken(lambda books: swap(books.names.by_name.hashes, 1, 2))
    broken(lambda books: swap(books.names.by_id.heads, 0, 1))
    broken(lambda books: setattr(books.orders, "free", 0))
    broken(lambda books: setattr(books.levels, "free_node", 1))


def test_codes_are_those_of_the_vocabulary():
    codes = PLAIN[f"{KERNEL}.codes"]
    for enum in (types.CommandType, types.Side, types.OrdType, types.TimeInForce, types.ReplaceFlag):
        assert all(getattr(codes, member.name) == member for member in enum)
    for reason in Reason:
        assert getattr(codes, reason.name, reason) == reason
    assert sum(1 << reason for reason in Reason) == codes.REASONS
    assert sum(types.ReplaceFlag) == codes.KNOWN_FLAGS
    words = {
        "ACCEPTED": (ExecType.NEW, OrdStatus.NEW),
        "TRADED_PART": (ExecType.TRADE, OrdStatus.PARTIALLY_FILLED),
        "TRADED_FULL": (ExecType.TRADE, OrdStatus.FILLED),
        "CANCELED": (ExecType.CANCELED, OrdStatus.CANCELED),
        "REPLACED_NEW": (ExecType.REPLACED, OrdStatus.NEW),
        "REPLACED_PART": (ExecType.REPLACED, OrdStatus.PARTIALLY_FILLED),
        "REPLACED_FULL": (ExecType.REPLACED, OrdStatus.FILLED),
        "REJECTED": (ExecType.REJECTED, OrdStatus.REJECTED),
        "AMEND_REJECTED": (ExecType.CANCEL_REJECTED, OrdStatus.REJECTED),
        "AMEND_REJECTED_NEW": (ExecType.CANCEL_REJECTED, OrdStatus.NEW),
        "AMEND_REJECTED_PART": (ExecType.CANCEL_REJECTED, OrdStatus.PARTIALLY_FILLED),
    }
    assert {name: getattr(codes, name) for name in words} == {
        n: kind | status << 8 for n, (kind, status) in words.items()
    }
    assert (COMMAND.size, ORDER.size, MAX_INT64) == (codes.COMMAND_SIZE, codes.ORDER_SIZE, codes.MAX_INT64)
