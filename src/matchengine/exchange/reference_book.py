"""The reference: the same exchange written to be read, however slow.  Tests hold the engine equal to it.

All open orders stand in one list.  Whoever wants the best looks at all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import groupby

import msgspec

from matchengine.exchange.door import Door
from matchengine.exchange.layout import BATCH_HEADER, COMMAND, KIND_ORDERS, REPORT
from matchengine.exchange.queries import Level
from matchengine.exchange.snapshot import OrderRecord, encode_head, encode_orders
from matchengine.exchange.types import (
    MAX_INT64,
    CommandType,
    ExecType,
    OrdStatus,
    OrdType,
    Reason,
    ReplaceFlag,
    Side,
    TimeInForce,
)


class ReferenceOrder(msgspec.Struct):
    """An order; ``place`` is the moment at which it got its place in the queue."""

    order_id: int
    account: int
    cl_ord_id: int
    instrument: int
    side: int
    price: int
    leaves: int
    cum: int = 0
    place: int = 0

    @property
    def rank(self) -> tuple[int, int]:
        """Sorts the better price, then the earlier order, to the front."""
        return (-self.price if self.side == Side.BUY else self.price, self.place)

    @property
    def status(self) -> OrdStatus:
        """The status of an order that goes on living."""
        return OrdStatus.PARTIALLY_FILLED if self.cum else OrdStatus.NEW


class Command(msgspec.Struct, frozen=True):
    """A command record, field by field; ``position`` is its place in the batch."""

    position: int
    type: int
    side: int
    how: int
    flags: int
    instrument: int
    account: int
    invalid: int
    cl_ord_id: int
    orig_cl_ord_id: int
    price: int
    quantity: int

    @property
    def ord_type(self) -> int:
        """The low half of ``how``."""
        return self.how % 16

    @property
    def time_in_force(self) -> int:
        """The high half of ``how``."""
        return self.how // 16


class ReferenceEngine(Door):
    """Behaves as :class:`matchengine.exchange.engine.MatchingEngine` does, at a cost that grows with the book."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: list[ReferenceOrder] = []
        self._last_order_id = 0
        self._last_trade_id = 0
        self._last_place = 0
        self._reports: list[bytes] = []

    def _open_book(self) -> None:
        """One list holds all orders."""

    def _execute_orders(self, batch: bytes) -> bytes:
        self._reports = []
        for position, fields in enumerate(COMMAND.iter_unpack(batch[BATCH_HEADER.size :])):
            self._execute_one(Command(position, *fields))
        return self._answer(KIND_ORDERS, self._reports)

    def _execute_one(self, command: Command) -> None:
        if command.type == CommandType.NEW:
            self._new(command)
        elif command.type in (CommandType.CANCEL, CommandType.REDUCE, CommandType.REPLACE):
            self._amend(command)
        else:
            self._reject(command, Reason.UNKNOWN_COMMAND)

    # --- new orders ------------------------------------------------------------------------

    def _new(self, command: Command) -> None:
        reason = self._fault_of_new(command)
        if reason is not Reason.NONE:
            self._reject(command, reason)
            return
        self._last_order_id += 1
        order = ReferenceOrder(
            self._last_order_id,
            command.account,
            command.cl_ord_id,
            command.instrument,
            command.side,
            command.price,
            command.quantity,
        )
        self._report(command, order, ExecType.NEW, OrdStatus.NEW)
        self._trade(command, order, at_any_price=command.ord_type == OrdType.MARKET)
        if not order.leaves:
            return
        if command.ord_type == OrdType.MARKET:
            self._cancel(command, order, Reason.MARKET_REMAINDER)
        elif command.time_in_force == TimeInForce.IOC:
            self._cancel(command, order, Reason.IOC_REMAINDER)
        else:
            self._queue(order)

    def _fault_of_new(self, command: Command) -> Reason:
        market = command.ord_type == OrdType.MARKET
        rules = (
            (command.flags, Reason.INVALID_FLAGS),
            (self.instrument(command.instrument) is None, Reason.UNKNOWN_INSTRUMENT),
            (command.side not in list(Side), Reason.INVALID_SIDE),
            (command.ord_type not in list(OrdType), Reason.INVALID_ORD_TYPE),
            (command.time_in_force not in list(TimeInForce), Reason.INVALID_TIME_IN_FORCE),
            (market and command.price != 0, Reason.PRICE_NOT_ALLOWED),
            (not market and command.price == 0, Reason.PRICE_ZERO),
            (not market and command.price < 0, Reason.PRICE_NEGATIVE),
            (command.quantity == 0, Reason.QUANTITY_ZERO),
            (command.quantity < 0, Reason.QUANTITY_NEGATIVE),
            (command.cl_ord_id == 0, Reason.INVALID_CL_ORD_ID),
            (self._find(command.account, command.cl_ord_id) is not None, Reason.DUPLICATE_CL_ORD_ID),
        )
        return _gateway_fault(command) or next((reason for broken, reason in rules if broken), Reason.NONE)

    # --- commands on open orders -----------------------------------------------------------

    def _amend(self, command: Command) -> None:
        order = self._find(command.account, command.orig_cl_ord_id)
        if order is None or command.instrument not in (0, order.instrument):
            self._reject_amend(command, None, Reason.UNKNOWN_ORDER)
            return
        reason = self._fault_of_amend(command, order)
        if reason is not Reason.NONE:
            self._reject_amend(command, order, reason)
        elif command.type == CommandType.CANCEL:
            self.orders.remove(order)
            self._cancel(command, order, Reason.NONE)
        elif command.type == CommandType.REDUCE:
            self._reduce(command, order)
        else:
            self._replace(command, order)

    def _fault_of_amend(self, command: Command, order: ReferenceOrder) -> Reason:
        replace = command.type == CommandType.REPLACE
        sized = command.type != CommandType.CANCEL
        most = MAX_INT64 - order.cum if command.flags & ReplaceFlag.QUANTITY_IS_LEAVES else MAX_INT64
        namesake = self._find(command.account, command.cl_ord_id)
        rules = (
            (command.flags > (3 if replace else 0), Reason.INVALID_FLAGS),
            (replace and command.price == 0, Reason.PRICE_ZERO),
            (replace and command.price < 0, Reason.PRICE_NEGATIVE),
            (sized and command.quantity == 0, Reason.QUANTITY_ZERO),
            (sized and command.quantity < 0, Reason.QUANTITY_NEGATIVE),
            (replace and command.quantity > most, Reason.QUANTITY_OVERFLOW),
            (replace and namesake is not None and namesake is not order, Reason.DUPLICATE_CL_ORD_ID),
        )
        return _gateway_fault(command) or next((reason for broken, reason in rules if broken), Reason.NONE)

    def _reduce(self, command: Command, order: ReferenceOrder) -> None:
        if command.quantity >= order.leaves:
            self.orders.remove(order)
            self._cancel(command, order, Reason.REDUCED_TO_ZERO)
        else:
            order.leaves -= command.quantity
            self._report(command, order, ExecType.REPLACED, order.status)

    def _replace(self, command: Command, order: ReferenceOrder) -> None:
        left = command.quantity
        if not command.flags & ReplaceFlag.QUANTITY_IS_LEAVES:
            left -= order.cum
        keeps_place = (
            command.price == order.price and left <= order.leaves and not command.flags & ReplaceFlag.LOSE_PLACE
        )
        order.cl_ord_id = command.cl_ord_id or order.cl_ord_id
        if left <= 0:
            order.leaves = 0
            self.orders.remove(order)
            self._report(command, order, ExecType.REPLACED, OrdStatus.FILLED)
            return
        order.price, order.leaves = command.price, left
        self._report(command, order, ExecType.REPLACED, order.status)
        if not keeps_place:
            self.orders.remove(order)
            self._trade(command, order)
            if order.leaves:
                self._queue(order)

    # --- the book --------------------------------------------------------------------------

    def _find(self, account: int, cl_ord_id: int) -> ReferenceOrder | None:
        return next((o for o in self.orders if o.account == account and o.cl_ord_id == cl_ord_id), None)

    def _queue(self, order: ReferenceOrder) -> None:
        self._last_place += 1
        order.place = self._last_place
        self.orders.append(order)

    def _side(self, instrument: int, side: int) -> list[ReferenceOrder]:
        """One side of a book in price-time order."""
        return sorted((o for o in self.orders if (o.instrument, o.side) == (instrument, side)), key=lambda o: o.rank)

    def _trade(self, command: Command, taker: ReferenceOrder, *, at_any_price: bool = False) -> None:
        other_side = Side.SELL if taker.side == Side.BUY else Side.BUY
        for maker in self._side(taker.instrument, other_side):
            meets = maker.price <= taker.price if taker.side == Side.BUY else maker.price >= taker.price
            if not taker.leaves or not (meets or at_any_price):
                return
            quantity = min(taker.leaves, maker.leaves)
            self._last_trade_id += 1
            for order in (taker, maker):
                order.leaves -= quantity
                order.cum += quantity
                status = OrdStatus.PARTIALLY_FILLED if order.leaves else OrdStatus.FILLED
                trade = (self._last_trade_id, maker.price, quantity)
                self._report(command, order, ExecType.TRADE, status, trade=trade)
            if not maker.leaves:
                self.orders.remove(maker)

    def _cancel(self, command: Command, order: ReferenceOrder, reason: Reason) -> None:
        order.leaves = 0
        self._report(command, order, ExecType.CANCELED, OrdStatus.CANCELED, reason)

    # --- reports ---------------------------------------------------------------------------

    def _report(
        self,
        command: Command,
        order: ReferenceOrder,
        exec_type: ExecType,
        status: OrdStatus,
        reason: Reason = Reason.NONE,
        trade: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        trade_id, last_px, last_qty = trade
        # A trade and the first report of an order have no command that names the order as its original.
        named = exec_type != ExecType.TRADE and command.type != CommandType.NEW
        original = command.orig_cl_ord_id if named else 0
        self._emit(
            (exec_type, status, order.side, reason, command.position, order.instrument, order.account),
            (order.order_id, order.cl_ord_id, original, trade_id),
            (order.price, last_px, last_qty, order.leaves, order.cum),
        )

    def _reject(self, command: Command, reason: Reason) -> None:
        side = command.side if command.side in list(Side) else 0
        self._emit(
            (
                ExecType.REJECTED,
                OrdStatus.REJECTED,
                side,
                reason,
                command.position,
                command.instrument,
                command.account,
            ),
            (0, command.cl_ord_id, command.orig_cl_ord_id, 0),
            (command.price, 0, 0, 0, 0),
        )

    def _reject_amend(self, command: Command, order: ReferenceOrder | None, reason: Reason) -> None:
        names = (command.cl_ord_id, command.orig_cl_ord_id, 0)
        start = (ExecType.CANCEL_REJECTED, OrdStatus.REJECTED if order is None else order.status)
        if order is None:
            rest = (0, reason, command.position, command.instrument, command.account)
            self._emit((*start, *rest), (0, *names), (0, 0, 0, 0, 0))
        else:
            rest = (order.side, reason, command.position, order.instrument, order.account)
            self._emit((*start, *rest), (order.order_id, *names), (order.price, 0, 0, order.leaves, order.cum))

    def _emit(self, head: tuple[int, ...], ids: tuple[int, ...], amounts: tuple[int, ...]) -> None:
        self._reports.append(REPORT.pack(*head, *ids, *amounts))

    # --- what tests compare ----------------------------------------------------------------

    def depth(self, instrument: int, levels: int) -> tuple[list[Level], list[Level]]:
        """As :meth:`matchengine.exchange.engine.MatchingEngine.depth`."""
        return self._levels(instrument, Side.BUY)[:levels], self._levels(instrument, Side.SELL)[:levels]

    def _levels(self, instrument: int, side: Side) -> list[Level]:
        levels = []
        for price, orders in groupby(self._side(instrument, side), key=lambda o: o.price):
            left = [order.leaves for order in orders]
            levels.append((price, sum(left), len(left)))
        return levels

    def state_hash(self) -> bytes:
        """As :meth:`matchengine.exchange.engine.MatchingEngine.state_hash`."""
        digest = hashlib.sha256(encode_head(self._last_order_id, self._last_trade_id, self.instruments))
        for instrument in self.instruments:
            for block in encode_orders(self._records(instrument.number)):
                digest.update(block)
        return digest.digest()

    def _records(self, instrument: int) -> Iterator[OrderRecord]:
        for order in self._side(instrument, Side.BUY) + self._side(instrument, Side.SELL):
            key = -order.price if order.side == Side.BUY else order.price
            yield order.order_id, order.cl_ord_id, order.account, key, order.leaves, order.cum


def _gateway_fault(command: Command) -> Reason:
    if not command.invalid:
        return Reason.NONE
    return Reason(command.invalid) if command.invalid in list(Reason) else Reason.UNKNOWN_COMMAND
