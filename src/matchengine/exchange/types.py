"""The trading vocabulary: FIX's names, with FIX's character codes as the numbers.

Prices are ticks and quantities are lots, both signed 64-bit integers.
"""

from __future__ import annotations

from enum import IntEnum

MAX_INT64 = 2**63 - 1


class Side(IntEnum):
    """Side (FIX 54)."""

    BUY = 1
    SELL = 2


class OrdType(IntEnum):
    """OrdType (FIX 40)."""

    MARKET = 1
    LIMIT = 2


class TimeInForce(IntEnum):
    """TimeInForce (FIX 59): good till cancel, or immediate or cancel."""

    GTC = 1
    IOC = 3


class CommandType(IntEnum):
    """What a packed command asks for (FIX MsgType as a character where there is one)."""

    NEW = ord("D")
    CANCEL = ord("F")
    REPLACE = ord("G")
    REDUCE = ord("R")


class ReplaceFlag(IntEnum):
    """Bits of a replace: what its quantity means, and whether the order gives up its place."""

    QUANTITY_IS_LEAVES = 1
    LOSE_PLACE = 2


class ExecType(IntEnum):
    """ExecType (FIX 150); CANCEL_REJECTED stands for FIX's OrderCancelReject message (35=9)."""

    NEW = ord("0")
    CANCELED = ord("4")
    REPLACED = ord("5")
    REJECTED = ord("8")
    CANCEL_REJECTED = ord("9")
    TRADE = ord("F")


class OrdStatus(IntEnum):
    """OrdStatus (FIX 39)."""

    NEW = ord("0")
    PARTIALLY_FILLED = ord("1")
    FILLED = ord("2")
    CANCELED = ord("4")
    REJECTED = ord("8")


class Reason(IntEnum):
    """Why a command was rejected, or an order cancelled without being asked.  Numbers are stable."""

    NONE = 0
    UNKNOWN_INSTRUMENT = 1
    UNKNOWN_ORDER = 2
    DUPLICATE_CL_ORD_ID = 3
    INVALID_SIDE = 4
    INVALID_ORD_TYPE = 5
    INVALID_TIME_IN_FORCE = 6
    INVALID_CL_ORD_ID = 7
    PRICE_MALFORMED = 10
    PRICE_TOO_PRECISE = 11
    PRICE_OFF_TICK = 12
    PRICE_ZERO = 13
    PRICE_NEGATIVE = 14
    PRICE_OVERFLOW = 15
    PRICE_NOT_ALLOWED = 16
    QUANTITY_MALFORMED = 20
    QUANTITY_TOO_PRECISE = 21
    QUANTITY_OFF_LOT = 22
    QUANTITY_ZERO = 23
    QUANTITY_NEGATIVE = 24
    QUANTITY_OVERFLOW = 25
    UNKNOWN_COMMAND = 30
    INVALID_FLAGS = 31
    MALFORMED_BATCH = 32
    # unsolicited cancels
    IOC_REMAINDER = 40
    MARKET_REMAINDER = 41
    REDUCED_TO_ZERO = 42
    # instrument definitions
    DUPLICATE_INSTRUMENT = 50
    INVALID_INSTRUMENT = 51
    TOO_MANY_INSTRUMENTS = 52
