"""Commands, batches and reports in a form that is short to write and to read in tests."""

from __future__ import annotations

from typing import NamedTuple

from matchengine.exchange.layout import (
    ANSWER_HEADER,
    BATCH_HEADER,
    COMMAND,
    INSTRUMENT,
    INSTRUMENT_ANSWER,
    KIND_INSTRUMENT,
    KIND_ORDERS,
    REPORT,
    VERSION,
)
from matchengine.exchange.types import CommandType, ExecType, OrdStatus, OrdType, Reason, Side, TimeInForce

BUY, SELL = Side.BUY, Side.SELL
GTC, IOC = TimeInForce.GTC, TimeInForce.IOC
LIMIT, MARKET = OrdType.LIMIT, OrdType.MARKET


class Report(NamedTuple):
    exec_type: int
    ord_status: int
    side: int
    reason: int
    command: int
    instrument: int
    account: int
    order_id: int
    cl_ord_id: int
    orig_cl_ord_id: int
    trade_id: int
    price: int
    last_px: int
    last_qty: int
    leaves_qty: int
    cum_qty: int

    def short(self):
        """A line that a person reads: what, whose, how far."""
        what = ExecType(self.exec_type).name
        status = OrdStatus(self.ord_status).name
        line = f"{what} {status} #{self.cl_ord_id} leaves={self.leaves_qty} cum={self.cum_qty}"
        if self.last_qty:
            line += f" {self.last_qty}@{self.last_px}"
        if self.reason:
            line += f" {Reason(self.reason).name}"
        return line


def new(cl_ord_id, side, quantity, price, *, tif=GTC, kind=LIMIT, instrument=1, account=1, flags=0, invalid=0):
    how = kind | tif << 4
    return COMMAND.pack(CommandType.NEW, side, how, flags, instrument, account, invalid, cl_ord_id, 0, price, quantity)


def market(cl_ord_id, side, quantity, **more):
    return new(cl_ord_id, side, quantity, 0, kind=MARKET, **more)


def amend(kind, orig, *, price=0, quantity=0, flags=0, cl_ord_id=0, instrument=0, account=1, invalid=0):
    return COMMAND.pack(kind, 0, 0, flags, instrument, account, invalid, cl_ord_id, orig, price, quantity)


def cancel(orig, **more):
    return amend(CommandType.CANCEL, orig, **more)


def reduce(orig, quantity, **more):
    return amend(CommandType.REDUCE, orig, quantity=quantity, **more)


def replace(orig, quantity, price, **more):
    return amend(CommandType.REPLACE, orig, price=price, quantity=quantity, **more)


def batch(*commands):
    return BATCH_HEADER.pack(VERSION, KIND_ORDERS, 0, len(commands)) + b"".join(commands)


def instrument_batch(symbol=b"ABC", price_decimals=2, quantity_decimals=0, tick=1, lot=1, reserved=0):
    definition = INSTRUMENT.pack(price_decimals, quantity_decimals, len(symbol), reserved, tick, lot)
    return BATCH_HEADER.pack(VERSION, KIND_INSTRUMENT, 0, 1) + definition + symbol


def reports(answer):
    version, kind, reserved, count, _ = ANSWER_HEADER.unpack_from(answer)
    assert (version, kind, reserved) == (VERSION, KIND_ORDERS, 0)
    assert len(answer) == ANSWER_HEADER.size + count * REPORT.size
    return [Report(*fields) for fields in REPORT.iter_unpack(answer[ANSWER_HEADER.size :])]


def instrument_answer(answer):
    assert ANSWER_HEADER.unpack_from(answer)[:4] == (VERSION, KIND_INSTRUMENT, 0, 1)
    number, reason = INSTRUMENT_ANSWER.unpack_from(answer, ANSWER_HEADER.size)
    return number, Reason(reason)


def run(engine, *commands):
    """Execute each command in a batch of its own; all reports."""
    return [report for command in commands for report in reports(engine.execute(batch(command), 0))]


def lines(engine, *commands):
    return [report.short() for report in run(engine, *commands)]


def listed(engine, instruments=1):
    """``engine`` with instruments 1, 2, ..."""
    for number in range(1, instruments + 1):
        engine.execute(instrument_batch(b"S%d" % number), 0)
    return engine
