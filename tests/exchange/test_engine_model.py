"""The engine and the reference, held equal on reports, levels and state hash after every command."""

from __future__ import annotations

import pytest
from exchange_tools import BATCH_HEADER, COMMAND, batch, instrument_batch, listed, reports
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kernel_builds import BUILDS, limited_work

from matchengine.exchange.layout import NewerLayoutError
from matchengine.exchange.reference_book import ReferenceEngine
from matchengine.exchange.types import MAX_INT64, CommandType, ExecType, OrdStatus

PRICES = st.integers(95, 105)
QUANTITIES = st.integers(1, 12)
NAMES = st.integers(1, 12)
ACCOUNTS = st.integers(1, 2)
every_build = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
LIVE = (OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED)


def _record(kind, side=0, how=0, flags=0, instrument=0, account=1, invalid=0, name=0, orig=0, price=0, quantity=0):
    return COMMAND.pack(kind, side, how, flags, instrument, account, invalid, name, orig, price, quantity)


new_orders = st.builds(
    _record,
    st.just(CommandType.NEW),
    side=st.sampled_from((1, 2)),
    how=st.sampled_from((0x12, 0x12, 0x12, 0x32)),
    instrument=st.sampled_from((1, 1, 1, 2)),
    account=ACCOUNTS,
    name=NAMES,
    price=PRICES,
    quantity=QUANTITIES,
)
market_orders = st.builds(
    _record,
    st.just(CommandType.NEW),
    side=st.sampled_from((1, 2)),
    how=st.sampled_from((0x11, 0x31)),
    instrument=st.sampled_from((1, 2)),
    account=ACCOUNTS,
    name=NAMES,
    quantity=QUANTITIES,
)
amends = st.builds(
    _record,
    st.sampled_from((CommandType.CANCEL, CommandType.REDUCE, CommandType.REPLACE, CommandType.REPLACE)),
    account=ACCOUNTS,
    orig=NAMES,
    price=PRICES,
    quantity=QUANTITIES,
)
replaces = st.builds(
    _record,
    st.just(CommandType.REPLACE),
    flags=st.integers(0, 3),
    instrument=st.sampled_from((0, 0, 1, 2)),
    account=ACCOUNTS,
    name=st.one_of(st.just(0), NAMES),
    orig=NAMES,
    price=PRICES,
    quantity=QUANTITIES,
)
EDGES = st.sampled_from((-(2**63), -1, 0, 1, 100, MAX_INT64 - 1, MAX_INT64))
odd_commands = st.builds(
    _record,
    st.sampled_from((*CommandType, 0, 255)),
    side=st.sampled_from((0, 1, 2, 3)),
    how=st.sampled_from((0, 0x11, 0x12, 0x13, 0x32, 0x22, 0xFF)),
    flags=st.sampled_from((0, 0, 1, 2, 3, 4, 255)),
    instrument=st.sampled_from((0, 1, 2, 3, 2**32 - 1)),
    account=st.sampled_from((0, 1, 2, 2**32 - 1)),
    invalid=st.sampled_from((0, 0, 0, 11, 24, 99, 300, 2**32 - 1)),
    name=st.sampled_from((0, 1, 2, 3, 2**64 - 1)),
    orig=st.sampled_from((0, 1, 2, 3, 2**64 - 1)),
    price=EDGES,
    quantity=EDGES,
)
commands = st.one_of(new_orders, new_orders, amends, replaces, market_orders, odd_commands)


def _check_levels(engine, reference):
    for number in (1, 2):
        depth = engine.depth(number, 1000)
        assert depth == reference.depth(number, 1000)
        bids, asks = depth
        assert not bids or not asks or bids[0][0] < asks[0][0], "a crossed book"


@every_build
@given(st.one_of(st.lists(commands, max_size=20), st.lists(commands, min_size=40, max_size=120)))
@settings(max_examples=80)
def test_engine_equals_reference_after_every_command(build, records):
    engine, reference = listed(build(), 2), listed(ReferenceEngine(), 2)
    for record in records:
        packed = batch(record)
        assert reports(engine.execute(packed, 0)) == reports(reference.execute(packed, 0))
        _check_levels(engine, reference)
        engine.check()
        assert engine.state_hash() == reference.state_hash()


def _steps(engine, packed, work):
    """Execute in steps of ``work`` commands and fills; every step but the last one leaves something to do."""
    execution = engine.begin(packed, 0)
    with limited_work(type(engine), work):
        while (chunks := execution.step()) is None:
            pass
    return b"".join(chunks)


@every_build
@given(st.lists(st.one_of(new_orders, amends, commands), min_size=20, max_size=120), st.data())
@settings(max_examples=60)
def test_engine_equals_reference_batch_by_batch(build, records, data):
    """In steps of every size, and with the books written and read back in between."""
    engine, reference = listed(build(), 2), listed(ReferenceEngine(), 2)
    start = 0
    while start < len(records):
        end = start + data.draw(st.integers(5, 40))
        packed = batch(*records[start:end])
        assert reports(_steps(engine, packed, data.draw(st.integers(1, 9)))) == reports(reference.execute(packed, 0))
        engine.check()
        if data.draw(st.booleans()):
            engine, restored = build(data.draw(st.integers(0, 2**63 - 1))), engine
            engine.restore(restored.snapshot())
            engine.check()
        start = end
    _check_levels(engine, reference)
    assert engine.state_hash() == reference.state_hash()


@every_build
@given(st.lists(commands, max_size=80), st.data())
@settings(max_examples=60)
def test_state_hash_and_reports_do_not_depend_on_batches(build, records, data):
    one, many = listed(build(), 2), listed(build(), 2)
    at_once = reports(one.execute(batch(*records), 7))
    in_parts, start = [], 0
    while start < len(records):
        size = data.draw(st.integers(1, 20))
        part = reports(many.execute(batch(*records[start : start + size]), 1))
        in_parts += [report._replace(command=report.command + start) for report in part]
        start += size
    assert at_once == in_parts
    assert one.state_hash() == many.state_hash()


@every_build
@given(st.lists(commands, max_size=60), st.lists(commands, max_size=40), st.integers(1, 70))
@settings(max_examples=60)
def test_restored_snapshot_goes_on_alike(build, before, after, chunk):
    engine = listed(build(), 2)
    engine.execute(batch(*before), 12345)
    frozen, at_freezing = engine.snapshot(), engine.state_hash()
    later = engine.execute(batch(*after), 0)
    content = b"".join(frozen)
    other = build()
    other.restore(content[at : at + chunk] for at in range(0, len(content), chunk))
    assert other.state_hash() == at_freezing
    assert other.time == 12345
    assert other.execute(batch(*after), 0) == later
    assert other.state_hash() == engine.state_hash()


@every_build
@given(st.lists(commands, max_size=80))
@settings(max_examples=60)
def test_every_report_keeps_the_rules_of_fix(build, records):
    """Live: quantity = leaves + cum, unless amended; ended: leaves 0; cum never falls; nothing is lost."""
    engine = listed(build(), 2)
    submitted, cum, ended = {}, {}, set()
    traded = {}
    for report in reports(engine.execute(batch(*records), 0)):
        order = report.order_id
        if not order or report.exec_type == ExecType.CANCEL_REJECTED:
            continue
        assert order not in ended
        assert report.cum_qty >= cum.get(order, 0)
        cum[order] = report.cum_qty
        if report.exec_type in (ExecType.NEW, ExecType.REPLACED):
            submitted[order] = report.leaves_qty + report.cum_qty
        if report.exec_type == ExecType.TRADE:
            traded.setdefault(report.trade_id, []).append((report.last_px, report.last_qty))
        if report.ord_status in LIVE:
            assert report.leaves_qty == submitted[order] - report.cum_qty > 0
            assert (report.ord_status == OrdStatus.NEW) is (report.cum_qty == 0)
        else:
            assert report.leaves_qty == 0
            ended.add(order)
    assert all(len(sides) == 2 and sides[0] == sides[1] for sides in traded.values())
    for order in submitted.keys() - ended:
        assert engine.order_by_id(order).leaves_qty == submitted[order] - cum[order]
    resting = sum(level[2] for number in (1, 2) for side in engine.depth(number, 1000) for level in side)
    assert resting == len(submitted.keys() - ended)


almost_batches = st.builds(
    lambda version, kind, reserved, count, body: BATCH_HEADER.pack(version, kind, reserved, count) + body,
    st.sampled_from((0, 1, 1, 1, 2)),
    st.integers(0, 3),
    st.sampled_from((0, 0, 0, 1)),
    st.integers(0, 3),
    st.one_of(
        st.binary(max_size=60),
        st.binary(min_size=COMMAND.size, max_size=COMMAND.size),
        st.builds(lambda tail: instrument_batch()[BATCH_HEADER.size :] + tail, st.binary(max_size=2)),
    ),
)


@every_build
@given(st.one_of(st.binary(max_size=300), almost_batches), st.integers(-(2**70), 2**70))
@example(b"", 0)
@settings(max_examples=250)
def test_arbitrary_bytes_are_answered(build, content, stamp):
    engine, reference = listed(build()), listed(ReferenceEngine())
    try:
        answer = engine.execute(content, stamp)
    except NewerLayoutError:
        assert content[0] > 1
        assert engine.time == 0
        return
    assert answer == reference.execute(content, stamp)


@every_build
@given(st.lists(st.binary(min_size=COMMAND.size, max_size=COMMAND.size), max_size=8))
@settings(max_examples=120)
def test_arbitrary_records_are_answered(build, records):
    engine, reference = listed(build()), listed(ReferenceEngine())
    assert engine.execute(batch(*records), 0) == reference.execute(batch(*records), 0)


@every_build
@given(st.integers(0, 255), st.integers(0, 255), st.integers(-2, 2), st.integers(-2, 2), st.binary(max_size=34))
@settings(max_examples=120)
def test_arbitrary_definitions_are_answered(build, price_decimals, quantity_decimals, tick, lot, symbol):
    packed = instrument_batch(symbol, price_decimals, quantity_decimals, tick, lot)
    engine, reference = build(), ReferenceEngine()
    for _ in range(2):
        assert engine.execute(packed, 0) == reference.execute(packed, 0)
    assert engine.state_hash() == reference.state_hash()
