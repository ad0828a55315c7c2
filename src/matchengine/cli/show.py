"""How answers look in the terminal and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from msgspec import json
from rich.console import Console
from rich.table import Table

from matchengine.v1 import exchange_pb2 as pb

_EXEC_TYPES: Final = {
    "0": "new",
    "4": "canceled",
    "5": "replaced",
    "8": "rejected",
    "9": "cancel rejected",
    "F": "trade",
}
_SIDES: Final = {pb.SIDE_UNSPECIFIED: "", pb.SIDE_BUY: "buy ", pb.SIDE_SELL: "sell "}
#: Columns of a table that goes into a file or a pipe.
_WIDE: Final = 160
_REJECTED: Final = ("8", "9")


def to_json(message: Message) -> str:
    """A protobuf message as one line of JSON, with all fields under their names in the protocol."""
    fields = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return json.encode(fields).decode()


def show_reports(reports: Sequence[pb.Report], *, as_json: bool) -> bool:
    """Print execution reports; returns whether none is a rejection."""
    for report in reports:
        print(to_json(report) if as_json else _report_line(report))
    return not any(report.exec_type in _REJECTED for report in reports)


def _report_line(report: pb.Report) -> str:
    what = _EXEC_TYPES.get(report.exec_type, report.exec_type)
    words = [f"{what:<15} order {report.cl_ord_id or report.orig_cl_ord_id} (exchange id {report.order_id})"]
    if report.symbol:
        words.append(f"{_SIDES[report.side]}{report.symbol} @ {report.price or 'market'}")
    if report.exec_type == "F":
        words.append(f"{report.last_qty} @ {report.last_px}, trade {report.trade_id}")
    if report.exec_type not in _REJECTED:
        words.append(f"leaves {report.leaves_qty or '0'}, cum {report.cum_qty or '0'}")
    if report.reason:
        words.append(report.reason)
    return "  ".join(words)


def open_order_line(order: pb.OrderResponse) -> str:
    """An open order as people read it."""
    head = f"order {order.cl_ord_id} of account {order.account} (exchange id {order.order_id})"
    return f"{head}  {_SIDES[order.side]}{order.symbol} @ {order.price}  leaves {order.leaves_qty}, cum {order.cum_qty}"


def ladder(symbol: str, asks: Sequence[pb.Level], bids: Sequence[pb.Level]) -> Table:
    """A book as people read it: asks above bids, best prices in the middle."""
    table = Table(title=symbol, title_justify="left")
    for header, colour in (("bid", "green"), ("price", "bold"), ("ask", "red"), ("orders", "dim")):
        table.add_column(header, justify="right", style=colour)
    for level in reversed(asks):
        table.add_row("", level.price, level.quantity, str(level.orders))
    table.add_section()
    for level in bids:
        table.add_row(level.quantity, level.price, "", str(level.orders))
    return table


def console() -> Console:
    """Where tables go."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
