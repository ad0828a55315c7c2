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
    CL_ORD_ID,
    CUM,
    INSTRUMENT,
    KEY,
    LEAVES,
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
    return int(exec_type | status << 8 | side << 16 | reason << 24)


def _new_word(side: Side, time_in_force: TimeInForce) -> int:
    """The first word of a NEW command for a limit order."""
    return int(CommandType.NEW | side << 8 | (OrdType.LIMIT | time_in_force << 4) << 16)


# The hot path compares and packs plain integers: an enum member costs several times as much.
_NEW: Final = int(CommandType.NEW)
_CANCEL: Final = int(CommandType.CANCEL)
_REPLACE: Final = int(CommandType.REPLACE)
_REDUCE: Final = int(CommandType.REDUCE)
_AMENDS: Final = frozenset((_CANCEL, _REPLACE, _REDUCE))
_BUY: Final = int(Side.BUY)
_SELL: Final = int(Side.SELL)
_NEW_BUYS: Final = frozenset((_new_word(Side.BUY, TimeInForce.GTC), _new_word(Side.BUY, TimeInForce.IOC)))
_NEW_SELLS: Final = frozenset((_new_word(Side.SELL, TimeInForce.GTC), _new_word(Side.SELL, TimeInForce.IOC)))
_NEW_LIMIT: Final = _NEW_BUYS | _NEW_SELLS
#: Bit of the first word that is set for IOC only.
_IOC_BIT: Final = 1 << 21
_ACCEPTED_BUY: Final = _word(ExecType.NEW, OrdStatus.NEW, Side.BUY)
_ACCEPTED_SELL: Final = _word(ExecType.NEW, OrdStatus.NEW, Side.SELL)
_CANCELED_BUY: Final = _word(ExecType.CANCELED, OrdStatus.CANCELED, Side.BUY)
_CANCELED_SELL: Final = _word(ExecType.CANCELED, OrdStatus.CANCELED, Side.SELL)
_TRADE_PART: Final = _word(ExecType.TRADE, OrdStatus.PARTIALLY_FILLED, 0)
_TRADE_FULL: Final = _word(ExecType.TRADE, OrdStatus.FILLED, 0)
_REPLACED_NEW: Final = _word(ExecType.REPLACED, OrdStatus.NEW, 0)
_REPLACED_PART: Final = _word(ExecType.REPLACED, OrdStatus.PARTIALLY_FILLED, 0)
_REPLACED_FULL: Final = _word(ExecType.REPLACED, OrdStatus.FILLED, 0)
_UNKNOWN_ORDER: Final = _word(ExecType.CANCEL_REJECTED, OrdStatus.REJECTED, 0, Reason.UNKNOWN_ORDER)
_UNKNOWN_COMMAND: Final = int(Reason.UNKNOWN_COMMAND)
_IOC_REMAINDER: Final = int(Reason.IOC_REMAINDER)
_MARKET_REMAINDER: Final = int(Reason.MARKET_REMAINDER)
_REDUCED_TO_ZERO: Final = int(Reason.REDUCED_TO_ZERO)
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

    def execute(self, body: bytes) -> list[bytes]:  # noqa: C901, PLR0912, PLR0915
        """Execute command records; the packed reports in execution order.

        Sound limit orders and cancels, nine messages in ten, are handled here without a call: with calls for
        each step the throughput falls by a third.  All else goes to :meth:`_execute_one`.
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
                if not open_orders:
                    open_orders.clear()  # an emptied dictionary keeps its room otherwise
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
                    if head in _NEW_BUYS:
                        word, key, own, best = _ACCEPTED_BUY, -price, bids, asks[0]
                    else:
                        word, key, own, best = _ACCEPTED_SELL, price, asks, bids[0]
                    emit(_pack_accepted(word, command, number, owner, order_id, cl_ord_id, price, quantity))
                    order = [quantity, 0, key, cl_ord_id, order_id, owner, number]
                    if best + key <= 0:
                        self._match(book, order, key, price, command, emit)
                        if not order[LEAVES]:
                            continue
                    if head & _IOC_BIT:
                        _emit_canceled(order, price, 0, _IOC_REMAINDER, command, emit)
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
        if not open_orders:
            open_orders.clear()
        return reports

    def _execute_one(self, head: int, words: Words, open_orders: dict[int, Order], emit: Emit) -> None:
        """What :meth:`execute` leaves over: market orders, reduces, replaces, and whatever breaks a rule."""
        kind = head & 0xFF
        if kind in _AMENDS:
            order = open_orders.get(words[4])
            if order is None or (words[0] and words[0] != order[INSTRUMENT]):
                _reject_unknown(words, emit)
                return
            reason = _amend_fault(kind, head >> 24, words, order, open_orders)
            if reason:
                _reject_amend(words, order, reason, emit)
            elif kind == _REPLACE:
                self._replace(head >> 24, words, order, open_orders, emit)
            elif kind == _REDUCE:
                self._reduce(words, order, open_orders, emit)
            else:
                self._cancel(words, order, 0, open_orders, emit)
            return
        reason = _new_fault(head, words, words[0] in self.books, open_orders) if kind == _NEW else _UNKNOWN_COMMAND
        if reason:
            _reject_new(head, words, reason, emit)
        else:
            self._market(head >> 8 & 0xFF, words, emit)

    def _market(self, side: int, words: Words, emit: Emit) -> None:
        number, account, _, cl_ord_id, _, price, quantity, command = words
        self.last_order_id = order_id = self.last_order_id + 1
        word, limit = (_ACCEPTED_BUY, -MAX_INT64) if side == _BUY else (_ACCEPTED_SELL, 0)
        emit(_pack_accepted(word, command, number, account, order_id, cl_ord_id, price, quantity))
        order = [quantity, 0, limit, cl_ord_id, order_id, account, number]
        self._match(self.books[number], order, limit, price, command, emit)
        if order[LEAVES]:
            _emit_canceled(order, price, 0, _MARKET_REMAINDER, command, emit)

    def _cancel(self, words: Words, order: Order, reason: int, open_orders: dict[int, Order], emit: Emit) -> None:
        self._end(order, open_orders)
        _emit_canceled(order, abs(order[KEY]), words[4], reason, words[7], emit)

    def _reduce(self, words: Words, order: Order, open_orders: dict[int, Order], emit: Emit) -> None:
        if words[6] < order[LEAVES]:
            order[LEAVES] -= words[6]
            _emit_replaced(order, words[4], words[7], emit)
        else:
            self._cancel(words, order, _REDUCED_TO_ZERO, open_orders, emit)

    def _replace(self, flags: int, words: Words, order: Order, open_orders: dict[int, Order], emit: Emit) -> None:
        _, _, _, cl_ord_id, orig_cl_ord_id, price, quantity, command = words
        if cl_ord_id and cl_ord_id != orig_cl_ord_id:
            del open_orders[orig_cl_ord_id]
            open_orders[cl_ord_id] = order
            order[CL_ORD_ID] = cl_ord_id
        leaves = quantity if flags & _IS_LEAVES else quantity - order[CUM]
        if leaves <= 0:
            self._end(order, open_orders)
            _emit_replaced(order, orig_cl_ord_id, command, emit)
            return
        key = -price if order[KEY] < 0 else price
        if key == order[KEY] and leaves <= order[LEAVES] and not flags & _LOSE_PLACE:
            order[LEAVES] = leaves
            _emit_replaced(order, orig_cl_ord_id, command, emit)
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
        _emit_replaced(order, words[4], words[7], emit)
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
                if not book.drop_front(queue, key):
                    book.drop_best(opposite)
        taker[LEAVES], taker[CUM] = leaves, cum


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


def _amend_fault(kind: int, flags: int, words: Words, order: Order, open_orders: dict[int, Order]) -> int:
    """The first rule that a command on an open order breaks, or 0."""
    if words[2]:
        return _gateway_fault(words[2])
    if kind == _REPLACE:
        return _replace_fault(flags, words, order, open_orders)
    if flags:
        return Reason.INVALID_FLAGS
    return _quantity_fault(words[6]) if kind == _REDUCE else 0


def _replace_fault(flags: int, words: Words, order: Order, open_orders: dict[int, Order]) -> int:
    _, _, _, cl_ord_id, orig_cl_ord_id, price, quantity, _ = words
    if flags & ~_KNOWN_FLAGS:
        return Reason.INVALID_FLAGS
    if price <= 0:
        return _price_fault(price)
    if quantity <= 0:
        return _quantity_fault(quantity)
    if flags & _IS_LEAVES and quantity > MAX_INT64 - order[CUM]:
        return Reason.QUANTITY_OVERFLOW
    if cl_ord_id and cl_ord_id != orig_cl_ord_id and cl_ord_id in open_orders:
        return Reason.DUPLICATE_CL_ORD_ID
    return 0


def _price_fault(price: int) -> int:
    """What is wrong with a price that is not above 0."""
    return Reason.PRICE_NEGATIVE if price else Reason.PRICE_ZERO


def _quantity_fault(quantity: int) -> int:
    """What is wrong with a quantity, or 0."""
    if quantity > 0:
        return 0
    return Reason.QUANTITY_NEGATIVE if quantity else Reason.QUANTITY_ZERO


def _reject_new(head: int, words: Words, reason: int, emit: Emit) -> None:
    """REJECTED, with the ids and the price as they came."""
    instrument, account, _, cl_ord_id, orig_cl_ord_id, price, _, command = words
    side = head >> 8 & 0xFF
    word = _word(ExecType.REJECTED, OrdStatus.REJECTED, side if side in (_BUY, _SELL) else 0, reason)
    emit(_pack(word, command, instrument, account, 0, cl_ord_id, orig_cl_ord_id, 0, price, 0, 0, 0, 0))


def _reject_unknown(words: Words, emit: Emit) -> None:
    """CANCEL_REJECTED, with the ids as they came."""
    instrument, account, _, cl_ord_id, orig_cl_ord_id, _, _, command = words
    emit(_pack(_UNKNOWN_ORDER, command, instrument, account, 0, cl_ord_id, orig_cl_ord_id, 0, 0, 0, 0, 0, 0))


def _reject_amend(words: Words, order: Order, reason: int, emit: Emit) -> None:
    """CANCEL_REJECTED, with the state of the order."""
    _, account, _, cl_ord_id, orig_cl_ord_id, _, _, command = words
    leaves, cum, key, _, order_id, _, number = order
    status = OrdStatus.PARTIALLY_FILLED if cum else OrdStatus.NEW
    word = _word(ExecType.CANCEL_REJECTED, status, side_of(order), reason)
    emit(_pack(word, command, number, account, order_id, cl_ord_id, orig_cl_ord_id, 0, abs(key), 0, 0, leaves, cum))


def _emit_canceled(order: Order, price: int, orig: int, reason: int, command: int, emit: Emit) -> None:
    _, cum, key, cl_ord_id, order_id, account, number = order
    word = (_CANCELED_BUY if key < 0 else _CANCELED_SELL) | reason << _REASON_SHIFT
    emit(_pack_canceled(word, command, number, account, order_id, cl_ord_id, orig, price, cum))


def _emit_replaced(order: Order, orig: int, command: int, emit: Emit) -> None:
    """REPLACED, with what is left before any trade that follows."""
    leaves, cum, key, cl_ord_id, order_id, account, number = order
    word = (_REPLACED_PART if cum else _REPLACED_NEW) if leaves else _REPLACED_FULL
    word |= side_of(order) << _SIDE_SHIFT
    emit(_pack(word, command, number, account, order_id, cl_ord_id, orig, 0, abs(key), 0, 0, leaves, cum))
