"""A stream of orders out of a seed: a price that wanders, orders around it, and their cancels."""

from __future__ import annotations

import heapq
import random
from typing import Final

from matchengine.exchange.layout import BATCH_HEADER, COMMAND, KIND_ORDERS, VERSION
from matchengine.exchange.types import CommandType, OrdType, Side, TimeInForce

ACCOUNT: Final = 1
_START_TICKS: Final = 10_000
_LOWEST_MID: Final = 100
_WIDTH_TICKS: Final = 12
_LIFE_COMMANDS: Final = (50, 1500)
_CROSSING: Final = 0.12
_IOC: Final = 0.08
_GTC_LIMIT: Final = OrdType.LIMIT | TimeInForce.GTC << 4
_IOC_LIMIT: Final = OrdType.LIMIT | TimeInForce.IOC << 4


class OrderFlow:
    """Packed batches, the same for the same seed.

    Every order is cancelled after a random number of further commands, so the book stays small;
    the cancel of an order that has traded away is rejected, as in life.
    """

    def __init__(self, seed: int, instrument: int) -> None:
        self._random = random.Random(seed)
        self._instrument = instrument
        self._mid = _START_TICKS
        self._commands = 0
        self._last_id = 0
        self._cancels: list[tuple[int, int]] = []

    def batch(self, count: int) -> bytes:
        """The next ``count`` commands."""
        records = [self._command() for _ in range(count)]
        return BATCH_HEADER.pack(VERSION, KIND_ORDERS, 0, count) + b"".join(records)

    def _command(self) -> bytes:
        self._commands += 1
        if self._cancels and self._cancels[0][0] <= self._commands:
            _, cl_ord_id = heapq.heappop(self._cancels)
            return COMMAND.pack(CommandType.CANCEL, 0, 0, 0, 0, ACCOUNT, 0, 0, cl_ord_id, 0, 0)
        return self._new_order()

    def _new_order(self) -> bytes:
        chance = self._random
        self._mid = max(_LOWEST_MID, self._mid + chance.choice((-1, 0, 0, 0, 1)))
        side = chance.choice((Side.BUY, Side.SELL))
        away = -chance.randint(0, 3) if chance.random() < _CROSSING else chance.randint(1, _WIDTH_TICKS)
        price = self._mid - away if side is Side.BUY else self._mid + away
        self._last_id += 1
        how = _IOC_LIMIT if chance.random() < _IOC else _GTC_LIMIT
        if how == _GTC_LIMIT:
            heapq.heappush(self._cancels, (self._commands + chance.randint(*_LIFE_COMMANDS), self._last_id))
        quantity = chance.randint(1, 100)
        return COMMAND.pack(
            CommandType.NEW, side, how, 0, self._instrument, ACCOUNT, 0, self._last_id, 0, price, quantity
        )
