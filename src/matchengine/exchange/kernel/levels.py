"""Price levels: for each side of each book a sorted list, and a tree that finds the place of any price.

The tree is a crit-bit tree (D. J. Bernstein, "Crit-bit trees"): an inner node tests one bit of the key, and all
keys below it agree in the bits above.  The keys of one side have one sign, so all 63 bits below it sort them.  The
tree needs no balancing, is at most 63 deep and about as deep as the logarithm of the number of levels; with links
upwards a level leaves it in a few steps, however many there are.
"""

from __future__ import annotations

from typing import final

from librt.vecs import append, vec
from mypy_extensions import i32, i64

from matchengine.exchange.kernel.codes import LOW_32


@final
class Levels:
    """The pool of levels, the pool of inner nodes, and where each side begins.

    A level's total is kept in two words of 32 low and 63 high bits: together its orders may hold more than 2^63 - 1.
    In the tree, a positive reference is an inner node and a negative one a level.
    Slots that are free are linked through ``worse`` and ``above``.
    """

    def __init__(self) -> None:
        # levels
        self.key: vec[i64] = vec[i64]([0], capacity=64)
        self.high: vec[i64] = vec[i64]([0], capacity=68)
        self.low: vec[i64] = vec[i64]([0], capacity=72)
        self.orders: vec[i32] = vec[i32]([0], capacity=76)
        self.first: vec[i32] = vec[i32]([0], capacity=80)
        self.last: vec[i32] = vec[i32]([0], capacity=84)
        self.better: vec[i32] = vec[i32]([0], capacity=88)
        self.worse: vec[i32] = vec[i32]([0], capacity=92)
        self.side: vec[i32] = vec[i32]([0], capacity=96)
        self.parent: vec[i32] = vec[i32]([0], capacity=100)
        self.slots: i64 = 1
        self.free: i64 = 0
        # inner nodes: node n has its children at 2 * n and 2 * n + 1
        self.bit: vec[i32] = vec[i32]([0], capacity=104)
        self.above: vec[i32] = vec[i32]([0], capacity=108)
        self.child: vec[i32] = vec[i32]([0, 0], capacity=228)
        self.nodes: i64 = 1
        self.free_node: i64 = 0
        # sides; an instrument has two, and instrument 0 is none
        self.root: vec[i32] = vec[i32]([0, 0])
        self.best: vec[i32] = vec[i32]([0, 0])

    def open_book(self) -> None:
        """Make the two sides of one more instrument."""
        self.root = append(append(self.root, 0), 0)
        self.best = append(append(self.best, 0), 0)

    # --- what stands at a level --------------------------------------------------------------

    def meeting(self, side: i64, limit: i64) -> i64:
        """The best level of ``side`` if a taker with key ``limit`` meets it, or 0."""
        level = i64(self.best[side])
        if level != 0 and self.key[level] + limit > 0:
            return 0
        return level

    def grow(self, level: i64, quantity: i64) -> None:
        """Add to a level's total."""
        low = self.low[level] + (quantity & LOW_32)
        self.high[level] += (quantity >> 32) + (low >> 32)
        self.low[level] = low & LOW_32

    def shrink(self, level: i64, quantity: i64) -> None:
        """Take from a level's total."""
        low = self.low[level] - (quantity & LOW_32)
        self.high[level] += (low >> 32) - (quantity >> 32)
        self.low[level] = low & LOW_32

    def total(self, level: i64) -> int:
        """The quantity that a level's orders have left together."""
        high: int = self.high[level]
        low: int = self.low[level]
        return high * 4294967296 + low

    # --- finding, making and dropping levels -------------------------------------------------

    def at(self, side: i64, key: i64) -> i64:
        """The level with this key; made if there is none."""
        best = i64(self.best[side])
        if best == 0:
            return self._make_first(side, key)
        if self.key[best] == key:
            return best
        ref = i64(self.root[side])
        while ref > 0:
            ref = self._below(ref, key)
        level = -ref
        if self.key[level] == key:
            return level
        return self._make(side, key, top_bit(key ^ self.key[level]))

    def drop(self, level: i64) -> None:
        """Take a level without orders out of its side."""
        side, better, worse = i64(self.side[level]), self.better[level], self.worse[level]
        if better != 0:
            self.worse[i64(better)] = worse
        else:
            self.best[side] = worse
        if worse != 0:
            self.better[i64(worse)] = better
        self._cut(side, level)
        self.worse[level] = i32(self.free)
        self.free = level

    def _make_first(self, side: i64, key: i64) -> i64:
        level = self._take(side, key)
        self.root[side] = i32(-level)
        self.best[side] = i32(level)
        return level

    def _below(self, node: i64, key: i64) -> i64:
        """The child of an inner node on the way to ``key``."""
        bit = i64(self.bit[node])
        at = 2 * node + ((key >> bit) & 1)
        return i64(self.child[at])

    def _make(self, side: i64, key: i64, bit: i64) -> i64:
        """Make a level whose key differs from its nearest neighbour's first in ``bit``."""
        level = self._take(side, key)
        parent: i64 = 0
        ref = i64(self.root[side])
        while ref > 0 and i64(self.bit[ref]) > bit:
            parent = ref
            ref = self._below(ref, key)
        way = (key >> bit) & 1
        self._list(side, level, ref, way)
        node = self._take_node(bit)
        self._hang(side, parent, key, node)
        self.above[node] = i32(parent)
        self.child[2 * node + way] = i32(-level)
        self.child[2 * node + 1 - way] = i32(ref)
        self.parent[level] = i32(node)
        self._set_above(ref, node)
        return level

    def _list(self, side: i64, level: i64, ref: i64, way: i64) -> None:
        """Enter a level into the list: behind (way 1) or before (way 0) all that stands below ``ref``."""
        while ref > 0:
            ref = i64(self.child[2 * ref + way])
        neighbour = -ref
        if way == 1:
            better, worse = neighbour, i64(self.worse[neighbour])
        else:
            better, worse = i64(self.better[neighbour]), neighbour
        self.better[level] = i32(better)
        self.worse[level] = i32(worse)
        if better != 0:
            self.worse[better] = i32(level)
        else:
            self.best[side] = i32(level)
        if worse != 0:
            self.better[worse] = i32(level)

    def _hang(self, side: i64, parent: i64, key: i64, ref: i64) -> None:
        """Put ``ref`` below ``parent`` on the way to ``key``, or make it the root."""
        if parent == 0:
            self.root[side] = i32(ref)
        else:
            bit = i64(self.bit[parent])
            at = 2 * parent + ((key >> bit) & 1)
            self.child[at] = i32(ref)

    def _set_above(self, ref: i64, node: i64) -> None:
        if ref > 0:
            self.above[ref] = i32(node)
        else:
            self.parent[-ref] = i32(node)

    def _cut(self, side: i64, level: i64) -> None:
        """Take a level, and the node above it, out of the tree: its sibling moves up."""
        node = i64(self.parent[level])
        if node == 0:
            self.root[side] = 0
            return
        at = 2 * node
        sibling = i64(self.child[at])
        if sibling == -level:
            sibling = i64(self.child[at + 1])
        above = i64(self.above[node])
        self._hang(side, above, self.key[level], sibling)
        self._set_above(sibling, above)
        self.above[node] = i32(self.free_node)
        self.free_node = node

    # --- pools -------------------------------------------------------------------------------

    def _take(self, side: i64, key: i64) -> i64:
        level = self.free
        if level != 0:
            self.free = i64(self.worse[level])
        else:
            level = self._add_slot()
        self.key[level] = key
        self.high[level] = 0
        self.low[level] = 0
        self.orders[level] = 0
        self.first[level] = 0
        self.last[level] = 0
        self.better[level] = 0
        self.worse[level] = 0
        self.side[level] = i32(side)
        self.parent[level] = 0
        return level

    def _add_slot(self) -> i64:
        self.key = append(self.key, 0)
        self.high = append(self.high, 0)
        self.low = append(self.low, 0)
        self.orders = append(self.orders, 0)
        self.first = append(self.first, 0)
        self.last = append(self.last, 0)
        self.better = append(self.better, 0)
        self.worse = append(self.worse, 0)
        self.side = append(self.side, 0)
        self.parent = append(self.parent, 0)
        level = self.slots
        self.slots = level + 1
        return level

    def _take_node(self, bit: i64) -> i64:
        node = self.free_node
        if node != 0:
            self.free_node = i64(self.above[node])
        else:
            self.bit = append(self.bit, 0)
            self.above = append(self.above, 0)
            self.child = append(append(self.child, 0), 0)
            node = self.nodes
            self.nodes = node + 1
        self.bit[node] = i32(bit)
        return node


def top_bit(number: i64) -> i64:
    """The position of the highest bit that is set in a number above 0."""
    bit: i64 = 0
    step: i64 = 32
    while step > 0:
        if number >> step != 0:
            number >>= step
            bit += step
        step >>= 1
    return bit
