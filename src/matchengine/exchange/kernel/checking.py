"""A walk through all pools: what must be so between any two commands.  For tests."""

from __future__ import annotations

from mypy_extensions import i64

from matchengine.exchange.kernel.index import Index
from matchengine.exchange.kernel.levels import Levels
from matchengine.exchange.kernel.matching import Matching
from matchengine.exchange.kernel.orders import Orders


def check_books(books: Matching) -> None:
    """Raise AssertionError, with what is wrong, unless every slot is linked exactly as it should be."""
    orders, levels = books.orders, books.levels
    require(books.taker == 0, "a taker is under way")
    resting: i64 = 0
    used: i64 = 0
    nodes: i64 = 0
    side: i64 = 2
    while side <= 2 * books.instruments + 1:
        level = i64(levels.best[side])
        tree_levels = check_tree(levels, side, i64(levels.root[side]), 0, 63)
        previous: i64 = 0
        side_levels: i64 = 0
        while level != 0:
            require(i64(levels.better[level]) == previous, "a level's better link")
            require(i64(levels.side[level]) == side, "a level's side")
            require((levels.key[level] < 0) == (side & 1 == 0), "a level's sign")
            require(previous == 0 or levels.key[previous] < levels.key[level], "the order of levels")
            resting += check_queue(orders, levels, level)
            side_levels += 1
            previous = level
            level = i64(levels.worse[level])
        require(side_levels == tree_levels, "levels in list and tree")
        used += side_levels
        nodes += side_levels - 1 if side_levels > 0 else 0
        bid, ask = i64(levels.best[side & ~1]), i64(levels.best[side | 1])
        require(bid == 0 or ask == 0 or levels.key[bid] + levels.key[ask] > 0, "a crossed book")
        side += 1
    require(resting + free_orders(orders) == orders.slots - 1, "slots of orders")
    require(used + free_levels(levels) == levels.slots - 1, "slots of levels")
    require(nodes + free_nodes(levels) == levels.nodes - 1, "slots of inner nodes")
    check_index(books, books.names.by_name, resting)
    check_index(books, books.names.by_id, resting)


def require(holds: bool, what: str) -> None:
    """Raise AssertionError unless ``holds``."""
    if not holds:
        raise AssertionError(what)


def check_queue(orders: Orders, levels: Levels, level: i64) -> i64:
    """The number of orders at a level."""
    count: i64 = 0
    total: int = 0
    before: i64 = 0
    n = i64(levels.first[level])
    require(n != 0, "a level without orders")
    while n != 0:
        require(i64(orders.before[n]) == before, "an order's before link")
        require(i64(orders.level[n]) == level, "an order's level")
        require(orders.leaves[n] > 0 and orders.cum[n] >= 0 and orders.cl_ord_id[n] != 0, "an order's fields")
        total += int(orders.leaves[n])
        count += 1
        before = n
        n = i64(orders.behind[n])
    require(i64(levels.last[level]) == before, "a level's last order")
    require(i64(levels.orders[level]) == count, "a level's number of orders")
    require(levels.total(level) == total, "a level's total")
    return count


def check_tree(levels: Levels, side: i64, ref: i64, above: i64, bit: i64) -> i64:
    """The number of levels below ``ref``, whose bits from ``bit`` upwards are decided."""
    if ref == 0:
        require(above == 0, "an inner node with one child")
        return 0
    if ref < 0:
        require(i64(levels.parent[-ref]) == above, "a level's parent")
        if above != 0:
            way = (levels.key[-ref] >> i64(levels.bit[above])) & 1
            require(i64(levels.child[2 * above + way]) == ref, "a level's way")
        return 1
    require(i64(levels.above[ref]) == above, "a node's upward link")
    require(i64(levels.bit[ref]) < bit, "the order of bits")
    bit = i64(levels.bit[ref])
    left = i64(levels.child[2 * ref])
    right = i64(levels.child[2 * ref + 1])
    return check_tree(levels, side, left, ref, bit) + check_tree(levels, side, right, ref, bit)


def free_orders(orders: Orders) -> i64:
    """The number of free slots."""
    count: i64 = 0
    n = orders.free
    while n != 0:
        count += 1
        n = i64(orders.behind[n])
    return count


def free_levels(levels: Levels) -> i64:
    """The number of free slots."""
    count: i64 = 0
    n = levels.free
    while n != 0:
        count += 1
        n = i64(levels.worse[n])
    return count


def free_nodes(levels: Levels) -> i64:
    """The number of free slots."""
    count: i64 = 0
    n = levels.free_node
    while n != 0:
        count += 1
        n = i64(levels.above[n])
    return count


def check_index(books: Matching, index: Index, orders: i64) -> None:
    """Every order stands in the chain of its hash, once."""
    count: i64 = 0
    at: i64 = 0
    while at < index.buckets:
        n = i64(index.heads[at])
        while n != 0:
            require(index.bucket(i64(index.hashes[n])) == at, "an order's bucket")
            if index is books.names.by_name:
                code = books.names.code(i64(books.orders.account[n]), books.orders.cl_ord_id[n])
                require(i64(index.hashes[n]) == code, "an order's hash")
                require(books.names.find(i64(books.orders.account[n]), books.orders.cl_ord_id[n], code) == n, "a name")
            else:
                require(books.names.find_id(books.orders.order_id[n]) == n, "an order id")
            count += 1
            n = i64(index.next[n])
        at += 1
    require(count == orders and index.count == orders, "orders by name and in queues")
