"""The two names of an order: (account, ``cl_ord_id``) among the open ones, and the exchange's ``order_id``."""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from matchengine.exchange.kernel.codes import LOW_32, MAX_INT64
from matchengine.exchange.kernel.index import Index
from matchengine.exchange.kernel.orders import Orders


@final
class Names:
    """Finds open orders.

    ``seed`` makes the codes of clients' names unpredictable, so that no client can aim at one chain.  Nothing that is
    answered or stored depends on it.
    """

    def __init__(self, orders: Orders, seed: i64) -> None:
        self.orders: Orders = orders
        self.by_name: Index = Index()
        self.by_id: Index = Index()
        # Four odd multipliers from one seed: steps of a generator of full period (Knuth's MMIX).
        a = (seed * 6364136223846793005 + 1442695040888963407) & MAX_INT64
        b = (a * 6364136223846793005 + 1442695040888963407) & MAX_INT64
        c = (b * 6364136223846793005 + 1442695040888963407) & MAX_INT64
        self.a: i64 = a | 1
        self.b: i64 = b | 1
        self.c: i64 = c | 1

    def code(self, account: i64, cl_ord_id: i64) -> i64:
        """The hash code of a name: multiply-shift hashing of its three words."""
        low = (cl_ord_id & LOW_32) * self.a
        high = ((cl_ord_id >> 32) & LOW_32) * self.b
        owner = (account & LOW_32) * self.c
        return ((low + high + owner) >> 33) & 0x3FFF_FFFF

    def find(self, account: i64, cl_ord_id: i64, code: i64) -> i64:
        """The open order of this name, whose code is given, or 0."""
        index, orders = self.by_name, self.orders
        n = index.first(code)
        while n != 0:
            if i64(index.hashes[n]) == code and orders.cl_ord_id[n] == cl_ord_id and i64(orders.account[n]) == account:
                return n
            n = i64(index.next[n])
        return n

    def find_id(self, order_id: i64) -> i64:
        """The open order with the exchange's id, or 0."""
        n = self.by_id.first(order_id & 0x3FFF_FFFF)
        while n != 0 and self.orders.order_id[n] != order_id:
            n = i64(self.by_id.next[n])
        return n

    def add(self, n: i64, code: i64) -> None:
        """Enter order ``n`` under both names; ``code`` is that of the client's."""
        self.by_name.add(n, code)
        # Ids are given one after the other: as they are, they fill the buckets evenly.
        self.by_id.add(n, self.orders.order_id[n] & 0x3FFF_FFFF)

    def remove(self, n: i64) -> None:
        """Forget both names of order ``n``."""
        self.by_name.remove(n)
        self.by_id.remove(n)

    def rename(self, n: i64, cl_ord_id: i64, code: i64) -> None:
        """Give order ``n`` another name of its client."""
        self.by_name.remove(n)
        self.orders.cl_ord_id[n] = cl_ord_id
        self.by_name.add(n, code)
