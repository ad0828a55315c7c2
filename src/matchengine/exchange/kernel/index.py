"""Finding orders by what they are called: hash tables that grow by one bucket at a time."""

from __future__ import annotations

from typing import final

from librt.vecs import append, vec
from mypy_extensions import i32, i64


@final
class Index:
    """Linear hashing: chains of order slots, linked through an array beside the orders.

    One order more than there are buckets splits one bucket, so there is never a moment at which the whole table is
    built again.  The caller compares keys; the hashes stored here spare it most of the comparisons.
    """

    def __init__(self) -> None:
        self.heads: vec[i32] = vec[i32]([0], capacity=128)
        self.next: vec[i32] = vec[i32]([0], capacity=144)
        self.hashes: vec[i32] = vec[i32]([0], capacity=152)
        self.slots: i64 = 1
        self.count: i64 = 0
        self.buckets: i64 = 1
        #: The smallest power of two that is not below ``buckets``, less one.
        self.mask: i64 = 0

    def bucket(self, code: i64) -> i64:
        """The bucket of a hash code (0 to 2^30 - 1)."""
        at = code & self.mask
        if at >= self.buckets:
            at = code & (self.mask >> 1)
        return at

    def first(self, code: i64) -> i64:
        """The first order in the chain of a hash code."""
        return i64(self.heads[self.bucket(code)])

    def add(self, n: i64, code: i64) -> None:
        """Put order ``n`` in front of its chain."""
        while n >= self.slots:
            self.next = append(self.next, 0)
            self.hashes = append(self.hashes, 0)
            self.slots += 1
        if self.count == self.buckets:
            self._split()
        at = self.bucket(code)
        self.hashes[n] = i32(code)
        self.next[n] = self.heads[at]
        self.heads[at] = i32(n)
        self.count += 1

    def remove(self, n: i64) -> None:
        """Take order ``n`` out of its chain."""
        at = self.bucket(i64(self.hashes[n]))
        self.count -= 1
        m = i64(self.heads[at])
        if m == n:
            self.heads[at] = self.next[n]
            return
        while i64(self.next[m]) != n:
            m = i64(self.next[m])
        self.next[m] = self.next[n]

    def _split(self) -> None:
        """Move to a new bucket what belongs there by one more bit of the hash."""
        new = self.buckets
        if new > self.mask:
            self.mask = 2 * self.mask + 1
        old = new & (self.mask >> 1)
        self.heads = append(self.heads, 0)
        self.buckets = new + 1
        n = i64(self.heads[old])
        self.heads[old] = 0
        while n != 0:
            behind = i64(self.next[n])
            at = i64(self.hashes[n]) & self.mask
            self.next[n] = self.heads[at]
            self.heads[at] = i32(n)
            n = behind
