"""The production book: queues of orders by price, and a heap of prices for each side.

A *key* is a price with its side in the sign: the negated price for a buy, the price for a sell.  So the
smallest key is the best price on either side, both sides share one dictionary, and a taker with key
``t`` meets a maker with key ``m`` exactly when ``t + m <= 0``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush, merge
from itertools import chain
from operator import itemgetter
from typing import Final, TypeAlias

#: An open order is a list of seven integers: a list is the fastest mutable record that CPython has.
Order: TypeAlias = list[int]
LEAVES: Final = 0
CUM: Final = 1
KEY: Final = 2
CL_ORD_ID: Final = 3
ORDER_ID: Final = 4
ACCOUNT: Final = 5
INSTRUMENT: Final = 6

#: Stands last in every heap, so that a heap is never empty; no key and no sum of two reaches it.
NO_KEY: Final = 2**65

#: A queue is a list while it is short, for its size, and a deque once taking from its front would cost.
_LONG_QUEUE: Final = 64
#: Small, because there may be thousands of books.
_FEW_STALE: Final = 64
_SORT_AT_ONCE: Final = 32 * 1024

Queue: TypeAlias = list[Order] | deque[Order]


class OrderBook:
    """Open orders of one instrument.

    A cancelled order may stay inside its queue as a *stale* entry with leaves 0, but never in front; an empty
    queue stays in place while its price is in the heap.  Both are swept out before they outnumber the rest, so
    cancelling costs the same wherever the order stands, and memory follows the open orders.
    """

    __slots__ = ("_stale", "_stale_limit", "asks", "bids", "levels")

    def __init__(self) -> None:
        self.levels: dict[int, Queue] = {}
        self.bids: list[int] = [NO_KEY]
        self.asks: list[int] = [NO_KEY]
        self._stale = 0
        self._stale_limit = _FEW_STALE

    def rest(self, order: Order) -> None:
        """Put ``order`` behind all others at its price."""
        key = order[KEY]
        queue = self.levels.get(key)
        if queue is None:
            self.levels[key] = [order]
            heappush(self.bids if key < 0 else self.asks, key)
        else:
            queue.append(order)

    def remove(self, order: Order) -> None:
        """Take ``order`` out, wherever it stands, and leave it with leaves 0."""
        order[LEAVES] = 0
        queue = self.levels[order[KEY]]
        if queue[0] is order:
            if not self.drop_front(queue, order[KEY]):
                self.count_stale()
        elif queue[-1] is order:
            queue.pop()
        else:
            self.count_stale()

    def drop_front(self, queue: Queue, key: int) -> Queue:
        """Take the first order and the stale ones behind it out; the queue that stands there now."""
        if len(queue) > _LONG_QUEUE and not isinstance(queue, deque):
            queue = self.levels[key] = deque(queue)
        del queue[0]
        while queue and not queue[0][LEAVES]:
            del queue[0]
        return queue

    def drop_best(self, heap: list[int]) -> None:
        """Forget the best price of a side, whose queue is empty."""
        del self.levels[heappop(heap)]

    def count_stale(self) -> None:
        """Note one more stale entry or empty queue; sweep when there are many."""
        self._stale += 1
        if self._stale > self._stale_limit:
            self._sweep()

    def _sweep(self) -> None:
        levels = self.levels
        for key in [key for key, queue in levels.items() if not queue]:
            del levels[key]
        kept = 0
        for key, queue in levels.items():
            live = [order for order in queue if order[LEAVES]]
            kept += len(live)
            if len(live) < len(queue):
                levels[key] = live
        self.bids[:] = [*(key for key in levels if key < 0), NO_KEY]
        self.asks[:] = [*(key for key in levels if key > 0), NO_KEY]
        heapify(self.bids)
        heapify(self.asks)
        self._stale, self._stale_limit = 0, max(_FEW_STALE, kept)

    def best_first(self, *, bids: bool) -> Iterator[tuple[int, list[int]]]:
        """(price, what is left of its open orders in time order) of one side, from the best price on.

        Costs the levels that are asked for, however many there are: the heap is walked from its root.
        """
        heap = self.bids if bids else self.asks
        frontier = [(heap[0], 0)]
        while True:
            key, at = heappop(frontier)
            if key == NO_KEY:
                return
            left = [order[LEAVES] for order in self.levels[key] if order[LEAVES]]
            if left:
                yield abs(key), left
            for child in (2 * at + 1, 2 * at + 2):
                if child < len(heap):
                    heappush(frontier, (heap[child], child))

    def orders(self) -> Iterator[Order]:
        """All open orders: the bids, then the asks, each side in price-time order."""
        levels = self.levels
        keys = list(levels)
        # One sort of all keys would keep other threads waiting while it runs.
        runs = [sorted(keys[start : start + _SORT_AT_ONCE]) for start in range(0, len(keys), _SORT_AT_ONCE)]
        queues = (levels[key] for key in merge(*runs))
        return filter(itemgetter(LEAVES), chain.from_iterable(queues))
