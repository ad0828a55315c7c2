"""The demonstration's own books: what the exchange has promised, held against what it has."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from matchengine.exchange.layout import ANSWER_HEADER, REPORT
from matchengine.exchange.types import ExecType, Side

#: Number of open orders and open quantity by (side, price in ticks).
Levels: TypeAlias = dict[tuple[int, int], tuple[int, int]]


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One fill, for the screen."""

    side: int
    price: int
    quantity: int


class Verdict(msgspec.Struct, frozen=True):
    """``lost``: acknowledged, but not in the exchange.  ``doubled``: in the exchange beyond what was acknowledged."""

    lost: int
    doubled: int


class Ledger:
    """Reads the packed answers.  Orders and trades have rising numbers at the exchange, so gaps and repeats show."""

    def __init__(self) -> None:
        self.recent: deque[Trade] = deque(maxlen=12)
        self.trades = 0
        self._open: dict[int, tuple[int, int, int]] = {}
        self._orders: Counter[int] = Counter()
        self._trade_reports: Counter[int] = Counter()

    def take(self, packed: bytes) -> None:
        """Book one answer."""
        for report in REPORT.iter_unpack(memoryview(packed)[ANSWER_HEADER.size :]):
            exec_type, order_id = report[0], report[7]
            if exec_type == ExecType.NEW:
                self._orders[order_id] += 1
                self._open[order_id] = (report[2], report[11], report[14])
            elif exec_type == ExecType.TRADE:
                self._trade(order_id, report)
            elif exec_type == ExecType.CANCELED:
                self._open.pop(order_id, None)

    def judge(self, found: Levels, next_order_id: int, next_trade_id: int) -> Verdict:
        """Compare with the exchange: its whole book, and the numbers that its next order and trade get."""
        book = _differences(self._levels(), found)
        orders = _numbering(self._orders, next_order_id, 1)
        trades = _numbering(self._trade_reports, next_trade_id, 2)
        return Verdict(book.lost + orders.lost + trades.lost, book.doubled + orders.doubled + trades.doubled)

    def _trade(self, order_id: int, report: tuple[int, ...]) -> None:
        trade_id = report[10]
        self._trade_reports[trade_id] += 1
        if self._trade_reports[trade_id] == 1:
            self.trades += 1
            self.recent.appendleft(Trade(report[2], report[12], report[13]))
        if not report[14]:
            self._open.pop(order_id, None)
        elif order_id in self._open:
            side, price, _ = self._open[order_id]
            self._open[order_id] = (side, price, report[14])

    def _levels(self) -> Levels:
        levels: Levels = {}
        for side, price, leaves in self._open.values():
            orders, quantity = levels.get((side, price), (0, 0))
            levels[side, price] = (orders + 1, quantity + leaves)
        return levels


def _differences(promised: Levels, found: Levels) -> Verdict:
    """Orders missing from, or too many at, each level; a level that differs in quantity only counts as one."""
    lost = doubled = 0
    for level in promised.keys() | found.keys():
        orders, quantity = promised.get(level, (0, 0))
        orders_found, quantity_found = found.get(level, (0, 0))
        wrong = orders == orders_found and quantity != quantity_found
        lost += max(0, orders - orders_found) + (wrong and quantity > quantity_found)
        doubled += max(0, orders_found - orders) + (wrong and quantity < quantity_found)
    return Verdict(lost, doubled)


def _numbering(seen: Counter[int], following: int, reports_each: int) -> Verdict:
    """Numbers run from 1 without gaps: one that the exchange gave and nobody saw was executed unasked."""
    lost = sum(number >= following for number in seen)
    unseen = max(0, following - 1 - len(seen) + lost)
    return Verdict(lost, unseen + sum(count > reports_each for count in seen.values()))


def levels_of(bids: Iterable[tuple[int, int, int]], asks: Iterable[tuple[int, int, int]]) -> Levels:
    """The exchange's book, (price, quantity, orders) by side, in the ledger's form."""
    levels = {(int(Side.BUY), price): (orders, quantity) for price, quantity, orders in bids}
    levels |= {(int(Side.SELL), price): (orders, quantity) for price, quantity, orders in asks}
    return levels
