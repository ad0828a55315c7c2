"""Order matching by price and time: the hot path of the exchange.

Checks are made in a fixed order, and the first that fails names the reason:

* NEW: ``invalid``, flags, instrument, side, order type, time in force, price, quantity, ``cl_ord_id``
  (not 0, then not open).
* CANCEL, REDUCE, REPLACE: the target is open and, if the command names an instrument, of that one; then
  ``invalid``, flags, and what the command carries: price, quantity, the new ``cl_ord_id`` not open.

Side, order type and time in force of the latter three are ignored: the order's own count.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush
from struct import Struct
from typing import Final, TypeAlias

from matchengine.exchange.layout import COMMAND_WORDS, REPORT_WORDS
from matchengine.exchange.order_book import (
    ACCOUNT,
    CL_ORD_ID,
    CUM,
    INSTRUMENT,
    KEY,
    LEAVES,
    ORDER_ID,
    Order,
    OrderBook,
)
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

Emit: TypeAlias = Callable[[bytes], None]
Accounts: TypeAlias = dict[int, dict[int, Order]]
#: A command's words after the first two, and the position of the command.
Words: TypeAlias = tuple[int, int, int, int, int, int, int, int]


def _word(exec_type: ExecType, status: OrdStatus, side: int, reason: int = 0) -> int:
    """The first word of a report."""
    return exec_type | status << 8 | side << 16 | reason << 24


def _new_word(side: Side) -> int:
    """The first word of a NEW command for a limit order, good till cancel."""
    return CommandType.NEW | side << 8 | (OrdType.LIMIT | TimeInForce.GTC << 4) << 16


# The hot path compares and packs plain integers: an enum member costs several times as much.
_NEW: Final = int(CommandType.NEW)
_CANCEL: Final = int(CommandType.CANCEL)
_REPLACE: Final = int(CommandType.REPLACE)
_REDUCE: Final = int(CommandType.REDUCE)
_BUY: Final = int(Side.BUY)
_SELL: Final = int(Side.SELL)
_NEW_BUY: Final = _new_word(Side.BUY)
_NEW_SELL: Final = _new_word(Side.SELL)
_NEW_LIMIT: Final = frozenset((_NEW_BUY, _NEW_SELL))
_ACCEPTED_BUY: Final = _word(ExecType.NEW, OrdStatus.NEW, Side.BUY)
_ACCEPTED_SELL: Final = _word(ExecType.NEW, OrdStatus.NEW, Side.SELL)
_CANCELED_BUY: Final = _word(ExecType.CANCELED, OrdStatus.CANCELED, Side.BUY)
_CANCELED_SELL: Final = _word(ExecType.CANCELED, OrdStatus.CANCELED, Side.SELL)
_TRADE_PART: Final = _word(ExecType.TRADE, OrdStatus.PARTIALLY_FILLED, 0)
_TRADE_FULL: Final = _word(ExecType.TRADE, OrdStatus.FILLED, 0)
_SIDE_SHIFT: Final = 16
_REASON_SHIFT: Final = 24
_LIMIT: Final = int(OrdType.LIMIT)
_MARKET: Final = int(OrdType.MARKET)
_GTC: Final = int(TimeInForce.GTC)
_IOC: Final = int(TimeInForce.IOC)
_IS_LEAVES: Final = int(ReplaceFlag.QUANTITY_IS_LEAVES)
_LOSE_PLACE: Final = int(ReplaceFlag.LOSE_PLACE)
_KNOWN_FLAGS: Final = _IS_LEAVES | _LOSE_PLACE
_REASONS: Final = frozenset(int(reason) for reason in Reason)

_unpack = COMMAND_WORDS.iter_unpack
_pack = REPORT_WORDS.pack
#: REPORT_WORDS with the fields that are 0 in the two commonest reports left to the padding.
_pack_accepted = Struct("<IIIIQQ16xq16xq8x").pack
_pack_canceled = Struct("<IIIIQQQ8xq24xq").pack

_FEW_ACCOUNTS: Final = 1024


def side_of(order: Order) -> int:
    """The order's side, as a number of FIX."""
    return _BUY if order[KEY] < 0 else _SELL


def _live_status(order: Order) -> OrdStatus:
    return OrdStatus.PARTIALLY_FILLED if order[CUM] else OrdStatus.NEW


class Matcher:
    """All open orders, and what happens to them."""

    def __init__(self) -> None:
        self.books: dict[int, OrderBook] = {}
        self.accounts: Accounts = {}
        self.last_order_id = 0
        self.last_trade_id = 0
        self._accounts_limit = _FEW_ACCOUNTS

    def open_orders(self, account: int) -> dict[int, Order]:
        """The account's open orders by ``cl_ord_id``, to be changed in place.

        Accounts without open orders are forgotten before they outnumber the others.
        """
        found = self.accounts.get(account)
        if found is None:
            if len(self.accounts) >= self._accounts_limit:
                for idle in [number for number, orders in self.accounts.items() if not orders]:
                    del self.accounts[idle]
                self._accounts_limit = 2 * len(self.accounts) + _FEW_ACCOUNTS
            found = self.accounts[account] = {}
        return found

    def execute(self, body: bytes) -> list[bytes]:  # noqa: C901, PLR0912
        """Execute command records; the packed reports in execution order.

        Limit orders and cancels, nine messages in ten, are handled here without a call; calls would cost a
        third of the throughput.  Whatever is unusual about a command sends it to :meth:`_execute_one`.
        """
        reports: list[bytes] = []
        emit = reports.append
        books = self.books
        number = 0
        account = command = -1
        open_orders: dict[int, Order] = {}
        for head, instrument, owner, invalid, cl_ord_id, orig_cl_ord_id, price, quantity in _unpack(body):
            command += 1
            if owner != account:
                open_orders = self.open_orders(owner)
                account = owner
            if head == _CANCEL:
                order = open_orders.get(orig_cl_ord_id)
                if order is not None and not invalid and (not instrument or instrument == order[INSTRUMENT]):
                    _, cum, key, _, order_id, _, where = order
                    if where != number:
                        book = books[where]
                        levels, bids, asks = book.levels, book.bids, book.asks
                        number = where
                    del open_orders[orig_cl_ord_id]
                    queue = levels[key]
                    if len(queue) == 1:
                        order[LEAVES] = 0
                        queue.clear()
                        book.count_stale()
                    else:
                        book.remove(order)
                    if key < 0:
                        word, px = _CANCELED_BUY, -key
                    else:
                        word, px = _CANCELED_SELL, key
                    emit(_pack_canceled(word, command, where, owner, order_id, orig_cl_ord_id, orig_cl_ord_id, px, cum))
                    continue
            elif head in _NEW_LIMIT and price > 0 and quantity > 0 and not invalid:
                if instrument != number and instrument in books:
                    book = books[instrument]
                    levels, bids, asks = book.levels, book.bids, book.asks
                    number = instrument
                if instrument == number and instrument and cl_ord_id and cl_ord_id not in open_orders:
                    self.last_order_id = order_id = self.last_order_id + 1
                    if head == _NEW_BUY:
                        word, key, own, best = _ACCEPTED_BUY, -price, bids, asks[0]
                    else:
                        word, key, own, best = _ACCEPTED_SELL, price, asks, bids[0]
                    emit(_pack_accepted(word, command, number, owner, order_id, cl_ord_id, price, quantity))
                    order = [quantity, 0, key, cl_ord_id, order_id, owner, number]
                    if best + key <= 0:
                        self._match(book, order, key, price, command, emit)
                        if not order[LEAVES]:
                            continue
                    open_orders[cl_ord_id] = order
                    waiting = levels.get(key)
                    if waiting is None:
                        levels[key] = [order]
                        heappush(own, key)
                    else:
                        waiting.append(order)
                    continue
            words = (instrument, owner, invalid, cl_ord_id, orig_cl_ord_id, price, quantity, command)
            self._execute_one(head, words, open_orders, emit)
        return reports

    def _execute_one(self, head: int, words: Words, open_orders: dict[int, Order], emit: Emit) -> None:
        """Any command, with all checks."""
        kind = head & 0xFF
        if kind == _NEW:
            self._new(head, words, open_orders, emit)
        elif kind == _CANCEL:
            self._cancel(head, words, open_orders, emit)
        elif kind == _REPLACE:
            self._replace(head, words, open_orders, emit)
        elif kind == _REDUCE:
            self._reduce(head, words, open_orders, emit)
        else:
            _reject_new(head, words, Reason.UNKNOWN_COMMAND, emit)

    def _new(self, head: int, words: Words, open_orders: dict[int, Order], emit: Emit) -> None:
        number, account, _, cl_ord_id, _, price, quantity, command = words
        reason = _new_fault(head, words, number in self.books, open_orders)
        if reason:
            _reject_new(head, words, reason, emit)
            return
        side, ord_type, time_in_force = head >> 8 & 0xFF, head >> 16 & 0xF, head >> 20 & 0xF
        self.last_order_id = order_id = self.last_order_id + 1
        key = -price if side == _BUY else price
        order = [quantity, 0, key, cl_ord_id, order_id, account, number]
        word = _ACCEPTED_BUY if side == _BUY else _ACCEPTED_SELL
        emit(_pack_accepted(word, command, number, account, order_id, cl_ord_id, price, quantity))
        if ord_type == _MARKET:
            key = -MAX_INT64 if side == _BUY else 0
        book = self.books[number]
        self._match(book, order, key, price, command, emit)
        if order[LEAVES]:
            if ord_type == _MARKET:
                _emit_canceled(order, side, price, 0, Reason.MARKET_REMAINDER, command, emit)
            elif time_in_force == _IOC:
                _emit_canceled(order, side, price, 0, Reason.IOC_REMAINDER, command, emit)
            else:
                open_orders[cl_ord_id] = order
                book.rest(order)

    def _cancel(self, head: int, words: Words, open_orders: dict[int, Order], emit: Emit) -> None:
        order = _target(words, open_orders)
        reason = _target_fault(head, words, order, 0)
        if order is None or reason:
            _reject_amend(words, order, reason, emit)
            return
        self._end(order, open_orders)
        _emit_canceled(order, side_of(order), abs(order[KEY]), words[4], Reason.NONE, words[7], emit)

    def _reduce(self, head: int, words: Words, open_orders: dict[int, Order], emit: Emit) -> None:
        order = _target(words, open_orders)
        reason = _target_fault(head, words, order, 0) or _quantity_fault(words[6])
        if order is None or reason:
            _reject_amend(words, order, reason, emit)
        elif words[6] < order[LEAVES]:
            order[LEAVES] -= words[6]
            _emit_replaced(order, order[LEAVES], words[4], words[7], emit)
        else:
            self._end(order, open_orders)
            reason = Reason.REDUCED_TO_ZERO
            _emit_canceled(order, side_of(order), abs(order[KEY]), words[4], reason, words[7], emit)

    def _replace(self, head: int, words: Words, open_orders: dict[int, Order], emit: Emit) -> None:
        _, _, _, cl_ord_id, orig_cl_ord_id, price, quantity, command = words
        order = _target(words, open_orders)
        flags = head >> 24
        reason = _target_fault(head, words, order, _KNOWN_FLAGS) or _replace_fault(words, flags, order, open_orders)
        if order is None or reason:
            _reject_amend(words, order, reason, emit)
            return
        if cl_ord_id and cl_ord_id != orig_cl_ord_id:
            del open_orders[orig_cl_ord_id]
            open_orders[cl_ord_id] = order
            order[CL_ORD_ID] = cl_ord_id
        leaves = quantity if flags & _IS_LEAVES else quantity - order[CUM]
        if leaves <= 0:
            self._end(order, open_orders)
            _emit_replaced(order, 0, orig_cl_ord_id, command, emit)
            return
        key = -price if order[KEY] < 0 else price
        if key == order[KEY] and leaves <= order[LEAVES] and not flags & _LOSE_PLACE:
            order[LEAVES] = leaves
            _emit_replaced(order, leaves, orig_cl_ord_id, command, emit)
            return
        self._reenter(order, key, leaves, words, open_orders, emit)

    def _reenter(
        self, order: Order, key: int, leaves: int, words: Words, open_orders: dict[int, Order], emit: Emit
    ) -> None:
        """Take ``order`` out and bring it in again, behind all others; it may trade on its way."""
        book = self.books[order[INSTRUMENT]]
        book.remove(order)
        # A new record: the old one may stay in its old queue as a stale entry.
        order = [leaves, *order[1:]]
        order[KEY] = key
        _emit_replaced(order, leaves, words[4], words[7], emit)
        self._match(book, order, key, abs(key), words[7], emit)
        if order[LEAVES]:
            open_orders[order[CL_ORD_ID]] = order
            book.rest(order)
        else:
            del open_orders[order[CL_ORD_ID]]

    def _end(self, order: Order, open_orders: dict[int, Order]) -> None:
        """Take ``order`` out for good."""
        del open_orders[order[CL_ORD_ID]]
        self.books[order[INSTRUMENT]].remove(order)

    def _match(self, book: OrderBook, taker: Order, limit: int, price: int, command: int, emit: Emit) -> None:
        """Trade ``taker`` against the other side, best price first, oldest order first, down to the key ``limit``.

        ``price`` is what the taker's reports show.
        """
        leaves, cum, _, taker_cl_ord_id, taker_id, account, number = taker
        if limit < 0:
            opposite, taker_side, maker_side = book.asks, _BUY << _SIDE_SHIFT, _SELL << _SIDE_SHIFT
        else:
            opposite, taker_side, maker_side = book.bids, _SELL << _SIDE_SHIFT, _BUY << _SIDE_SHIFT
        while leaves and opposite[0] + limit <= 0:
            key = opposite[0]
            queue = book.levels[key]
            if not queue:
                book.drop_best(opposite)
                continue
            maker = queue[0]
            resting = maker[LEAVES]
            last_qty = min(leaves, resting)
            last_px = abs(key)
            leaves -= last_qty
            cum += last_qty
            maker[LEAVES] = resting = resting - last_qty
            maker[CUM] += last_qty
            self.last_trade_id = trade_id = self.last_trade_id + 1
            emit(
                _pack(
                    (_TRADE_PART if leaves else _TRADE_FULL) | taker_side,
                    command, number, account, taker_id, taker_cl_ord_id, 0, trade_id,
                    price, last_px, last_qty, leaves, cum,
                )
            )  # fmt: skip
            _, maker_cum, _, cl_ord_id, maker_id, owner, _ = maker
            emit(
                _pack(
                    (_TRADE_PART if resting else _TRADE_FULL) | maker_side,
                    command, number, owner, maker_id, cl_ord_id, 0, trade_id,
                    last_px, last_px, last_qty, resting, maker_cum,
                )
            )  # fmt: skip
            if not resting:
                del self.accounts[owner][cl_ord_id]
                book.drop_front(queue, key)
        taker[LEAVES], taker[CUM] = leaves, cum


def _target(words: Words, open_orders: dict[int, Order]) -> Order | None:
    order = open_orders.get(words[4])
    if order is not None and words[0] and words[0] != order[INSTRUMENT]:
        return None
    return order


def _gateway_fault(invalid: int) -> int:
    """The gateway's reason; a number that is none is itself a fault."""
    return invalid if invalid in _REASONS else Reason.UNKNOWN_COMMAND


def _new_fault(head: int, words: Words, known: bool, open_orders: dict[int, Order]) -> int:
    """The first rule that a NEW command breaks, or 0."""
    _, _, invalid, cl_ord_id, _, price, quantity, _ = words
    if invalid:
        return _gateway_fault(invalid)
    if head >> 24:
        return Reason.INVALID_FLAGS
    if not known:
        return Reason.UNKNOWN_INSTRUMENT
    if head >> 8 & 0xFF not in (_BUY, _SELL):
        return Reason.INVALID_SIDE
    ord_type = head >> 16 & 0xF
    if ord_type not in (_MARKET, _LIMIT):
        return Reason.INVALID_ORD_TYPE
    if head >> 20 & 0xF not in (_GTC, _IOC):
        return Reason.INVALID_TIME_IN_FORCE
    if ord_type == _MARKET:
        if price:
            return Reason.PRICE_NOT_ALLOWED
    elif price <= 0:
        return _price_fault(price)
    if quantity <= 0:
        return _quantity_fault(quantity)
    if not cl_ord_id:
        return Reason.INVALID_CL_ORD_ID
    return Reason.DUPLICATE_CL_ORD_ID if cl_ord_id in open_orders else 0


def _target_fault(head: int, words: Words, order: Order | None, known_flags: int) -> int:
    """The first rule that any command on an open order breaks, or 0."""
    if order is None:
        return Reason.UNKNOWN_ORDER
    if words[2]:
        return _gateway_fault(words[2])
    return Reason.INVALID_FLAGS if head >> 24 & ~known_flags else 0


def _replace_fault(words: Words, flags: int, order: Order | None, open_orders: dict[int, Order]) -> int:
    _, _, _, cl_ord_id, orig_cl_ord_id, price, quantity, _ = words
    if price <= 0:
        return _price_fault(price)
    if quantity <= 0:
        return _quantity_fault(quantity)
    if order is not None and flags & _IS_LEAVES and quantity > MAX_INT64 - order[CUM]:
        return Reason.QUANTITY_OVERFLOW
    if cl_ord_id and cl_ord_id != orig_cl_ord_id and cl_ord_id in open_orders:
        return Reason.DUPLICATE_CL_ORD_ID
    return 0


def _price_fault(price: int) -> int:
    if price == 0:
        return Reason.PRICE_ZERO
    return Reason.PRICE_NEGATIVE if price < 0 else 0


def _quantity_fault(quantity: int) -> int:
    if quantity == 0:
        return Reason.QUANTITY_ZERO
    return Reason.QUANTITY_NEGATIVE if quantity < 0 else 0


def _reject_new(head: int, words: Words, reason: int, emit: Emit) -> None:
    """REJECTED, with the ids and the price as they came."""
    instrument, account, _, cl_ord_id, orig_cl_ord_id, price, _, command = words
    side = head >> 8 & 0xFF
    word = _word(ExecType.REJECTED, OrdStatus.REJECTED, side if side in (_BUY, _SELL) else 0, reason)
    emit(_pack(word, command, instrument, account, 0, cl_ord_id, orig_cl_ord_id, 0, price, 0, 0, 0, 0))


def _reject_amend(words: Words, order: Order | None, reason: int, emit: Emit) -> None:
    """CANCEL_REJECTED, with the state of the order if there is one."""
    instrument, account, _, cl_ord_id, orig_cl_ord_id, _, _, command = words
    if order is None:
        word = _word(ExecType.CANCEL_REJECTED, OrdStatus.REJECTED, 0, reason)
        emit(_pack(word, command, instrument, account, 0, cl_ord_id, orig_cl_ord_id, 0, 0, 0, 0, 0, 0))
        return
    leaves, cum, key, _, order_id, _, number = order
    word = _word(ExecType.CANCEL_REJECTED, _live_status(order), side_of(order), reason)
    emit(_pack(word, command, number, account, order_id, cl_ord_id, orig_cl_ord_id, 0, abs(key), 0, 0, leaves, cum))


def _emit_canceled(order: Order, side: int, price: int, orig: int, reason: int, command: int, emit: Emit) -> None:
    word = (_CANCELED_BUY if side == _BUY else _CANCELED_SELL) | reason << _REASON_SHIFT
    number, account = order[INSTRUMENT], order[ACCOUNT]
    emit(_pack_canceled(word, command, number, account, order[ORDER_ID], order[CL_ORD_ID], orig, price, order[CUM]))


def _emit_replaced(order: Order, leaves: int, orig: int, command: int, emit: Emit) -> None:
    """REPLACED, with what is left before any trade that follows."""
    _, cum, key, cl_ord_id, order_id, account, number = order
    status = _live_status(order) if leaves else OrdStatus.FILLED
    word = _word(ExecType.REPLACED, status, side_of(order))
    emit(_pack(word, command, number, account, order_id, cl_ord_id, orig, 0, abs(key), 0, 0, leaves, cum))
