"""What can be asked of an exchange, and the answers' forms; prices are ticks, quantities lots."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

#: (price, quantity, number of orders); together, orders may hold more than 2^63 - 1.
Level: TypeAlias = tuple[int, int, int]


class OpenOrder(msgspec.Struct, frozen=True, gc=False):
    """An open order; ``side`` is FIX's number."""

    order_id: int
    account: int
    cl_ord_id: int
    instrument: int
    side: int
    price: int
    leaves_qty: int
    cum_qty: int


class Quote(msgspec.Struct, frozen=True, gc=False):
    """What a quantity would cost or bring now: ``amount`` in ticks times lots, of any size.

    ``sufficient`` tells whether the book holds the whole quantity.
    """

    amount: int
    filled_quantity: int
    sufficient: bool
