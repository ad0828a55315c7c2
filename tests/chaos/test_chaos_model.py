"""The model of a book does what the engine does, and the calls mean to both the same."""

from __future__ import annotations

from random import Random

import pytest

from matchengine.chaos.history import Command, Depth, Look, Submit, answer_of, depth_of, order_of, words
from matchengine.chaos.model import BookModel
from matchengine.chaos.traders import Market, Progress, Trader
from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.instruments import Instrument
from matchengine.exchange.layout import ANSWER_HEADER, BATCH_HEADER, KIND_INSTRUMENT, VERSION
from matchengine.exchange.types import CommandType, OrdType, Side, TimeInForce
from matchengine.service.market_data import _levels, _order
from matchengine.service.translation import Translator
from matchengine.testing.linearizability import Operation, check
from matchengine.v1 import exchange_pb2 as pb

SYMBOL = "ACME"


class Exchange:
    """The engine behind the services' own translation of decimal strings, without a node."""

    def __init__(self, monkeypatch) -> None:
        self.engine = MatchingEngine()
        monkeypatch.setattr("matchengine.service.translation.engine_of", lambda _: self.engine)
        self._translator = Translator(None)
        for number, symbol in enumerate(("OTHER", SYMBOL), 1):
            definition = Instrument(number, symbol, 2, 0, 1, 1).pack()
            self.engine.execute(BATCH_HEADER.pack(VERSION, KIND_INSTRUMENT, 0, 1) + definition, 0)

    def call(self, call):
        if isinstance(call, Submit):
            batch = self._translator.pack([command.message(SYMBOL) for command in call.commands])
            response = pb.SubmitResponse(index=1)
            self._translator.add_reports(response, self.engine.execute(batch, 0)[ANSWER_HEADER.size :])
            return answer_of(response).told
        if isinstance(call, Depth):
            instrument = self.engine.find_instrument(SYMBOL)
            bids, asks = self.engine.depth(instrument.number, call.levels)
            return depth_of(pb.DepthResponse(bids=_levels(instrument, bids), asks=_levels(instrument, asks)))
        order = self.engine.order(call.account, call.cl_ord_id)
        return order_of(pb.OrderResponse() if order is None else _order(self.engine, order, 1))


@pytest.mark.parametrize("seed", range(3))
def test_every_call_of_traders_has_the_result_that_the_model_gives(seed, monkeypatch) -> None:
    exchange, model = Exchange(monkeypatch), BookModel()
    chance, book = Random(seed), model.initial()
    traders = [Trader(n, [], Market([], 1, 1), None, Progress(), Random(f"{seed}{n}"), 1) for n in (1, 2, 3)]
    looks = fills = 0
    for _ in range(600):
        trader = chance.choice(traders)
        kind = chance.random()
        if kind < 0.1:
            call = Depth(chance.choice((1, 3, 1000)))
        elif kind < 0.3 and list(trader.remembered()):
            call = Look(trader.number, chance.choice(list(trader.remembered()))[1])
        else:
            call = Submit(tuple(trader._command(SYMBOL) for _ in range(chance.choice((1, 1, 2)))))
        book, right = model.step(book, call)
        seen = exchange.call(call)
        assert model.agrees(right, seen), call
        if isinstance(call, Submit):
            fills += sum(told[0] == ord("F") for told in seen)
            trader._learn(SYMBOL, seen)
        looks += isinstance(call, Look) and seen is not None
    assert fills > 100 and looks > 20
    assert len(book) > 1


def new(cl_ord_id, side, price, quantity):
    kind = {"ord_type": OrdType.LIMIT, "time_in_force": TimeInForce.GTC}
    return Command(CommandType.NEW, 1, cl_ord_id, side=side, price=price, quantity=quantity, **kind)


def test_a_wrong_field_of_a_report_does_not_agree() -> None:
    model = BookModel()
    _, right = model.step(model.initial(), Submit((new(1, Side.BUY, 100, 5),)))
    assert model.agrees(right, right)
    (report,) = right
    for place, value in enumerate(report):
        wrong = (*report[:place], "x" if value == "" else value + 1, *report[place + 1 :])
        assert not model.agrees(right, (wrong,))
    assert not model.agrees(right, ())


def test_orders_keep_their_place_in_the_state() -> None:
    model = BookModel()
    book = model.initial()
    for cl_ord_id in (1, 2, 3):
        book, _ = model.step(book, Submit((new(cl_ord_id, Side.BUY, 100, 5),)))
    book, told = model.step(book, Submit((new(4, Side.SELL, 100, 7),)))
    makers = [report[6] for report in told if report[0] == ord("F") and report[2] == Side.BUY]
    assert makers == [1, 2]
    assert [order[1] for order in book] == [2, 3]
    assert model.step(book, Depth(10))[1] == (((100, 8, 2),), ())
    assert model.step(book, Look(1, 2))[1] == (Side.BUY, 100, 3, 2)
    assert model.step(book, Look(1, 1))[1] is None


def test_a_misfit_is_put_into_words() -> None:
    crossing = Submit((new(1, Side.BUY, 100, 5), new(2, Side.SELL, 99, 2)))
    model = BookModel()
    _, told = model.step(model.initial(), crossing)
    change = Command(CommandType.REPLACE, 1, 3, 1, price=98, quantity=9)
    history = [
        *(Operation(1, 0, crossing, 1, told), Operation(2, 2, Look(1, 3), 3, (1, 98, 7, 2))),
        Operation(3, 2, Submit((change,))),
        Operation(4, 9, Submit((Command(CommandType.CANCEL, 1, orig_cl_ord_id=7),)), 12, ()),
    ]
    reports = (
        *("NEW 1/1, 5 left and 0 done at 100", "NEW 1/2, 2 left and 0 done at 99"),
        *("TRADE 1/2 2 at 100, 0 left and 2 done at 99", "TRADE 1/1 2 at 100, 3 left and 2 done at 100"),
    )
    rejected = "CANCEL_REJECTED 1/7 UNKNOWN_ORDER, 0 left and 0 done at 0"
    assert check(model, history).explanation.text(words).splitlines() == [
        "3 operations can be put in order, the last of them:",
        f"  client 1 [0, 1] BUY 1/1 5 at 100 GTC; SELL 1/2 2 at 99 GTC -> {'; '.join(reports)}",
        "  client 3 [2, ?] REPLACE 1/1 as 1/3 9 at 98 -> ?",
        "  client 2 [2, 3] ORDER 1/3 -> (1, 98, 7, 2)",
        "no place is left for:",
        "  client 4 [9, 12] CANCEL 1/7 -> ()",
        f"  it should give {rejected} in the state ((1, 3, 1, 98, 7, 2),)",
        "at the same time:",
        "  client 3 [2, ?] REPLACE 1/1 as 1/3 9 at 98 -> ?",
    ]
