"""The pool of orders: one slot in each of several parallel arrays."""

from __future__ import annotations

from typing import final

from librt.vecs import append, vec
from mypy_extensions import i32, i64


@final
class Orders:
    """What is known of each order, and the links of the queue that it stands in.

    Slots that are free are linked through ``behind``.  The arrays begin with different capacities: each is copied
    when it grows, and so they do not all grow at the same order.
    """

    def __init__(self) -> None:
        self.leaves: vec[i64] = vec[i64]([0], capacity=160)
        self.cum: vec[i64] = vec[i64]([0], capacity=176)
        self.cl_ord_id: vec[i64] = vec[i64]([0], capacity=192)
        self.order_id: vec[i64] = vec[i64]([0], capacity=208)
        self.account: vec[i32] = vec[i32]([0], capacity=224)
        self.level: vec[i32] = vec[i32]([0], capacity=240)
        self.before: vec[i32] = vec[i32]([0], capacity=256)
        self.behind: vec[i32] = vec[i32]([0], capacity=272)
        self.slots: i64 = 1
        self.free: i64 = 0

    def take(self) -> i64:
        """A slot for one more order; its content is left over."""
        n = self.free
        if n != 0:
            self.free = i64(self.behind[n])
            return n
        self.leaves = append(self.leaves, 0)
        self.cum = append(self.cum, 0)
        self.cl_ord_id = append(self.cl_ord_id, 0)
        self.order_id = append(self.order_id, 0)
        self.account = append(self.account, 0)
        self.level = append(self.level, 0)
        self.before = append(self.before, 0)
        self.behind = append(self.behind, 0)
        n = self.slots
        self.slots = n + 1
        return n

    def drop(self, n: i64) -> None:
        """Give slot ``n`` back."""
        self.behind[n] = i32(self.free)
        self.free = n
