"""A copy of the open orders at one moment, written out as snapshots have it (see :mod:`..snapshot`)."""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter, write_i32_le, write_i64_le
from librt.vecs import vec
from mypy_extensions import i32, i64, u8

from matchengine.exchange.kernel.levels import Levels
from matchengine.exchange.kernel.orders import Orders

#: Small enough that writing, hashing or reading one never keeps other threads waiting.
ORDERS_PER_BLOCK: Final = 4096


@final
class FrozenBooks:
    """Copies of the arrays that say which orders stand where, to be read block by block.

    The arrays are copied one at a time, so that other threads can run in between; the books must not change before
    :meth:`copy_next` has returned False.
    """

    def __init__(self, orders: Orders, levels: Levels, instruments: i64) -> None:
        self.leaves: vec[i64] = orders.leaves
        self.cum: vec[i64] = orders.cum
        self.cl_ord_id: vec[i64] = orders.cl_ord_id
        self.order_id: vec[i64] = orders.order_id
        self.account: vec[i32] = orders.account
        self.behind: vec[i32] = orders.behind
        self.key: vec[i64] = levels.key
        self.first: vec[i32] = levels.first
        self.worse: vec[i32] = levels.worse
        self.best: vec[i32] = levels.best
        self.instruments: i64 = instruments
        self.copied: i64 = 0
        # where reading stands: side index, level, order
        self.side: i64 = 0
        self.level: i64 = 0
        self.order: i64 = 0

    def copy_next(self) -> bool:
        """Copy one more array; False when all of them are copies."""
        self.copied += 1
        if self.copied == 1:
            self.leaves = self.leaves[:]
        elif self.copied == 2:
            self.cum = self.cum[:]
        elif self.copied == 3:
            self.cl_ord_id = self.cl_ord_id[:]
        elif self.copied == 4:
            self.order_id = self.order_id[:]
        elif self.copied == 5:
            self.account = self.account[:]
        elif self.copied == 6:
            self.behind = self.behind[:]
        elif self.copied == 7:
            self.key = self.key[:]
        elif self.copied == 8:
            self.first = self.first[:]
        elif self.copied == 9:
            self.worse = self.worse[:]
        else:
            self.best = self.best[:]
            self._open_side(2)
            return False
        return True

    def next_block(self) -> bytes | None:
        """The next block of up to 4,096 orders: an instrument ends with one of fewer; None behind the last."""
        if self.side > 2 * self.instruments + 1:
            return None
        out = BytesWriter()
        write_i32_le(out, 0)
        count: i64 = 0
        while count < ORDERS_PER_BLOCK and self.order != 0:
            self._write(out, self.order)
            self._advance()
            count += 1
        out[0] = u8(count & 0xFF)
        out[1] = u8(count >> 8)
        if count < ORDERS_PER_BLOCK:
            self._open_side((self.side | 1) + 1)
        return out.getvalue()

    def _write(self, out: BytesWriter, n: i64) -> None:
        write_i64_le(out, self.order_id[n])
        write_i64_le(out, self.cl_ord_id[n])
        write_i32_le(out, self.account[n])
        write_i64_le(out, self.key[self.level])
        write_i64_le(out, self.leaves[n])
        write_i64_le(out, self.cum[n])

    def _advance(self) -> None:
        """Go on to the next order of the instrument, or to 0."""
        self.order = i64(self.behind[self.order])
        if self.order == 0:
            self._open_level(i64(self.worse[self.level]))

    def _open_level(self, level: i64) -> None:
        """Stand at the first order of a level; from behind the bids (level 0), at the best ask."""
        if level == 0 and self.side & 1 == 0:
            self._open_side(self.side + 1)
            return
        self.level = level
        self.order = i64(self.first[level])

    def _open_side(self, side: i64) -> None:
        self.side = side
        self.level = 0
        self.order = 0
        if side < len(self.best):
            self._open_level(i64(self.best[side]))
