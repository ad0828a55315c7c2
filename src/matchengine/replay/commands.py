"""The packed commands of a recording: one account, one instrument.

An order of a recording is named by its id, moved up by one because 0 is not an id here.  The largest 64-bit id becomes
that 0: it names no order, and what asks for it is rejected.
"""

from __future__ import annotations

from typing import Final

from matchengine.exchange.layout import COMMAND
from matchengine.exchange.types import CommandType, OrdType, ReplaceFlag, Side, TimeInForce
from matchengine.replay.workload import ACCOUNT, INSTRUMENT_NUMBER

MAX_UINT64: Final = 2**64 - 1
_GTC: Final = OrdType.LIMIT | TimeInForce.GTC << 4
_IOC: Final = OrdType.LIMIT | TimeInForce.IOC << 4
_REENTRY: Final = ReplaceFlag.QUANTITY_IS_LEAVES | ReplaceFlag.LOSE_PLACE


def limit_order(order_id: int, side: Side, price: int, quantity: int, *, ioc: bool) -> bytes:
    """A new limit order."""
    how = _IOC if ioc else _GTC
    return COMMAND.pack(CommandType.NEW, side, how, 0, INSTRUMENT_NUMBER, ACCOUNT, 0, order_id + 1, 0, price, quantity)


def cancel(order_id: int) -> bytes:
    """Cancel an order."""
    return _amend(CommandType.CANCEL, order_id)


def reduce(order_id: int, quantity: int) -> bytes:
    """Take ``quantity`` off an order, which keeps its place."""
    return _amend(CommandType.REDUCE, order_id, quantity=quantity)


def reenter(order_id: int, price: int, quantity: int) -> bytes:
    """Take an order out and bring it in again with ``quantity`` left, behind all others."""
    return _amend(CommandType.REPLACE, order_id, flags=_REENTRY, price=price, quantity=quantity)


def _amend(kind: CommandType, order_id: int, *, flags: int = 0, price: int = 0, quantity: int = 0) -> bytes:
    return COMMAND.pack(kind, 0, 0, flags, 0, ACCOUNT, 0, 0, order_id + 1 & MAX_UINT64, price, quantity)
