"""The exchange's state as bytes: for snapshots, and for the state hash.

::

    snapshot   = magic | u16 format | i64 exchange time (ns) | state
    state      = u64 last order id | u64 last trade id | u32 instruments | definition* | orders of each instrument
    definition = as in the body of a kind-2 batch
    orders     = block*, of 4,096 orders each, then one of fewer: bids, then asks, each side in price-time order
    block      = u32 count | order*
    order      = u64 order id | u64 cl_ord_id | u32 account | i64 key | i64 leaves | i64 cum

The hash is taken over ``state``: neither time nor the bounds of batches are in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from struct import Struct
from typing import Final, TypeAlias

from matchengine.exchange.instruments import Instrument, InstrumentTable, definition_size
from matchengine.exchange.layout import INSTRUMENT, MAX_INSTRUMENTS
from matchengine.exchange.types import MAX_INT64

#: order id, cl_ord_id, account, key (the negated price of a buy, the price of a sell), leaves, cum.
OrderRecord: TypeAlias = tuple[int, int, int, int, int, int]

FORMAT: Final = 1
_MAGIC: Final = b"MEXCHNGE"
_HEADER: Final = Struct("<8sHq")
_COUNTERS: Final = Struct("<QQI")
_COUNT: Final = Struct("<I")
ORDER: Final = Struct("<QQIqqq")
#: Small enough that hashing or writing one never keeps other threads waiting.
_ORDERS_PER_BLOCK: Final = 4096


def encode_header(time: int) -> bytes:
    """What precedes the state in a snapshot."""
    return _HEADER.pack(_MAGIC, FORMAT, time)


def encode_head(last_order_id: int, last_trade_id: int, instruments: Sequence[Instrument]) -> bytes:
    """What precedes the orders in the state."""
    counters = _COUNTERS.pack(last_order_id, last_trade_id, len(instruments))
    return counters + b"".join(instrument.pack() for instrument in instruments)


def encode_orders(orders: Iterable[OrderRecord]) -> Iterator[bytes]:
    """The blocks of one instrument's orders."""
    orders = iter(orders)
    size = _ORDERS_PER_BLOCK
    while size == _ORDERS_PER_BLOCK:
        records = [ORDER.pack(*order) for order in islice(orders, _ORDERS_PER_BLOCK)]
        size = len(records)
        yield _COUNT.pack(size) + b"".join(records)


class _Reader:
    """Takes pieces of known size out of chunks of any size."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes; raises ValueError when there are not so many."""
        while len(self._buffer) - self._at < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise ValueError(f"snapshot: ends {size - (len(self._buffer) - self._at)} bytes too early")
            self._buffer = self._buffer[self._at :] + chunk
            self._at = 0
        piece = self._buffer[self._at : self._at + size]
        self._at += size
        return piece

    def require_end(self) -> None:
        """Raise ValueError if anything is left."""
        if self._at < len(self._buffer) or any(self._chunks):
            raise ValueError("snapshot: goes on behind its end")


class SnapshotReader:
    """A snapshot being read: the head at once, the orders block by block."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._reader = _Reader(chunks)
        magic, form, self.time = _HEADER.unpack(self._reader.take(_HEADER.size))
        if magic != _MAGIC:
            raise ValueError("snapshot: is not one of an exchange")
        if form != FORMAT:
            raise ValueError(f"snapshot: format {form} is not {FORMAT}")
        self.last_order_id, self.last_trade_id, self._instruments = _COUNTERS.unpack(self._reader.take(_COUNTERS.size))
        if max(self.last_order_id, self.last_trade_id) > MAX_INT64:
            raise ValueError(
                f"snapshot: order id {self.last_order_id} or trade id {self.last_trade_id} leaves no next one"
            )
        if self.time < 0 or self._instruments > MAX_INSTRUMENTS:
            raise ValueError(f"snapshot: time {self.time} or {self._instruments} instruments are out of bounds")
        self.table = self._read_table()

    def _read_table(self) -> InstrumentTable:
        table = InstrumentTable()
        for _ in range(self._instruments):
            fixed = self._reader.take(INSTRUMENT.size)
            definition = fixed + self._reader.take(definition_size(fixed) - INSTRUMENT.size)
            number, reason = table.define(definition)
            if not number:
                raise ValueError(f"snapshot: instrument {len(table) + 1}: {reason.name}")
        return table

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """(instrument, order records) of every block; to be drained before :meth:`finish`."""
        for number in range(1, self._instruments + 1):
            count = _ORDERS_PER_BLOCK
            while count == _ORDERS_PER_BLOCK:
                (count,) = _COUNT.unpack(self._reader.take(_COUNT.size))
                if count > _ORDERS_PER_BLOCK:
                    raise ValueError(f"snapshot: a block of {count} orders is above the limit of {_ORDERS_PER_BLOCK}")
                yield number, self._reader.take(count * ORDER.size)

    def finish(self) -> None:
        """Raise ValueError unless the snapshot ends here."""
        self._reader.require_end()
