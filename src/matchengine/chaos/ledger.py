"""Conservation: what was acknowledged, added up in the order of the log, held against the books at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

from matchengine.chaos.history import Answer, Levels, Record, Submit
from matchengine.exchange.types import CommandType, ExecType, Side

Depths: TypeAlias = Mapping[str, tuple[Levels, Levels]]
#: Quantity and number of orders by side and price.
_Book: TypeAlias = dict[tuple[int, int], tuple[int, int]]


class Balance(msgspec.Struct, frozen=True):
    """The books' sums.

    ``lost``: acknowledged, but not in the exchange.  ``doubled``: in the exchange beyond what was acknowledged.
    ``unbalanced``: orders whose quantity is not filled, cancelled and resting together, and trades without two
    equal sides.  Where an outcome is unknown, nothing can be added up: ``unknown_instruments`` are left to the
    checker of linearizability alone, which has seen their books at the end as well.
    """

    orders: int
    trades: int
    bought: int
    sold: int
    lost: int
    doubled: int
    unbalanced: int
    unknown_instruments: int
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether every sum is right."""
        return self.bought == self.sold and not (self.lost or self.doubled or self.unbalanced)


class _Order(msgspec.Struct):
    symbol: str
    side: int
    price: int
    quantity: int
    leaves: int
    filled: int = 0
    cancelled: int = 0


def balance(records: Iterable[Record], depths: Depths, next_order_id: int, next_trade_id: int) -> Balance:
    """Add up all acknowledged batches; ``depths`` are the books at the end, the numbers those that come next."""
    ledger = _Ledger()
    answers: list[tuple[str, Answer]] = []
    for record in records:
        if record.answer is not None:
            answers.append((record.symbol, record.answer))
        elif isinstance(record.operation.call, Submit) and record.operation.end is None:
            ledger.unknown(record.symbol, record.operation.call)
    for symbol, answer in sorted(answers, key=lambda each: each[1].index):
        ledger.take(symbol, answer)
    return ledger.judge(depths, next_order_id, next_trade_id)


class _Ledger:
    def __init__(self) -> None:
        self._orders: dict[int, _Order] = {}
        self._trades: dict[int, list[tuple[int, int, int]]] = {}
        self._sums = Counter[int]()
        self._unknown: set[str] = set()
        self._unknown_orders = 0
        self._problems: list[str] = []

    def unknown(self, symbol: str, call: Submit) -> None:
        """A batch that may or may not have been executed."""
        self._unknown.add(symbol)
        self._unknown_orders += sum(command.type == CommandType.NEW for command in call.commands)

    def take(self, symbol: str, answer: Answer) -> None:
        """Book one batch's reports."""
        for told, order_id, trade_id in zip(answer.told, answer.order_ids, answer.trade_ids, strict=True):
            exec_type, _, side, _, _, _, _, _, price, last_px, last_qty, leaves, _ = told
            if exec_type == ExecType.NEW:
                self._open(symbol, order_id, _Order(symbol, side, price, leaves, leaves))
            elif exec_type == ExecType.TRADE:
                self._trades.setdefault(trade_id, []).append((side, last_px, last_qty))
                self._sums[side] += last_qty
            if exec_type in (ExecType.TRADE, ExecType.REPLACED, ExecType.CANCELED):
                self._change(exec_type, order_id, price, leaves, last_qty)

    def _open(self, symbol: str, order_id: int, order: _Order) -> None:
        if order_id in self._orders:
            self._problems.append(f"doubled: order {order_id} of {symbol} was opened twice")
        self._orders[order_id] = order

    def _change(self, exec_type: int, order_id: int, price: int, leaves: int, last_qty: int) -> None:
        order = self._orders.get(order_id)
        if order is None:
            return  # opened by a batch of unknown outcome
        if exec_type == ExecType.TRADE:
            order.filled += last_qty
        elif exec_type == ExecType.CANCELED:
            order.cancelled += order.leaves
        else:
            order.price = price
            order.quantity += leaves - order.leaves
        order.leaves = leaves

    # --- judging ---------------------------------------------------------------------------

    def judge(self, depths: Depths, next_order_id: int, next_trade_id: int) -> Balance:
        """What the sums come to."""
        self._check_numbers(next_order_id, next_trade_id)
        self._check_orders()
        self._check_trades()
        promised = self._promised()
        for symbol in sorted(depths.keys() - self._unknown):
            self._check_book(symbol, promised.get(symbol, {}), depths[symbol])
        words = Counter(problem.partition(":")[0] for problem in self._problems)
        return Balance(
            len(self._orders),
            len(self._trades),
            self._sums[Side.BUY],
            self._sums[Side.SELL],
            words["lost"],
            words["doubled"],
            words["unbalanced"],
            len(self._unknown),
            tuple(self._problems),
        )

    def _check_numbers(self, next_order_id: int, next_trade_id: int) -> None:
        """Numbers run from 1 without gaps: one that nobody was told of was given to something nobody asked for."""
        for what, seen, following in (("order", self._orders, next_order_id), ("trade", self._trades, next_trade_id)):
            beyond = [number for number in seen if number >= following]
            self._problems += [f"lost: {what} {number}, the next number is {following}" for number in beyond]
            unseen = following - 1 - len(seen) + len(beyond)
            allowed = self._unknown_orders if what == "order" else unseen * bool(self._unknown)
            self._problems += [f"doubled: one of {unseen} {what}s that nobody was told of"] * max(0, unseen - allowed)

    def _check_orders(self) -> None:
        for number, order in self._orders.items():
            parts = (order.filled, order.cancelled, order.leaves)
            if order.symbol not in self._unknown and order.quantity != sum(parts):
                self._problems.append(f"unbalanced: order {number} of {order.quantity} has parts {parts}")

    def _check_trades(self) -> None:
        for number, sides in self._trades.items():
            amounts = {(price, quantity) for _, price, quantity in sides}
            if sorted(side for side, _, _ in sides) != [Side.BUY, Side.SELL] or len(amounts) != 1:
                word = "doubled" if len(sides) > 2 else "unbalanced"
                self._problems.append(f"{word}: trade {number} has the sides {sides}")

    def _promised(self) -> dict[str, _Book]:
        """What rests by what was acknowledged."""
        books: dict[str, _Book] = {}
        for order in self._orders.values():
            if order.leaves:
                book = books.setdefault(order.symbol, {})
                quantity, orders = book.get((order.side, order.price), (0, 0))
                book[order.side, order.price] = (quantity + order.leaves, orders + 1)
        return books

    def _check_book(self, symbol: str, promised: _Book, found: tuple[Levels, Levels]) -> None:
        """Every level, in orders and in quantity."""
        there = {
            (int(side), price): (quantity, orders)
            for side, levels in zip((Side.BUY, Side.SELL), found, strict=True)
            for price, quantity, orders in levels
        }
        for level in sorted(promised.keys() | there.keys()):
            ours, theirs = promised.get(level, (0, 0)), there.get(level, (0, 0))
            if ours != theirs:
                word = "lost" if ours > theirs else "doubled"
                self._problems.append(f"{word}: {symbol} {level}: acknowledged {ours}, found {theirs}")
