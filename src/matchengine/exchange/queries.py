"""What can be asked of an exchange, and the answers' forms; prices are ticks, quantities lots."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TypeAlias

import msgspec

#: (price, quantity, number of orders); together, orders may hold more than 2^63 - 1.
Level: TypeAlias = tuple[int, int, int]
#: One side of a book, best price first: (price, what is left of its orders in time order).
Side: TypeAlias = Iterable[tuple[int, list[int]]]


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


def levels_of(side: Side, limit: int) -> list[Level]:
    """The best ``limit`` levels of a side."""
    return [(price, sum(left), len(left)) for price, left in islice(side, limit)]


def quote(opposite: Side, quantity: int) -> Quote:
    """Take ``quantity`` from the side that a taker would meet."""
    amount, missing = 0, quantity
    for price, left in opposite:
        taken = min(sum(left), missing)
        amount += price * taken
        missing -= taken
        if not missing:
            break
    return Quote(amount, quantity - missing, not missing)
