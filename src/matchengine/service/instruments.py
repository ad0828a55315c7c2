"""Instrument definitions: decimal steps as clients write them, and the packed record."""

from __future__ import annotations

from typing import Final

from matchengine.exchange.layout import (
    ANSWER_HEADER,
    BATCH_HEADER,
    INSTRUMENT,
    INSTRUMENT_ANSWER,
    KIND_INSTRUMENT,
    MAX_DECIMALS,
    MAX_SYMBOL_BYTES,
    VERSION,
)
from matchengine.exchange.types import MAX_INT64, Reason
from matchengine.service.errors import InvalidArgumentError

_MAX_DIGITS: Final = 40


def pack_instrument(symbol: str, tick_size: str, lot_size: str) -> bytes:
    """The kind-2 batch that lists an instrument; raises InvalidArgumentError for what no record can hold."""
    name = _symbol_bytes(symbol)
    tick, price_decimals = parse_step("tick_size", tick_size)
    lot, quantity_decimals = parse_step("lot_size", lot_size)
    record = INSTRUMENT.pack(price_decimals, quantity_decimals, len(name), 0, tick, lot)
    return BATCH_HEADER.pack(VERSION, KIND_INSTRUMENT, 0, 1) + record + name


def parse_step(field: str, text: str) -> tuple[int, int]:
    """``"0.005"`` is 5 at 3 decimals: every digit that is written counts.  Must be above 0."""
    whole, point, fraction = text.partition(".")
    digits = whole + fraction
    if not whole or (point and not fraction) or not (digits.isascii() and digits.isdigit()):
        raise InvalidArgumentError(f"{field}: {text[:_MAX_DIGITS]!r} is not a decimal number such as 0.01")
    if len(fraction) > MAX_DECIMALS:
        raise InvalidArgumentError(f"{field}: {len(fraction)} decimals are above the limit of {MAX_DECIMALS}")
    if len(digits) > _MAX_DIGITS or int(digits) > MAX_INT64:
        raise InvalidArgumentError(f"{field}: {text[:_MAX_DIGITS]} is above {MAX_INT64} units of its last digit")
    if int(digits) == 0:
        raise InvalidArgumentError(f"{field}: {text} is not above 0")
    return int(digits), len(fraction)


def instrument_answer(sequence: int, payload: bytes) -> tuple[int, str]:
    """The new instrument's number (0: refused) and the reason's name (empty: none)."""
    if ANSWER_HEADER.unpack_from(payload)[1] != KIND_INSTRUMENT:
        raise InvalidArgumentError(f"sequence: {sequence} was used for another command, which took effect")
    number, reason = INSTRUMENT_ANSWER.unpack_from(payload, ANSWER_HEADER.size)
    return number, reason_name(reason)


def reason_name(reason: int) -> str:
    """Name of a reason, ``""`` for none."""
    return Reason(reason).name if reason else ""


def _symbol_bytes(symbol: str) -> bytes:
    if not (symbol.isascii() and symbol.isprintable()) or not symbol or " " in symbol:
        raise InvalidArgumentError(f"symbol: {symbol[:_MAX_DIGITS]!r} is not printable ASCII without spaces")
    if len(symbol) > MAX_SYMBOL_BYTES:
        raise InvalidArgumentError(f"symbol: {len(symbol)} bytes are above the limit of {MAX_SYMBOL_BYTES}")
    return symbol.encode()
