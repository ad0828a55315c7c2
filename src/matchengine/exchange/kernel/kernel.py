"""What the rest of the exchange sees of the kernel."""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from matchengine.exchange.kernel.checking import check_books
from matchengine.exchange.kernel.frozen import FrozenBooks
from matchengine.exchange.kernel.matching import Matching
from matchengine.exchange.kernel.restoring import Restoring

#: A product of two numbers below this fits into 62 bits.
_SMALL: Final = 1 << 31
_LARGE_SUM: Final = 1 << 61


@final
class Kernel:
    """All books of an exchange.

    Numbers that are unsigned in the layout go in and come out as signed ones of the same bits.  An exception out
    of :meth:`step` (only a failed allocation can cause one) leaves the books unusable: every later call raises
    RuntimeError.
    """

    def __init__(self, seed: i64) -> None:
        self._books: Matching = Matching(seed)
        self._restoring: Restoring = Restoring(self._books)
        self._is_broken: bool = False

    # --- changes -----------------------------------------------------------------------------

    def open_book(self) -> None:
        """Make the book of the next instrument."""
        self._books.levels.open_book()
        self._books.instruments += 1

    def begin(self, batch: bytes, at: i64, time: i64) -> None:
        """Begin to execute the command records from ``at`` to the end of ``batch``."""
        self._require_sound()
        self._books.begin(batch, at, time)

    def step(self, work: i64) -> bool:
        """Execute ``work`` commands and fills, together, at most; whether the batch is done."""
        self._require_sound()
        self._is_broken = True
        is_done = self._books.step(work)
        self._is_broken = False
        return is_done

    def finish(self) -> tuple[bytes, ...]:
        """The answer to a batch that is done, in chunks of at most 1 MiB."""
        return self._books.reports.finish()

    # --- state as a whole --------------------------------------------------------------------

    def counters(self) -> tuple[int, int]:
        """The last order id and the last trade id."""
        return self._books.last_order_id, self._books.last_trade_id

    def set_counters(self, last_order_id: i64, last_trade_id: i64) -> None:
        """Begin a restore."""
        self._books.last_order_id = last_order_id
        self._books.last_trade_id = last_trade_id

    def load(self, instrument: i64, block: bytes) -> None:
        """Take in some order records of a snapshot; ValueError for one that cannot be."""
        self._restoring.load(instrument, block)

    def freeze(self) -> FrozenBooks:
        """The open orders, to be copied by the caller before anything else changes them."""
        self._require_sound()
        return FrozenBooks(self._books.orders, self._books.levels, self._books.instruments)

    def check(self) -> None:
        """Walk through everything; AssertionError where something is not as it should be.  For tests."""
        check_books(self._books)

    # --- queries -----------------------------------------------------------------------------

    def levels(self, side: i64, limit: i64) -> list[tuple[int, int, int]]:
        """The best ``limit`` levels of a side index: (price, quantity, number of orders)."""
        self._require_sound()
        levels = self._books.levels
        found: list[tuple[int, int, int]] = []
        level = i64(levels.best[side])
        while level != 0 and limit > 0:
            key = levels.key[level]
            price = -key if key < 0 else key
            found.append((int(price), levels.total(level), int(i64(levels.orders[level]))))
            level = i64(levels.worse[level])
            limit -= 1
        return found

    def best(self, side: i64) -> i64:
        """The best level of a side index, or 0."""
        self._require_sound()
        return i64(self._books.levels.best[side])

    def take(self, level: i64, limit: i64, quantity: i64) -> tuple[int, int, int]:
        """What ``quantity`` would cost or bring, from ``level`` on and over at most ``limit`` levels.

        Returns the amount in ticks times lots, the quantity that is missing then, and the level to go on with.
        """
        self._require_sound()
        levels = self._books.levels
        amount: int = 0
        part: i64 = 0
        while level != 0 and quantity > 0 and limit > 0:
            key = levels.key[level]
            price = -key if key < 0 else key
            taken = quantity
            if levels.high[level] < _SMALL:
                total = (levels.high[level] << 32) | levels.low[level]
                if total < taken:
                    taken = total
            quantity -= taken
            limit -= 1
            if price < _SMALL and taken < _SMALL:
                part += price * taken
                if part > _LARGE_SUM:
                    amount += int(part)
                    part = 0
            else:
                amount += int(price) * int(taken)
            level = i64(levels.worse[level])
        return amount + int(part), int(quantity), int(level)

    def find(self, account: i64, cl_ord_id: i64) -> i64:
        """The slot of an account's open order, or 0."""
        self._require_sound()
        names = self._books.names
        return names.find(account, cl_ord_id, names.code(account, cl_ord_id))

    def find_id(self, order_id: i64) -> i64:
        """The slot of the open order with this id, or 0."""
        self._require_sound()
        return self._books.names.find_id(order_id)

    def order(self, n: i64) -> tuple[int, int, int, int, int, int, int]:
        """The order in a slot: order id, account, ``cl_ord_id``, side index, price, leaves and cum."""
        self._require_sound()
        orders, levels = self._books.orders, self._books.levels
        level = i64(orders.level[n])
        key = levels.key[level]
        return (
            int(orders.order_id[n]),
            int(i64(orders.account[n])),
            int(orders.cl_ord_id[n]),
            int(i64(levels.side[level])),
            int(-key if key < 0 else key),
            int(orders.leaves[n]),
            int(orders.cum[n]),
        )

    def _require_sound(self) -> None:
        if self._is_broken:
            raise RuntimeError("the books are not sound: a command ended in the middle")
