"""Reading a snapshot's orders back, each of them checked."""

from __future__ import annotations

from typing import final

from librt.strings import read_i32_le, read_i64_le
from mypy_extensions import i64

from matchengine.exchange.kernel.codes import MAX_INT64, ORDER_SIZE
from matchengine.exchange.kernel.matching import Matching


@final
class Restoring:
    """Fills empty books with the blocks of a snapshot."""

    def __init__(self, books: Matching) -> None:
        self.books: Matching = books
        self.instrument: i64 = 0
        self.previous: i64 = 0
        self.best_bid: i64 = 0

    def load(self, instrument: i64, block: bytes) -> None:
        """Take in the records of a block, without its count; ValueError for one that cannot be."""
        if instrument != self.instrument:
            self.instrument = instrument
            self.previous = -MAX_INT64
            self.best_bid = 0
        at: i64 = 0
        end: i64 = len(block)
        while at < end:
            self._load(block, at)
            at += ORDER_SIZE

    def _load(self, block: bytes, at: i64) -> None:
        books, orders = self.books, self.books.orders
        order_id = read_i64_le(block, at)
        cl_ord_id = read_i64_le(block, at + 8)
        account = read_i32_le(block, at + 16)
        key = read_i64_le(block, at + 20)
        leaves = read_i64_le(block, at + 28)
        cum = read_i64_le(block, at + 36)
        self._check(order_id, cl_ord_id, key, leaves, cum)
        code = books.names.code(i64(account), cl_ord_id)
        if books.names.find(i64(account), cl_ord_id, code) != 0 or books.names.find_id(order_id) != 0:
            raise ValueError(f"snapshot: order {order_id}, or its cl_ord_id, appears twice")
        n = orders.take()
        orders.leaves[n] = leaves
        orders.cum[n] = cum
        orders.cl_ord_id[n] = cl_ord_id
        orders.order_id[n] = order_id
        orders.account[n] = account
        books.names.add(n, code)
        books.queues.rest(n, 2 * self.instrument + (1 if key > 0 else 0), key)

    def _check(self, order_id: i64, cl_ord_id: i64, key: i64, leaves: i64, cum: i64) -> None:
        """Raise ValueError for an order that cannot stand here."""
        if order_id <= 0 or order_id > self.books.last_order_id or cl_ord_id == 0:
            raise ValueError(f"snapshot: order id {order_id} or cl_ord_id {cl_ord_id} is out of bounds")
        if key == 0 or (key < 0 and -(key + 1) == MAX_INT64):
            raise ValueError(f"snapshot: order {order_id}: key {key} is none")
        if leaves <= 0 or cum < 0 or leaves > MAX_INT64 - cum:
            raise ValueError(f"snapshot: order {order_id}: leaves {leaves} and cum {cum} are out of bounds")
        if key < self.previous:
            raise ValueError(f"snapshot: order {order_id} is out of price order")
        if key < self.best_bid:
            self.best_bid = key
        if key > 0 and key + self.best_bid <= 0:
            raise ValueError(f"snapshot: order {order_id} crosses the book")
        self.previous = key
