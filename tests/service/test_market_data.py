"""MarketData over loopback, with the real exchange behind it."""

from __future__ import annotations

from contextlib import asynccontextmanager

import grpc
import pytest

import matchengine.exchange.engine
from matchengine.exchange.layout import BATCH_HEADER, COMMAND, KIND_ORDERS, VERSION
from matchengine.exchange.types import MAX_INT64, CommandType, OrdType, Side, TimeInForce
from matchengine.service import exchange_services
from matchengine.service.instruments import pack_instrument
from matchengine.service.market_data import MAX_LEVELS
from matchengine.v1 import exchange_pb2 as pb
from matchengine.v1.exchange_pb2_grpc import MarketDataStub

INVALID = grpc.StatusCode.INVALID_ARGUMENT
ACCOUNT = 7


def rest(engine, orders, instrument=1):
    """Put limit orders (cl_ord_id, side, quantity, price) into a book."""
    how = OrdType.LIMIT | TimeInForce.GTC << 4
    records = [
        COMMAND.pack(CommandType.NEW, side, how, 0, instrument, ACCOUNT, 0, cl_ord_id, 0, price, quantity)
        for cl_ord_id, side, quantity, price in orders
    ]
    engine.execute(BATCH_HEADER.pack(VERSION, KIND_ORDERS, 0, len(records)) + b"".join(records), 5_000)


@pytest.fixture
def market(serving, exchange_node):
    """``async with market(orders) as stub``: GOOG (tick 0.01, lot 1) and FINE (tick 0.0005, lot 0.010)."""

    @asynccontextmanager
    async def start(orders=(), instrument=1):
        engine = exchange_node.machine.inner.engine
        engine.execute(pack_instrument("GOOG", "0.01", "1"), 1_000)
        engine.execute(pack_instrument("FINE", "0.0005", "0.010"), 1_000)
        rest(engine, orders, instrument)
        async with serving(exchange_node, exchange_services) as channel:
            yield MarketDataStub(channel)

    return start


LADDER = [
    *((n, Side.SELL, 10, 100 + 10 * (n % 5)) for n in range(1, 16)),
    *((n, Side.BUY, 10, 50 + 10 * (n % 5)) for n in range(21, 36)),
]


def sides(depth):
    return (
        [(level.price, level.quantity, level.orders) for level in depth.bids],
        [(level.price, level.quantity, level.orders) for level in depth.asks],
    )


async def test_depth_shows_both_sides_best_first(market, exchange_node):
    async with market([(1, Side.SELL, 5, 10_050), (2, Side.SELL, 7, 10_050), (3, Side.SELL, 1, 10_100)]) as stub:
        rest(exchange_node.machine.inner.engine, [(4, Side.BUY, 3, 10_000)])
        depth = await stub.Depth(pb.DepthRequest(symbol="GOOG"))
        assert sides(depth) == ([("100.00", "3", 1)], [("100.50", "12", 2), ("101.00", "1", 1)])
        assert (depth.asks[0].price_ticks, depth.asks[0].quantity_lots) == (10_050, 12)
        assert (depth.index, depth.exchange_time) == (exchange_node.index, 5_000)
        best = await stub.Depth(pb.DepthRequest(symbol="GOOG", levels=1))
        assert sides(best) == ([("100.00", "3", 1)], [("100.50", "12", 2)])


async def test_depth_has_the_instruments_decimals(market):
    async with market([(1, Side.BUY, 125, 7_000)], instrument=2) as stub:
        assert sides(await stub.Depth(pb.DepthRequest(symbol="FINE"))) == ([("3.5000", "1.250", 1)], [])
        assert sides(await stub.Depth(pb.DepthRequest(symbol="GOOG"))) == ([], [])


async def test_a_level_may_hold_more_than_64_bits(market):
    async with market([(n, Side.BUY, MAX_INT64, 100) for n in (1, 2, 3)]) as stub:
        (level,) = (await stub.Depth(pb.DepthRequest(symbol="GOOG"))).bids
        assert (level.quantity, level.quantity_lots, level.orders) == (str(3 * MAX_INT64), MAX_INT64, 3)


async def test_depth_is_bounded(market, failing):
    async with market([(n, Side.BUY, 1, n) for n in range(1, MAX_LEVELS + 101)]) as stub:
        depth = await stub.Depth(pb.DepthRequest(symbol="GOOG"))
        assert len(depth.bids) == MAX_LEVELS
        assert depth.bids[0].price_ticks == MAX_LEVELS + 100
        text, _ = await failing(stub.Depth(pb.DepthRequest(symbol="GOOG", levels=MAX_LEVELS + 1)), INVALID)
        assert text == "levels: 1001 levels are above the limit of 1000"


async def test_an_order_is_found_by_either_name(market, exchange_node):
    async with market([(1, Side.SELL, 10, 10_050), (2, Side.BUY, 4, 10_050)]) as stub:
        mine = await stub.Order(pb.OrderRequest(account=ACCOUNT, cl_ord_id=1))
        assert (mine.found, mine.order_id, mine.account, mine.cl_ord_id) == (True, 1, ACCOUNT, 1)
        assert (mine.symbol, mine.side, mine.price) == ("GOOG", pb.SIDE_SELL, "100.50")
        assert (mine.leaves_qty, mine.cum_qty, mine.index) == ("6", "4", exchange_node.index)
        assert await stub.Order(pb.OrderRequest(order_id=1)) == mine


async def test_an_order_that_is_not_open_is_not_found(market, exchange_node):
    async with market([(1, Side.SELL, 10, 10_050)]) as stub:
        for request in (
            pb.OrderRequest(order_id=2),
            pb.OrderRequest(account=ACCOUNT, cl_ord_id=2),
            pb.OrderRequest(account=ACCOUNT + 1, cl_ord_id=1),
        ):
            assert await stub.Order(request) == pb.OrderResponse(index=exchange_node.index)


async def test_an_order_has_exactly_one_name(market, failing):
    async with market() as stub:
        for request in (pb.OrderRequest(account=ACCOUNT), pb.OrderRequest(order_id=3, account=ACCOUNT, cl_ord_id=4)):
            text, _ = await failing(stub.Order(request), INVALID)
            assert text.endswith("exactly one of the two is above 0")


@pytest.mark.parametrize(
    ("side", "quantity", "amount", "filled", "sufficient"),
    [
        (pb.SIDE_BUY, "115", "131.50", "115", True),
        (pb.SIDE_BUY, "1000", "180.00", "150", False),
        (pb.SIDE_SELL, "115", "87.00", "115", True),
        (pb.SIDE_SELL, "1000", "105.00", "150", False),
    ],
)
async def test_the_price_of_a_sweep(market, exchange_node, side, quantity, amount, filled, sufficient):
    async with market(LADDER) as stub:
        quote = await stub.Quote(pb.QuoteRequest(symbol="GOOG", side=side, quantity=quantity))
        assert (quote.amount, quote.filled_quantity, quote.sufficient) == (amount, filled, sufficient)
        assert quote.index == exchange_node.index


async def test_a_quote_that_reaches_many_levels_is_taken_on_a_thread(market, exchange_node, monkeypatch):
    monkeypatch.setattr(matchengine.exchange.engine, "_LEVELS", 2)
    async with market(LADDER) as stub:
        for quantity, amount, looks in (
            ("30", "30.00", 0),
            ("60", "63.00", 0),
            ("61", "64.20", 1),
            ("1000", "180.00", 2),
        ):
            request = pb.QuoteRequest(symbol="GOOG", side=pb.SIDE_BUY, quantity=quantity)
            assert (await stub.Quote(request)).amount == amount
            assert exchange_node.looks == looks


async def test_a_quote_has_the_decimals_of_price_and_quantity(market):
    async with market([(1, Side.SELL, 125, 7_001)], instrument=2) as stub:
        quote = await stub.Quote(pb.QuoteRequest(symbol="FINE", side=pb.SIDE_BUY, quantity="1.2"))
        assert (quote.amount, quote.filled_quantity) == ("4.2006000", "1.200")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"side": 0}, "side: 0 is neither 1 (buy) nor 2 (sell)"),
        ({"side": 9}, "side: 9 is neither 1 (buy) nor 2 (sell)"),
        ({"quantity": ""}, "quantity: '' breaks the rule QUANTITY_MALFORMED"),
        ({"quantity": "0"}, "quantity: '0' breaks the rule QUANTITY_ZERO"),
        ({"quantity": "1.5"}, "quantity: '1.5' breaks the rule QUANTITY_TOO_PRECISE"),
        ({"quantity": "9" * 1000}, f"quantity: '{'9' * 64}' breaks the rule QUANTITY_MALFORMED"),
    ],
)
async def test_bad_quotes_are_refused_by_name(market, failing, fields, text):
    async with market(LADDER) as stub:
        request = pb.QuoteRequest(**({"symbol": "GOOG", "side": pb.SIDE_BUY, "quantity": "1"} | fields))
        assert (await failing(stub.Quote(request), INVALID))[0] == text


async def test_a_symbol_that_is_not_listed_is_not_found(market, failing):
    async with market() as stub:
        for call in (
            stub.Depth(pb.DepthRequest(symbol="NOPE")),
            stub.Quote(pb.QuoteRequest(symbol="NOPE", side=pb.SIDE_BUY, quantity="1")),
        ):
            text, metadata = await failing(call, grpc.StatusCode.NOT_FOUND)
            assert text == "symbol: 'NOPE' is not listed"
            assert metadata["matchengine-reason"] == "not-found"


async def test_instruments(market, exchange_node):
    async with market() as stub:
        listed = await stub.Instruments(pb.InstrumentsRequest())
        assert [(i.instrument, i.symbol, i.tick_size, i.lot_size) for i in listed.instruments] == [
            (1, "GOOG", "0.01", "1"),
            (2, "FINE", "0.0005", "0.010"),
        ]
        assert listed.index == exchange_node.index


def every_read(stub):
    return (
        stub.Depth(pb.DepthRequest(symbol="GOOG")),
        stub.Order(pb.OrderRequest(order_id=1)),
        stub.Quote(pb.QuoteRequest(symbol="GOOG", side=pb.SIDE_BUY, quantity="1")),
        stub.Instruments(pb.InstrumentsRequest()),
    )


async def test_every_read_is_linearizable_on_a_follower_too(market, exchange_node):
    async with market(LADDER) as stub:
        exchange_node.lead(False)
        for call in every_read(stub):
            await call
        assert exchange_node.read_indexes == 4


async def test_a_read_sees_what_was_applied_while_it_waited(market, exchange_node):
    async with market() as stub:
        real = exchange_node.read_index

        async def catching_up():
            rest(exchange_node.machine.inner.engine, [(1, Side.BUY, 3, 10_000)])
            return await real()

        exchange_node.read_index = catching_up
        assert sides(await stub.Depth(pb.DepthRequest(symbol="GOOG"))) == ([("100.00", "3", 1)], [])


async def test_reads_need_a_leader_and_a_whole_state(market, exchange_node, failing):
    async with market(LADDER) as stub:
        exchange_node.machine_is_readable = False
        for call in every_read(stub):
            await failing(call, grpc.StatusCode.RESOURCE_EXHAUSTED)
        exchange_node.leader_address = ""
        for call in every_read(stub):
            _, metadata = await failing(call, grpc.StatusCode.UNAVAILABLE)
            assert metadata["matchengine-reason"] == "no-quorum"
