"""The production engine: the kernel behind the door."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from types import FunctionType
from typing import Final

from matchengine.exchange.door import Door
from matchengine.exchange.kernel.frozen import FrozenBooks
from matchengine.exchange.kernel.kernel import Kernel
from matchengine.exchange.layout import BATCH_HEADER
from matchengine.exchange.queries import Level, OpenOrder, Quote
from matchengine.exchange.snapshot import ORDER, SnapshotReader, encode_head, encode_header
from matchengine.exchange.types import MAX_INT64, Side

#: Whether the kernel is machine code; if not, it does the same, more than a hundred times as slowly.
IS_COMPILED: Final = not isinstance(Kernel.step, FunctionType)
#: Commands and fills of one step: a millisecond, or a few where each touches memory of its own.
_WORK: Final = 2048 if IS_COMPILED else 128
#: Levels that a quote walks over without letting others run.
_LEVELS: Final = 8192 if IS_COMPILED else 512
#: Bytes of orders restored without letting others run.
_PIECE: Final = 1024 * ORDER.size if IS_COMPILED else 128 * ORDER.size

_TWO_64: Final = 2**64
_TWO_32: Final = 2**32


class MatchingEngine(Door):
    """Price-time priority over several instruments.

    :meth:`execute` and :meth:`begin` are the only ways to change anything.  Queries cost what they return; those of
    prices cost levels, not orders.  ``seed`` spreads the clients' names in a hash table: a secret one keeps clients
    from aiming at one place of it.  No answer and no state depends on it.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._seed = seed & MAX_INT64
        self._kernel = Kernel(self._seed)

    # --- changes ---------------------------------------------------------------------------

    def begin(self, batch: bytes, time_ns: int) -> BatchExecution:
        """Begin to execute a batch in steps; errors and answer are those of :meth:`execute`.

        Until the last step nothing else of this engine may be called: the books may be half-way through a command.
        An execution that is never finished leaves the engine unusable but for :meth:`restore`.
        """
        answer = self._answer_at_once(batch, time_ns)
        if answer is None:
            self._begin_orders(batch)
        return BatchExecution(self._kernel, answer)

    def _begin_orders(self, batch: bytes) -> None:
        self._kernel.begin(batch, BATCH_HEADER.size, self._time)

    def _execute_orders(self, batch: bytes) -> bytes:
        self._begin_orders(batch)
        while not self._kernel.step(_WORK):
            pass
        chunks = self._kernel.finish()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _open_book(self) -> None:
        self._kernel.open_book()

    # --- state as a whole ------------------------------------------------------------------

    def state_hash(self) -> bytes:
        """SHA-256 of instruments, open orders in price-time order, and counters.

        Equal for equal commands, however batched and whenever stamped.
        """
        digest = hashlib.sha256()
        for chunk in self._state():
            digest.update(chunk)
        return digest.digest()

    def snapshot(self) -> Iterator[bytes]:
        """The state, frozen by this call, in chunks of at most 1 MiB.

        The call copies arrays, and lets other threads run between two of them; the chunks are made, in slices of some
        thousand orders, as they are asked for.
        """
        header, state = encode_header(self.time), self._state()
        return _chain(header, state)

    def _state(self) -> Iterator[bytes]:
        """The state, frozen by this call."""
        last_order_id, last_trade_id = self._kernel.counters()
        head = encode_head(last_order_id % _TWO_64, last_trade_id % _TWO_64, self.instruments)
        frozen = self._kernel.freeze()
        while frozen.copy_next():
            pass
        return _chain(head, _blocks(frozen))

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the whole state by a snapshot's; ValueError, and no change, for anything that is none."""
        reader = SnapshotReader(chunks)
        kernel = Kernel(self._seed)
        kernel.set_counters(reader.last_order_id, reader.last_trade_id)
        for _ in reader.table.all():
            kernel.open_book()
        for instrument, block in reader.blocks():
            for start in range(0, len(block), _PIECE):
                kernel.load(instrument, block[start : start + _PIECE])
        reader.finish()
        self._kernel, self._table, self._time = kernel, reader.table, reader.time

    def check(self) -> None:
        """Walk through everything the kernel holds; AssertionError where something is wrong.  For tests."""
        self._kernel.check()

    # --- queries ---------------------------------------------------------------------------

    def depth(self, instrument: int, levels: int) -> tuple[list[Level], list[Level]]:
        """(bids, asks), each the best ``levels`` as (price, quantity, orders); KeyError for an unknown instrument."""
        bids = self._side_index(instrument, Side.BUY)
        levels = min(levels, MAX_INT64)
        return self._kernel.levels(bids, levels), self._kernel.levels(bids + 1, levels)

    def quote(self, instrument: int, side: int, quantity: int) -> Quote:
        """What buying (side 1) or selling (side 2) ``quantity`` lots would cost or bring now; KeyError as above.

        Costs the levels that it reaches, a tenth of a microsecond or more each, and lets other threads run in between.
        """
        return self._walk(instrument, side, quantity, MAX_INT64)[0]

    def short_quote(self, instrument: int, side: int, quantity: int) -> Quote | None:
        """As :meth:`quote`, within a few milliseconds; None where it would reach too many levels for that."""
        quote, is_whole = self._walk(instrument, side, quantity, _LEVELS)
        return quote if is_whole else None

    def _walk(self, instrument: int, side: int, quantity: int, most: int) -> tuple[Quote, bool]:
        """A quote from at most ``most`` levels, and whether no more are needed."""
        opposite = Side.SELL if side == Side.BUY else Side.BUY
        level = self._kernel.best(self._side_index(instrument, opposite))
        amount, missing, walked = 0, quantity, 0
        while level and missing > 0 and walked < most:
            more, missing, level = self._kernel.take(level, _LEVELS, missing)
            amount += more
            walked += _LEVELS
        return Quote(amount, quantity - missing, not missing), not (level and missing > 0)

    def order(self, account: int, cl_ord_id: int) -> OpenOrder | None:
        """The account's open order of this name, or None."""
        if not (0 <= account < _TWO_32 and 0 <= cl_ord_id < _TWO_64):
            return None
        return self._open_order(self._kernel.find(_signed(account, _TWO_32), _signed(cl_ord_id, _TWO_64)))

    def order_by_id(self, order_id: int) -> OpenOrder | None:
        """The open order with the exchange's id, or None."""
        if not 0 <= order_id < _TWO_64:
            return None
        return self._open_order(self._kernel.find_id(_signed(order_id, _TWO_64)))

    def _side_index(self, instrument: int, side: Side) -> int:
        if self.instrument(instrument) is None:
            raise KeyError(instrument)
        return 2 * instrument + (side == Side.SELL)

    def _open_order(self, slot: int) -> OpenOrder | None:
        if not slot:
            return None
        order_id, account, cl_ord_id, side, price, leaves, cum = self._kernel.order(slot)
        return OpenOrder(
            order_id % _TWO_64, account % _TWO_32, cl_ord_id % _TWO_64, side // 2, side % 2 + 1, price, leaves, cum
        )


class BatchExecution:
    """A batch under way; see :class:`matchengine.state_machine.Execution`."""

    __slots__ = ("_answer", "_kernel")

    def __init__(self, kernel: Kernel, answer: bytes | None) -> None:
        self._kernel = kernel
        self._answer = answer

    def step(self) -> tuple[bytes, ...] | None:
        """Execute some thousand commands and fills; the answer in chunks of at most 1 MiB, or None for not yet."""
        if self._answer is not None:
            return (self._answer,)
        return self._kernel.finish() if self._kernel.step(_WORK) else None


def _chain(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


def _blocks(frozen: FrozenBooks) -> Iterator[bytes]:
    while (block := frozen.next_block()) is not None:
        yield block


def _signed(number: int, modulus: int) -> int:
    """The signed number of the same bits."""
    return number - modulus if number >= modulus // 2 else number
