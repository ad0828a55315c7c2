"""Between typed messages with decimal strings and packed records of ticks and lots.

A string that cannot be translated does not fail the call.  Its reason goes into the record's
``invalid`` field, so the reject passes through the log and keeps its position among the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from matchengine.answers import Answer, head
from matchengine.exchange.decimals import format_price, format_quantity, parse_price, parse_quantity
from matchengine.exchange.layout import ANSWER_HEADER, BATCH_HEADER, COMMAND, KIND_ORDERS, REPORT, VERSION
from matchengine.exchange.types import CommandType, Reason, ReplaceFlag
from matchengine.service.batches import check_size
from matchengine.service.engine import engine_of
from matchengine.service.errors import InvalidArgumentError
from matchengine.service.instruments import reason_name
from matchengine.v1 import exchange_pb2 as pb

if TYPE_CHECKING:
    from matchengine.exchange.engine import MatchingEngine
    from matchengine.exchange.instruments import Instrument
    from matchengine.runtime.node import Node

#: So many are translated in a millisecond or two.
REPORTS_PER_SLICE: Final = 256


class Translator:
    """Translates by the instruments that the local engine knows."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def pack(self, commands: Sequence[pb.Command]) -> bytes:
        """One batch; raises InvalidArgumentError when it is too large for a log entry."""
        check_size("commands", BATCH_HEADER.size + len(commands) * COMMAND.size)
        engine = engine_of(self._node)
        records = [_RECORDS[command.WhichOneof("command")](command, engine) for command in commands]
        return BATCH_HEADER.pack(VERSION, KIND_ORDERS, 0, len(records)) + b"".join(records)

    def add_reports(self, response: pb.SubmitResponse, reports: bytes) -> None:
        """Add packed reports, whole ones, to a response."""
        engine = engine_of(self._node)
        response.reports.extend([_report(fields, engine) for fields in REPORT.iter_unpack(reports)])


def require_reports(sequence: int, answer: Answer) -> None:
    """Raise InvalidArgumentError for an answer to something else than a batch of orders."""
    if ANSWER_HEADER.unpack(head(answer, ANSWER_HEADER.size))[1] != KIND_ORDERS:
        raise InvalidArgumentError(f"sequence: {sequence} was used for another command, which took effect")


# --- commands ------------------------------------------------------------------------------


class _Amounts(NamedTuple):
    """A price and a quantity in an instrument's units, or the first reason against one of them."""

    instrument: int
    invalid: int
    price: int
    quantity: int


def _amounts(engine: MatchingEngine, symbol: str, price: str | None, quantity: str) -> _Amounts:
    """``price`` is None where a command has none."""
    instrument = engine.find_instrument(symbol)
    if instrument is None:
        return _Amounts(0, Reason.UNKNOWN_INSTRUMENT, 0, 0)
    ticks, reason = (0, Reason.NONE) if price is None else parse_price(instrument, price)
    lots = 0
    if not reason:
        lots, reason = parse_quantity(instrument, quantity)
    return _Amounts(instrument.number, reason, ticks, lots)


def _new_order(command: pb.Command, engine: MatchingEngine) -> bytes:
    order = command.new_order
    no_price = order.ord_type == pb.ORD_TYPE_MARKET and not order.price
    instrument, invalid, price, quantity = _amounts(
        engine, order.symbol, None if no_price else order.price, order.quantity
    )
    kind = _small(order.ord_type, 15) | _small(order.time_in_force, 15) << 4
    side = _small(order.side, 255)
    return COMMAND.pack(
        CommandType.NEW, side, kind, 0, instrument, command.account, invalid, order.cl_ord_id, 0, price, quantity
    )


def _cancel(command: pb.Command, _engine: MatchingEngine) -> bytes:
    target = command.cancel.orig_cl_ord_id
    return COMMAND.pack(CommandType.CANCEL, 0, 0, 0, 0, command.account, 0, 0, target, 0, 0)


def _reduce(command: pb.Command, engine: MatchingEngine) -> bytes:
    instrument, invalid, price, quantity = _amounts(engine, command.symbol, None, command.reduce.quantity)
    target = command.reduce.orig_cl_ord_id
    return COMMAND.pack(CommandType.REDUCE, 0, 0, 0, instrument, command.account, invalid, 0, target, price, quantity)


def _replace(command: pb.Command, engine: MatchingEngine) -> bytes:
    change = command.replace
    instrument, invalid, price, quantity = _amounts(engine, command.symbol, change.price, change.quantity)
    flags = ReplaceFlag.QUANTITY_IS_LEAVES * change.quantity_is_leaves | ReplaceFlag.LOSE_PLACE * change.lose_place
    return COMMAND.pack(
        CommandType.REPLACE,
        0,
        0,
        flags,
        instrument,
        command.account,
        invalid,
        change.cl_ord_id,
        change.orig_cl_ord_id,
        price,
        quantity,
    )


def _nothing(command: pb.Command, _engine: MatchingEngine) -> bytes:
    """A command without content: the engine rejects type 0."""
    return COMMAND.pack(0, 0, 0, 0, 0, command.account, 0, 0, 0, 0, 0)


_RECORDS: Final[dict[str | None, Callable[[pb.Command, MatchingEngine], bytes]]] = {
    "new_order": _new_order,
    "cancel": _cancel,
    "reduce": _reduce,
    "replace": _replace,
    None: _nothing,
}


def _small(value: int, limit: int) -> int:
    """Enums of protobuf are open; what the record's field cannot hold becomes 0, which the engine rejects."""
    return value if 0 <= value <= limit else 0


# --- reports -------------------------------------------------------------------------------


def _report(fields: tuple[int, ...], engine: MatchingEngine) -> pb.Report:
    """See :data:`matchengine.exchange.layout.REPORT` for the fields."""
    exec_type, ord_status, side, reason, command, number, account, order_id, cl_ord_id, orig, trade_id = fields[:11]
    report = pb.Report(
        exec_type=chr(exec_type),
        ord_status=chr(ord_status),
        side=cast("pb.Side", side),
        reason=reason_name(reason),
        command=command,
        account=account,
        order_id=order_id,
        cl_ord_id=cl_ord_id,
        orig_cl_ord_id=orig,
        trade_id=trade_id,
    )
    instrument = engine.instrument(number)
    if instrument is not None:
        _fill_in_amounts(report, instrument, fields[11:])
    return report


def _fill_in_amounts(report: pb.Report, instrument: Instrument, amounts: tuple[int, ...]) -> None:
    """Prices and a last quantity of 0 mean that there is none, and stay empty."""
    price, last_px, last_qty, leaves_qty, cum_qty = amounts
    report.symbol = instrument.symbol
    report.leaves_qty = format_quantity(instrument, leaves_qty)
    report.cum_qty = format_quantity(instrument, cum_qty)
    if price:
        report.price = format_price(instrument, price)
    if last_qty:
        report.last_px = format_price(instrument, last_px)
        report.last_qty = format_quantity(instrument, last_qty)
