"""Instruments: what can be traded, in which steps of price and quantity."""

from __future__ import annotations

import msgspec

from matchengine.exchange.layout import (
    INSTRUMENT,
    MAX_DECIMALS,
    MAX_INSTRUMENTS,
    MAX_SYMBOL_BYTES,
)
from matchengine.exchange.types import Reason

_FIRST_SYMBOL_CHARACTER = 0x21
_LAST_SYMBOL_CHARACTER = 0x7E


class Instrument(msgspec.Struct, frozen=True, gc=False):
    """One instrument; ``tick_size`` and ``lot_size`` count units of 10^-decimals."""

    number: int
    symbol: str
    price_decimals: int
    quantity_decimals: int
    tick_size: int
    lot_size: int

    def pack(self) -> bytes:
        """The definition as in the body of a kind-2 batch."""
        symbol = self.symbol.encode()
        return (
            INSTRUMENT.pack(self.price_decimals, self.quantity_decimals, len(symbol), 0, self.tick_size, self.lot_size)
            + symbol
        )


def definition_size(fixed: bytes) -> int:
    """Bytes of a whole definition, of which ``fixed`` holds at least the fixed part."""
    return INSTRUMENT.size + fixed[2]


def is_definition(body: bytes) -> bool:
    """Whether ``body`` has the size of a definition, so that :func:`parse_definition` can look at it."""
    return len(body) >= INSTRUMENT.size and len(body) == definition_size(body)


def parse_definition(body: bytes, number: int) -> Instrument | None:
    """The instrument that a definition of the right size describes, or None if a rule is broken."""
    price_decimals, quantity_decimals, _, reserved, tick_size, lot_size = INSTRUMENT.unpack_from(body)
    symbol = body[INSTRUMENT.size :]
    if reserved or max(price_decimals, quantity_decimals) > MAX_DECIMALS or min(tick_size, lot_size) <= 0:
        return None
    if not 1 <= len(symbol) <= MAX_SYMBOL_BYTES:
        return None
    if min(symbol) < _FIRST_SYMBOL_CHARACTER or max(symbol) > _LAST_SYMBOL_CHARACTER:
        return None
    return Instrument(number, symbol.decode("ascii"), price_decimals, quantity_decimals, tick_size, lot_size)


class InstrumentTable:
    """All instruments, in order of their numbers."""

    def __init__(self) -> None:
        self._all: list[Instrument] = []
        self._by_symbol: dict[str, Instrument] = {}

    def all(self) -> tuple[Instrument, ...]:
        """Every instrument; number n stands at n - 1."""
        return tuple(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def get(self, number: int) -> Instrument | None:
        """The instrument with this number, or None."""
        return self._all[number - 1] if 0 < number <= len(self._all) else None

    def find(self, symbol: str) -> Instrument | None:
        """The instrument with this symbol, or None."""
        return self._by_symbol.get(symbol)

    def define(self, definition: bytes) -> tuple[int, Reason]:
        """List a new instrument: its number, or 0 and the first rule that is broken."""
        instrument = parse_definition(definition, len(self._all) + 1)
        if instrument is None:
            return 0, Reason.INVALID_INSTRUMENT
        if instrument.symbol in self._by_symbol:
            return 0, Reason.DUPLICATE_INSTRUMENT
        if len(self._all) == MAX_INSTRUMENTS:
            return 0, Reason.TOO_MANY_INSTRUMENTS
        self._all.append(instrument)
        self._by_symbol[instrument.symbol] = instrument
        return instrument.number, Reason.NONE
