"""The matching engine: the exchange that is replicated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

from matchengine.exchange import queries
from matchengine.exchange.door import Door
from matchengine.exchange.matcher import Matcher, side_of
from matchengine.exchange.order_book import (
    ACCOUNT,
    CL_ORD_ID,
    INSTRUMENT,
    ORDER_ID,
    Order,
    OrderBook,
)
from matchengine.exchange.queries import Level, OpenOrder, Quote
from matchengine.exchange.snapshot import SnapshotReader, encode_header, encode_state
from matchengine.exchange.types import Side

_ID_SETS: Final = 256


class MatchingEngine(Door):
    """Price-time priority over several instruments.

    :meth:`execute` is the only way to change anything.  Queries cost what they return, except
    :meth:`order_by_id`, which looks through the open orders.
    """

    def __init__(self) -> None:
        super().__init__()
        self._matcher = Matcher()

    def _execute_orders(self, body: bytes) -> list[bytes]:
        return self._matcher.execute(body)

    def _open_book(self, number: int) -> None:
        self._matcher.books[number] = OrderBook()

    # --- state as a whole ------------------------------------------------------------------

    def state_hash(self) -> bytes:
        """SHA-256 of instruments, open orders in price-time order, and counters.

        Equal for equal commands, however batched and whenever stamped.  Costs less than a microsecond per open order.
        """
        digest = hashlib.sha256()
        for chunk in self._state():
            digest.update(chunk)
        return digest.digest()

    def snapshot(self) -> Iterator[bytes]:
        """The state, frozen by this call, in chunks of at most 1 MiB."""
        return iter([encode_header(self.time), *self._state()])

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the whole state by a snapshot's; ValueError, and no change, for anything that is none."""
        reader = SnapshotReader(chunks)
        matcher = Matcher()
        for number in range(1, len(reader.table) + 1):
            matcher.books[number] = OrderBook()
        matcher.last_order_id, matcher.last_trade_id = reader.last_order_id, reader.last_trade_id
        # Many small sets: one of millions stops every other thread while it grows.
        seen: list[set[int]] = [set() for _ in range(_ID_SETS)]
        for order in reader.orders():
            mine = matcher.open_orders(order[ACCOUNT])
            ids = seen[order[ORDER_ID] % _ID_SETS]
            if order[CL_ORD_ID] in mine or order[ORDER_ID] in ids:
                raise ValueError(f"snapshot: order {order[ORDER_ID]}, or its cl_ord_id, appears twice")
            ids.add(order[ORDER_ID])
            mine[order[CL_ORD_ID]] = order
            matcher.books[order[INSTRUMENT]].rest(order)
        reader.finish()
        self._matcher, self._table, self._time = matcher, reader.table, reader.time

    def _state(self) -> Iterator[bytes]:
        matcher = self._matcher
        orders = (book.orders() for book in matcher.books.values())
        return encode_state(matcher.last_order_id, matcher.last_trade_id, self.instruments, orders)

    # --- queries ---------------------------------------------------------------------------

    def depth(self, instrument: int, levels: int) -> tuple[list[Level], list[Level]]:
        """(bids, asks), each the best ``levels`` as (price, quantity, orders); KeyError for an unknown instrument."""
        book = self._matcher.books[instrument]
        return (
            queries.levels_of(book.best_first(bids=True), levels),
            queries.levels_of(book.best_first(bids=False), levels),
        )

    def quote(self, instrument: int, side: int, quantity: int) -> Quote:
        """What buying (side 1) or selling (side 2) ``quantity`` lots would cost or bring now; KeyError as above."""
        return queries.quote(self._matcher.books[instrument].best_first(bids=side == Side.SELL), quantity)

    def order(self, account: int, cl_ord_id: int) -> OpenOrder | None:
        """The account's open order of this name, or None."""
        order = self._matcher.accounts.get(account, {}).get(cl_ord_id)
        return None if order is None else _open_order(order)

    def order_by_id(self, order_id: int) -> OpenOrder | None:
        """The open order with the exchange's id, or None."""
        for orders in self._matcher.accounts.values():
            for order in orders.values():
                if order[ORDER_ID] == order_id:
                    return _open_order(order)
        return None


def _open_order(order: Order) -> OpenOrder:
    leaves, cum, key, cl_ord_id, order_id, account, instrument = order
    return OpenOrder(order_id, account, cl_ord_id, instrument, side_of(order), abs(key), leaves, cum)
