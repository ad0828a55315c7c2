"""What the demonstration shows: a live picture in a terminal, a line a second elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, Self

import msgspec
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from matchengine.demo.ledger import Trade
from matchengine.exchange.types import Side
from matchengine.v1.exchange_pb2 import Level

#: Levels a side that a picture should have, so that it fits.
LADDER_LEVELS: Final = 7


class Picture(msgspec.Struct, frozen=True):
    """One moment: ``nodes`` are (id, role), ``story`` what happened to the leader."""

    elapsed_s: float
    sent: int
    acknowledged: int
    trades: int
    nodes: Sequence[tuple[str, str]]
    asks: Sequence[Level]
    bids: Sequence[Level]
    recent: Sequence[Trade]
    story: str


class Screen(Protocol):
    """Something that pictures can be shown on."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(self, *error: object) -> None:
        """End."""
        ...

    def show(self, picture: Picture) -> None:
        """Show one moment."""
        ...


class Lines:
    """One line of text now and then."""

    def __init__(self, interval_s: float = 1.0) -> None:
        self._interval_s = interval_s
        self._next_s = 0.0
        self._story = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to put right."""

    def show(self, picture: Picture) -> None:
        """Print the moment if enough time has passed, or if something happened to the leader."""
        news = picture.story if picture.story != self._story else ""
        if picture.elapsed_s < self._next_s and not news:
            return
        self._next_s, self._story = picture.elapsed_s + self._interval_s, picture.story
        roles = ", ".join(f"{node} {role}" for node, role in picture.nodes)
        print(f"{picture.elapsed_s:5.1f} s  {_counts(picture)}  [{roles}]  {news}".rstrip(), flush=True)


class Terminal:
    """A ladder, the last trades and the nodes' roles, redrawn in place."""

    def __init__(self) -> None:
        self._live = Live(auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, picture: Picture) -> None:
        """Draw the moment."""
        self._live.update(drawing(picture), refresh=True)


def screen() -> Screen:
    """The one that fits standard output."""
    return Terminal() if sys.stdout.isatty() else Lines()


def drawing(picture: Picture) -> RenderableType:
    """All there is to see; fits a terminal of 80 columns and 24 lines."""
    columns = Table.grid(padding=(0, 3))
    columns.add_row(_ladder(picture.asks, picture.bids), _trades(picture.recent), _nodes(picture))
    return Group(columns, Text(_counts(picture)), Text(picture.story, "bold"))


def _counts(picture: Picture) -> str:
    return f"sent {picture.sent:,}  acknowledged {picture.acknowledged:,}  trades {picture.trades:,}"


def _ladder(asks: Sequence[Level], bids: Sequence[Level]) -> RenderableType:
    table = Table(title="DEMO")
    for header, style in (("bid", "green"), ("price", "bold"), ("ask", "red")):
        table.add_column(header, justify="right", style=style, min_width=6)
    for level in reversed(asks):
        table.add_row("", level.price, level.quantity)
    table.add_section()
    for level in bids:
        table.add_row(level.quantity, level.price, "")
    return table


def _trades(recent: Iterable[Trade]) -> RenderableType:
    table = Table(title="trades")
    table.add_column("price", justify="right", min_width=7)
    table.add_column("quantity", justify="right")
    for trade in recent:
        style = "green" if trade.side == Side.BUY else "red"
        table.add_row(f"{trade.price / 100:.2f}", str(trade.quantity), style=style)
    return table


def _nodes(picture: Picture) -> RenderableType:
    table = Table(title=f"nodes, {picture.elapsed_s:.1f} s")
    table.add_column("node")
    table.add_column("role", min_width=10)
    for node, role in picture.nodes:
        table.add_row(node, role, style={"leader": "bold yellow", "down": "bold red"}.get(role, ""))
    return table
