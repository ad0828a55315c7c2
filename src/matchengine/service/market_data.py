"""The MarketData service: linearizable reads of the books, from any node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, cast

import grpc

from matchengine.exchange.decimals import MAX_TEXT, format_amount, format_price, format_quantity, parse_quantity
from matchengine.exchange.layout import MAX_SYMBOL_BYTES
from matchengine.exchange.types import MAX_INT64
from matchengine.service.checks import require_at_most
from matchengine.service.engine import engine_of
from matchengine.service.errors import InvalidArgumentError, NotFoundError, unary
from matchengine.service.reads import reach_read_index
from matchengine.v1 import exchange_pb2 as pb
from matchengine.v1.exchange_pb2_grpc import MarketDataServicer, add_MarketDataServicer_to_server

if TYPE_CHECKING:
    from matchengine.exchange.engine import MatchingEngine
    from matchengine.exchange.instruments import Instrument
    from matchengine.exchange.queries import Level, OpenOrder
    from matchengine.runtime.node import Node

SERVICE: Final = "matchengine.v1.MarketData"
MAX_LEVELS: Final = 1000


class MarketDataService(MarketDataServicer):
    """See ``proto/matchengine/v1/exchange.proto``."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @unary
    async def Depth(self, request: pb.DepthRequest) -> pb.DepthResponse:
        """Both sides of a book, best price first."""
        require_at_most("levels", request.levels, MAX_LEVELS, "levels")
        index = await reach_read_index(self._node)
        engine = engine_of(self._node)
        instrument = _find(engine, request.symbol)
        bids, asks = engine.depth(instrument.number, request.levels or MAX_LEVELS)
        return pb.DepthResponse(
            bids=_levels(instrument, bids), asks=_levels(instrument, asks), index=index, exchange_time=engine.time
        )

    @unary
    async def Order(self, request: pb.OrderRequest) -> pb.OrderResponse:
        """An open order."""
        if bool(request.order_id) is bool(request.cl_ord_id):
            raise InvalidArgumentError(
                f"order_id: {request.order_id}, with cl_ord_id {request.cl_ord_id}; exactly one of the two is above 0"
            )
        index = await reach_read_index(self._node)
        engine = engine_of(self._node)
        if request.order_id:
            order = engine.order_by_id(request.order_id)
        else:
            order = engine.order(request.account, request.cl_ord_id)
        return pb.OrderResponse(index=index) if order is None else _order(engine, order, index)

    @unary
    async def Quote(self, request: pb.QuoteRequest) -> pb.QuoteResponse:
        """What a quantity would cost or bring now."""
        if request.side not in (pb.SIDE_BUY, pb.SIDE_SELL):
            raise InvalidArgumentError(f"side: {request.side} is neither {pb.SIDE_BUY} (buy) nor {pb.SIDE_SELL} (sell)")
        index = await reach_read_index(self._node)
        engine = engine_of(self._node)
        instrument = _find(engine, request.symbol)
        quantity, reason = parse_quantity(instrument, request.quantity)
        if reason:
            raise InvalidArgumentError(f"quantity: {request.quantity[:MAX_TEXT]!r} breaks the rule {reason.name}")
        quote = engine.short_quote(instrument.number, request.side, quantity)
        if quote is None:
            # Many thousand levels: on a thread, while entries wait, so that the books stand still.
            index, deep = await self._node.examine(lambda: engine.quote(instrument.number, request.side, quantity))
            quote = deep
        return pb.QuoteResponse(
            amount=format_amount(instrument, quote.amount),
            filled_quantity=format_quantity(instrument, quote.filled_quantity),
            sufficient=quote.sufficient,
            index=index,
        )

    @unary
    async def Instruments(self, _request: pb.InstrumentsRequest) -> pb.InstrumentsResponse:
        """All instruments, in order of their numbers."""
        index = await reach_read_index(self._node)
        listed = [_instrument(instrument) for instrument in engine_of(self._node).instruments]
        return pb.InstrumentsResponse(instruments=listed, index=index)


def _find(engine: MatchingEngine, symbol: str) -> Instrument:
    instrument = engine.find_instrument(symbol)
    if instrument is None:
        raise NotFoundError(f"symbol: {symbol[:MAX_SYMBOL_BYTES]!r} is not listed")
    return instrument


def _levels(instrument: Instrument, levels: Iterable[Level]) -> list[pb.Level]:
    return [
        pb.Level(
            price=format_price(instrument, price),
            quantity=format_quantity(instrument, quantity),
            orders=orders,
            price_ticks=price,
            quantity_lots=min(quantity, MAX_INT64),
        )
        for price, quantity, orders in levels
    ]


def _order(engine: MatchingEngine, order: OpenOrder, index: int) -> pb.OrderResponse:
    instrument = engine.instruments[order.instrument - 1]
    return pb.OrderResponse(
        found=True,
        order_id=order.order_id,
        account=order.account,
        cl_ord_id=order.cl_ord_id,
        symbol=instrument.symbol,
        side=cast("pb.Side", order.side),
        price=format_price(instrument, order.price),
        leaves_qty=format_quantity(instrument, order.leaves_qty),
        cum_qty=format_quantity(instrument, order.cum_qty),
        index=index,
    )


def _instrument(instrument: Instrument) -> pb.Instrument:
    return pb.Instrument(
        instrument=instrument.number,
        symbol=instrument.symbol,
        tick_size=format_price(instrument, 1),
        lot_size=format_quantity(instrument, 1),
    )


def add_market_data(node: Node, server: grpc.aio.Server) -> Sequence[str]:
    """Serve reads of the books; raises TypeError unless ``node.machine`` holds an exchange."""
    engine_of(node)
    add_MarketDataServicer_to_server(MarketDataService(node), server)
    return (SERVICE,)
