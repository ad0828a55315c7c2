"""What clients asked and were told: the calls, their results, and the record of all of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from matchengine.exchange.layout import COMMAND
from matchengine.exchange.types import CommandType, ExecType, OrdType, Side, TimeInForce
from matchengine.testing.linearizability import Operation
from matchengine.v1 import exchange_pb2 as pb

PRICE_DECIMALS: Final = 2
TICK_SIZE: Final = "0.01"
LOT_SIZE: Final = "1"


class Command(msgspec.Struct, frozen=True, gc=False):
    """One command, in ticks and lots; see :data:`matchengine.exchange.layout.COMMAND` for the fields."""

    type: CommandType
    account: int
    cl_ord_id: int = 0
    orig_cl_ord_id: int = 0
    side: int = 0
    ord_type: int = 0
    time_in_force: int = 0
    flags: int = 0
    price: int = 0
    quantity: int = 0

    def record(self, instrument: int) -> bytes:
        """Packed, as the service makes it of :meth:`message`."""
        return COMMAND.pack(
            *(self.type, self.side, self.ord_type | self.time_in_force << 4, self.flags),
            *(0 if self.type == CommandType.CANCEL else instrument, self.account, 0),
            *(self.cl_ord_id, self.orig_cl_ord_id, self.price, self.quantity),
        )

    def message(self, symbol: str) -> pb.Command:
        """With decimal strings."""
        if self.type == CommandType.NEW:
            return pb.Command(account=self.account, new_order=self._new_order(symbol))
        if self.type == CommandType.CANCEL:
            return pb.Command(account=self.account, cancel=pb.CancelOrder(orig_cl_ord_id=self.orig_cl_ord_id))
        if self.type == CommandType.REDUCE:
            reduce = pb.ReduceOrder(orig_cl_ord_id=self.orig_cl_ord_id, quantity=str(self.quantity))
            return pb.Command(account=self.account, symbol=symbol, reduce=reduce)
        replace = pb.ReplaceOrder(
            orig_cl_ord_id=self.orig_cl_ord_id,
            cl_ord_id=self.cl_ord_id,
            price=_decimal(self.price),
            quantity=str(self.quantity),
            quantity_is_leaves=bool(self.flags & 1),
            lose_place=bool(self.flags & 2),
        )
        return pb.Command(account=self.account, symbol=symbol, replace=replace)

    def _new_order(self, symbol: str) -> pb.NewOrder:
        return pb.NewOrder(
            cl_ord_id=self.cl_ord_id,
            symbol=symbol,
            side=pb.SIDE_BUY if self.side == pb.SIDE_BUY else pb.SIDE_SELL,
            ord_type=pb.ORD_TYPE_MARKET if self.ord_type == OrdType.MARKET else pb.ORD_TYPE_LIMIT,
            time_in_force=pb.TIME_IN_FORCE_IOC if self.time_in_force == TimeInForce.IOC else pb.TIME_IN_FORCE_GTC,
            price=_decimal(self.price) if self.price else "",
            quantity=str(self.quantity),
        )


class Submit(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A batch of commands on one instrument; its result are :class:`Told` without their numbers."""

    commands: tuple[Command, ...]


class Depth(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A look at the book; its result are bids and asks as (price, quantity, orders)."""

    levels: int


class Look(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A look at one order; its result is (side, price, leaves, cum), or None when it is not open."""

    account: int
    cl_ord_id: int


Call: TypeAlias = Submit | Depth | Look
#: exec_type, ord_status, side, reason, command, account, cl_ord_id, orig_cl_ord_id, price, last_px, last_qty,
#: leaves_qty, cum_qty: a report without the numbers that run through all instruments.
Told: TypeAlias = tuple[int, int, int, str, int, int, int, int, int, int, int, int, int]
_TOLD: Final = 13
Levels: TypeAlias = tuple[tuple[int, int, int], ...]


class Refused(msgspec.Struct, frozen=True, gc=False):
    """What a read is never to be told while there is a leader."""

    reason: str


Result: TypeAlias = tuple[Told, ...] | tuple[Levels, Levels] | tuple[int, int, int, int] | Refused | None


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What was acknowledged, for the count of lost and doubled: log index, and order and trade id of each report."""

    index: int
    told: tuple[Told, ...]
    order_ids: tuple[int, ...]
    trade_ids: tuple[int, ...]


class Record:
    """One operation under way; it stays of unknown outcome unless it is ended."""

    __slots__ = ("_operation", "answer", "symbol")

    def __init__(self, symbol: str, client: int, call: Call) -> None:
        self.symbol = symbol
        self.answer: Answer | None = None
        self._operation: Operation[Call, Result] = Operation(client, time.monotonic_ns(), call)

    @property
    def operation(self) -> Operation[Call, Result]:
        """What is known of it now."""
        return self._operation

    def end(self, result: Result, answer: Answer | None = None) -> None:
        """The answer has come."""
        begun = self._operation
        self._operation = Operation(begun.client, begun.start, begun.call, time.monotonic_ns(), result)
        self.answer = answer


class History:
    """All operations by instrument."""

    def __init__(self) -> None:
        self.by_symbol: dict[str, list[Record]] = {}

    def begin(self, symbol: str, client: int, call: Call) -> Record:
        """A call is about to be made."""
        record = Record(symbol, client, call)
        self.by_symbol.setdefault(symbol, []).append(record)
        return record

    def forget(self, record: Record) -> None:
        """A read without an answer says nothing."""
        self.by_symbol[record.symbol].remove(record)

    def records(self) -> Iterable[Record]:
        """All operations."""
        for records in self.by_symbol.values():
            yield from records

    def write(self, path: Path) -> None:
        """All operations as JSON, one a line, with their instrument."""
        with path.open("wb") as file:
            for record in self.records():
                file.write(msgspec.json.encode((record.symbol, record.operation)) + b"\n")


# --- in words --------------------------------------------------------------------------------


def words(value: object) -> str:
    """A call, a result or a state, short enough for a line."""
    if isinstance(value, Submit):
        return "; ".join(_command_words(command) for command in value.commands)
    if isinstance(value, Depth):
        return f"DEPTH {value.levels}"
    if isinstance(value, Look):
        return f"ORDER {value.account}/{value.cl_ord_id}"
    if isinstance(value, tuple) and value and all(isinstance(each, tuple) and len(each) == _TOLD for each in value):
        return "; ".join(_told_words(told) for told in value)
    return repr(value)


def _command_words(command: Command) -> str:
    name = f"{command.account}/{command.cl_ord_id or command.orig_cl_ord_id}"
    if command.type == CommandType.CANCEL:
        return f"CANCEL {name}"
    if command.type == CommandType.REDUCE:
        return f"REDUCE {name} by {command.quantity}"
    if command.type == CommandType.REPLACE:
        return f"REPLACE {command.account}/{command.orig_cl_ord_id} as {name} {command.quantity} at {command.price}"
    kind = TimeInForce(command.time_in_force).name if command.price else OrdType.MARKET.name
    return f"{Side(command.side).name} {name} {command.quantity} at {command.price} {kind}"


def _told_words(told: Told) -> str:
    exec_type, _, _, reason, _, account, cl_ord_id, orig_cl_ord_id, price, last_px, last_qty, leaves, cum = told
    said = f"{ExecType(exec_type).name} {account}/{cl_ord_id or orig_cl_ord_id} {reason}".strip()
    traded = f" {last_qty} at {last_px}" if last_qty else ""
    return f"{said}{traded}, {leaves} left and {cum} done at {price}"


# --- what the exchange says, in ticks and lots -----------------------------------------------


def answer_of(response: pb.SubmitResponse) -> Answer:
    """An answer with decimal strings."""
    reports = response.reports
    return Answer(
        response.index,
        tuple(_told(report) for report in reports),
        tuple(report.order_id for report in reports),
        tuple(report.trade_id for report in reports),
    )


def depth_of(response: pb.DepthResponse) -> tuple[Levels, Levels]:
    """A book with decimal strings."""
    return _levels(response.bids), _levels(response.asks)


def order_of(response: pb.OrderResponse) -> tuple[int, int, int, int] | None:
    """An open order with decimal strings."""
    if not response.found:
        return None
    return (response.side, _ticks(response.price), int(response.leaves_qty), int(response.cum_qty))


def _told(report: pb.Report) -> Told:
    return (
        *(ord(report.exec_type), ord(report.ord_status), int(report.side), report.reason, report.command),
        *(report.account, report.cl_ord_id, report.orig_cl_ord_id, _ticks(report.price), _ticks(report.last_px)),
        *(_lots(report.last_qty), _lots(report.leaves_qty), _lots(report.cum_qty)),
    )


def _levels(levels: Sequence[pb.Level]) -> Levels:
    return tuple((_ticks(level.price), int(level.quantity), level.orders) for level in levels)


def _ticks(price: str) -> int:
    """``"1.05"`` is 105; ``""``, where there is no price, is 0."""
    whole, _, fraction = price.partition(".")
    return int(whole + fraction.ljust(PRICE_DECIMALS, "0")) if price else 0


def _lots(quantity: str) -> int:
    return int(quantity) if quantity else 0


def _decimal(ticks: int) -> str:
    return f"{ticks // 10**PRICE_DECIMALS}.{ticks % 10**PRICE_DECIMALS:0{PRICE_DECIMALS}}"
