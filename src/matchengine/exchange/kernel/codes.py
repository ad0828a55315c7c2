"""The numbers of :mod:`matchengine.exchange.types` as constants that the compiler folds into the code.

A test holds both equal.
"""

from __future__ import annotations

from typing import Final

MAX_INT64: Final = 0x7FFF_FFFF_FFFF_FFFF
LOW_32: Final = 0xFFFF_FFFF

COMMAND_SIZE: Final = 48
ORDER_SIZE: Final = 44

# command types
NEW: Final = 68
CANCEL: Final = 70
REPLACE: Final = 71
REDUCE: Final = 82

BUY: Final = 1
SELL: Final = 2
MARKET: Final = 1
LIMIT: Final = 2
GTC: Final = 1
IOC: Final = 3
QUANTITY_IS_LEAVES: Final = 1
LOSE_PLACE: Final = 2
KNOWN_FLAGS: Final = 3

# exec_type and ord_status, as they stand in the two lowest bytes of a report
ACCEPTED: Final = 0x3030  # NEW, NEW
TRADED_PART: Final = 0x3146  # TRADE, PARTIALLY_FILLED
TRADED_FULL: Final = 0x3246  # TRADE, FILLED
CANCELED: Final = 0x3434  # CANCELED, CANCELED
REPLACED_NEW: Final = 0x3035  # REPLACED, NEW
REPLACED_PART: Final = 0x3135  # REPLACED, PARTIALLY_FILLED
REPLACED_FULL: Final = 0x3235  # REPLACED, FILLED
REJECTED: Final = 0x3838  # REJECTED, REJECTED
AMEND_REJECTED: Final = 0x3839  # CANCEL_REJECTED, REJECTED
AMEND_REJECTED_NEW: Final = 0x3039  # CANCEL_REJECTED, NEW
AMEND_REJECTED_PART: Final = 0x3139  # CANCEL_REJECTED, PARTIALLY_FILLED

# reasons
UNKNOWN_INSTRUMENT: Final = 1
UNKNOWN_ORDER: Final = 2
DUPLICATE_CL_ORD_ID: Final = 3
INVALID_SIDE: Final = 4
INVALID_ORD_TYPE: Final = 5
INVALID_TIME_IN_FORCE: Final = 6
INVALID_CL_ORD_ID: Final = 7
PRICE_ZERO: Final = 13
PRICE_NEGATIVE: Final = 14
PRICE_NOT_ALLOWED: Final = 16
QUANTITY_ZERO: Final = 23
QUANTITY_NEGATIVE: Final = 24
QUANTITY_OVERFLOW: Final = 25
UNKNOWN_COMMAND: Final = 30
INVALID_FLAGS: Final = 31
IOC_REMAINDER: Final = 40
MARKET_REMAINDER: Final = 41
REDUCED_TO_ZERO: Final = 42
#: Bit n is set where n is a reason.
REASONS: Final = 0x001C_0701_C3F1_FCFF
