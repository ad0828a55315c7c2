"""Folders of a LOBSTER day rearranged as order entry: commands, the real fills, the real books.

Prices are in 1/10000 dollar.  ``book`` may speak of any number of levels; its header names them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Final

import msgspec

from matchengine.exchange.layout import MAX_SYMBOL_BYTES
from matchengine.exchange.types import (
    MAX_INT64,
    Side,
)
from matchengine.replay.answers import Answer, trades_of
from matchengine.replay.commands import cancel, limit_order, reduce
from matchengine.replay.errors import InputError
from matchengine.replay.reports_file import ReportsFile
from matchengine.replay.source import read_table
from matchengine.replay.workload import BookRow, Workload

PRICE_DECIMALS: Final = 4
MAX_LEVELS: Final = 1000

_COMMANDS_HEADER: Final = [
    "seq",
    "time",
    "command",
    "order_id",
    "side",
    "price",
    "qty",
    "origin",
]
_TRADES_HEADER: Final = ["seq", "taker_id", "maker_id", "price", "qty"]
_SIDES: Final = {"B": Side.BUY, "S": Side.SELL}


class LobsterRecording(msgspec.Struct, frozen=True):
    """A loaded day; ``trades`` are (seq, taker, maker, price, quantity) in the order in which they happened."""

    workload: Workload
    sequences: array[int]
    trades: tuple[tuple[int, ...], ...]


def load_lobster(folder: Path) -> LobsterRecording:
    """Read ``folder``; raises InputError for anything that breaks a rule of the format."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; the lobster format is one")
    sequences, commands = _load_commands(folder)
    books = tuple(_load_books(folder, sequences))
    symbol = folder.name.partition("_")[0].upper()
    if not symbol.isalnum() or not symbol.isascii() or len(symbol) > MAX_SYMBOL_BYTES:
        symbol = "LOBSTER"
    return LobsterRecording(
        Workload(symbol, PRICE_DECIMALS, commands, books),
        sequences,
        tuple(_load_trades(folder)),
    )


def _load_commands(folder: Path) -> tuple[array[int], bytes]:
    path, rows = read_table(folder, "commands")
    _check_header(path, next(rows, (1, []))[1], _COMMANDS_HEADER)
    sequences, commands = array("Q"), []
    previous = -1
    for number, cells in rows:
        place = f"{path}: line {number}"
        _check_width(place, cells, len(_COMMANDS_HEADER))
        previous = _rising(place, cells[0], previous)
        sequences.append(previous)
        commands.append(_command(place, cells))
    return sequences, b"".join(commands)


def _command(place: str, cells: list[str]) -> bytes:
    """The packed command of one row."""
    _, _, kind, raw_id, raw_side, raw_price, raw_quantity, _ = cells
    side = _SIDES.get(raw_side)
    if side is None:
        raise InputError(f"{place}: side {raw_side!r} is neither B nor S")
    order_id = _integer(place, "order_id", raw_id, 0, 2**63 - 1)
    if kind == "CANCEL":
        return cancel(order_id)
    quantity = _integer(place, "qty", raw_quantity, 1, MAX_INT64)
    if kind == "REDUCE":
        return reduce(order_id, quantity)
    if kind not in ("NEW", "IOC"):
        raise InputError(f"{place}: command {kind!r} is none of NEW, REDUCE, CANCEL, IOC")
    price = _integer(place, "price", raw_price, 1, MAX_INT64)
    return limit_order(order_id, side, price, quantity, ioc=kind == "IOC")


def _load_trades(folder: Path) -> Iterator[tuple[int, ...]]:
    path, rows = read_table(folder, "trades")
    _check_header(path, next(rows, (1, []))[1], _TRADES_HEADER)
    for number, cells in rows:
        place = f"{path}: line {number}"
        _check_width(place, cells, len(_TRADES_HEADER))
        named = zip(_TRADES_HEADER[1:], cells[1:], strict=True)
        yield _sequence(place, cells[0]), *(_integer(place, name, cell, 0, MAX_INT64) for name, cell in named)


def _load_books(folder: Path, sequences: array[int]) -> Iterator[BookRow]:
    path, rows = read_table(folder, "book")
    number, header = next(rows, (1, []))
    levels = max(1, (len(header) - 1) // 4)
    if levels > MAX_LEVELS:
        raise InputError(f"{path}: line {number}: {levels} levels are above the limit of {MAX_LEVELS}")
    _check_header(path, header, _book_header(levels))
    previous, position = -1, 0
    for number, cells in rows:
        place = f"{path}: line {number}"
        _check_width(place, cells, len(header))
        previous = _rising(place, cells[0], previous)
        while position < len(sequences) and sequences[position] <= previous:
            position += 1
        values = [
            None if cell == "" else _integer(place, name, cell, 0, MAX_INT64)
            for name, cell in zip(header[1:], cells[1:], strict=True)
        ]
        yield BookRow(
            position,
            previous,
            tuple(zip(values[0::4], values[1::4], strict=True)),
            tuple(zip(values[2::4], values[3::4], strict=True)),
        )


def _book_header(levels: int) -> list[str]:
    sides = [
        f"{side}_{what}_{level}"
        for level in range(1, levels + 1)
        for side in ("ask", "bid")
        for what in ("price", "qty")
    ]
    return ["seq", *sides]


def _check_header(path: Path, cells: list[str], wanted: list[str]) -> None:
    if cells != wanted:
        raise InputError(f"{path}: line 1: the header {','.join(cells)!r} is not {','.join(wanted)!r}")


def _check_width(place: str, cells: list[str], wanted: int) -> None:
    if len(cells) != wanted:
        raise InputError(f"{place}: {len(cells)} cells are not {wanted}")


def _integer(place: str, field: str, cell: str, low: int, high: int) -> int:
    if not cell.isascii() or not cell.isdigit() or len(cell) > 20 or not low <= int(cell) <= high:
        raise InputError(f"{place}: {field} {cell[:40]!r} is not an integer from {low} to {high}")
    return int(cell)


def _sequence(place: str, cell: str) -> int:
    return _integer(place, "seq", cell, 0, 2**64 - 1)


def _rising(place: str, cell: str, previous: int) -> int:
    seq = _sequence(place, cell)
    if seq <= previous:
        raise InputError(f"{place}: seq {seq} is not above {previous}, the one before it")
    return seq


def lobster_trades(recording: LobsterRecording, answers: Iterable[Answer]) -> list[tuple[int, ...]]:
    """The fills of the answers, in the form of the recording's."""
    sequences = recording.sequences
    return [
        (
            sequences[trade.command],
            trade.taker - 1,
            trade.maker - 1,
            trade.price,
            trade.quantity,
        )
        for trade in trades_of(answers)
    ]


def trade_differences(wanted: Iterable[tuple[int, ...]], found: Iterable[tuple[int, ...]]) -> int:
    """Positions at which the two differ; what is in excess of the shorter differs."""
    return sum(left != right for left, right in zip_longest(wanted, found))


def book_differences(row: BookRow, asks: list[tuple[int, int]], bids: list[tuple[int, int]]) -> int:
    """Non-empty cells of ``row`` that the found (price, quantity) levels do not match."""
    return _side_differences(row.asks, asks) + _side_differences(row.bids, bids)


def _side_differences(wanted: tuple[tuple[int | None, int | None], ...], found: list[tuple[int, int]]) -> int:
    differences = 0
    for level, cells in enumerate(wanted):
        have = found[level] if level < len(found) else (None, None)
        differences += sum(cell is not None and cell != value for cell, value in zip(cells, have, strict=True))
    return differences


def write_trades(trades: Iterable[tuple[int, ...]], reports: ReportsFile) -> None:
    """Write the fills in the format of ``trades.csv``."""
    reports.write(",".join(_TRADES_HEADER) + "\n")
    for trade in trades:
        reports.write(",".join(map(str, trade)) + "\n")
