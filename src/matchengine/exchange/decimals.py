"""Exact decimal strings to ticks and lots, and back.

A number is digits, optionally a point and more digits, optionally ``-`` in front: no exponent, no ``+``, no
space, no other script's digits.  Zeros at the end add no precision.  What a rule forbids is named, in this
order: malformed, too precise, zero, negative, off the tick or lot, overflow.
"""

from __future__ import annotations

from typing import Final

from matchengine.exchange.instruments import Instrument
from matchengine.exchange.types import MAX_INT64, Reason

#: Longest string that is looked at: more than any 64-bit number with 18 decimals has.
MAX_TEXT: Final = 64

_PRICE: Final = (
    Reason.PRICE_MALFORMED,
    Reason.PRICE_TOO_PRECISE,
    Reason.PRICE_ZERO,
    Reason.PRICE_NEGATIVE,
    Reason.PRICE_OFF_TICK,
    Reason.PRICE_OVERFLOW,
)
_QUANTITY: Final = (
    Reason.QUANTITY_MALFORMED,
    Reason.QUANTITY_TOO_PRECISE,
    Reason.QUANTITY_ZERO,
    Reason.QUANTITY_NEGATIVE,
    Reason.QUANTITY_OFF_LOT,
    Reason.QUANTITY_OVERFLOW,
)


def parse_price(instrument: Instrument, text: str) -> tuple[int, Reason]:
    """(ticks, Reason.NONE), or (0, the first rule that is broken)."""
    return _parse(text, instrument.price_decimals, instrument.tick_size, _PRICE)


def parse_quantity(instrument: Instrument, text: str) -> tuple[int, Reason]:
    """(lots, Reason.NONE), or (0, the first rule that is broken)."""
    return _parse(text, instrument.quantity_decimals, instrument.lot_size, _QUANTITY)


def format_price(instrument: Instrument, ticks: int) -> str:
    """A price with all decimals of the instrument."""
    return format_units(ticks * instrument.tick_size, instrument.price_decimals)


def format_quantity(instrument: Instrument, lots: int) -> str:
    """A quantity with all decimals of the instrument."""
    return format_units(lots * instrument.lot_size, instrument.quantity_decimals)


def format_amount(instrument: Instrument, amount: int) -> str:
    """A price times a quantity, given in ticks times lots, with the decimals of both."""
    units = amount * instrument.tick_size * instrument.lot_size
    return format_units(units, instrument.price_decimals + instrument.quantity_decimals)


def format_units(units: int, decimals: int) -> str:
    """``units`` of 10^-decimals: 12345 at 2 decimals is ``"123.45"``."""
    sign, digits = "-" if units < 0 else "", str(abs(units)).zfill(decimals + 1)
    if not decimals:
        return sign + digits
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def _parse(text: str, decimals: int, step: int, reasons: tuple[Reason, ...]) -> tuple[int, Reason]:
    malformed, too_precise, zero, negative, off_step, overflow = reasons
    number = _split(text)
    if number is None:
        return 0, malformed
    whole, fraction = number
    if len(fraction) > decimals:
        return 0, too_precise
    units = int(whole + fraction.ljust(decimals, "0"))
    if not units:
        return 0, zero
    if text[0] == "-":
        return 0, negative
    steps, rest = divmod(units, step)
    if rest:
        return 0, off_step
    return (0, overflow) if steps > MAX_INT64 else (steps, Reason.NONE)


def _split(text: str) -> tuple[str, str] | None:
    """The digits before the point and the significant ones behind it."""
    if len(text) > MAX_TEXT or not text.isascii():
        return None
    whole, point, fraction = text.removeprefix("-").partition(".")
    if not whole.isdigit() or (point and not fraction.isdigit()):
        return None
    return whole, fraction.rstrip("0")
