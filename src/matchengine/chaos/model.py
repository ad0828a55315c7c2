"""The book of one instrument, stepped for the checker of linearizability: the exchange's reference matches."""

from __future__ import annotations

from typing import Final, TypeAlias

from matchengine.chaos.history import PRICE_DECIMALS, Call, Depth, Levels, Look, Result, Submit, Told
from matchengine.exchange.instruments import Instrument
from matchengine.exchange.layout import ANSWER_HEADER, BATCH_HEADER, KIND_INSTRUMENT, KIND_ORDERS, REPORT, VERSION
from matchengine.exchange.reference_book import ReferenceEngine, ReferenceOrder
from matchengine.exchange.types import Reason, Side

#: Every open order, as (account, cl_ord_id, side, price, leaves, cum): bids, then asks, each in price-time order.
Book: TypeAlias = tuple[tuple[int, int, int, int, int, int], ...]

_NUMBER: Final = 1
_DEFINITION: Final = Instrument(_NUMBER, "X", PRICE_DECIMALS, 0, 1, 1).pack()
_REASONS: Final = {int(reason): "" if reason is Reason.NONE else reason.name for reason in Reason}
_REMEMBERED: Final = 100_000


class BookModel:
    """See :class:`matchengine.testing.linearizability.Model`."""

    def __init__(self) -> None:
        self._steps: dict[tuple[Book, Submit], tuple[Book, Result]] = {}

    def initial(self) -> Book:
        """An empty book."""
        return ()

    def step(self, state: Book, call: Call) -> tuple[Book, Result]:
        """One batch, or one look."""
        if isinstance(call, Submit):
            return self._submit(state, call)
        if isinstance(call, Depth):
            return state, _depth(state, call.levels)
        return state, _look(state, call)

    def agrees(self, right: Result, seen: Result) -> bool:
        """Every field of every report, every level, every order."""
        return right == seen

    def _submit(self, state: Book, call: Submit) -> tuple[Book, Result]:
        known = self._steps.get((state, call))
        if known is None:
            if len(self._steps) >= _REMEMBERED:
                self._steps.clear()
            known = self._steps[state, call] = _execute(state, call)
        return known


def _execute(state: Book, call: Submit) -> tuple[Book, Result]:
    engine = ReferenceEngine()
    engine.execute(BATCH_HEADER.pack(VERSION, KIND_INSTRUMENT, 0, 1) + _DEFINITION, 0)
    for place, order in enumerate(state, -len(state)):  # before all that come now
        engine.orders.append(_resting(order, place))
    records = b"".join(command.record(_NUMBER) for command in call.commands)
    answer = engine.execute(BATCH_HEADER.pack(VERSION, KIND_ORDERS, 0, len(call.commands)) + records, 0)
    reports = tuple(_told(fields) for fields in REPORT.iter_unpack(answer[ANSWER_HEADER.size :]))
    return _book(engine), reports


def _resting(order: tuple[int, int, int, int, int, int], place: int) -> ReferenceOrder:
    account, cl_ord_id, side, price, leaves, cum = order
    return ReferenceOrder(0, account, cl_ord_id, _NUMBER, side, price, leaves, cum, place)


def _book(engine: ReferenceEngine) -> Book:
    orders = sorted(engine.orders, key=lambda order: (order.side, order.rank))
    return tuple((o.account, o.cl_ord_id, o.side, o.price, o.leaves, o.cum) for o in orders)


def _told(fields: tuple[int, ...]) -> Told:
    exec_type, ord_status, side, reason, command, _, account, _, cl_ord_id, orig, _ = fields[:11]
    price, last_px, last_qty, leaves, cum = fields[11:]
    head = (exec_type, ord_status, side, _REASONS[reason], command, account, cl_ord_id, orig)
    return (*head, price, last_px, last_qty, leaves, cum)


def _depth(state: Book, levels: int) -> tuple[Levels, Levels]:
    return _side(state, Side.BUY)[:levels], _side(state, Side.SELL)[:levels]


def _side(state: Book, side: Side) -> Levels:
    levels: dict[int, tuple[int, int]] = {}
    for _, _, each, price, leaves, _ in state:
        if each == side:
            quantity, orders = levels.get(price, (0, 0))
            levels[price] = (quantity + leaves, orders + 1)
    return tuple((price, quantity, orders) for price, (quantity, orders) in levels.items())


def _look(state: Book, call: Look) -> Result:
    for account, cl_ord_id, side, price, leaves, cum in state:
        if (account, cl_ord_id) == (call.account, call.cl_ord_id):
            return side, price, leaves, cum
    return None
