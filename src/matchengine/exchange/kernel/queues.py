"""The queues of orders at a level: first come, first served."""

from __future__ import annotations

from typing import final

from mypy_extensions import i32, i64

from matchengine.exchange.kernel.levels import Levels
from matchengine.exchange.kernel.orders import Orders


@final
class Queues:
    """Links orders into levels; a level goes with its last order."""

    def __init__(self, orders: Orders, levels: Levels) -> None:
        self.orders: Orders = orders
        self.levels: Levels = levels

    def rest(self, n: i64, side: i64, key: i64) -> None:
        """Put order ``n`` behind all others at its price."""
        orders, levels = self.orders, self.levels
        level = levels.at(side, key)
        last = levels.last[level]
        orders.level[n] = i32(level)
        orders.before[n] = last
        orders.behind[n] = 0
        if last != 0:
            orders.behind[i64(last)] = i32(n)
        else:
            levels.first[level] = i32(n)
        levels.last[level] = i32(n)
        levels.orders[level] += 1
        levels.grow(level, orders.leaves[n])

    def remove(self, n: i64) -> None:
        """Take order ``n`` out, wherever it stands; what it has left goes from its level's total."""
        orders, levels = self.orders, self.levels
        level = i64(orders.level[n])
        before, behind = orders.before[n], orders.behind[n]
        if before != 0:
            orders.behind[i64(before)] = behind
        else:
            levels.first[level] = behind
        if behind != 0:
            orders.before[i64(behind)] = before
        else:
            levels.last[level] = before
        levels.orders[level] -= 1
        levels.shrink(level, orders.leaves[n])
        if levels.orders[level] == 0:
            levels.drop(level)
