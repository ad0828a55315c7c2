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
from typing import Final

from matchengine.exchange.instruments import Instrument, InstrumentTable, definition_size
from matchengine.exchange.layout import INSTRUMENT, MAX_INSTRUMENTS
from matchengine.exchange.order_book import KEY, ORDER_ID, Order
from matchengine.exchange.types import MAX_INT64

FORMAT: Final = 1
_MAGIC: Final = b"MEXCHNGE"
_HEADER: Final = Struct("<8sHq")
_COUNTERS: Final = Struct("<QQI")
_COUNT: Final = Struct("<I")
_ORDER: Final = Struct("<QQIqqq")
#: Small enough that hashing or writing one never keeps other threads waiting.
_ORDERS_PER_BLOCK: Final = 4096


def encode_header(time: int) -> bytes:
    """What precedes the state in a snapshot."""
    return _HEADER.pack(_MAGIC, FORMAT, time)


def encode_state(
    last_order_id: int, last_trade_id: int, instruments: Sequence[Instrument], orders: Iterable[Iterable[Order]]
) -> Iterator[bytes]:
    """The state in chunks of at most 1 MiB; ``orders`` belong to the instruments one by one."""
    yield _COUNTERS.pack(last_order_id, last_trade_id, len(instruments))
    yield b"".join(instrument.pack() for instrument in instruments)
    for each in orders:
        yield from _blocks(iter(each))


def _blocks(orders: Iterator[Order]) -> Iterator[bytes]:
    size = _ORDERS_PER_BLOCK
    while size == _ORDERS_PER_BLOCK:
        records = [
            _ORDER.pack(order_id, cl_ord_id, account, key, leaves, cum)
            for leaves, cum, key, cl_ord_id, order_id, account, _ in islice(orders, _ORDERS_PER_BLOCK)
        ]
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
    """A snapshot being read: the head at once, the orders one by one."""

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

    def orders(self) -> Iterator[Order]:
        """All open orders, checked one by one; to be drained before :meth:`finish`."""
        for number in range(1, self._instruments + 1):
            previous = -MAX_INT64
            best_bid = 0
            for order in self._read_orders(number):
                key = order[KEY]
                if key < previous:
                    raise ValueError(f"snapshot: order {order[ORDER_ID]} is out of price order")
                best_bid = min(best_bid, key)
                if key > 0 and key + best_bid <= 0:
                    raise ValueError(f"snapshot: order {order[ORDER_ID]} crosses the book")
                previous = key
                yield order

    def _read_orders(self, number: int) -> Iterator[Order]:
        count = _ORDERS_PER_BLOCK
        while count == _ORDERS_PER_BLOCK:
            (count,) = _COUNT.unpack(self._reader.take(_COUNT.size))
            if count > _ORDERS_PER_BLOCK:
                raise ValueError(f"snapshot: a block of {count} orders is above the limit of {_ORDERS_PER_BLOCK}")
            for _ in range(count):
                yield self._read_order(number)

    def _read_order(self, number: int) -> Order:
        order_id, cl_ord_id, account, key, leaves, cum = _ORDER.unpack(self._reader.take(_ORDER.size))
        if not 0 < order_id <= self.last_order_id or not cl_ord_id:
            raise ValueError(f"snapshot: order id {order_id} or cl_ord_id {cl_ord_id} is out of bounds")
        if not -MAX_INT64 <= key <= MAX_INT64 or key == 0:
            raise ValueError(f"snapshot: order {order_id}: key {key} is none")
        if leaves <= 0 or cum < 0 or leaves + cum > MAX_INT64:
            raise ValueError(f"snapshot: order {order_id}: leaves {leaves} and cum {cum} are out of bounds")
        return [leaves, cum, key, cl_ord_id, order_id, account, number]

    def finish(self) -> None:
        """Raise ValueError unless the snapshot ends here."""
        self._reader.require_end()
