"""The one door of an engine: packed batches in, packed answers out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from matchengine.exchange.instruments import Instrument, InstrumentTable, is_definition
from matchengine.exchange.layout import (
    ANSWER_HEADER,
    BATCH_HEADER,
    COMMAND,
    INSTRUMENT_ANSWER,
    KIND_INSTRUMENT,
    KIND_ORDERS,
    MAX_BATCH_BYTES,
    REPORT,
    VERSION,
    NewerLayoutError,
)
from matchengine.exchange.types import MAX_INT64, ExecType, OrdStatus, Reason

_MALFORMED: Final = REPORT.pack(ExecType.REJECTED, OrdStatus.REJECTED, 0, Reason.MALFORMED_BATCH, *(12 * (0,)))


class Door(ABC):
    """What every engine does alike: headers, bounds, time and instruments; how orders match is left open."""

    def __init__(self) -> None:
        self._table = InstrumentTable()
        self._time = 0

    @property
    def time(self) -> int:
        """Exchange time: the greatest stamp so far, in nanoseconds since the epoch (0: none yet)."""
        return self._time

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """All instruments; number n stands at n - 1."""
        return self._table.all()

    def instrument(self, number: int) -> Instrument | None:
        """The instrument with this number, or None."""
        return self._table.get(number)

    def find_instrument(self, symbol: str) -> Instrument | None:
        """The instrument with this symbol, or None."""
        return self._table.find(symbol)

    def execute(self, batch: bytes, time_ns: int) -> bytes:
        """Execute one packed batch at the leader's stamp (0 or in the past: time stands still).

        Both are described in :mod:`matchengine.exchange.layout`.  Every sequence of bytes has an answer, except
        that a newer layout version raises NewerLayoutError and changes nothing.
        """
        answer = self._answer_at_once(batch, time_ns)
        return self._execute_orders(batch) if answer is None else answer

    def _answer_at_once(self, batch: bytes, time_ns: int) -> bytes | None:
        """Check a batch and set the time; None for one of whole command records, which begin behind its header."""
        if batch and batch[0] > VERSION:
            raise NewerLayoutError(f"batch: layout version {batch[0]} is above {VERSION}, the newest known here")
        self._time = max(self._time, min(time_ns, MAX_INT64))
        if BATCH_HEADER.size <= len(batch) <= MAX_BATCH_BYTES:
            version, kind, reserved, count = BATCH_HEADER.unpack_from(batch)
            if version == VERSION and reserved == 0:
                if kind == KIND_ORDERS and len(batch) == BATCH_HEADER.size + count * COMMAND.size:
                    return None
                body = batch[BATCH_HEADER.size :]
                if kind == KIND_INSTRUMENT and count == 1 and is_definition(body):
                    return self._answer(KIND_INSTRUMENT, [self._define(body)])
        return self._answer(KIND_ORDERS, [_MALFORMED])

    def _answer(self, kind: int, records: Sequence[bytes]) -> bytes:
        header = ANSWER_HEADER.pack(VERSION, kind, 0, len(records), self._time)
        return header + b"".join(records)

    def _define(self, definition: bytes) -> bytes:
        number, reason = self._table.define(definition)
        if number:
            self._open_book()
        return INSTRUMENT_ANSWER.pack(number, reason)

    @abstractmethod
    def _execute_orders(self, batch: bytes) -> bytes:
        """Execute the command records of a batch; the answer."""

    @abstractmethod
    def _open_book(self) -> None:
        """Make an empty book for the next instrument."""
