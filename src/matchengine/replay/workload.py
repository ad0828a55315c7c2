"""A recording, translated: what is sent, and what is known about the right outcome."""

from __future__ import annotations

import msgspec

from matchengine.exchange.layout import (
    BATCH_HEADER,
    COMMAND,
    INSTRUMENT,
    KIND_INSTRUMENT,
    KIND_ORDERS,
    VERSION,
)

ACCOUNT = 1
#: The cluster is fresh, so the first instrument gets this number.
INSTRUMENT_NUMBER = 1


class BookRow(msgspec.Struct, frozen=True, gc=False):
    """The right book after ``position`` messages.

    ``asks`` and ``bids`` hold (price, quantity) from the best level down; None stands for a cell that is
    not to be compared.
    """

    position: int
    seq: int
    asks: tuple[tuple[int | None, int | None], ...]
    bids: tuple[tuple[int | None, int | None], ...]


class Workload(msgspec.Struct, frozen=True):
    """``commands`` are packed records, one per message; ``books`` are in rising order of position."""

    symbol: str
    price_decimals: int
    commands: bytes
    books: tuple[BookRow, ...] = ()

    @property
    def messages(self) -> int:
        """Number of messages."""
        return len(self.commands) // COMMAND.size

    @property
    def levels(self) -> int:
        """The deepest level that any book row speaks of."""
        return max((len(row.asks) for row in self.books), default=0)

    def instrument_batch(self) -> bytes:
        """The packed batch that creates the instrument: a tick of the last decimal, a lot of 1."""
        definition = INSTRUMENT.pack(self.price_decimals, 0, len(self.symbol), 0, 1, 1) + self.symbol.encode()
        return BATCH_HEADER.pack(VERSION, KIND_INSTRUMENT, 0, 1) + definition

    def batch(self, start: int, end: int) -> bytes:
        """The packed batch of messages ``start`` up to, not including, ``end``."""
        body = self.commands[start * COMMAND.size : end * COMMAND.size]
        return BATCH_HEADER.pack(VERSION, KIND_ORDERS, 0, end - start) + body
