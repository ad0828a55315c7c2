"""Matching by price and time, in steps of bounded work.

Checks are made in a fixed order, and the first that fails names the reason:

* NEW: ``invalid``, flags, instrument, side, order type, time in force, price, quantity, ``cl_ord_id``
  (not 0, then not open).
* CANCEL, REDUCE, REPLACE: the target is open and, if the command names an instrument, of that one; then
  ``invalid``, flags, and what the command carries: price, quantity, the new ``cl_ord_id`` not open.

Side, order type and time in force of the latter three are ignored: the order's own count.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i32, i64

from matchengine.exchange.kernel.codes import (
    ACCEPTED,
    AMEND_REJECTED,
    AMEND_REJECTED_NEW,
    AMEND_REJECTED_PART,
    BUY,
    CANCEL,
    CANCELED,
    COMMAND_SIZE,
    DUPLICATE_CL_ORD_ID,
    IOC,
    IOC_REMAINDER,
    LOSE_PLACE,
    MARKET,
    MARKET_REMAINDER,
    MAX_INT64,
    NEW,
    QUANTITY_IS_LEAVES,
    REDUCE,
    REDUCED_TO_ZERO,
    REJECTED,
    REPLACE,
    REPLACED_FULL,
    REPLACED_NEW,
    REPLACED_PART,
    TRADED_FULL,
    TRADED_PART,
    UNKNOWN_COMMAND,
    UNKNOWN_ORDER,
)
from matchengine.exchange.kernel.command import Command
from matchengine.exchange.kernel.levels import Levels
from matchengine.exchange.kernel.names import Names
from matchengine.exchange.kernel.orders import Orders
from matchengine.exchange.kernel.queues import Queues
from matchengine.exchange.kernel.reports import Reports


@final
class Matching:
    """Executes the commands of a batch; between two steps, a taker may be half-way through the other side."""

    def __init__(self, seed: i64) -> None:
        self.orders: Orders = Orders()
        self.levels: Levels = Levels()
        self.names: Names = Names(self.orders, seed)
        self.queues: Queues = Queues(self.orders, self.levels)
        self.reports: Reports = Reports()
        self.command: Command = Command()
        self.instruments: i64 = 0
        self.last_order_id: i64 = 0
        self.last_trade_id: i64 = 0
        # the batch
        self.batch: bytes = b""
        self.at: i64 = 0
        self.end: i64 = 0
        self.position: i64 = 0
        # the taker that has not finished, or 0; its side index and key, and how its trades show it
        self.taker: i64 = 0
        self.side: i64 = 0
        self.limit: i64 = 0
        #: Whether the taker has its names already.
        self.is_named: bool = False
        #: Why a remainder may not rest, or 0.
        self.remainder: i64 = 0

    def begin(self, batch: bytes, at: i64, time: i64) -> None:
        """Begin a batch whose records stand from ``at`` to its end."""
        self.batch = batch
        self.at = at
        self.end = len(batch)
        self.position = 0
        self.reports.begin(time)

    def step(self, budget: i64) -> bool:
        """Execute commands and fills, ``budget`` of both together at most; True when the batch is done."""
        while True:
            if self.taker != 0:
                budget = self._trade(budget)
                if self.taker != 0:
                    return False
            if self.at == self.end:
                return True
            if budget <= 0:
                return False
            budget -= 1
            self.command.read(self.batch, self.at)
            self.reports.command = self.position << 32
            self.at += COMMAND_SIZE
            self.position += 1
            self._execute()
            self.reports.make_room()

    def _execute(self) -> None:
        kind = self.command.type
        if kind == NEW:
            self._new()
        elif kind == CANCEL or kind == REPLACE or kind == REDUCE:
            self._amend()
        else:
            self._reject(UNKNOWN_COMMAND)

    # --- new orders --------------------------------------------------------------------------

    def _new(self) -> None:
        c = self.command
        reason = c.fault_of_new(self.instruments)
        code: i64 = 0
        if reason == 0:
            code = self.names.code(c.account, c.cl_ord_id)
            if self.names.find(c.account, c.cl_ord_id, code) != 0:
                reason = DUPLICATE_CL_ORD_ID
        if reason != 0:
            self._reject(reason)
            return
        self.last_order_id += 1
        self.reports.write(
            ACCEPTED | (c.way << 16), c.instrument, c.account, self.last_order_id, c.cl_ord_id, 0,
            0, c.price, 0, 0, c.quantity, 0,
        )  # fmt: skip
        side = 2 * c.instrument + c.way - 1
        key = -c.price if c.way == BUY else c.price
        remainder: i64 = 0
        if c.ord_type == MARKET:
            key = -MAX_INT64 if c.way == BUY else 0
            remainder = MARKET_REMAINDER
        elif c.time_in_force == IOC:
            remainder = IOC_REMAINDER
        if self.levels.meeting(side ^ 1, key) != 0:
            self._start(self._take_new(), side, key, remainder, is_named=False)
        elif remainder != 0:
            self._cancel_remainder(remainder, 0)
        else:
            self._rest_new(self._take_new(), side, key, code)

    def _take_new(self) -> i64:
        """A slot with the new order in it."""
        c, orders = self.command, self.orders
        n = orders.take()
        orders.leaves[n] = c.quantity
        orders.cum[n] = 0
        orders.cl_ord_id[n] = c.cl_ord_id
        orders.order_id[n] = self.last_order_id
        orders.account[n] = i32(c.account)
        return n

    def _rest_new(self, n: i64, side: i64, key: i64, code: i64) -> None:
        self.names.add(n, code)
        self.queues.rest(n, side, key)

    def _reject(self, reason: i64) -> None:
        """REJECTED, with the ids and the price as they came."""
        c = self.command
        self.reports.write(
            REJECTED | (c.known_way() << 16) | (reason << 24), c.instrument, c.account, 0, c.cl_ord_id,
            c.orig_cl_ord_id, 0, c.price, 0, 0, 0, 0,
        )  # fmt: skip

    def _cancel_remainder(self, reason: i64, cum: i64) -> None:
        c = self.command
        self.reports.write(
            CANCELED | (c.way << 16) | (reason << 24), c.instrument, c.account, self.last_order_id, c.cl_ord_id,
            0, 0, c.price, 0, 0, 0, cum,
        )  # fmt: skip

    # --- trading -----------------------------------------------------------------------------

    def _start(self, n: i64, side: i64, limit: i64, remainder: i64, is_named: bool) -> None:
        """Let order ``n``, which stands in no queue, trade; :meth:`step` goes on with it."""
        self.taker = n
        self.side = side
        self.limit = limit
        self.remainder = remainder
        self.is_named = is_named

    def _trade(self, budget: i64) -> i64:
        """Trade the taker, best price first, oldest order first; what is left of ``budget``."""
        levels, orders = self.levels, self.orders
        taker = self.taker
        while orders.leaves[taker] != 0:
            level = levels.meeting(self.side ^ 1, self.limit)
            if level == 0:
                break
            if budget <= 0:
                return budget
            budget -= 1
            self._fill(taker, level, i64(levels.first[level]))
            self.reports.make_room()
        self._settle(taker)
        return budget

    def _fill(self, taker: i64, level: i64, maker: i64) -> None:
        """One trade between the taker and the first order of a level."""
        orders, reports = self.orders, self.reports
        price = self.levels.key[level]
        if price < 0:
            price = -price
        last_qty = orders.leaves[taker]
        if last_qty > orders.leaves[maker]:
            last_qty = orders.leaves[maker]
        leaves = orders.leaves[taker] - last_qty
        cum = orders.cum[taker] + last_qty
        orders.leaves[taker] = leaves
        orders.cum[taker] = cum
        self.last_trade_id += 1
        instrument = self.side >> 1
        way = (self.side & 1) + 1
        word: i64 = TRADED_PART if leaves != 0 else TRADED_FULL
        reports.write(
            word | (way << 16), instrument, i64(orders.account[taker]), orders.order_id[taker],
            orders.cl_ord_id[taker], 0, self.last_trade_id, self.command.price, price, last_qty, leaves, cum,
        )  # fmt: skip
        leaves = orders.leaves[maker] - last_qty
        cum = orders.cum[maker] + last_qty
        word = TRADED_PART if leaves != 0 else TRADED_FULL
        reports.write(
            word | ((3 - way) << 16), instrument, i64(orders.account[maker]), orders.order_id[maker],
            orders.cl_ord_id[maker], 0, self.last_trade_id, price, price, last_qty, leaves, cum,
        )  # fmt: skip
        if leaves != 0:
            orders.leaves[maker] = leaves
            orders.cum[maker] = cum
            self.levels.shrink(level, last_qty)
        else:
            self._end(maker)

    def _settle(self, n: i64) -> None:
        """What becomes of a taker that meets no more orders."""
        self.taker = 0
        if self.orders.leaves[n] == 0:
            if self.is_named:
                self.names.remove(n)
            self.orders.drop(n)
        elif self.remainder != 0:
            self._cancel_remainder(self.remainder, self.orders.cum[n])
            self.orders.drop(n)
        elif self.is_named:
            self.queues.rest(n, self.side, self.limit)
        else:
            c = self.command
            self._rest_new(n, self.side, self.limit, self.names.code(c.account, c.cl_ord_id))

    def _end(self, n: i64) -> None:
        """Take an order out of queue and names for good."""
        self.names.remove(n)
        self.queues.remove(n)
        self.orders.drop(n)

    # --- commands on open orders -------------------------------------------------------------

    def _amend(self) -> None:
        c = self.command
        n = self.names.find(c.account, c.orig_cl_ord_id, self.names.code(c.account, c.orig_cl_ord_id))
        if n == 0 or (c.instrument != 0 and c.instrument != self._side_of(n) >> 1):
            self.reports.write(
                AMEND_REJECTED | (UNKNOWN_ORDER << 24), c.instrument, c.account, 0, c.cl_ord_id, c.orig_cl_ord_id,
                0, 0, 0, 0, 0, 0,
            )  # fmt: skip
            return
        reason = c.fault_of_amend(self.orders.cum[n])
        if reason == 0 and self._takes_a_name():
            code = self.names.code(c.account, c.cl_ord_id)
            if self.names.find(c.account, c.cl_ord_id, code) != 0:
                reason = DUPLICATE_CL_ORD_ID
        if reason != 0:
            self._reject_amend(n, reason)
        elif c.type == CANCEL:
            self._cancel(n, 0)
        elif c.type == REPLACE:
            self._replace(n)
        elif c.quantity < self.orders.leaves[n]:
            self._keep_place(n, self.orders.leaves[n] - c.quantity)
        else:
            self._cancel(n, REDUCED_TO_ZERO)

    def _side_of(self, n: i64) -> i64:
        """The side index of a resting order."""
        return i64(self.levels.side[i64(self.orders.level[n])])

    def _price_of(self, n: i64) -> i64:
        """The price of a resting order."""
        key = self.levels.key[i64(self.orders.level[n])]
        return -key if key < 0 else key

    def _takes_a_name(self) -> bool:
        """Whether the command gives its order a name that it does not have."""
        c = self.command
        return c.type == REPLACE and c.cl_ord_id != 0 and c.cl_ord_id != c.orig_cl_ord_id

    def _reject_amend(self, n: i64, reason: i64) -> None:
        """CANCEL_REJECTED, with the state of the order."""
        c, orders = self.command, self.orders
        side = self._side_of(n)
        word: i64 = AMEND_REJECTED_PART if orders.cum[n] != 0 else AMEND_REJECTED_NEW
        self.reports.write(
            word | (((side & 1) + 1) << 16) | (reason << 24), side >> 1, c.account, orders.order_id[n], c.cl_ord_id,
            c.orig_cl_ord_id, 0, self._price_of(n), 0, 0, orders.leaves[n], orders.cum[n],
        )  # fmt: skip

    def _cancel(self, n: i64, reason: i64) -> None:
        c, orders = self.command, self.orders
        side = self._side_of(n)
        self.reports.write(
            CANCELED | (((side & 1) + 1) << 16) | (reason << 24), side >> 1, c.account, orders.order_id[n],
            orders.cl_ord_id[n], c.orig_cl_ord_id, 0, self._price_of(n), 0, 0, 0, orders.cum[n],
        )  # fmt: skip
        self._end(n)

    def _replace(self, n: i64) -> None:
        c, orders = self.command, self.orders
        if self._takes_a_name():
            self.names.rename(n, c.cl_ord_id, self.names.code(c.account, c.cl_ord_id))
        leaves = c.quantity
        if c.flags & QUANTITY_IS_LEAVES == 0:
            leaves -= orders.cum[n]
        side = self._side_of(n)
        key = -c.price if side & 1 == 0 else c.price
        if leaves <= 0:
            self._report_replaced(n, side, self._price_of(n), 0)
            self._end(n)
        elif c.price == self._price_of(n) and leaves <= orders.leaves[n] and c.flags & LOSE_PLACE == 0:
            self._keep_place(n, leaves)
        else:
            self.queues.remove(n)
            orders.leaves[n] = leaves
            self._report_replaced(n, side, c.price, leaves)
            self._start(n, side, key, 0, is_named=True)

    def _keep_place(self, n: i64, leaves: i64) -> None:
        """Lower what an order has left, where it stands."""
        self.levels.shrink(i64(self.orders.level[n]), self.orders.leaves[n] - leaves)
        self.orders.leaves[n] = leaves
        self._report_replaced(n, self._side_of(n), self._price_of(n), leaves)

    def _report_replaced(self, n: i64, side: i64, price: i64, leaves: i64) -> None:
        """REPLACED, with what is left before any trade that follows."""
        c, orders = self.command, self.orders
        word: i64 = REPLACED_FULL
        if leaves != 0:
            word = REPLACED_PART if orders.cum[n] != 0 else REPLACED_NEW
        self.reports.write(
            word | (((side & 1) + 1) << 16), side >> 1, c.account, orders.order_id[n], orders.cl_ord_id[n],
            c.orig_cl_ord_id, 0, price, 0, 0, leaves, orders.cum[n],
        )  # fmt: skip
