"""The command under way, and the rules that a command may break on its own."""

from __future__ import annotations

from typing import final

from librt.strings import read_i64_le
from mypy_extensions import i64

from matchengine.exchange.kernel.codes import (
    BUY,
    CANCEL,
    GTC,
    INVALID_CL_ORD_ID,
    INVALID_FLAGS,
    INVALID_ORD_TYPE,
    INVALID_SIDE,
    INVALID_TIME_IN_FORCE,
    IOC,
    KNOWN_FLAGS,
    LIMIT,
    MARKET,
    MAX_INT64,
    PRICE_NEGATIVE,
    PRICE_NOT_ALLOWED,
    PRICE_ZERO,
    QUANTITY_IS_LEAVES,
    QUANTITY_NEGATIVE,
    QUANTITY_OVERFLOW,
    QUANTITY_ZERO,
    REASONS,
    REPLACE,
    SELL,
    UNKNOWN_COMMAND,
    UNKNOWN_INSTRUMENT,
)


def signed_32(number: i64) -> i64:
    """The low 32 bits as a signed number."""
    return ((number & 0xFFFF_FFFF) ^ 0x8000_0000) - 0x8000_0000


@final
class Command:
    """The fields of one command record."""

    def __init__(self) -> None:
        self.type: i64 = 0
        #: As the command has it: any number from 0 to 255.
        self.way: i64 = 0
        self.ord_type: i64 = 0
        self.time_in_force: i64 = 0
        self.flags: i64 = 0
        self.instrument: i64 = 0
        self.account: i64 = 0
        self.invalid: i64 = 0
        self.cl_ord_id: i64 = 0
        self.orig_cl_ord_id: i64 = 0
        self.price: i64 = 0
        self.quantity: i64 = 0

    def read(self, batch: bytes, at: i64) -> None:
        """Take the record that begins at ``at``."""
        head = read_i64_le(batch, at)
        owner = read_i64_le(batch, at + 8)
        self.type = head & 0xFF
        self.way = (head >> 8) & 0xFF
        self.ord_type = (head >> 16) & 0xF
        self.time_in_force = (head >> 20) & 0xF
        self.flags = (head >> 24) & 0xFF
        self.instrument = head >> 32
        self.account = signed_32(owner)
        self.invalid = owner >> 32
        self.cl_ord_id = read_i64_le(batch, at + 16)
        self.orig_cl_ord_id = read_i64_le(batch, at + 24)
        self.price = read_i64_le(batch, at + 32)
        self.quantity = read_i64_le(batch, at + 40)

    def known_way(self) -> i64:
        """The side, or 0 where it is none."""
        return self.way if self.way == BUY or self.way == SELL else 0

    def fault_of_new(self, instruments: i64) -> i64:
        """The first rule that a NEW command breaks, or 0; that its name is free is left to be checked."""
        if self.invalid != 0:
            return self._gateway_fault()
        if self.flags != 0:
            return INVALID_FLAGS
        if self.instrument <= 0 or self.instrument > instruments:
            return UNKNOWN_INSTRUMENT
        if self.way != BUY and self.way != SELL:
            return INVALID_SIDE
        if self.ord_type != MARKET and self.ord_type != LIMIT:
            return INVALID_ORD_TYPE
        if self.time_in_force != GTC and self.time_in_force != IOC:
            return INVALID_TIME_IN_FORCE
        if self.ord_type == MARKET:
            if self.price != 0:
                return PRICE_NOT_ALLOWED
        elif self.price <= 0:
            return self._price_fault()
        if self.quantity <= 0:
            return self._quantity_fault()
        if self.cl_ord_id == 0:
            return INVALID_CL_ORD_ID
        return 0

    def fault_of_amend(self, cum: i64) -> i64:
        """The first rule that a command on an open order breaks, or 0; a new name is left to be checked."""
        if self.invalid != 0:
            return self._gateway_fault()
        if self.type == REPLACE:
            return self._fault_of_replace(cum)
        if self.flags != 0:
            return INVALID_FLAGS
        if self.type == CANCEL or self.quantity > 0:
            return 0
        return self._quantity_fault()

    def _fault_of_replace(self, cum: i64) -> i64:
        if self.flags > KNOWN_FLAGS:
            return INVALID_FLAGS
        if self.price <= 0:
            return self._price_fault()
        if self.quantity <= 0:
            return self._quantity_fault()
        if self.flags & QUANTITY_IS_LEAVES != 0 and self.quantity > MAX_INT64 - cum:
            return QUANTITY_OVERFLOW
        return 0

    def _gateway_fault(self) -> i64:
        """The gateway's reason; a number that is none is itself a fault."""
        if 0 < self.invalid < 63 and (REASONS >> self.invalid) & 1 != 0:
            return self.invalid
        return UNKNOWN_COMMAND

    def _price_fault(self) -> i64:
        return PRICE_NEGATIVE if self.price != 0 else PRICE_ZERO

    def _quantity_fault(self) -> i64:
        return QUANTITY_NEGATIVE if self.quantity != 0 else QUANTITY_ZERO
